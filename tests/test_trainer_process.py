"""Trainers as processes: killed, interrupted, hung up on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from trainer_runs import Killed, assert_same_training, at_step, child_environment, logged, newest_state, run_training

from ckptop.cli.main import run as run_command
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.run import Run
from ckptop.store.store import Store

SETTINGS = ("epochs=60", "scheduler=plateau", "save_every_steps=15", "system_interval_seconds=0.05", "accumulate=2")
MODEL = {
    "diabetes": ("batch_size=8", "model.hidden=[8]"),
    "digits": ("batch_size=32", "model.channels=2", "model.hidden=8"),
}
PATIENCE_SECONDS = 90.0
LOOK = threading.Event()


def command(store: Path, task: str, *more: str) -> list[str]:
    settings = [part for setting in (*SETTINGS, *MODEL[task]) for part in ("--set", setting)]
    return [sys.executable, "-m", "ckptop.cli", "train", task, "--store", str(store), *settings, *more]


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert child.poll() is None, f"the trainer ended before {what}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        LOOK.wait(0.02)  # spinning would take the core that the trainer needs


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    children = []

    def begin(task: str, *more: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            command(tmp_path, task, *more), env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        children.append(child)
        return child

    yield begin
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what it may have left behind too, which would hold its pipes
        child.communicate()


def steps_logged(root: Path) -> int:
    try:
        return (root / "metrics.jsonl").read_bytes().count(b'"train/loss"')
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("task", ["diabetes", pytest.param("digits", marks=pytest.mark.slow)])
def test_a_trainer_killed_at_any_moment_resumes_to_the_same_bits(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]], task: str
) -> None:
    """SIGKILL, then the recorded command with a viewer's request: the end is that of the run nobody touched."""
    root = tmp_path / "torn"
    child = start(task, "--name", "torn", "--set", "workers=2")
    wait_for(lambda: steps_logged(root) > 40, child, "step 40")
    helpers = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.wait()
    psutil.wait_procs(helpers, timeout=PATIENCE_SECONDS)
    assert not [helper for helper in helpers if helper.is_running()]  # no data worker is left behind
    view = Store.open(tmp_path).run("torn")
    assert view.state == "crashed"
    assert view.latest is not None
    assert newest_state(root)["global_step"] == view.latest.step > 20

    assert view.record is not None
    assert view.record.command is not None
    recorded = view.record.command
    request = ResumeRequest(store=str(tmp_path), run="torn", overrides={"epochs": "6"})
    environment = child_environment() | {RESUME_VARIABLE: encode_request(request)}
    done = subprocess.run(
        [recorded.python, *recorded.argv], cwd=recorded.cwd, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "epochs was 60, now 6" in done.stdout
    pairs = (setting.partition("=") for setting in (*SETTINGS, *MODEL[task]))
    settings = {key.replace(".", "__"): value for key, _, value in pairs}
    run_training(tmp_path, task, name="straight", **settings | {"epochs": "6"})
    assert_same_training(tmp_path / "straight", root)


def test_signals_to_the_whole_process_group_reach_the_trainer_alone(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A terminal and systemd signal every process: the data workers must live to finish the step."""
    child = start("diabetes", "--name", "mine", "--set", "workers=1", "--set", "epochs=100000")
    wait_for(lambda: steps_logged(tmp_path / "mine") > 20, child, "step 20")
    helpers = psutil.Process(child.pid).children(recursive=True)
    assert len(helpers) >= 3  # the fork server and a worker each for training and validation

    for helper in helpers:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            helper.send_signal(signum)
    before = steps_logged(tmp_path / "mine")
    wait_for(lambda: steps_logged(tmp_path / "mine") > before + 40, child, "40 more steps")
    os.killpg(child.pid, signal.SIGINT)
    output, errors = child.communicate(timeout=PATIENCE_SECONDS)

    assert child.returncode == 3, errors.decode()
    assert errors == b"\nStopping after this step; Ctrl-C again ends at once, without saving.\n"
    match = re.search(rb"Stopped at step ([\d,]+) \(SIGINT\); --resume auto goes on", output)
    assert match is not None
    view = Store.open(tmp_path).run("mine")
    assert view.state == "stopped"
    assert view.latest is not None
    assert view.latest.step == int(match[1].replace(b",", b"")) == max(step for step, _ in logged(view.root))
    psutil.wait_procs(helpers, timeout=PATIENCE_SECONDS)
    assert not [helper for helper in helpers if helper.is_running()]


def test_a_request_to_terminate_stops_after_the_step(tmp_path: Path) -> None:
    """As Slurm and systemd send it; handlers are as they were afterwards."""
    before = signal.getsignal(signal.SIGTERM)

    with at_step(20, lambda _: os.kill(os.getpid(), signal.SIGTERM)):
        assert run_training(tmp_path, name="mine") == 3

    assert newest_state(tmp_path / "mine")["global_step"] == 20
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_hang_up_stops_nothing(tmp_path: Path) -> None:
    """A trainer outlives its terminal."""
    with at_step(20, lambda _: os.kill(os.getpid(), signal.SIGHUP)):
        assert run_training(tmp_path, name="mine") == 0


def test_a_second_interrupt_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is torn: what was committed is whole, and a resume goes on from there."""

    def end(code: int) -> None:
        assert code == 130
        raise Killed

    def interrupt_twice(_: Run) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(os, "_exit", end)
    with at_step(20, interrupt_twice), pytest.raises(Killed):
        run_training(tmp_path, name="mine")

    assert newest_state(tmp_path / "mine")["global_step"] == 17
    assert run_training(tmp_path, name="mine", resume="auto") == 0


def test_the_trainer_loads_no_textual(tmp_path: Path) -> None:
    probe = "import sys, ckptop.trainer.train; print([m for m in ('textual', 'plotext', 'click') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_one_line_with_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else real(name, *rest)\n"
        "from ckptop.cli.main import run\n"
        "sys.exit(run(['train', 'digits']))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 17
    assert done.stderr == "ckptop: training needs torch: pip install 'ckptop[train]'\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digit"], "did you mean digits?"),
        (["digits", "--set", "epoch=3"], "did you mean epochs?"),
        (["digits", "--device", "tpu"], "use auto, cpu, cuda"),
        (["digits", "--set", "lr"], "is not KEY=VALUE"),
        (["digits", "--config", "nowhere.toml"], "cannot be read"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)

    code = run_command(["train", *arguments])

    assert code == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_and_settings_reach_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then settings, then options."""
    monkeypatch.setenv("CKPTOP_STORE", str(tmp_path / "store"))
    file = tmp_path / "config.toml"
    file.write_text("epochs = 9\nlr = 0.5\nbatch_size = 100\n[model]\nhidden = [4]\n")
    options = ["--config", str(file), "--set", "lr=0.25", "--set", "epochs=8", "--epochs", "1", "--seed", "3"]

    assert run_command(["train", "diabetes", *options, "--device", "cpu", "--name", "mine"]) == 0

    record = Store.open(tmp_path / "store").run("mine").record
    assert record is not None
    config = record.config
    assert [config[key] for key in ("epochs", "lr", "batch_size", "seed", "device")] == [1, 0.25, 100, 3, "cpu"]
    assert config["model"]["hidden"] == [4]
