"""Small JSON files: replaced whole through a staged sibling, read with an error that says what is wrong."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from ckptop.store.errors import Damaged, DiskError, NotFound, StoreError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.records import Sealed
from ckptop.store.seal import check_seal
from ckptop.store.staging import removed_on_error, staged_name

T = TypeVar("T")

MAX_JSON_BYTES = 256 * 1024 * 1024
"""A record larger than this is not one of ours and would only exhaust memory."""
_BLOCK_BYTES = 64 * 1024


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
    _replace(path, data, fs, staging or path.parent, sync=True)
    fs.fsync_dir(path.parent)


def write_quickly(path: Path, data: bytes, fs: FileSystem = LOCAL) -> None:
    """Replace `path` by `data`, whole for every reader, but without waiting for the disk."""
    _replace(path, data, fs, path.parent, sync=False)


def write_in_place(path: Path, data: bytes, fs: FileSystem = LOCAL) -> None:
    """Overwrite JSON in the blocks its file has: what still works on a full disk, where `path` cannot be replaced.

    A reader at that very moment, or a power cut, may meet a torn one; so this is for what is written every second.

    Raises:
        OSError: There is no such file of our own, or its blocks cannot hold `data`; it is as it was.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or len(data) > max(found.st_blocks * 512, found.st_size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        fs.write_all(fd, data.ljust(found.st_size))  # JSON may end in spaces
    finally:
        fs.close(fd)


def _replace(path: Path, data: bytes, fs: FileSystem, staging: Path, *, sync: bool) -> None:
    staged = staging / staged_name(path.name)
    with removed_on_error(staged, fs):
        with new_file(staged, fs, sync=sync) as fd:
            fs.write_all(fd, data)
        fs.rename(staged, path)


@contextmanager
def new_file(path: Path, fs: FileSystem, *, sync: bool = True) -> Iterator[int]:
    """The descriptor of a new file, durable when the block ends; closed however it ends.

    Raises:
        OSError: The disk refused; the torn file is the caller's to remove.
    """
    fd = fs.create(path)
    try:
        yield fd
        if sync:
            fs.fsync(fd)
    except Exception:
        with suppress(OSError):  # what went wrong first is told
            fs.close(fd)
        raise
    fs.close(fd)


def open_to_read(path: Path) -> BinaryIO:
    """Open a file that anybody may have put there; a FIFO in its place would make a plain open wait for ever.

    Raises:
        Damaged: It is neither a file nor a directory.
        OSError: It cannot be opened, or is a directory.
    """
    return os.fdopen(open_regular(path), "rb")


def open_regular(path: Path) -> int:
    """As `open_to_read`, a bare descriptor: of a small file it is read in half the time."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise Damaged(f"{path} is not a regular file; it was left alone")


def open_to_change(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a file of the store with `flags`, made if missing; a link in its place could lead out of the store.

    Raises:
        DiskError: It is a symbolic link.
        OSError: It cannot be opened.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise DiskError(errno.ELOOP, f"{path} is a symbolic link; it was not followed") from None
        raise


def read_json(path: Path, kind: type[T]) -> T:
    """Decode `path` as `kind`.

    Raises:
        NotFound: There is no such file.
        Damaged: It is no file, or not JSON, or a field is missing, of the wrong type or out of range (the message
            says where), or its bytes are not those that were sealed.
        OSError: It cannot be read.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    try:
        data = _read_whole(descriptor)
    finally:
        os.close(descriptor)
    if len(data) > MAX_JSON_BYTES:
        raise Damaged(f"{path} is larger than any record of ckptop; it was left alone")
    return decode(data, kind, path)


def _read_whole(descriptor: int) -> bytes:
    """All there is, or more than `MAX_JSON_BYTES` of it; asked for at once, that much memory would be set aside."""
    blocks, left = [], MAX_JSON_BYTES + 1
    while left > 0 and (block := os.read(descriptor, min(left, _BLOCK_BYTES))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def decode(data: bytes, kind: type[T], path: Path) -> T:
    """Decode bytes read from `path` as `kind`; errors as `read_json`."""
    try:
        record = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "is truncated" if "truncated" in str(error) or not data else f"does not hold what it should: {error}"
        raise Damaged(f"{path} {what}") from None
    if issubclass(kind, Sealed) and check_seal(data) != "whole":
        raise Damaged(f"{path} was changed since it was written: its checksum differs")
    return record


def refuse_links(*directories: Path) -> None:
    """Return if none of these directories is a symbolic link; one that is not there is fine.

    Raises:
        StoreError: One is: it may lead out of the store, and nothing is changed through it.
    """
    for directory in directories:
        if directory.is_symlink():
            raise StoreError(f"{directory} is a symbolic link; a store's directories never are: nothing was changed")
