"""Room for a save: a disk or quota that cannot hold it refuses before anything is written, and what is given up then.

First the trash of the whole store, the oldest deletion first and no more of it than is needed; then the checkpoints
of abandoned attempts. What retention may delete comes after that, and is the manager's to decide.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ckptop.host.units import format_bytes
from ckptop.store.errors import DiskError, StoreError
from ckptop.store.fs import NO_SPACE, FileSystem
from ckptop.store.layout import CheckpointPaths, RunPaths, StorePaths
from ckptop.store.run_trash import list_deleted_runs, purge_run
from ckptop.store.store import Store
from ckptop.store.trash import TrashEntry, list_discarded, list_trash, purge


class NoRoom(DiskError):
    """A save does not fit; nothing was written."""

    short_bytes: int | None = None
    """How much is missing; None where only a quota knows."""


def require_room(fs: FileSystem, fd: int, path: Path, size_bytes: int) -> None:
    """Reserve `size_bytes` for the new file `path`, open as `fd`, or refuse it.

    Raises:
        NoRoom: The disk or the quota cannot hold it; errno says which. Nothing was written.
    """
    free = fs.free_bytes(path.parent)
    try:
        if fs.reserve(fd, size_bytes) or free is None or free >= size_bytes:
            return
        number = errno.ENOSPC
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        number = error.errno
    needed, what = format_bytes(size_bytes), "the quota" if number == errno.EDQUOT else "the disk"
    left = f"{format_bytes(free)} free" if free is not None and number == errno.ENOSPC else "less is left"
    refusal = NoRoom(number, f"{what} of {path.parent.parent} cannot hold the {needed} of this save ({left})")
    if free is not None and number == errno.ENOSPC:
        refusal.short_bytes = max(1, size_bytes - free)
    raise refusal


def purge_for(
    size_bytes: int | None, paths: CheckpointPaths, store: StorePaths | None, fs: FileSystem
) -> tuple[int, int]:
    """Purge what lies in the trash, oldest first, then abandoned checkpoints, until `size_bytes` are free.

    Args:
        size_bytes: How much is needed; None purges all.
        paths: The set that is saved to; its abandoned checkpoints may go.
        store: Whose every trash may go; None for a stand-alone set.
        fs: The seam.

    Returns:
        How many were purged, and the bytes that freed. One that cannot be purged, such as another user's, is
        passed over.
    """
    count = freed = 0
    for purge_one in _oldest_first(paths, store, fs):
        if size_bytes is not None and freed >= size_bytes:
            break
        with suppress(OSError, StoreError):
            freed += purge_one()
            count += 1
    return count, freed


def _oldest_first(paths: CheckpointPaths, store: StorePaths | None, fs: FileSystem) -> Iterator[Callable[[], int]]:
    trashed: list[tuple[float, Callable[[], int]]] = []
    for one in _sets(paths, store):
        with suppress(OSError):
            trashed += [(entry.deleted, _purging(one, entry, fs)) for entry in list_trash(one) if not entry.info.pinned]
    if store is not None:
        trashed += [(run.deleted, lambda run=run: purge_run(store, run, fs)) for run in list_deleted_runs(store)]  # type: ignore[misc]  # a default binds the loop's variable
    yield from (purge_one for _, purge_one in sorted(trashed, key=lambda item: item[0]))
    yield from (_purging(paths, entry, fs) for entry in list_discarded(paths) if not entry.info.pinned)


def _sets(paths: CheckpointPaths, store: StorePaths | None) -> list[CheckpointPaths]:
    """The set saved to, and those of the other runs of its store."""
    if store is None:
        return [paths]
    others = [RunPaths(store.root / name).checkpoints for name in Store(store.root).run_names()]
    return [paths, *(one for one in others if one.root != paths.root)]


def _purging(paths: CheckpointPaths, entry: TrashEntry, fs: FileSystem) -> Callable[[], int]:
    return lambda: purge(paths, [entry], fs)
