"""What each signal does to a trainer, how long it is waited for, and stopping before a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from trainer_runs import SMALL, Killed, at_step, child_environment, newest_state, run_training

from ckptop.store.events import read_events
from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer import grace
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.stop import StopSignals
from ckptop.trainer.time_limit import JOB, JOB_ENDS, seconds_until_end, stopping_before
from ckptop.trainer.train import train

PATIENCE_SECONDS = 90.0


def run_with(store: Path, epochs: int = 3, **options: float) -> int:
    settings = SMALL["diabetes"] | {"tensorboard": "false", "system_interval_seconds": "0", "epochs": str(epochs)}
    return train(
        TrainOptions(task="diabetes", store=store, name="run", assignments=tuple(settings.items()), **options)  # type: ignore[arg-type]  # three of them are seconds
    )


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def test_sigusr1_saves_a_checkpoint_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGUSR1)

    with at_step(20, lambda _: send(signal.SIGUSR1)):
        assert run_training(tmp_path, name="run", keep_training="9") == 0

    assert 20 in {info.step for info in read_run(tmp_path / "run").checkpoints}
    assert "SIGUSR1 asked for a save: step 20 is saved\n" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGUSR1) is before


def test_sigusr1_and_a_hang_up_do_not_end_a_trainer_that_still_loads() -> None:
    with StopSignals():
        send(signal.SIGUSR1)
        send(signal.SIGHUP)


def test_a_second_request_to_terminate_is_as_patient_as_the_first(tmp_path: Path) -> None:
    """Slurm and systemd may send several."""

    def twice(_: Run) -> None:
        send(signal.SIGTERM)
        send(signal.SIGTERM)

    with at_step(20, twice):
        assert run_training(tmp_path, name="run") == 3

    assert newest_state(tmp_path / "run")["global_step"] == 20


def test_a_stop_within_its_grace_is_an_ordinary_one(tmp_path: Path) -> None:
    with at_step(20, lambda _: send(signal.SIGTERM)):
        assert run_with(tmp_path, grace_seconds=60.0) == 3

    assert newest_state(tmp_path / "run")["global_step"] == 20
    assert "ckptop-grace" not in {thread.name for thread in threading.enumerate()}


HANGING = """
import sys, threading
from ckptop.store import saving
from ckptop.cli.main import run

original = saving.commit

def hang(*arguments):
    if arguments[5].global_step == 20:
        threading.Event().wait()  # as a disk that does not answer
    return original(*arguments)

saving.commit = hang
sys.exit(run(sys.argv[1:]))
"""


def test_a_save_that_hangs_past_the_grace_is_given_up_and_the_one_before_is_whole(tmp_path: Path) -> None:
    """The trainer's thread hangs, so nothing but another thread can end it."""
    sent = """
from ckptop.store.run import Run
import os, signal
progress = Run.progress
def tell(self, **where):
    progress(self, **where)
    if where["step"] == 20:
        os.kill(os.getpid(), signal.SIGTERM)
Run.progress = tell
"""
    settings = [part for key, value in SMALL["diabetes"].items() for part in ("--set", f"{key}={value}")]
    arguments = ["train", "diabetes", "--store", str(tmp_path), "--name", "run", "--grace", "1", *settings]

    done = subprocess.run(
        [sys.executable, "-c", sent + HANGING, *arguments], env=child_environment(), capture_output=True, text=True,
        check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    view = read_run(tmp_path / "run")
    assert view.state == "stopped"
    assert view.status is not None
    assert view.status.exit is not None
    assert view.status.exit.error == "not done within 1 s of SIGTERM: this step is not saved"
    assert newest_state(view.root)["global_step"] == 17
    assert run_training(tmp_path, name="run", resume="auto") == 0


def test_the_last_words_of_a_trainer_on_a_dead_disk_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, code = threading.Event(), []

    def end(number: int) -> None:
        code.append(number)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(grace, "LAST_WORDS_SECONDS", 0.01)
    never = threading.Event()
    watch = grace.Grace(0.0, never.wait)

    watch.begin()
    assert ended.wait(PATIENCE_SECONDS)
    never.set()
    watch.close()

    assert code == [3]


def test_a_full_disk_is_waited_for_no_longer_than_half_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def at_last(*_: object, patience_seconds: float, **__: object) -> str:
        waits.append(patience_seconds)
        raise Killed

    monkeypatch.setattr("ckptop.trainer.saving.save_at_last", at_last)
    with at_step(20, lambda run: run.request_stop("SIGTERM", seconds_left=30.0)), pytest.raises(Killed):
        run_training(tmp_path, name="run")

    assert 5 < waits[0] <= 15


def test_it_stops_and_saves_before_the_time_limit_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(tmp_path, save_before_seconds=120.0, time_limit_seconds=121.0, epochs=10**6) == 3

    view = read_run(tmp_path / "run")
    assert view.status is not None
    assert view.state == "stopped"
    assert view.status.step == (view.latest.step if view.latest is not None else 0)
    said = capsys.readouterr().out
    assert "(2 min before the time limit); --resume auto goes on" in said
    (stopped,) = (event for event in read_events(view.paths.events) if event.event == "stopped")
    assert stopped.details["reason"] == "2 min before the time limit"


def test_a_limit_nobody_knows_is_said_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded command of a job may be resumed outside of Slurm."""
    monkeypatch.delenv(JOB_ENDS, raising=False)
    monkeypatch.delenv(JOB, raising=False)

    assert run_with(tmp_path, save_before_seconds=120.0) == 0

    assert "--save-before: no time limit is known here" in capsys.readouterr().err


def test_the_limit_is_what_was_said_else_slurm_s() -> None:
    ends = {JOB_ENDS: str(int(time.time()) + 3600)}

    assert seconds_until_end(60.0, ends) == 60.0
    assert seconds_until_end(None, ends) == pytest.approx(3600, abs=5)
    assert seconds_until_end(None, {}) is None
    assert seconds_until_end(None, {JOB_ENDS: "soon"}) is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1:58", 118.0), ("1:00:05", 3605.0), ("2-03:00:00", 183_600.0), ("UNLIMITED", None), ("INVALID", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_slurm_that_does_not_say_in_the_environment_is_asked(
    told: str, seconds: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$*" = "--noheader --jobs 4711 --format %L" ] && echo "{told}"\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert seconds_until_end(None, {JOB: "4711"}) == seconds
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert seconds_until_end(None, {JOB: "4711"}) is None


def test_a_training_that_ends_in_time_is_not_stopped() -> None:
    stopped: list[str] = []

    with stopping_before(0.05, 0.0, lambda reason, _: stopped.append(reason)):
        (timer,) = (thread for thread in threading.enumerate() if thread.name == "ckptop-time-limit")
    timer.join(PATIENCE_SECONDS)

    assert stopped == []
