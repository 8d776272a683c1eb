"""Moving a committed checkpoint between directories, and removing it, so that it stands whole on exactly one side.

The manifests are copied first, then the `.pt` is renamed (that commits the move), then the old
manifests go. Cut off anywhere, what is left over is manifests without a `.pt`, which count for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.files import write_durably
from ckptop.store.fs import FileSystem
from ckptop.store.layout import CheckpointPaths, manifest_path, tensors_path


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
            write_durably(path_of(target), path_of(source).read_bytes(), fs, staging=paths.staging)
    fs.rename(source, target)
    fs.fsync_dir(target.parent)
    remove_manifests(fs, source)
    fs.fsync_dir(source.parent)


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
