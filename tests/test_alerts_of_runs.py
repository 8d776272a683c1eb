"""Alerts of real processes: a trainer's own, a watch's, a supervisor's; and the secret that reaches no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alert_ends import (
    SECRET,
    Endpoint,
    endpoint,
    files_with,
    noted,
    noting_command,
    refusing_endpoint,
    silent_endpoint,
)
from plain_loops import PATIENCE_SECONDS, mine, plain_loop, wait_for
from trainer_runs import SMALL, child_environment

from ckptop.cli import launch
from ckptop.cli.alert_options import take_alert_options
from ckptop.cli.main import run as run_command
from ckptop.cli.supervise import supervised_argv
from ckptop.store.layout import RunPaths
from ckptop.store.resume import RESUME_VARIABLE
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.trainer.rehearsal.child_trainers import _NOT_PASSED_ON

SETTINGS = [part for key, value in SMALL["diabetes"].items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def hook() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


def ckptop(*arguments: str, script: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; `script` is run in it before."""
    start = (
        ["-c", f"{script}\nimport sys\nfrom ckptop.cli.main import main\nmain()"] if script else ["-m", "ckptop.cli"]
    )
    return subprocess.run(
        [sys.executable, *start, *arguments], env=child_environment() | environ, capture_output=True, text=True,
        check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def train(store: Path, *options: str, script: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    arguments = ("train", "diabetes", "--store", str(store), "--name", "mine", *SETTINGS, *options)
    return ckptop(*arguments, script=script, **environ)


# The trainer, and a loop of one's own


def test_a_plain_script_tells_of_its_end_where_the_environment_asks(tmp_path: Path) -> None:
    script = (
        "from ckptop.store import Run\n"
        f"with Run.create({str(tmp_path / 'runs')!r}, name='mine', task='toy') as run:\n"
        "    run.log(1, {'train/loss': 1.0})\n"
        "    raise ValueError('no such column')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        env=child_environment() | {"CKPTOP_ALERT_COMMAND": noting_command(tmp_path / "out")},
    )  # fmt: skip

    assert done.returncode == 1
    (failed,) = noted(tmp_path / "out")
    assert failed["kind"] == "failed"
    assert "no such column" in failed["message"]


def test_a_trainer_tells_of_a_better_milestone_and_of_its_end(tmp_path: Path) -> None:
    done = train(tmp_path / "runs", "--on-alert", noting_command(tmp_path / "out"))

    assert done.returncode == 0, done.stderr
    best, end = noted(tmp_path / "out")
    assert (best["kind"], best["run"], best["step"]) == ("best", "mine", 17)
    assert best["message"].startswith("better val/smape: ")
    assert end["message"].startswith("finished at step 51: test/loss ")
    assert end["next"] == f"ckptop ls mine --store {tmp_path / 'runs'}"
    assert "alert" not in done.stderr


NAN = """
import math
from ckptop.trainer import stepping
read = stepping.StepValues.read
calls = []
def bad(self):
    calls.append(1)
    loss, norm = read(self)
    return (math.nan, norm) if len(calls) > 60 else (loss, norm)
stepping.StepValues.read = bad
"""


def test_a_nan_is_told_with_its_cause_and_the_command_that_goes_on(tmp_path: Path, hook: Endpoint) -> None:
    done = train(tmp_path, "--alert-on", "nan,failed,end", script=NAN, CKPTOP_ALERT_WEBHOOK=hook.address)

    assert done.returncode == 16, done.stderr
    (told,) = hook.alerts
    assert told["kind"] == "nan"
    assert "TrainingFailed: the loss is nan at step " in told["message"]
    assert told["next"] == f"ckptop resume mine --set lr=0.0005 --store {tmp_path}"


def test_an_error_of_another_kind_and_one_that_goes_on_by_itself_are_told_so(tmp_path: Path, hook: Endpoint) -> None:
    boom = "from ckptop.trainer import loop\ndef explode(*_): raise RuntimeError('boom')\nloop.evaluate = explode"
    assert train(tmp_path, script=boom, CKPTOP_ALERT_WEBHOOK=hook.address).returncode == 1
    assert [(told["kind"], told["message"]) for told in hook.alerts] == [
        ("failed", "failed at step 17: RuntimeError: boom")
    ]
    hook.bodies.clear()

    back = ("--on-nan", "rollback", "--set", "rollbacks=1", "--resume", "auto", "--alert-on", "nan,end,failed")
    assert train(tmp_path, *back, script=NAN, CKPTOP_ALERT_WEBHOOK=hook.address).returncode == 16

    assert hook.kinds() == ["nan", "nan"]  # and no end: the attempt that went back did not stop
    assert "going back to the start, for nothing was saved, with lr 0.0005" in hook.alerts[0]["message"]
    assert hook.alerts[0]["next"].startswith("ckptop logs mine -f ")


@pytest.mark.parametrize("way", ["refuses", "is silent"])
def test_a_webhook_s_address_reaches_no_file_and_its_failure_is_one_line_of_the_log_and_ends_soon(
    tmp_path: Path, way: str
) -> None:
    with silent_endpoint() as silent:
        address = silent if way == "is silent" else refusing_endpoint()
        done = train(
            tmp_path / "runs", CKPTOP_ALERT_WEBHOOK=address, CKPTOP_ALERT_WEBHOOK_HEADER=f"Authorization: {SECRET}",
            CKPTOP_ALERT_INTERVAL="0",
        )  # fmt: skip

    ended = time.time()
    assert done.returncode == 0
    status = mine(tmp_path / "runs").status
    assert status is not None
    assert ended - status.heartbeat < 15  # by the trainer's own clock: the last event, and then the alerts' grace
    shown = ckptop("show", "mine", "--store", str(tmp_path / "runs"), CKPTOP_ALERT_WEBHOOK=address)
    assert files_with(SECRET, tmp_path) == []
    assert len(files_with("diabetes", tmp_path)) > 3  # the search finds what is there
    for text in (done.stdout, done.stderr, shown.stdout):
        assert SECRET not in text
    log = (tmp_path / "runs" / "mine" / "train.log").read_text()
    assert log.count("ckptop: an alert was not delivered: 127.0.0.1 ") == 1
    assert done.stderr.count("an alert was not delivered") == 1


def test_an_alert_of_a_full_disk_does_not_depend_on_the_disk(tmp_path: Path, hook: Endpoint) -> None:
    """Neither a save nor the line that tells of it can be written."""
    script = """
import errno
from ckptop.store import events, saving
def full(*_, **__): raise OSError(errno.ENOSPC, "No space left on device")
commit = saving.commit
def refuse(*arguments):
    if arguments[5].global_step == 17:
        events.append_line = full
        full()
    return commit(*arguments)
saving.commit = refuse
"""
    options = ("--set", "full_disk_patience_seconds=0", "--alert-on", "disk")

    train(tmp_path, *options, script=script, CKPTOP_ALERT_WEBHOOK=hook.address)

    assert "No space left on device" in hook.alerts[0]["message"]
    assert hook.kinds() == ["disk"]
    assert b'"alert"' not in (tmp_path / "mine" / "events.jsonl").read_bytes()


def test_a_background_trainer_and_a_resumed_one_keep_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Endpoint
) -> None:
    monkeypatch.setenv("CKPTOP_ALERT_COMMAND", "")
    monkeypatch.setenv("CKPTOP_ALERT_WEBHOOK", hook.address)
    quick = ("--set", "threads=1", "--set", "model.hidden=[8]", "--epochs", "99999")
    command = ["train", "diabetes", "--background", "--store", str(tmp_path / "runs"), "--name", "mine", *quick]
    stop = ["stop", "mine", "--store", str(tmp_path / "runs")]
    try:
        assert run_command([*command, "--on-alert", noting_command(tmp_path / "out")]) == 0
        assert run_command(stop) == 0
        wait_for(lambda: {"end"} & {told["kind"] for told in noted(tmp_path / "out")}, "the end to be told")
        (tmp_path / "out").unlink()
        os.environ["CKPTOP_ALERT_COMMAND"] = ""  # another terminal; the recorded option holds
        assert run_command(["resume", "mine", "--store", str(tmp_path / "runs")]) == 0
        assert run_command(stop) == 0
        wait_for(lambda: {"end"} & {told["kind"] for told in noted(tmp_path / "out")}, "the end to be told again")
        wait_for(lambda: hook.kinds().count("end") == 2, "the webhook to be called each time")
    finally:
        while launch._at_large:
            launch._at_large[-1].kill()
            launch._at_large.pop().wait(PATIENCE_SECONDS)
    assert files_with(SECRET, tmp_path) == []
    record = Store.open(tmp_path / "runs").run("mine").record
    assert record is not None
    assert record.command is not None
    assert not [name for name in record.command.env if "ALERT" in name]


def test_a_trainer_tells_of_a_loop_that_hangs(tmp_path: Path, hook: Endpoint) -> None:
    """Its other threads go on, so it says so itself."""
    script = (
        "import sys, threading\n"
        "from ckptop.store import alert_outbox, state\n"
        "from ckptop.store.alerting import alert_of_run\n"
        "from ckptop.store.run import Run\n"
        "state.STALLED_SECONDS, alert_outbox.TICK_SECONDS = 2.5, 0.1\n"
        "run = Run.create(sys.argv[1], name='mine', task='mine')\n"
        "alert_of_run(run.paths)\n"
        "run.begin()\n"
        "run.progress(epoch=1, step=3)\n"
        "threading.Event().wait()\n"
    )
    environ = child_environment() | {"CKPTOP_ALERT_WEBHOOK": hook.address}
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environ)
    try:
        wait_for(lambda: hook.bodies, "the stall to be told")
    finally:
        child.kill()
        child.wait()

    told = hook.alerts[0]
    assert (told["kind"], told["step"]) == ("stall", 3)
    assert told["next"].startswith("ckptop stop mine --now --timeout 60 --store ")


# The supervisor


def test_a_supervisor_tells_of_the_crash_of_its_trainer(tmp_path: Path, hook: Endpoint) -> None:
    dying = (
        "import os, signal, sys\nfrom ckptop.store.run import Run\n"
        "run = Run.create(sys.argv[1], name='mine', task='mine', resume='auto')\nrun.begin()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    argv = [
        sys.executable,
        *supervised_argv(RunPaths(tmp_path / "mine"), [sys.executable, "-c", dying, str(tmp_path)], 1),
    ]
    environ = child_environment() | {"CKPTOP_ALERT_WEBHOOK": hook.address, "CKPTOP_ALERT_INTERVAL": "0"}

    assert subprocess.run(argv, env=environ, check=False, timeout=PATIENCE_SECONDS).returncode == 128 + 9

    first, last = hook.alerts
    assert (first["kind"], first["message"]) == ("crash", "crashed (SIGKILL); starting it again in 1 s (1 of 1)")
    assert first["next"].startswith("ckptop logs mine -f ")
    assert last["message"] == "crashed (SIGKILL); not started again: 1 restarts brought no new checkpoint"
    assert last["next"].startswith("ckptop resume mine ")


# The watch


@contextmanager
def watching(store: Path, hook: Endpoint, *options: str, script: str = "") -> Iterator[subprocess.Popen[str]]:
    """`ckptop watch` on a store with a live run, when it has begun."""
    environ = child_environment() | {"CKPTOP_ALERT_WEBHOOK": hook.address, "PYTHONUNBUFFERED": "1"}
    code = f"{script}\nimport sys\nfrom ckptop.cli.main import main\nmain()"
    watch = subprocess.Popen(
        [sys.executable, "-c", code, "watch", str(store), *options], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    try:
        assert "mine  " in watch.stdout.readline()
        yield watch
    finally:
        watch.kill()
        watch.communicate()


def test_a_watch_tells_of_a_crash_and_not_of_what_was_so_when_it_began(tmp_path: Path, hook: Endpoint) -> None:
    Run.create(tmp_path, name="failed-before", task="t").finish("failed", code=1, error="old")
    with plain_loop(tmp_path) as loop, watching(tmp_path, hook):
        loop.kill()
        wait_for(lambda: hook.bodies, "the crash to be told")

    (told,) = hook.alerts
    assert (told["run"], told["kind"]) == ("mine", "crash")
    assert "its process is gone" in told["message"]
    assert told["next"] == f"ckptop resume mine --store {tmp_path}"


def test_a_watch_tells_of_a_stall_once(tmp_path: Path, hook: Endpoint) -> None:
    short = "from ckptop.store import state\nstate.STALLED_SECONDS = 1.0"
    with plain_loop(tmp_path) as loop, watching(tmp_path, hook, script=short) as watch:
        loop.send_signal(signal.SIGSTOP)
        wait_for(lambda: hook.bodies, "the stall to be told")
        loop.send_signal(signal.SIGCONT)
        assert watch.stdout is not None
        while "running" not in watch.stdout.readline():
            pass

    assert [(told["run"], told["kind"]) for told in hook.alerts] == [("mine", "stall")]
    assert "no step for long, though its process is there" in hook.alerts[0]["message"]


def test_a_watch_tells_only_of_the_kinds_chosen_and_sends_the_last_before_it_ends(
    tmp_path: Path, hook: Endpoint
) -> None:
    with plain_loop(tmp_path) as loop, watching(tmp_path, hook, "--alert-on", "end,nan") as watch:
        loop.terminate()
        assert watch.stdout is not None
        while "stopped" not in watch.stdout.readline():
            pass
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE_SECONDS) == 130

    (told,) = hook.alerts
    assert told["message"] == "stopped at step " + told["message"].split()[3].rstrip(":") + ": SIGTERM"


# The options


def test_a_typed_option_wins_over_the_environment_and_that_over_a_recorded_option() -> None:
    typed, resumed = {"CKPTOP_ALERT_COMMAND": "false"}, {"CKPTOP_ALERT_COMMAND": "false", RESUME_VARIABLE: "{}"}
    recorded_alone = {RESUME_VARIABLE: "{}"}

    for environ in (typed, resumed, recorded_alone):
        take_alert_options("true", "nan", environ)

    assert [environ["CKPTOP_ALERT_COMMAND"] for environ in (typed, resumed, recorded_alone)] == [
        "true",
        "false",
        "true",
    ]
    assert {environ["CKPTOP_ALERT_ON"] for environ in (typed, resumed, recorded_alone)} == {"nan"}


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "diabetes", "--on-alert", "no-such-program-here"], "'no-such-program-here' is not found"),
        (["train", "diabetes", "--on-alert", "true", "--alert-on", "krash"], "did you mean crash?"),
        (["train", "diabetes", "--alert-on", "crash"], "nobody is told"),
        (["watch", "--alert-on", "crash"], "nobody is told"),
        (["watch", "--once", "--on-alert", "true"], "alerts need a watch that goes on"),
        (["train", "diabetes", "--background", "--on-alert", "true", "--alert-on", "x"], "is no kind of alert"),
        (["resume", "--all-crashed", "--on-alert", "true", "--alert-on", "x"], "is no kind of alert"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    for name in ("COMMAND", "ON", "WEBHOOK"):
        monkeypatch.setenv(f"CKPTOP_ALERT_{name}", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()

    assert run_command(arguments) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_webhook_that_is_none_is_refused_without_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CKPTOP_ALERT_WEBHOOK", f"ftp://host/{SECRET}")

    assert run_command(["train", "diabetes", "--store", str(tmp_path)]) == 2
    assert run_command(["watch", str(tmp_path)]) == 2

    said = capsys.readouterr().err
    assert said.count("begins with neither http:// nor https://") == 2
    assert SECRET not in said


def test_a_rehearsal_tells_nobody() -> None:
    assert {"CKPTOP_ALERT_COMMAND", "CKPTOP_ALERT_WEBHOOK"} <= _NOT_PASSED_ON
