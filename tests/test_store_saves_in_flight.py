"""A save on its way while its process forks, is asked to stop, or ends: waited for, or given up cleanly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from slow_disk import SlowDisk, open_manager
from tiny_model import trained_pair
from torch.utils.data import DataLoader, TensorDataset
from trainer_runs import run_training

from ckptop.store import CheckpointManager, Run
from ckptop.store.fs import FileSystem
from ckptop.store.in_flight import InFlight
from ckptop.store.saving import Saver
from ckptop.store.verify import verify_checkpoint, verify_run
from ckptop.store.views import read_run

BEGIN = """
import os, signal
import torch
from ckptop.store import CheckpointManager, Run
from ckptop.store.saving import Saver

write = Saver.write

def asked_to_stop_meanwhile(*arguments, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    return write(*arguments, **named)

"""


def run_script(script: str, root: Path) -> int:
    return subprocess.run([sys.executable, "-c", BEGIN + script, str(root)], check=False, timeout=120).returncode


# Beside other processes


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_forked_and_ended_while_a_save_is_on_its_way_do_it_no_harm(tmp_path: Path) -> None:
    disk = SlowDisk()
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk)
    manager.save_training_checkpoint(model, optimizer, 1, 1, None)
    assert disk.has_begun.wait(30)

    loader = DataLoader(TensorDataset(torch.arange(8)), batch_size=2, num_workers=2, multiprocessing_context="fork")
    seen = [int(value) for (batch,) in loader for value in batch]
    assert manager.is_saving
    disk.may_write.set()
    manager.wait()

    assert seen == list(range(8))
    (info,) = manager.list_checkpoints("training")["training"]
    assert verify_checkpoint(info) is None


@pytest.mark.parametrize("before", [0, 15], ids=["of usual niceness", "already nicer"])
def test_the_writer_yields_to_the_loop_and_the_loop_stays_as_it_was(before: int) -> None:
    code = (
        "import os, threading\nfrom ckptop.store.in_flight import InFlight\n"
        f"os.nice({before})\nhere = os.getpriority(os.PRIO_PROCESS, 0)\nfound = []\nflight = InFlight()\n"
        "def look():\n    thread = threading.get_native_id()\n"
        "    found.extend([os.getpriority(os.PRIO_PROCESS, thread), os.sched_getscheduler(thread) == os.SCHED_BATCH])\n"
        "flight.start(look)\nflight.wait()\n"
        "print(here, *found, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_OTHER)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    loop, writer, is_batch, loop_after, is_usual = said.split()
    assert int(writer) > int(loop)
    assert loop_after == loop
    assert (is_batch, is_usual) == ("True", "True")


# Leaving


class Seen:
    """When what happened, in order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.is_leaving = threading.Event()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """A writer that waits until the run is about to end."""
    found, write, join = Seen(), Saver.write, InFlight.join

    def patient(*arguments: Any, **named: Any) -> Any:
        assert found.is_leaving.wait(30)
        done = write(*arguments, **named)
        found.order.append("committed")
        return done

    def leave(flight: InFlight) -> None:
        if flight.is_busy:
            found.is_leaving.set()
        join(flight)
        found.order.append("waited")

    monkeypatch.setattr(Saver, "write", patient)
    monkeypatch.setattr(InFlight, "join", leave)
    return found


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(5)], ids=repr)
def test_a_run_left_by_an_exception_waits_for_its_save(tmp_path: Path, seen: Seen, error: BaseException) -> None:
    model, optimizer = trained_pair()

    def save_and_leave() -> None:
        with Run.create(tmp_path, name="mine", task="toy", async_save=True) as run:
            run.checkpoints.save_training_checkpoint(model, optimizer, 1, 1, {})
            seen.order.clear()
            raise error

    with pytest.raises(type(error)):
        save_and_leave()

    assert seen.order[:2] == ["committed", "waited"]
    view = read_run(tmp_path / "mine")
    assert [info.step for info in view.checkpoints] == [1]
    assert verify_run(view).findings == ()


@pytest.mark.parametrize(
    ("end", "code"),
    [("raise ValueError('wrong')", 1), ("raise KeyboardInterrupt", -signal.SIGINT), ("import sys; sys.exit(5)", 5)],
)
def test_a_script_that_ends_waits_for_its_save(tmp_path: Path, end: str, code: int) -> None:
    script = (
        "import sys\nmanager = CheckpointManager(sys.argv[1], async_save=True)\n"
        f"manager.save_training_checkpoint(torch.nn.Linear(1000, 4000), None, 1, 1, None)\n{end}\n"
    )

    assert run_script(script, tmp_path / "set") == code
    (info,) = CheckpointManager(tmp_path / "set").list_checkpoints("training")["training"]
    assert verify_checkpoint(info) is None


def test_a_run_asked_to_stop_in_the_midst_of_a_save_has_that_one_and_its_last(tmp_path: Path) -> None:
    script = """
import sys
Saver.write = asked_to_stop_meanwhile
model = torch.nn.Linear(1000, 1000)
with Run.create(sys.argv[1], name="mine", task="toy", async_save=True) as run:
    def save():
        run.checkpoints.save_training_checkpoint(model, None, 1, run.step, {})
    for step in run.steps(1_000_000, save=save, save_every=2):
        pass
"""

    assert run_script(script, tmp_path) == 3
    view = read_run(tmp_path / "mine")
    assert view.state == "stopped"
    assert view.checkpoints[0].step == 2
    assert view.status is not None
    assert view.checkpoints[-1].step == view.status.step
    assert verify_run(view).findings == ()


def test_a_script_that_a_signal_ends_in_the_midst_of_a_save_leaves_no_half_of_one(tmp_path: Path) -> None:
    script = """
import sys
from ckptop.store.fs import FileSystem

class Ended(FileSystem):
    def fsync(self, fd):
        os.kill(os.getpid(), signal.SIGTERM)

manager = CheckpointManager(sys.argv[1], async_save=True, fs=Ended())
manager.save_training_checkpoint(torch.nn.Linear(1000, 4000), None, 1, 1, None)
manager.wait()
"""

    assert run_script(script, tmp_path / "set") == -signal.SIGTERM
    (torn,) = (tmp_path / "set" / ".staging").iterdir()
    assert torn.stat().st_size > 1_000_000
    model, optimizer = trained_pair()
    manager = CheckpointManager(tmp_path / "set")
    assert manager.list_checkpoints("training")["training"] == []
    manager.save_training_checkpoint(model, optimizer, 1, 1, None)
    (info,) = manager.list_checkpoints("training")["training"]
    assert verify_checkpoint(info) is None
    assert not torn.exists()


# What it took


def test_a_trainer_logs_what_each_save_took(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", epochs="2")

    lines = [json.loads(line) for line in (tmp_path / "run" / "system.jsonl").read_text().splitlines()]
    saves = [line for line in lines if "save/durable_seconds" in line]
    assert len(saves) == 2
    assert all(0 < line["save/blocked_seconds"] < line["save/durable_seconds"] for line in saves)


def test_a_milestone_of_a_saved_step_writes_its_manifest_and_no_weights(tmp_path: Path) -> None:
    class Weighed(FileSystem):
        written_bytes = 0

        def write_all(self, fd: int, data: bytes | memoryview) -> None:
            self.written_bytes += len(data)
            super().write_all(fd, data)

    disk, model = Weighed(), torch.nn.Linear(500, 500)
    manager = open_manager(tmp_path, disk)
    training = manager.save_training_checkpoint(model, None, 1, 10, {"val/loss": 0.5})
    manager.wait()
    assert disk.written_bytes > 1_000_000
    disk.written_bytes = 0

    milestone = manager.save_milestone_checkpoint(model, 0.5, "val/loss", 1, step=10, same_as=training)
    manager.wait()

    assert milestone is not None
    assert Path(milestone).samefile(training)
    assert 0 < disk.written_bytes < 10_000
