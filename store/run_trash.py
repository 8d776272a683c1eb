"""Whole runs to the trash and back: one rename of the run's directory, to `<store>/.trash/<time_ns>-<run>`.

The lease is held meanwhile, so a run that is at work is never moved. A purge renames once more before it removes the
first file, so that half a run is never taken back.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ckptop.store.cleanup import forks_that_live
from ckptop.store.errors import Held, NotFound, StoreError
from ckptop.store.events import append_event
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import RunPaths, StorePaths
from ckptop.store.lease import Lease
from ckptop.store.locks import FileLock
from ckptop.store.names import check_run_name
from ckptop.store.store import Store
from ckptop.store.trash import list_discarded, list_quarantine, list_trash
from ckptop.store.views import RunView, read_run

_ENTRY = re.compile(r"(\d{1,20})-([A-Za-z0-9][A-Za-z0-9._-]{0,99})")
_PURGING = "purging-"


@dataclass(frozen=True, slots=True)
class DeletedRun:
    """A whole run in the trash."""

    directory: Path
    name: str
    deleted: float
    """When, seconds since the epoch."""

    @property
    def size_bytes(self) -> int:
        """Bytes a purge frees: of files with a further name elsewhere, none."""
        return _bytes_only_in(self.directory)


def delete_run(store: StorePaths, view: RunView, fs: FileSystem = LOCAL) -> DeletedRun:
    """Move a run with all it holds to the trash; its releases stay.

    Raises:
        Held: It is being trained; nothing was changed.
        StoreError: A checkpoint of it is pinned, a fork began from it, or it is a stand-alone set.
        OSError: The disk refused; the run stands whole, here or in the trash.
    """
    require_deletable(store, view)
    lease = Lease.acquire(view.paths)
    try:
        deleted_ns = time.time_ns()
        directory = store.trash / f"{deleted_ns}-{view.name}"
        fs.mkdir(store.trash)
        with FileLock(view.checkpoint_paths.lock):  # whoever changes or pins its checkpoints is done
            _refuse_protected(read_run(view.root))
            with suppress(OSError):
                append_event(view.paths, "deleted", run=view.name)
            fs.rename(view.root, directory)
        _sync_both(directory, view.root, fs)
    finally:
        lease.release()
    return DeletedRun(directory, view.name, deleted_ns / 1e9)


def require_deletable(store: StorePaths, view: RunView) -> None:
    """Return if a run may go to the trash as far as can be seen without its lease; errors as `delete_run`."""
    if view.is_standalone:
        raise StoreError(
            f"{view.name} is a stand-alone set, no run: delete its checkpoints (`ckptop ls {view.root}`), or remove "
            "its directory yourself"
        )
    if view.root.parent.resolve() != store.root.resolve() or not (view.root / "run.json").exists():
        raise StoreError(f"{view.name} is no run of {store.root}; remove its directory yourself")
    refuse_links(view.root, store.trash)
    if view.status is not None and view.state in ("starting", "running", "paused", "stalled", "unknown"):
        raise Held(f"{view.name} is {view.state}; `ckptop stop {view.name}` first")
    _refuse_protected(view)


def _refuse_protected(view: RunView) -> None:
    """What was put away, abandoned or damaged, goes with the run, and its marks count as well."""
    paths = view.checkpoint_paths
    put_away = (*list_discarded(paths), *list_quarantine(paths), *list_trash(paths))
    checkpoints = [*view.checkpoints, *(entry.info for entry in put_away)]
    pinned = [str(info.path.relative_to(paths.root)) for info in checkpoints if info.pinned]
    if pinned:
        raise StoreError(f"{view.name} holds pinned checkpoints ({', '.join(pinned[:3])}); `ckptop unpin` first")
    forks = forks_that_live(view.root.parent, checkpoints)
    if forks:
        raise StoreError(f"{', '.join(sorted(forks))} began from {view.name}; delete that first")


def restore_run(store: StorePaths, run: DeletedRun, fs: FileSystem = LOCAL) -> RunView:
    """Put a deleted run back where it was.

    Raises:
        NotFound: It was purged meanwhile.
        StoreError: There is a run of that name again; neither was touched.
        OSError: The disk refused; the run stands whole, here or in the trash.
    """
    home = store.root / check_run_name(run.name)
    if home.exists() or home.is_symlink():
        raise StoreError(f"{home} exists; move it away before restoring the one in the trash")
    if not run.directory.is_dir():
        raise NotFound(f"{run.name} is no longer in the trash")
    fs.rename(run.directory, home)
    _sync_both(home, run.directory, fs)
    with suppress(OSError):
        append_event(RunPaths(home), "restored", run=run.name)
    return read_run(home)


def read_deleted_run(run: DeletedRun) -> RunView:
    """A run as it lies in the trash, by the name it had."""
    return replace(read_run(run.directory), name=f"{run.name} in the trash")


def list_deleted_runs(store: StorePaths) -> list[DeletedRun]:
    """Whole runs in the trash, newest deletion first. That of a stand-alone set holds checkpoints, and no run."""
    found: list[DeletedRun] = []
    if Store(store.root).is_standalone:
        return found
    for path in _directories_in(store.trash):
        match = _ENTRY.fullmatch(path.name)
        if match is not None:
            found.append(DeletedRun(path, match[2], int(match[1]) / 1e9))
    return sorted(found, key=lambda run: run.deleted, reverse=True)


def purge_run(store: StorePaths, run: DeletedRun, fs: FileSystem = LOCAL) -> int:
    """Remove a deleted run for good; returns the bytes freed. Nothing outside its directory is touched.

    Raises:
        OSError: The disk refused; what is left of it counts for nothing, and the next purge removes it.
    """
    freed = run.size_bytes
    doomed = store.trash / f"{_PURGING}{run.directory.name}"
    with suppress(FileNotFoundError):
        fs.rename(run.directory, doomed)
        fs.fsync_dir(store.trash)
    for left in _directories_in(store.trash):
        if left.name.startswith(_PURGING):
            _remove_tree(left, fs)
    return freed


def _directories_in(directory: Path) -> list[Path]:
    """Real directories in a real one: a link may lead out of the store."""
    if directory.is_symlink():
        return []
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _remove_tree(directory: Path, fs: FileSystem) -> None:
    """Remove a directory and all it holds; links are removed, never followed."""
    for entry in list(os.scandir(directory)):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(path, fs)
        else:
            with suppress(FileNotFoundError):
                fs.unlink(path)
    fs.rmdir(directory)


def _sync_both(new: Path, old: Path, fs: FileSystem) -> None:
    """Make a move durable, where it went first: a disk without a journal may forget the old name alone."""
    fs.fsync_dir(new.parent)
    fs.fsync_dir(old.parent)


def _bytes_only_in(directory: Path) -> int:
    """Bytes of the inodes all of whose names are under `directory`."""
    names: dict[tuple[int, int], int] = {}
    facts: dict[tuple[int, int], os.stat_result] = {}
    for one in _files_under(directory):
        inode = (one.st_dev, one.st_ino)
        names[inode] = names.get(inode, 0) + 1
        facts[inode] = one
    return sum(one.st_size for inode, one in facts.items() if one.st_nlink == names[inode])


def _files_under(directory: Path) -> Iterator[os.stat_result]:
    try:
        entries: Iterable[os.DirEntry[str]] = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_under(Path(entry.path))
        else:
            with suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    yield facts
