"""Deletion a person can undo: a checkpoint moves to `.trash/<time_ns>-<tier>-<stem>/` and back.

A damaged one moves to `.quarantine/` in the same way, so that nothing resumes from it and nothing is lost.
The manifests are copied first and the `.pt` renamed last, in both directions, so wherever the move
is cut off the checkpoint stands whole on exactly one side.
"""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from ckptop.store.checkpoint_info import CheckpointInfo, read_info, scan_tier
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Tier
from ckptop.store.moving import move, remove

_ENTRY = re.compile(r"(\d+)-(training|milestone)-(.+)")
_TIERS: dict[str, Tier] = {"training": "training", "milestone": "milestone"}

Kind = Literal["deleted", "abandoned", "damaged"]


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One checkpoint that was put away."""

    directory: Path
    """Its directory under `.trash/`, `.discarded/` or `.quarantine/`."""
    deleted: float
    """When, seconds since the epoch."""
    info: CheckpointInfo
    """As it lies there; `tier` is where it came from."""
    kind: Kind = "deleted"

    @property
    def size_bytes(self) -> int:
        """Bytes it holds; purging it frees fewer where something else shares them."""
        return self.info.size_bytes

    @property
    def home(self) -> str:
        """`training/<file name>`: where a restore puts it."""
        return f"{self.info.tier}/{self.info.name}"


def delete(paths: CheckpointPaths, checkpoints: Iterable[CheckpointInfo], fs: FileSystem = LOCAL) -> list[TrashEntry]:
    """Move checkpoints to the trash; one that is gone already is passed over.

    Returns:
        The entries made, in the order given: what `restore` takes back.

    Raises:
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    with FileLock(paths.lock):
        return [entry for info in checkpoints if (entry := _put_away(paths, info, paths.trash, "deleted", fs))]


def quarantine(paths: CheckpointPaths, info: CheckpointInfo, fs: FileSystem = LOCAL) -> TrashEntry | None:
    """Move a checkpoint whose bytes differ from its manifest out of the way; None if it is gone already.

    Raises:
        OSError: The disk refused; it is here or there.
    """
    with FileLock(paths.lock):
        return _put_away(paths, info, paths.quarantine, "damaged", fs)


def _put_away(
    paths: CheckpointPaths, info: CheckpointInfo, where: Path, kind: Kind, fs: FileSystem
) -> TrashEntry | None:
    if not info.path.exists():
        return None
    now_ns = time.time_ns()
    directory = where / f"{now_ns}-{info.tier}-{info.name.removesuffix('.pt')}"
    fs.mkdir(directory)
    target = directory / info.name
    move(fs, paths, info.path, target)
    return TrashEntry(directory, now_ns / 1e9, read_info(target, info.tier), kind)


def restore(paths: CheckpointPaths, entries: Sequence[TrashEntry], fs: FileSystem = LOCAL) -> list[CheckpointInfo]:
    """Put trashed checkpoints back where they were, all of them or none.

    Raises:
        NotFound: One was purged or restored meanwhile; none was restored.
        StoreError: A checkpoint of that name exists again, or two of them have one name; none was restored.
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    restored = []
    with FileLock(paths.lock):
        homes: set[str] = set()
        for entry in entries:
            target = paths.tier(entry.info.tier) / entry.info.name
            if not entry.info.path.exists():
                raise NotFound(f"{entry.home} is no longer in the trash; nothing was restored")
            if target.exists():
                raise StoreError(f"{target} exists; move it away before restoring the one in the trash")
            if entry.home in homes:
                raise StoreError(f"{entry.home} is in the trash more than once; restore one of them")
            homes.add(entry.home)
        for entry in entries:
            target = paths.tier(entry.info.tier) / entry.info.name
            move(fs, paths, entry.info.path, target)
            with suppress(OSError):  # something a person put there stays
                fs.rmdir(entry.directory)
            restored.append(read_info(target, entry.info.tier))
    return restored


def count_trash(paths: CheckpointPaths) -> int:
    """How many checkpoints are in the trash, without reading their manifests."""
    return sum(1 for directory in _entry_directories(paths.trash) for _ in directory.glob("[!.]*.pt"))


def list_trash(paths: CheckpointPaths) -> list[TrashEntry]:
    """What is in the trash, newest deletion first."""
    return _list(paths.trash, "deleted")


def list_quarantine(paths: CheckpointPaths) -> list[TrashEntry]:
    """The damaged checkpoints that were put away, newest first."""
    return _list(paths.quarantine, "damaged")


def list_discarded(paths: CheckpointPaths) -> list[TrashEntry]:
    """Checkpoints of abandoned attempts, those of the oldest attempt first; `deleted` is when they were saved."""
    found = []
    for attempt in _subdirectories(paths.discarded):
        for tier in _TIERS.values():
            infos = [] if (attempt / tier).is_symlink() else scan_tier(attempt / tier, tier)
            found += [TrashEntry(attempt / tier, info.time, info, "abandoned") for info in infos]
    return sorted(found, key=lambda entry: entry.deleted)


def _list(where: Path, kind: Kind) -> list[TrashEntry]:
    found = []
    for directory in _entry_directories(where):
        moved_ns, tier, _ = directory.name.split("-", 2)
        infos = scan_tier(directory, _TIERS[tier])
        found += [TrashEntry(directory, int(moved_ns) / 1e9, info, kind) for info in infos]
    return sorted(found, key=lambda entry: entry.deleted, reverse=True)


def _entry_directories(where: Path) -> list[Path]:
    return [path for path in _subdirectories(where) if _ENTRY.fullmatch(path.name)]


def _subdirectories(where: Path) -> list[Path]:
    """Real directories in a real one of a real set: a link may lead out of the store."""
    try:
        is_link = stat.S_ISLNK(where.lstat().st_mode)  # first, since most have none of it
        if is_link or where.parent.is_symlink():
            return []
        return [path for path in where.iterdir() if path.is_dir() and not path.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def bytes_freed_by_purge(entries: Sequence[TrashEntry]) -> int:
    """Bytes that only these hold: an inode with a further name, such as a live milestone's, frees nothing."""
    names: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], int] = {}
    for entry in entries:
        names[entry.info.inode] = names.get(entry.info.inode, 0) + 1
        sizes[entry.info.inode] = entry.info.size_bytes
    freed = 0
    for entry in {item.info.inode: item for item in entries}.values():
        with suppress(FileNotFoundError):
            if entry.info.path.lstat().st_nlink == names[entry.info.inode]:
                freed += sizes[entry.info.inode]
    return freed


def purge(paths: CheckpointPaths, entries: Sequence[TrashEntry] | None = None, fs: FileSystem = LOCAL) -> int:
    """Remove checkpoints that were put away for good, all that were deleted by default; returns the bytes freed.

    A milestone linked to a live training checkpoint frees nothing. One that was restored meanwhile is not touched,
    nor is one that is pinned, were it a moment ago.
    """
    freed: dict[tuple[int, int], int] = {}
    changed: set[Path] = set()
    with FileLock(paths.lock):
        for entry in list_trash(paths) if entries is None else entries:
            changed |= {entry.directory, entry.directory.parent}
            with suppress(FileNotFoundError):
                facts = entry.info.path.lstat()
                if read_info(entry.info.path, entry.info.tier).pinned:
                    continue
                remove(entry.info, fs)
                if facts.st_nlink == 1:
                    freed[entry.info.inode] = facts.st_size
            with suppress(OSError):  # others are in it, or something a person put there
                fs.rmdir(entry.directory)
        for directory in (*_entry_directories(paths.trash), *_entry_directories(paths.quarantine)):
            if not any(directory.glob("*.pt")):  # of a deletion or purge that was cut off
                _remove_directory(directory, fs)
                changed.add(directory.parent)
        for directory in changed:
            with suppress(FileNotFoundError):  # it went, which its parent's sync makes durable
                fs.fsync_dir(directory)
    return sum(freed.values())


@dataclass(frozen=True, slots=True)
class TrashLimit:
    """How long, and how much of it, the trash keeps; None is no limit."""

    max_age_seconds: float | None = None
    max_bytes: int | None = None


class _Dated(Protocol):
    @property
    def deleted(self) -> float: ...
    @property
    def size_bytes(self) -> int: ...


DatedT = TypeVar("DatedT", bound=_Dated)


def past_limit(entries: Iterable[DatedT], limit: TrashLimit, now: float) -> list[DatedT]:
    """Those of `entries` that the limit lets go, oldest first: too old, or past the size with all newer ones.

    Bytes that two of them share count twice.
    """
    newer_bytes = 0
    gone = []
    for entry in sorted(entries, key=lambda entry: entry.deleted, reverse=True):
        newer_bytes += entry.size_bytes
        too_old = limit.max_age_seconds is not None and now - entry.deleted > limit.max_age_seconds
        if too_old or (limit.max_bytes is not None and newer_bytes > limit.max_bytes):
            gone.append(entry)
    return gone[::-1]


def _remove_directory(directory: Path, fs: FileSystem) -> None:
    """Remove what is left of an entry whose `.pt` is gone; what a person put there stays."""
    for path in directory.glob("*.json"):
        with suppress(FileNotFoundError):
            fs.unlink(path)
    with suppress(OSError):
        fs.rmdir(directory)
