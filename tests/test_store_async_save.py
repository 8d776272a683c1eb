"""Saves beside the loop: what is in the file, who hears of an error, and what waits for what."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from slow_disk import SlowDisk, open_manager
from tiny_model import manager_of, trained_pair
from trainer_runs import run_training

from ckptop.store import CheckpointManager, Run, host_copy
from ckptop.store.events import read_events
from ckptop.store.host_copy import HostCopy
from ckptop.store.saving import Saver
from ckptop.store.tensors import read_state
from ckptop.store.verify import verify_checkpoint, verify_run
from ckptop.store.views import read_run
from ckptop.trainer.hooks.run_hook import RunHook


@pytest.fixture
def disk() -> Iterator[SlowDisk]:
    found = SlowDisk()
    yield found
    found.may_write.set()


def change_everything(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """In place, as the next steps do."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
        for state in optimizer.state.values():
            for value in state.values():
                value.fill_(7.0)
    for group in optimizer.param_groups:
        group["lr"] = 7.0


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_later_steps_never_leak_into_the_file(tmp_path: Path, disk: SlowDisk) -> None:
    model, optimizer = trained_pair()
    plain = CheckpointManager(tmp_path / "plain").save_training_checkpoint(model, optimizer, 1, 1, {"loss": 0.5})
    manager = open_manager(tmp_path, disk)

    path = manager.save_training_checkpoint(model, optimizer, 1, 1, {"loss": 0.5})
    assert disk.has_begun.wait(30)
    change_everything(model, optimizer)
    assert not Path(path).exists()
    disk.may_write.set()
    manager.wait()

    expected, found = read_state(Path(plain)), read_state(Path(path))
    for key in ("model_state_dict", "optimizer_state_dict", "epoch", "global_step", "metrics"):
        assert same(expected[key], found[key]), key
    (info,) = manager.list_checkpoints("training")["training"]
    assert verify_checkpoint(info) is None


def test_a_second_copy_uses_the_buffers_of_the_first() -> None:
    model, optimizer = trained_pair()
    copies = HostCopy()

    def pointers(state: dict[str, Any]) -> list[int]:
        return [tensor.data_ptr() for tensor in state["model"].values()]

    first = copies.take({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    size_bytes, before = copies.size_bytes, pointers(first)
    second = copies.take({"model": model.state_dict(), "optimizer": optimizer.state_dict()})

    assert pointers(second) == before
    assert copies.size_bytes == size_bytes > 0


def test_what_was_prepared_is_what_the_first_copy_uses() -> None:
    model, _ = trained_pair()
    copies = HostCopy()

    copies.prepare({"0": model.state_dict()})
    size_bytes = copies.size_bytes
    copies.take({"version": 1, "model": model.state_dict()})

    assert copies.size_bytes == size_bytes > 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # it does nothing but write to memory
def test_a_forked_process_never_writes_into_the_buffers_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_copy, "_MAPPED_FROM_BYTES", 0)
    copies = HostCopy()
    copied = copies.take({"weights": torch.full((5,), 1.0)})["weights"]

    pid = os.fork()
    if pid == 0:
        taken = copies.take({"weights": torch.full((5,), 2.0)})["weights"]
        os._exit(0 if taken[0] == 2.0 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert copied.eq(1.0).all()


def test_tensors_that_share_a_storage_share_it_in_the_copy() -> None:
    whole = torch.arange(6.0)
    state = {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).t()}

    copied = HostCopy().take(state)

    whole.fill_(0.0)
    assert copied["whole"].untyped_storage().data_ptr() == copied["part"].untyped_storage().data_ptr()
    assert copied["part"].tolist() == [2.0, 3.0]
    assert copied["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_the_versions_of_modules_are_copied_too() -> None:
    state: Any = torch.nn.BatchNorm1d(2).state_dict()

    copied = HostCopy().take({"model": state})["model"]

    assert copied._metadata == state._metadata
    assert same(copied, state)


def test_the_next_save_waits_for_the_one_on_its_way(tmp_path: Path, disk: SlowDisk) -> None:
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk)
    manager.save_training_checkpoint(model, optimizer, 1, 1, None)
    assert disk.has_begun.wait(30)

    threading.Timer(0.05, disk.may_write.set).start()
    manager.save_training_checkpoint(model, optimizer, 1, 2, None)
    manager.wait()

    assert [info.step for info in manager.list_checkpoints("training")["training"]] == [1, 2]


def test_a_save_that_may_be_skipped_is(tmp_path: Path, disk: SlowDisk) -> None:
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk, when_busy="skip")
    manager.save_training_checkpoint(model, optimizer, 1, 1, None)
    assert disk.has_begun.wait(30)

    assert manager.save_training_checkpoint(model, optimizer, 1, 2, None) == ""

    disk.may_write.set()
    manager.wait()
    assert [info.step for info in manager.list_checkpoints("training")["training"]] == [1]


@pytest.mark.parametrize("ask", ["check", "wait", "save"])
def test_what_a_save_met_is_raised_at_the_next_step_and_once(tmp_path: Path, ask: str) -> None:
    disk = SlowDisk(OSError(errno.EIO, "Input/output error"))
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk)
    manager.save_training_checkpoint(model, optimizer, 1, 1, None)
    disk.may_write.set()
    thread = manager._in_flight._thread
    assert thread is not None
    thread.join()

    asked: dict[str, Callable[[], object]] = {
        "check": manager.check,
        "wait": manager.wait,
        "save": lambda: manager.save_training_checkpoint(model, optimizer, 1, 2, None),
    }
    with pytest.raises(OSError, match="Input/output error"):
        asked[ask]()

    manager.check()
    manager.wait()
    assert manager.list_checkpoints("training")["training"] == []


def test_a_state_that_is_no_plain_data_is_told_of(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    manager = CheckpointManager(tmp_path, async_save=True)

    manager.save_training_checkpoint(model, optimizer, 1, 1, None, extra={"path": Path("/x")})

    with pytest.raises(Exception, match="plain data only"):
        manager.wait()


def test_a_milestone_of_the_state_on_its_way_follows_it_and_copies_no_bytes(tmp_path: Path, disk: SlowDisk) -> None:
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk)
    training = manager.save_training_checkpoint(model, optimizer, 3, 30, {"val/loss": 0.5})
    assert disk.has_begun.wait(30)

    milestone = manager.save_milestone_checkpoint(model, 0.5, "val/loss", 3, step=30, same_as=training)
    assert milestone is not None
    assert not Path(milestone).exists()
    change_everything(model, optimizer)
    disk.may_write.set()
    manager.wait()

    assert Path(milestone).samefile(training)


def test_a_milestone_of_another_state_waits_and_is_written(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    manager = CheckpointManager(tmp_path, async_save=True)
    training = manager.save_training_checkpoint(model, optimizer, 3, 30, {"val/loss": 0.5})
    change_everything(model, optimizer)

    milestone = manager.save_milestone_checkpoint(model, 0.5, "val/loss", 3, step=30)

    assert milestone is not None
    assert Path(milestone).exists()
    assert not Path(milestone).samefile(training)


def test_a_milestone_of_a_later_step_never_holds_the_state_on_its_way(tmp_path: Path, disk: SlowDisk) -> None:
    model, optimizer = trained_pair()
    manager = open_manager(tmp_path, disk)
    training = manager.save_training_checkpoint(model, optimizer, 3, 30, {"val/loss": 0.5})
    assert disk.has_begun.wait(30)
    change_everything(model, optimizer)
    threading.Timer(0.05, disk.may_write.set).start()

    milestone = manager.save_milestone_checkpoint(model, 0.4, "val/loss", 3, step=31, same_as=training)
    manager.wait()

    assert milestone is not None
    assert same(read_state(Path(milestone))["model_state_dict"], model.state_dict())


def test_a_process_that_ends_by_an_exception_waits_for_the_save_on_its_way(tmp_path: Path) -> None:
    script = (
        "import torch\nfrom ckptop.store import CheckpointManager\n"
        "model = torch.nn.Linear(1000, 4000)\n"
        f"manager = CheckpointManager({str(tmp_path / 'set')!r}, async_save=True)\n"
        "manager.save_training_checkpoint(model, None, 1, 1, None)\n"
        "raise SystemExit(5)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)

    assert done.returncode == 5
    (info,) = CheckpointManager(tmp_path / "set").list_checkpoints("training")["training"]
    assert verify_checkpoint(info) is None


def test_the_times_of_a_save_are_told(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    manager = manager_of(tmp_path / "mine")
    assert manager.save_times is None

    manager.save_training_checkpoint(model, optimizer, 1, 1, None)

    times = manager.save_times
    assert times is not None
    assert times.blocked_seconds == times.durable_seconds > 0


@pytest.mark.parametrize("wrong", ["later", "", None])
def test_what_to_do_when_busy_is_one_of_two(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="use wait or skip"):
        CheckpointManager(tmp_path, when_busy=wrong)


class NoMilestones(SlowDisk):
    """Takes training checkpoints alone, and those when it is let."""

    def rename(self, source: Path, target: Path) -> None:
        if target.parent.name == "milestone" and target.suffix == ".pt":
            raise OSError(errno.EIO, "Input/output error")
        super().rename(source, target)


def test_a_milestone_refused_behind_its_checkpoint_is_an_alert_and_the_checkpoint_is_saved(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    told: list[tuple[str, dict[str, Any]]] = []
    disk = NoMilestones()
    manager = open_manager(tmp_path, disk, on_event=lambda event, _step, details: told.append((event, details)))
    training = manager.save_training_checkpoint(model, optimizer, 3, 30, {"val/loss": 0.5})
    manager.save_milestone_checkpoint(model, 0.5, "val/loss", 3, step=30, same_as=training)
    disk.may_write.set()

    manager.wait()

    assert [event for event, _ in told] == ["saved", "alert"]
    said = told[1][1]["message"]
    assert said.startswith("the milestone of step 30 was not saved: [Errno 5] Input/output error")
    assert Path(training).exists()


def refuse_first_write(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Saver.write
    refused: list[bool] = []

    def once(*arguments: Any, **named: Any) -> Any:
        if not refused:
            refused.append(True)
            raise OSError(errno.EIO, "Input/output error")
        return write(*arguments, **named)

    monkeypatch.setattr(Saver, "write", once)


def messages(run: Path) -> list[str]:
    return [str(event.details["message"]) for event in read_events(run / "events.jsonl") if event.event == "alert"]


def test_a_save_lost_on_its_way_is_said_of_its_own_step_and_the_last_is_tried_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained_pair()
    refuse_first_write(monkeypatch)
    heard_at_the_next_step: list[str] = []
    with Run.create(tmp_path, name="mine", task="toy", async_save=True) as run:

        def save() -> None:
            run.checkpoints.save_training_checkpoint(model, optimizer, 1, run.step, {})

        for step in run.steps(4, save=save, save_every=2):
            if step == 3:
                run.checkpoints._in_flight.join()
            if step == 4:
                heard_at_the_next_step = messages(tmp_path / "mine")

    assert len(heard_at_the_next_step) == 1
    assert messages(tmp_path / "mine") == [
        "the checkpoint of step 2 was not saved: [Errno 5] Input/output error; training goes on"
    ]
    assert [info.step for info in read_run(tmp_path / "mine").checkpoints] == [4]


def test_a_callback_hears_at_the_next_step_of_a_save_lost_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained_pair()
    refuse_first_write(monkeypatch)
    with RunHook(tmp_path, name="mine", task="toy", save_every_steps=1, async_save=True) as hook:

        def save() -> Callable[[Mapping[str, float]], object]:
            return lambda metrics: hook.save_checkpoint(model, optimizer, None, 1, 1, metrics, {})

        hook.stepped(1, 1, save, ((), ()))
        hook.save_due()
        hook.run.checkpoints._in_flight.join()
        assert messages(tmp_path / "mine") == []

        hook.stepped(2, 1, save, ((), ()))

        assert messages(tmp_path / "mine") == [
            "the checkpoint of step 1 was not saved: [Errno 5] Input/output error; training goes on"
        ]


def test_a_callback_waits_for_no_milestone_of_the_state_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained_pair()
    write, may_write = Saver.write, threading.Event()

    def patient(*arguments: Any, **named: Any) -> Any:
        may_write.wait(5)  # who waits for it here waits in vain
        return write(*arguments, **named)

    monkeypatch.setattr(Saver, "write", patient)
    with RunHook(tmp_path, name="mine", task="toy", metric=("val/loss", "min"), async_save=True) as hook:
        hook.save_checkpoint(model, optimizer, None, 1, 1, {"val/loss": 0.5}, {})
        is_on_its_way = hook.run.checkpoints.is_saving
        may_write.set()

    training, milestone = read_run(tmp_path / "mine").checkpoints
    assert is_on_its_way
    assert {training.tier, milestone.tier} == {"training", "milestone"}
    assert training.path.samefile(milestone.path)


def test_a_trainer_never_says_of_a_lost_checkpoint_that_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_first_write(monkeypatch)

    run_training(tmp_path, name="run", epochs="3")

    printed = capsys.readouterr().out
    assert messages(tmp_path / "run") == [
        "The checkpoint of step 17 was not saved: [Errno 5] Input/output error; training goes on"
    ]
    assert "Checkpoint saved: training epoch 1," not in printed
    assert "Checkpoint saved: training epoch 2, step 34 (" in printed
    assert verify_run(read_run(tmp_path / "run")).findings == ()
