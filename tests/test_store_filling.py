"""A disk that is filling is told once, while there is still room."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptop.store import filling
from ckptop.store.alerts import kind_of
from ckptop.store.filling import LOW_BYTES, DiskWatch, free_bytes
from ckptop.store.notices import Notice

GIB = 1 << 30


class Disk:
    def __init__(self, free: int | None) -> None:
        self.free = free

    def __call__(self, _root: Path) -> int | None:
        return self.free


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "LOOK_SECONDS", 0.0)


def saved(run: str, size_bytes: object) -> Notice:
    return Notice(0, run, "saved", 1, details={"size_bytes": size_bytes})


def test_it_is_told_once_until_there_is_room_again() -> None:
    disk = Disk(10 * GIB)
    watch = DiskWatch(Path("/runs"), free=disk)
    told = []
    for free in (10 * GIB, LOW_BYTES - 1, 1000, LOW_BYTES + 1, 1000, 10 * GIB, 0):
        disk.free = free
        notice = watch.look(["mine"])
        told.append(notice.details["message"] if notice is not None else None)

    assert told == [
        None, "the disk of /runs is filling: 512 MiB free", None, None, None, None,
        "the disk of /runs is filling: 0 B free",
    ]  # fmt: skip


def test_large_saves_want_more_room_and_the_largest_live_run_is_named() -> None:
    disk = Disk(5 * GIB)
    watch = DiskWatch(Path("/runs"), free=disk)
    for run, size in (("small", 1), ("large", 2 * GIB), ("ended", 90 * GIB), ("odd", "much")):
        watch.note(saved(run, size))

    notice = watch.look(["small", "large", "odd"])

    assert notice is not None
    assert (notice.run, kind_of(notice)) == ("large", "disk")
    assert notice.details["message"] == "the disk of /runs is filling: 5.0 GiB free; a save takes 2.0 GiB"
    assert DiskWatch(Path("/runs"), free=disk).look(["small"]) is None


def test_what_was_so_at_the_first_look_may_be_no_news() -> None:
    disk = Disk(0)
    watch = DiskWatch(Path("/runs"), from_now=True, free=disk)

    assert [watch.look(["mine"]) for _ in range(2)] == [None, None]
    disk.free = GIB
    assert watch.look(["mine"]) is None
    disk.free = 0
    assert watch.look(["mine"]) is not None


def test_nobody_is_told_where_nothing_runs_or_nothing_is_known() -> None:
    assert DiskWatch(Path("/runs"), free=Disk(0)).look([]) is None
    assert DiskWatch(Path("/runs"), free=Disk(None)).look(["mine"]) is None


def test_the_free_space_of_a_place_is_read_and_of_a_missing_one_is_unknown(tmp_path: Path) -> None:
    assert (free_bytes(tmp_path) or 0) > 0
    assert free_bytes(tmp_path / "none") is None


def test_it_does_not_look_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "LOOK_SECONDS", 60.0)
    looks: list[Path] = []

    def free(root: Path) -> int:
        looks.append(root)
        return GIB

    watch = DiskWatch(Path("/runs"), free=free)

    for _ in range(3):
        watch.look(["mine"])

    assert len(looks) == 1
