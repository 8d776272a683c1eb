"""Coming back by itself: crashes, what is no crash, who survives whom, and `resume --all-crashed`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plain_loops import LOOP, PATIENCE_SECONDS, mine, wait_for
from trainer_runs import child_environment

from ckptop.cli import launch
from ckptop.cli.main import run as run_command
from ckptop.cli.supervise import supervised_argv
from ckptop.host.process import is_alive
from ckptop.store.events import last_event, read_events
from ckptop.store.layout import RunPaths
from ckptop.store.run import Run
from ckptop.store.state import identity_of
from ckptop.store.store import Store

FAILING = """
import os, signal, sys
from ckptop.store.run import Run

store, *ways = sys.argv[1:]
with open(os.path.join(store, "starts"), "a") as file:
    file.write("x")
way = ways[min(os.path.getsize(os.path.join(store, "starts")), len(ways)) - 1]
with Run.create(store, name="mine", task="mine", resume="auto") as run:
    run.begin()
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "error":
        raise RuntimeError("made up")
    run.finish("finished" if way == "0" else "stopped" if way == "3" else "failed", code=int(way))
sys.exit(int(way))
"""

Supervised = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """Starts a supervisor of a small script; whatever is left of both is killed in the end."""
    children = []

    def start(script: str, *arguments: str, restarts: int = 3) -> subprocess.Popen[bytes]:
        trainer = [sys.executable, "-c", script, str(tmp_path), *arguments]
        argv = [sys.executable, *supervised_argv(RunPaths(tmp_path / "mine"), trainer, restarts)]
        children.append(subprocess.Popen(argv, env=child_environment(), stderr=subprocess.PIPE))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()
    status = mine(tmp_path).status
    if status is not None and is_alive(identity_of(status.process)):
        os.kill(status.process.pid, signal.SIGKILL)


def starts(store: Path) -> int:
    return len((store / "starts").read_text())


def pid_of(store: Path) -> int:
    status = mine(store).status
    assert status is not None
    return status.process.pid


def is_training(store: Path) -> bool:
    return mine(store).state == "running"


@pytest.mark.parametrize(
    ("ways", "code", "started"),
    [
        (["kill", "0"], 0, 2),
        (["error", "0"], 0, 2),
        (["kill", "kill", "kill"], 128 + 9, 2),
        (["16"], 16, 1),  # NaN, or no memory for the batch: again would be the same
        (["12"], 12, 1),
        (["2"], 2, 1),
        (["3"], 3, 1),
    ],
)
def test_a_crash_is_started_again_and_what_is_none_is_not(
    tmp_path: Path, supervised: Supervised, ways: list[str], code: int, started: int
) -> None:
    child = supervised(FAILING, *ways, restarts=1)

    assert child.wait(PATIENCE_SECONDS) == code

    assert starts(tmp_path) == started
    if ways[-1] == "kill":
        view = mine(tmp_path)
        assert view.state == "crashed"
        assert view.status is not None
        assert view.status.exit is not None
        assert view.status.exit.signal == signal.SIGKILL
        assert str(view.status.exit.error).startswith("killed by SIGKILL")
        alerts = [event.details["message"] for event in read_events(view.paths.events) if event.event == "alert"]
        assert alerts == [
            "crashed (SIGKILL); starting it again in 1 s (1 of 1)",
            "crashed (SIGKILL); not started again: 1 restarts brought no new checkpoint",
        ]


def test_a_signal_to_the_supervisor_stops_the_trainer_gracefully(tmp_path: Path, supervised: Supervised) -> None:
    child = supervised(LOOP, "obedient")
    wait_for(lambda: is_training(tmp_path), "the trainer")

    child.send_signal(signal.SIGINT)

    assert child.wait(PATIENCE_SECONDS) == 3
    assert mine(tmp_path).state == "stopped"


def test_the_death_of_the_supervisor_takes_no_trainer_along_and_no_second_one_begins(
    tmp_path: Path, supervised: Supervised
) -> None:
    first = supervised(LOOP, "obedient")
    wait_for(lambda: is_training(tmp_path), "the trainer")
    trainer = pid_of(tmp_path)
    first.kill()
    first.wait()

    second = supervised(LOOP, "obedient")

    assert second.wait(PATIENCE_SECONDS) == 1  # a plain script that was refused the run
    assert (pid_of(tmp_path), is_training(tmp_path)) == (trainer, True)
    assert run_command(["stop", "mine", "--store", str(tmp_path)]) == 0


def test_a_trainer_that_a_person_killed_is_not_started_again(tmp_path: Path, supervised: Supervised) -> None:
    child = supervised(LOOP, "deaf")
    wait_for(lambda: is_training(tmp_path), "the trainer")

    assert run_command(["stop", "mine", "--now", "--store", str(tmp_path)]) == 0

    assert child.wait(PATIENCE_SECONDS) == 3
    assert mine(tmp_path).state == "stopped"


def test_a_supervisor_is_stopped_while_it_waits(tmp_path: Path, supervised: Supervised) -> None:
    child = supervised(FAILING, "kill", restarts=9)
    paths = RunPaths(tmp_path / "mine")
    wait_for(lambda: last_event(paths.events, ("alert",)), "the first crash")
    wait_for(lambda: starts(tmp_path) >= 2, "the first restart")  # the next wait is 4 s

    child.terminate()

    assert child.wait(PATIENCE_SECONDS) == 3


def test_the_supervisor_loads_no_torch() -> None:
    probe = "import sys, ckptop.cli.supervise; print([m for m in ('torch', 'click', 'textual') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# The command line, with a real trainer


def test_a_background_trainer_that_died_in_native_code_comes_back_and_its_log_says_where(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quick = ("--set", "threads=1", "--set", "model.hidden=[8]", "--set", "save_every_steps=5", "--epochs", "100000")
    command = ["train", "diabetes", "--background", "--auto-resume", "2", "--json", "--store", str(tmp_path)]
    assert run_command([*command, "--name", "mine", *quick]) == 0
    said = json.loads(capfd.readouterr().out)
    try:
        assert said["pid"] == pid_of(tmp_path) != said["supervisor"]
        wait_for(lambda: mine(tmp_path).latest, "a checkpoint")

        os.kill(said["pid"], signal.SIGSEGV)

        wait_for(lambda: is_training(tmp_path) and pid_of(tmp_path) != said["pid"], "the next attempt")
        record = mine(tmp_path).record
        assert record is not None
        assert record.attempts[-1].from_step > 0
        assert record.command is not None
        assert "--auto-resume" not in record.command.argv
    finally:
        run_command(["stop", "mine", "--store", str(tmp_path)])
        supervisor = launch._at_large.pop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(PATIENCE_SECONDS)
        supervisor.kill()
    assert supervisor.wait() == 3
    log = (tmp_path / "mine" / "train.log").read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert "ckptop: mine crashed (SIGSEGV); starting it again in 1 s (1 of 2)" in log


def crashed(store: Path, name: str) -> RunPaths:
    """A run whose trainer died, and whose command can be started."""
    script = (
        "import os, sys\n"
        "from ckptop.store import Run\n"
        "from ckptop.store.records import Command\n"
        "loop = sys.argv[3]\n"
        "command = Command(python=sys.executable, argv=['-c', loop, sys.argv[1], 'obedient'], cwd=os.getcwd())\n"
        "run = Run.create(sys.argv[1], name=sys.argv[2], task='mine', command=command)\n"
        "run.begin()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(store), name, LOOP], check=False, env=child_environment())
    return RunPaths(store / name)


def test_every_crashed_run_of_mine_is_resumed_with_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two", "others", "nolog"):
        crashed(tmp_path, name)
    (tmp_path / "nolog" / "train.log").mkdir()
    (tmp_path / "others" / "run.json").chmod(0o666)  # anybody may have put a command there
    Run.create(tmp_path, name="done", task="mine").finish("finished", code=0)
    try:
        code = run_command(["resume", "--all-crashed", "--store", str(tmp_path)])

        lines = capsys.readouterr().out.splitlines()
        assert code == 14
        assert lines[0].startswith("nolog was not resumed: ")
        assert lines[1].startswith("Resumed one from step 0 (pid ")
        assert lines[2].startswith("others was not resumed: ")
        assert lines[3].startswith("Resumed two from step 0 (pid ")
        states = {view.name: view.state for view in Store.open(tmp_path).runs()}
        left = {"others": "crashed", "nolog": "crashed", "done": "finished"}
        assert states == {"one": "running", "two": "running", **left}
    finally:
        while launch._at_large:
            launch._at_large[-1].terminate()  # a supervisor passes it on
            launch._at_large.pop().wait(PATIENCE_SECONDS)


def test_nothing_crashed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.create(tmp_path, name="done", task="mine").finish("finished", code=0)

    assert run_command(["resume", "--all-crashed", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"No run in {tmp_path} has crashed.\n"
    assert run_command(["resume", "--all-crashed", "done", "--store", str(tmp_path)]) == 2
    assert run_command(["resume", "--store", str(tmp_path)]) == 2


def test_of_two_resumes_at_once_one_trains_and_the_other_says_who_holds_the_run(tmp_path: Path) -> None:
    crashed(tmp_path, "mine")
    command = [sys.executable, "-m", "ckptop.cli", "resume", "mine", "--store", str(tmp_path)]
    both = [
        subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=PATIENCE_SECONDS) for child in both]
    winner = pid_of(tmp_path)
    try:
        assert sorted(child.returncode == 0 for child in both) == [False, True]
        refused = next(errors for (_, errors), child in zip(said, both, strict=True) if child.returncode)
        assert f"pid {winner}" in refused
        assert is_training(tmp_path)
    finally:
        os.kill(winner, signal.SIGKILL)
