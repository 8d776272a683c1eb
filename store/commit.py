"""The commit protocol: a committed name is whole and durable, or it is not there.

The bytes are staged and fsynced before this module is called. Under the lock: manifest and
tensor index in place, directory synced, `.pt` renamed (the commit), directory synced again.
A crash before the rename leaves manifests without a `.pt`, which no reader counts.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from ckptop.store.errors import NotFound, StoreError
from ckptop.store.files import new_file, read_json, write_durably
from ckptop.store.fs import FileSystem
from ckptop.store.hashing import CHUNK_BYTES
from ckptop.store.layout import CheckpointPaths, manifest_path, tensors_path
from ckptop.store.links import NO_LINKS
from ckptop.store.manifest import Manifest, TensorIndex, encode
from ckptop.store.moving import remove_manifests
from ckptop.store.seal import seal
from ckptop.store.staging import removed_on_error, staged_name

MAX_COPIES = 10_000
"""Saves of one (epoch, step) under different names, before something is plainly wrong."""


def commit(
    fs: FileSystem,
    paths: CheckpointPaths,
    staged: Path,
    directory: Path,
    name_of: Callable[[int], str],
    manifest: Manifest,
    index: TensorIndex | None,
) -> Path:
    """Commit a staged, fsynced file under the first free name; the caller holds the lock.

    Args:
        fs: The seam.
        paths: The set the checkpoint joins.
        staged: The file, on the same file system.
        directory: Where it goes.
        name_of: Names by copy, from 1; a committed name is never taken again.
        manifest: Its `file` is set here.
        index: The same; None where the file was never described.

    Raises:
        OSError: The disk refused; nothing was committed and nothing committed before was touched.
    """
    final = first_free(directory, name_of)
    manifest = msgspec.structs.replace(manifest, file=final.name)
    if index is not None:
        index = msgspec.structs.replace(index, file=final.name)
        write_durably(tensors_path(final), encode_index(index), fs, staging=paths.staging)
    write_durably(manifest_path(final), encode(manifest), fs, staging=paths.staging)
    fs.rename(staged, final)
    try:
        fs.fsync_dir(directory)
    except OSError:
        with suppress(OSError):  # it is not durable: whoever is told so will save again, and two are one too many
            fs.unlink(final)
            remove_manifests(fs, final)
        raise
    return final


def first_free(directory: Path, name_of: Callable[[int], str]) -> Path:
    """The path that the next commit to `directory` has, if it is under the lock; without it, most likely.

    Raises:
        StoreError: There are too many of that name.
    """
    for copy in range(1, MAX_COPIES):
        path = directory / name_of(copy)
        if not path.exists() and not path.is_symlink():
            return path
    raise StoreError(f"{directory} holds {MAX_COPIES:,} checkpoints named {name_of(1)}; choose other steps")


def encode_index(index: TensorIndex) -> bytes:
    """A tensor index as JSON, a tensor a line."""
    lines = b",\n  ".join(msgspec.json.encode(entry) for entry in index.tensors)
    head = b'{"schema":%d,"file":%s,"tensors":[\n  ' % (index.schema, msgspec.json.encode(index.file))
    return seal(head + lines + b"\n]}\n")


def read_index(checkpoint: Path) -> TensorIndex | None:
    """The tensor index of a committed checkpoint; None where there is none to be read."""
    try:
        return read_json(tensors_path(checkpoint), TensorIndex)
    except StoreError:
        return None


def change_manifest(fs: FileSystem, paths: CheckpointPaths, checkpoint: Path, **changes: object) -> Manifest:
    """Replace fields of a committed checkpoint's manifest, whole and durably; the caller holds the lock.

    Raises:
        NotFound: The checkpoint is gone.
        Damaged: Its manifest is unreadable; it was left alone.
        OSError: The disk refused; the manifest is the old one or the new.
    """
    if not checkpoint.is_file():
        raise NotFound(f"{checkpoint} is gone")
    manifest = msgspec.structs.replace(read_json(manifest_path(checkpoint), Manifest), **changes)
    fs.mkdir(paths.staging)
    write_durably(manifest_path(checkpoint), encode(manifest), fs, staging=paths.staging)
    return manifest


def link_or_copy(fs: FileSystem, paths: CheckpointPaths, source: Path) -> Path:
    """A second name for committed bytes, in `.staging`: a hard link, else a copy that is fsynced.

    Raises:
        OSError: The disk refused.
    """
    fs.mkdir(paths.staging)
    staged = paths.staging / staged_name(source.name)
    try:
        fs.link(source, staged)
    except OSError as error:
        if error.errno not in NO_LINKS | {errno.EMLINK, errno.EXDEV}:
            raise
        with removed_on_error(staged, fs), source.open("rb") as file, new_file(staged, fs) as fd:
            while chunk := file.read(CHUNK_BYTES):
                fs.write_all(fd, chunk)
    return staged
