"""The last save of a run: it waits for room, spills to another disk, and comes home with the next attempt."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from power_cut import RecordingFileSystem
from small_disk import ONE, SmallDisk, model
from tiny_model import clone

from ckptop.store import last_save
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import DiskError
from ckptop.store.last_save import bring_home, save_at_last, spill_directory
from ckptop.store.run import Run
from ckptop.store.verify import verify_run
from ckptop.store.views import RunView, read_run


class Clock:
    """Time that passes only by waiting."""

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self.now, self.waited, self._on_wait = 0.0, 0.0, on_wait

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds
        self._on_wait()


def save_of(epoch: int) -> Callable[[CheckpointManager], str]:
    return lambda manager: manager.save_training_checkpoint(model(), None, epoch, epoch * 10, {"val/loss": 1.0})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with a checkpoint of epoch 1 on a disk that holds no second."""
    monkeypatch.delenv(last_save.SPILL_VARIABLE, raising=False)
    made = Run.create(tmp_path / "store", name="mine", task="t", metric=("val/loss", "min"))
    manager = made.checkpoints
    manager._saver.fs = manager._fs = SmallDisk(tmp_path / "store", ONE + 50_000)
    save_of(1)(manager)
    return made


def disk_of(run: Run) -> SmallDisk:
    disk = run.checkpoints._fs
    assert isinstance(disk, SmallDisk)
    return disk


def taken_up(run: Run, spill: Path) -> RunView:
    """The run as the next attempt finds it."""
    run.finish("stopped", code=3)
    again = Run.create(run.root.parent, name="mine", task="t", resume="auto", spill=spill)
    again.finish("stopped", code=3)
    return read_run(run.root)


def test_it_waits_until_somebody_makes_room(run: Run, tmp_path: Path) -> None:
    def free() -> None:
        disk_of(run).capacity_bytes = 9 * ONE

    clock, said = Clock(free), list[str]()

    path = save_at_last(run.checkpoints, save_of(2), spill=tmp_path / "spill", say=said.append, clock=clock,
                        wait=clock.wait)  # fmt: skip

    assert Path(path).parent == run.checkpoints.training_dir
    assert 0 < clock.waited < 10
    assert len(said) == 1
    assert "trying for 10 min, then it goes to" in said[0]
    assert not (tmp_path / "spill").exists()
    run.finish("finished", code=0)


def test_at_the_end_of_its_patience_it_spills_and_the_next_attempt_brings_it_home(run: Run, tmp_path: Path) -> None:
    clock, said, spill = Clock(), list[str](), tmp_path / "spill"

    path = Path(
        save_at_last(run.checkpoints, save_of(2), spill=spill, patience_seconds=7, say=said.append, clock=clock,
                     wait=clock.wait)
    )  # fmt: skip

    assert clock.waited == 7
    assert path.is_relative_to(spill)
    assert f"CKPTOP_SPILL={spill}" in said[-1]
    view = taken_up(run, spill)
    assert [info.epoch for info in view.checkpoints] == [1, 2]
    assert view.latest is not None
    assert os.readlink(view.checkpoint_paths.training / "latest.pt") == view.latest.name
    assert verify_run(view).findings == ()
    assert list(spill.iterdir()) == []


def test_without_a_spill_directory_it_raises_and_says_why(run: Run) -> None:
    clock = Clock()

    with pytest.raises(DiskError, match="cannot hold"):
        save_at_last(run.checkpoints, save_of(2), patience_seconds=7, clock=clock, wait=clock.wait)

    assert clock.waited == 7
    run.finish("failed", code=14)


def test_a_disk_that_breaks_is_not_waited_for(run: Run, tmp_path: Path) -> None:
    def broken(_manager: CheckpointManager) -> str:
        raise OSError(errno.EIO, "Input/output error")

    clock = Clock()

    with pytest.raises(OSError, match="Input/output"):
        save_at_last(run.checkpoints, broken, spill=tmp_path / "spill", clock=clock, wait=clock.wait)

    assert clock.waited == 0
    run.finish("failed", code=14)


def spilled(run: Run, spill: Path) -> Path:
    clock = Clock()
    return Path(
        save_at_last(run.checkpoints, save_of(2), spill=spill, patience_seconds=0, clock=clock, wait=clock.wait)
    )


def test_what_does_not_verify_stays_where_it_is(run: Run, tmp_path: Path) -> None:
    path = spilled(run, tmp_path / "spill")
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)

    view = taken_up(run, tmp_path / "spill")

    assert [info.epoch for info in view.checkpoints] == [1]
    assert path.exists()


def test_what_another_user_put_there_is_not_taken(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spilled(run, tmp_path / "spill")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    assert bring_home(run.paths, run.record, tmp_path / "spill") == []
    assert path.exists()
    run.finish("stopped", code=3)


def test_whoever_brings_one_home_holds_the_locks_of_both_sets(run: Run, tmp_path: Path) -> None:
    spilled(run, tmp_path / "spill")

    assert bring_home(run.paths, run.record, tmp_path / "spill", RecordingFileSystem())

    run.finish("stopped", code=3)


def test_a_homecoming_that_was_cut_off_doubles_nothing(run: Run, tmp_path: Path) -> None:
    path = spilled(run, tmp_path / "spill")
    clone(path.parents[1], tmp_path / "copy")
    assert bring_home(run.paths, run.record, tmp_path / "spill")
    clone(tmp_path / "copy", path.parents[1])

    view = taken_up(run, tmp_path / "spill")

    assert [info.epoch for info in view.checkpoints] == [1, 2]
    assert not path.exists()


def test_the_directory_is_said_or_in_the_environment() -> None:
    assert spill_directory("here", {"CKPTOP_SPILL": "there"}) == Path("here")
    assert spill_directory(None, {"CKPTOP_SPILL": "there"}) == Path("there")
    assert spill_directory(None, {}) is None
