"""A trainer that stands still is stalled and not crashed; after a reboot its pid may be anybody's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trainer_runs import logged

from ckptop.cli.launch import Launched, launch, reserve, train_argv
from ckptop.cli.main import run
from ckptop.store.files import read_json
from ckptop.store.manifest import encode
from ckptop.store.records import Command, Status
from ckptop.store.state import STALLED_SECONDS, STALLED_STEPS
from ckptop.store.views import RunView, read_run

EPOCHS = 40
STEPS_OF_AN_EPOCH = 17
OPTIONS = ("--epochs", str(EPOCHS), "--set", "threads=1", "--set", "save_every_steps=5", "--set", "batch_size=16")


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """A trainer at work on the run `job`, its first checkpoint saved; nothing of it is left when the test is over."""
    store = tmp_path / "runs"
    monkeypatch.setenv("CKPTOP_STORE", str(store))
    paths = reserve(store, "job")
    argv = train_argv("diabetes", store, "job", OPTIONS)
    launched = launch(Command(python=sys.executable, argv=argv, cwd=str(tmp_path)), paths)
    wait_for(lambda: read_run(paths.root).checkpoints, "a checkpoint")
    yield launched
    if launched.process.poll() is None:
        launched.process.kill()
        launched.process.wait()
    view = read_run(paths.root)
    if view.state in ("starting", "running", "stalled") and view.status is not None:
        os.kill(view.status.process.pid, signal.SIGKILL)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that any signal to it would end."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process
        process.kill()


def view_of(trainer: Launched) -> RunView:
    return read_run(trainer.paths.root)


def rewrite(trainer: Launched, **changes: Any) -> None:
    """Let status.json say something else; its writer stands still or is gone."""
    status = msgspec.structs.replace(read_json(trainer.paths.status, Status), **changes)
    written = trainer.paths.root / "rewritten"
    written.write_bytes(encode(status))
    written.replace(trainer.paths.status)


def listed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], list[str]]:
    """What `ckptop ps` says of the one run: as JSON, and the words of its line."""
    capsys.readouterr()
    assert run(["ps", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert run(["ps"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    return told, line.split()


def stat_of(pid: int) -> list[str]:
    """`/proc/PID/stat` from the state letter on; its twentieth field is when the process started."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def stop_in_its_tracks(trainer: Launched) -> Status:
    """SIGSTOP, and a step that was done longer ago than any patience; returns the status as it was."""
    trainer.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: stat_of(trainer.process.pid)[0] == "T", "the trainer to stand still")
    status = read_json(trainer.paths.status, Status)
    ago = STALLED_SECONDS + STALLED_STEPS * (status.step_seconds or 0.0) + 1
    rewrite(trainer, heartbeat=status.heartbeat - ago, last_step_time=time.time() - ago)
    return status


def test_a_stopped_trainer_is_stalled_and_runs_again_when_it_is_continued(
    trainer: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stop_in_its_tracks(trainer)

    told, words = listed(capsys)

    assert (told["state"], told["live"], told["why"], told["phase"]) == ("stalled", True, None, "running")
    assert (words[0], words[2]) == ("job", "stalled")
    trainer.process.send_signal(signal.SIGCONT)
    wait_for(lambda: (status := view_of(trainer).status) and status.step > before.step, "further steps")
    told, words = listed(capsys)
    assert (told["state"], words[2]) == ("running", "running")


def test_a_stalled_trainer_is_not_replaced(trainer: Launched, capsys: pytest.CaptureFixture[str]) -> None:
    """It may go on at any moment."""
    before = stop_in_its_tracks(trainer)
    stood_at = len(logged(trainer.paths.root))

    named, all_crashed = run(["resume", "job"]), run(["resume", "--all-crashed"])

    said = capsys.readouterr()
    assert (named, all_crashed) == (13, 0)
    assert f"job is stalled (pid {trainer.process.pid})" in said.err
    assert "has crashed" in said.out
    assert stat_of(trainer.process.pid)[0] == "T"
    assert len(logged(trainer.paths.root)) == stood_at
    assert read_json(trainer.paths.status, Status).process == before.process


def test_after_a_reboot_a_run_goes_on_to_its_end_whoever_has_its_pid_now(
    trainer: Launched, bystander: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """The bystander has the pid and even the start ticks of the dead trainer, as both begin again at each boot."""
    trainer.process.kill()
    trainer.process.wait()
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    theirs = msgspec.structs.replace(
        read_json(trainer.paths.status, Status).process, pid=bystander.pid,
        start_ticks=int(stat_of(bystander.pid)[19]), boot_id="00000000-0000-4000-8000-000000000000",
    )  # fmt: skip
    rewrite(trainer, process=theirs, heartbeat=booted - 60, last_step_time=booted - 60)
    crashed = view_of(trainer)
    assert crashed.latest is not None

    told, words = listed(capsys)

    assert (told["state"], told["why"]) == ("crashed", "its machine was restarted")
    assert words[2] == "crashed"
    assert run(["stop", "job"]) == 1
    assert run(["stop", "job", "--now"]) == 1
    assert run(["resume", "job"]) == 0
    assert f"Resumed job from step {crashed.latest.step:,} (pid " in capsys.readouterr().out
    wait_for(lambda: view_of(trainer).state == "finished", "the end of the run")
    ended = view_of(trainer)
    assert ended.status is not None
    assert ended.record is not None
    assert ended.status.step == EPOCHS * STEPS_OF_AN_EPOCH
    assert ended.record.attempts[-1].from_step == crashed.latest.step
    steps = {step for step, name in logged(trainer.paths.root) if name == "lr"}
    assert steps == set(range(1, ended.status.step + 1))
    assert bystander.poll() is None
