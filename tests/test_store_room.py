"""A full disk or quota: refused before anything is written, and room is made with as little loss as will do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from small_disk import ONE, SmallDisk, model
from tiny_model import METRIC

from ckptop.store.actions import delete_checkpoints
from ckptop.store.checkpoints import CheckpointManager, RunLink
from ckptop.store.commit import change_manifest
from ckptop.store.errors import DiskError
from ckptop.store.layout import StorePaths
from ckptop.store.manifest import Pin, encode
from ckptop.store.records import Actor, RunRecord
from ckptop.store.room import NoRoom
from ckptop.store.run_trash import delete_run, list_deleted_runs
from ckptop.store.trash import list_trash
from ckptop.store.verify import verify_run
from ckptop.store.views import RunView, read_run


def make_run(store: Path, name: str = "mine") -> Path:
    root = store / name
    root.mkdir(parents=True)
    (root / "run.json").write_bytes(encode(RunRecord(id=name, name=name, task="t", created=1.0, metric=METRIC)))
    return root


class Set:
    """One run on a small disk, and what its manager told."""

    def __init__(self, root: Path, disk: SmallDisk, keep: int = 0, **more: Any) -> None:
        self.root, self.told = root, list[tuple[str, dict[str, Any]]]()
        self.manager = CheckpointManager(
            root / "checkpoints", keep, store_root=root.parent, fs=disk,
            run=RunLink(name=root.name, attempt=1, metric=METRIC),
            on_event=lambda event, _step, details: self.told.append((event, details)), **more,
        )  # fmt: skip

    def save(self, epoch: int, value: float = 0.5) -> Path:
        return Path(self.manager.save_training_checkpoint(model(), None, epoch, epoch * 10, {METRIC.name: value}))

    @property
    def epochs(self) -> list[int]:
        return [info.epoch for info in self.manager.list_checkpoints("training")["training"]]

    @property
    def alerts(self) -> list[str]:
        return [details["message"] for event, details in self.told if event == "alert"]

    @property
    def view(self) -> RunView:
        return read_run(self.root)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("can_reserve", [True, False])
def test_what_does_not_fit_is_refused_with_a_clear_line_and_nothing_is_torn(
    tmp_path: Path, number: int, can_reserve: bool
) -> None:
    disk = SmallDisk(tmp_path, 2 * ONE + 50_000, number, can_reserve=can_reserve)
    run = Set(make_run(tmp_path), disk)
    run.save(1)
    run.save(2)

    with pytest.raises(DiskError) as caught:
        run.save(3)

    assert caught.value.errno == number
    assert "\n" not in str(caught.value)
    assert run.epochs == [1, 2]
    assert os.listdir(run.root / "checkpoints" / ".staging") == []
    assert verify_run(run.view).findings == ()


def test_it_is_refused_before_the_first_byte_where_the_disk_can_reserve_or_tell(tmp_path: Path) -> None:
    for can_reserve in (True, False):
        disk = SmallDisk(tmp_path, ONE // 2, can_reserve=can_reserve)
        run = Set(make_run(tmp_path / str(can_reserve)), disk)

        with pytest.raises(NoRoom, match=r"cannot hold the 113 KiB of this save \(58.3 KiB free\)"):
            run.save(1)

        assert disk.large_writes == 0


def test_the_real_disk_reserves_or_says_that_it_cannot(tmp_path: Path) -> None:
    """Where it can, the file's blocks are there and its size is still what was written."""
    from ckptop.store.fs import LOCAL

    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    try:
        reserved = LOCAL.reserve(descriptor, 1 << 20)
        facts = os.fstat(descriptor)
    finally:
        os.close(descriptor)

    assert facts.st_size == 0
    assert (facts.st_blocks * 512 >= 1 << 20) == reserved


def test_a_disk_that_could_never_hold_it_says_so(tmp_path: Path) -> None:
    """Not even this machine's disk holds a petabyte: the real calls, and an errno we know."""
    from ckptop.store.fs import LOCAL
    from ckptop.store.room import require_room

    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    try:
        with pytest.raises(OSError, match=r"cannot hold|too large") as caught:
            require_room(LOCAL, descriptor, tmp_path / "file", 1 << 50)
    finally:
        os.close(descriptor)

    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)


def test_the_oldest_of_the_trash_goes_first_and_no_more_than_is_needed(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 4 * ONE))
    for epoch in (1, 2, 3, 4):
        run.save(epoch)
    for epoch in (2, 1, 3):
        delete_checkpoints(run.view, [info for info in run.view.checkpoints if info.epoch == epoch])

    run.save(5)

    assert [entry.info.epoch for entry in list_trash(run.manager.paths)] == [3, 1]
    assert run.epochs == [4, 5]
    assert run.alerts == ["Disk full: purged 1 from the trash (116 KiB) to make room for a save"]


def test_the_trash_of_other_runs_and_deleted_runs_go_too_oldest_first(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path, 4 * ONE)
    gone, other, run = (Set(make_run(tmp_path, name), disk) for name in ("gone", "other", "mine"))
    gone.save(1)
    delete_run(StorePaths(tmp_path), gone.view)
    other.save(1)
    other.save(2)
    delete_checkpoints(other.view, other.view.checkpoints[:1])
    run.save(1)

    run.save(2)
    assert list_deleted_runs(StorePaths(tmp_path)) == []
    assert len(list_trash(other.manager.paths)) == 1
    run.save(3)
    assert list_trash(other.manager.paths) == []
    assert other.epochs == [2]


def test_a_quota_that_does_not_say_how_much_is_left_takes_all_of_the_trash(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 3 * ONE, errno.EDQUOT))
    for epoch in (1, 2, 3):
        run.save(epoch)
    delete_checkpoints(run.view, run.view.checkpoints[:2])

    run.save(4)

    assert list_trash(run.manager.paths) == []
    assert run.epochs == [3, 4]


def test_abandoned_checkpoints_go_after_the_trash_and_pinned_ones_stay(tmp_path: Path) -> None:
    from ckptop.store.going_back import discard_abandoned
    from ckptop.store.records import Attempt

    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 4 * ONE))
    kept = run.save(2)
    for epoch in (1, 3, 4):
        run.save(epoch)
    pin = Pin(time=1.0, actor=Actor(user="ada", host="box", pid=1))
    change_manifest(SmallDisk(tmp_path, 9 * ONE), run.manager.paths, kept, pinned=pin)
    attempts = [Attempt(attempt=1, from_step=0, time=1.0), Attempt(attempt=2, from_step=10, time=2.0)]
    record = RunRecord(id="mine", name="mine", task="t", created=1.0, metric=METRIC, attempts=attempts)
    (run.root / "run.json").write_bytes(encode(record))
    discard_abandoned(run.view.paths, record)
    run.manager.bind(RunLink(name="mine", attempt=2, attempts=tuple(attempts), metric=METRIC))

    for epoch in (2, 3):
        run.save(epoch)
    with pytest.raises(DiskError):
        run.save(4)

    discarded = list(run.manager.paths.discarded.rglob("*.pt"))
    assert [path.name for path in discarded] == [kept.name]


def test_then_what_the_rules_would_delete_goes_before_the_save_instead_of_after(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 3 * ONE), keep=2)
    run.save(1, 0.9)
    run.save(2, 0.1)
    run.save(3, 0.2)
    assert run.epochs == [1, 2, 3], "the best, and the last two"

    run.save(4, 0.3)

    assert run.epochs == [1, 3, 4]
    assert run.alerts == ["Disk full: deleted 1 old (116 KiB) to make room for a save"]


def test_nothing_protected_is_given_up_for_room(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 2 * ONE), keep=1)
    run.save(1, 0.9)
    run.save(2, 0.1)

    with pytest.raises(DiskError, match="cannot hold"):
        run.save(3, 0.2)

    assert run.epochs == [1, 2]


def test_a_manager_that_keeps_all_deletes_none_for_room(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 2 * ONE), keep=0)
    run.save(1)
    run.save(2)

    with pytest.raises(DiskError):
        run.save(3)

    assert run.epochs == [1, 2]


def test_a_milestone_and_a_release_make_room_too(tmp_path: Path) -> None:
    run = Set(make_run(tmp_path), SmallDisk(tmp_path, 2 * ONE))
    run.save(1)
    run.save(2)
    delete_checkpoints(run.view, run.view.checkpoints[:1])

    assert run.manager.save_milestone_checkpoint(model(), 0.9, "val/accuracy", 5) is not None
    delete_checkpoints(run.view, [info for info in run.view.checkpoints if info.tier == "milestone"])
    run.manager.save_production_checkpoint(model(), "1.0.0", {}, {})

    assert list_trash(run.manager.paths) == []
    assert len(run.alerts) == 2
    assert verify_run(run.view).findings == ()


def test_a_full_disk_that_someone_clears_takes_the_next_save(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path, 2 * ONE)
    run = Set(make_run(tmp_path), disk)
    run.save(1)
    run.save(2)
    with pytest.raises(DiskError):
        run.save(3)

    disk.capacity_bytes = 9 * ONE

    assert run.save(4).exists()
    assert run.epochs == [1, 2, 4]
