"""Moving a committed checkpoint between directories, and removing it, so that it stands whole on exactly one side.

The manifests get a second name there first, then the `.pt` is renamed (that commits the move), then the old names of
the manifests go. Cut off anywhere, what is left over is manifests without a `.pt`, which count for nothing. No bytes
are written: on a full disk a deletion is what makes room.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.files import write_durably
from ckptop.store.fs import FileSystem
from ckptop.store.layout import CheckpointPaths, manifest_path, tensors_path
from ckptop.store.links import NO_LINKS
from ckptop.store.staging import removed_on_error, staged_name


def move(fs: FileSystem, paths: CheckpointPaths, source: Path, target: Path) -> None:
    """Move the checkpoint `source` to `target`, whose directory exists; the caller holds the lock.

    Raises:
        FileExistsError: `target` is there; nothing was changed.
        OSError: The disk refused; the checkpoint is whole, here or there.
    """
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists; nothing of a store is ever overwritten")
    fs.mkdir(paths.staging)
    for path_of in (manifest_path, tensors_path):
        with suppress(FileNotFoundError):
            _name_again(fs, paths, path_of(source), path_of(target))
    fs.rename(source, target)
    fs.fsync_dir(target.parent)
    remove_manifests(fs, source)
    fs.fsync_dir(source.parent)


def _name_again(fs: FileSystem, paths: CheckpointPaths, source: Path, target: Path) -> None:
    """Let `target` be a second name for a durable `source`, else a copy; what a cut-off move left there is replaced."""
    if target.exists() and target.samefile(source):  # of a move that was cut off; a rename would leave both names
        fs.fsync_dir(target.parent)
        return
    staged = paths.staging / staged_name(target.name)
    try:
        fs.link(source, staged)
    except OSError as error:
        if error.errno not in NO_LINKS | {errno.EMLINK}:
            raise
        write_durably(target, source.read_bytes(), fs, staging=paths.staging)
        return
    with removed_on_error(staged, fs):
        fs.rename(staged, target)
    fs.fsync_dir(target.parent)


def remove_manifests(fs: FileSystem, checkpoint: Path) -> None:
    """Remove the manifest and the tensor index of a `.pt` that is no longer there."""
    for path in (manifest_path(checkpoint), tensors_path(checkpoint)):
        with suppress(FileNotFoundError):
            fs.unlink(path)


def remove(info: CheckpointInfo, fs: FileSystem) -> None:
    """Remove a checkpoint for good, the `.pt` first: without it the rest counts for nothing.

    The caller holds the lock. What is gone already is no error.
    """
    with suppress(FileNotFoundError):
        fs.unlink(info.path)
    remove_manifests(fs, info.path)
