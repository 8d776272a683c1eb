"""JSON lines as ckptop writes them: whole lines, appended; every line is JSON, non-finite numbers included.

A line cut off by a crash is ended by the next writer, so that it costs readers that one line and not the next too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.files import open_regular, open_to_change
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.manifest import to_number, to_stored

_BLOCK_BYTES = 64 * 1024


def open_lines(path: Path) -> int:
    """Open `path` for appending, made if missing; readable, for the look at its last byte.

    Raises:
        DiskError: It is a symbolic link.
        OSError: It cannot be opened.
    """
    return open_to_change(path, os.O_RDWR | os.O_APPEND)


def is_torn(descriptor: int) -> bool:
    """Whether the file ends in the middle of a line."""
    size_bytes = os.fstat(descriptor).st_size
    return size_bytes > 0 and os.pread(descriptor, 1, size_bytes - 1) != b"\n"


def append_line(path: Path, line: bytes, *, sync: bool = False, fs: FileSystem = LOCAL) -> None:
    """Append `line`, which ends with a newline, by one write; a torn line before it is ended first.

    Whoever else appends to this file must be kept out by a lock.

    Raises:
        OSError: The disk refused; the file is as it was, or ends with part of the line where it refused that too.
    """
    descriptor = open_lines(path)
    size_bytes = os.fstat(descriptor).st_size
    try:
        fs.write_all(descriptor, b"\n" + line if is_torn(descriptor) else line)
        if sync:
            fs.fsync(descriptor)
        if sync and size_bytes == 0:
            fs.fsync_dir(path.parent)  # it may have been made here
    except OSError:
        with suppress(OSError):  # who is told that it failed must not find it done
            os.ftruncate(descriptor, size_bytes)
        raise
    finally:
        with suppress(OSError):  # what was fsynced is durable; of the rest nobody was promised anything
            fs.close(descriptor)


def reversed_lines(path: Path, *, limit_bytes: int) -> Iterator[bytes]:
    """The whole lines within the last `limit_bytes` of `path`, newest first, read a block at a time.

    Raises:
        Damaged: It is no file.
        OSError: It cannot be read.
    """
    descriptor = open_regular(path)
    try:
        end = os.fstat(descriptor).st_size
        first = max(0, end - limit_bytes)
        rest = b""
        is_torn_end = True
        while end > first:
            begin = max(first, end - _BLOCK_BYTES)
            lines = (os.pread(descriptor, end - begin, begin) + rest).split(b"\n")
            if is_torn_end and len(lines) > 1:
                lines.pop()  # what follows the last newline: nothing, or a line still being written
                is_torn_end = False
            end, rest = begin, lines[0]
            if not is_torn_end:
                yield from reversed(lines[1:])
        if first == 0 and not is_torn_end:
            yield rest
    finally:
        os.close(descriptor)


def to_json(value: object) -> Any:
    """`value` as msgspec can write it and any reader can read it, nested values included.

    NaN and infinities become strings, integers of more than 64 bits floats, what is like a number (0-d tensors,
    NumPy scalars) a number, anything else text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else to_stored(to_number(value))
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, msgspec.Struct):
        return to_json(msgspec.to_builtins(value))
    if isinstance(value, Mapping):
        return {to_json(str(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    try:
        return to_stored(float(value))  # type: ignore[arg-type]  # whether float() takes it is the question
    except (TypeError, ValueError):
        return to_json(str(value))
