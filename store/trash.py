"""Deletion a person can undo: a checkpoint moves to `.trash/<time_ns>-<tier>-<stem>/` and back.

The manifests are copied first and the `.pt` renamed last, in both directions, so wherever the move
is cut off the checkpoint stands whole on exactly one side.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo, read_info, scan_tier
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Tier
from ckptop.store.moving import move

_ENTRY = re.compile(r"(\d+)-(training|milestone)-(.+)")
_TIERS: dict[str, Tier] = {"training": "training", "milestone": "milestone"}


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One deleted checkpoint."""

    directory: Path
    """Its own directory under `.trash/`."""
    deleted: float
    """When, seconds since the epoch."""
    info: CheckpointInfo
    """As it lies in the trash; `tier` is where it came from."""

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
        return [entry for info in checkpoints if (entry := _move_to_trash(paths, info, fs)) is not None]


def _move_to_trash(paths: CheckpointPaths, info: CheckpointInfo, fs: FileSystem) -> TrashEntry | None:
    if not info.path.exists():
        return None
    deleted_ns = time.time_ns()
    directory = paths.trash / f"{deleted_ns}-{info.tier}-{info.name.removesuffix('.pt')}"
    fs.mkdir(directory)
    target = directory / info.name
    fs.fsync_dir(paths.trash)
    move(fs, paths, info.path, target)
    return TrashEntry(directory, deleted_ns / 1e9, read_info(target, info.tier))


def restore(paths: CheckpointPaths, entries: Sequence[TrashEntry], fs: FileSystem = LOCAL) -> list[CheckpointInfo]:
    """Put trashed checkpoints back where they were.

    Raises:
        NotFound: One was purged meanwhile.
        StoreError: A checkpoint of that name exists again; it was not touched. Entries before it are back.
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    restored = []
    with FileLock(paths.lock):
        for entry in entries:
            target = paths.tier(entry.info.tier) / entry.info.name
            if not entry.info.path.exists():
                raise NotFound(f"{entry.home} is no longer in the trash")
            if target.exists():
                raise StoreError(f"{target} exists; move it away before restoring the one in the trash")
            move(fs, paths, entry.info.path, target)
            with suppress(OSError):  # something a person put there stays
                fs.rmdir(entry.directory)
            restored.append(read_info(target, entry.info.tier))
    return restored


def count_trash(paths: CheckpointPaths) -> int:
    """How many checkpoints are in the trash, without reading their manifests."""
    return sum(1 for directory in _entry_directories(paths) for _ in directory.glob("[!.]*.pt"))


def list_trash(paths: CheckpointPaths) -> list[TrashEntry]:
    """What is in the trash, newest deletion first."""
    found = []
    for directory in _entry_directories(paths):
        deleted_ns, tier, _ = directory.name.split("-", 2)
        infos = scan_tier(directory, _TIERS[tier])
        found += [TrashEntry(directory, int(deleted_ns) / 1e9, info) for info in infos]
    return sorted(found, key=lambda entry: entry.deleted, reverse=True)


def _entry_directories(paths: CheckpointPaths) -> list[Path]:
    try:
        return [path for path in paths.trash.iterdir() if _ENTRY.fullmatch(path.name) and not path.is_symlink()]
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
    """Remove trashed checkpoints for good, all by default; returns the bytes freed, each inode once.

    A milestone linked to a live training checkpoint frees nothing.
    """
    freed: dict[tuple[int, int], int] = {}
    with FileLock(paths.lock):
        for entry in list_trash(paths) if entries is None else entries:
            with suppress(FileNotFoundError):
                facts = entry.info.path.lstat()
                fs.unlink(entry.info.path)
                if facts.st_nlink == 1:
                    freed[entry.info.inode] = facts.st_size
            _remove_directory(entry.directory, fs)
        for directory in _entry_directories(paths):  # of a deletion or purge that was cut off
            if not any(directory.glob("*.pt")):
                _remove_directory(directory, fs)
    return sum(freed.values())


def _remove_directory(directory: Path, fs: FileSystem) -> None:
    """Remove what is left of an entry whose `.pt` is gone; what a person put there stays."""
    for path in directory.glob("*.json"):
        with suppress(FileNotFoundError):
            fs.unlink(path)
    with suppress(OSError):
        fs.rmdir(directory)
