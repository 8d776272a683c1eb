"""Small JSON files: replaced whole through a staged sibling, read with an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from ckptop.store.errors import Damaged, NotFound
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.staging import staged_name

T = TypeVar("T")

MAX_JSON_BYTES = 256 * 1024 * 1024
"""A record larger than this is not one of ours and would only exhaust memory."""


def write_durably(path: Path, data: bytes, fs: FileSystem = LOCAL, *, staging: Path | None = None) -> None:
    """Replace `path` by `data`, whole: on return it survives a power cut.

    Args:
        path: The final name.
        data: The whole content.
        fs: The seam.
        staging: Directory on the same file system for the torn file; `path`'s own by default.

    Raises:
        OSError: The disk refused; `path` holds the old content or the new, whole.
    """
    staged = _stage(path, data, fs, staging, sync=True)
    fs.rename(staged, path)
    fs.fsync_dir(path.parent)


def write_quickly(path: Path, data: bytes, fs: FileSystem = LOCAL) -> None:
    """Replace `path` by `data`, whole for every reader, but without waiting for the disk."""
    fs.rename(_stage(path, data, fs, None, sync=False), path)


def _stage(path: Path, data: bytes, fs: FileSystem, staging: Path | None, *, sync: bool) -> Path:
    staged = (staging or path.parent) / staged_name(path.name)
    fd = fs.create(staged)
    try:
        fs.write_all(fd, data)
        if sync:
            fs.fsync(fd)
    except OSError:
        fs.close(fd)
        fs.unlink(staged)
        raise
    fs.close(fd)
    return staged


def read_json(path: Path, kind: type[T]) -> T:
    """Decode `path` as `kind`.

    Raises:
        NotFound: There is no such file.
        Damaged: It is not JSON, or a field is missing or of the wrong type; the message says where.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    if len(data) > MAX_JSON_BYTES:
        raise Damaged(f"{path} is larger than any record of ckptop; it was left alone")
    return decode(data, kind, path)


def decode(data: bytes, kind: type[T], path: Path) -> T:
    """Decode bytes read from `path` as `kind`; errors as `read_json`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "is truncated" if "truncated" in str(error) or not data else f"does not hold what it should: {error}"
        raise Damaged(f"{path} {what}") from None
