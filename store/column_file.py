"""A metric log as columns in a file: written whole beside its name, mapped privately when it is read.

Each array stands on pages of its own with a hole behind it, so that rows can be appended to what was mapped; they go to
memory, never into the file. What a file holds is taken only for the log it was made of (the same device and inode, with
the same beginning, and the same end of what was read), and only if every byte hashes to what was written.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from ckptop.store.attempts import AttemptLine
from ckptop.store.columns import FrameParts, part_types
from ckptop.store.fs import LOCAL
from ckptop.store.metric_log import LogState
from ckptop.store.staging import removed_on_error, staged_name
from ckptop.store.tail import Place

_MAGIC = b"ckptop metrics 2"
_BEGIN = struct.Struct("=16s16sQ")
"""The first page: what this is, the digest of the header, and where that stands; in this machine's byte order."""
_PAGE = 4096
_TAIL_BYTES = 64 * 1024
_CHUNK_BYTES = 1 << 20


class _Frame(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    count: int
    capacity: int
    starts: tuple[int, ...]
    """Where in the file each array begins."""
    digests: tuple[str, ...]


class _Header(msgspec.Struct, frozen=True):
    """What stands behind the arrays; the first page says where."""

    place: Place
    log_bytes: int
    """Size of the log when it was read."""
    modified_ns: int
    digest: str
    """Of the beginning of the log and of the end of what was read."""
    lines: int
    bad_lines: int
    first_bad: str | None
    attempts: tuple[AttemptLine, ...]
    fields: tuple[str, ...]
    frames: tuple[_Frame, ...]


def is_ours(found: os.stat_result, kind: int) -> bool:
    """Whether what `found` tells of is of that kind, belongs to this user, and nobody else may write it."""
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.getuid() and not found.st_mode & 0o022


# Reading.


def load(place: Path, path: Path) -> LogState | None:
    """What the file at `place` knows of the log at `path`; None where it is of another one, or not whole.

    Raises:
        OSError: There is none, or it cannot be read.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not is_ours(found, stat.S_IFREG) or not is_ours(place.parent.lstat(), stat.S_IFDIR):
            return None
        header = _read_header(descriptor, found.st_size)
        if header is None or not _is_of(header, path):
            return None
        if not all(_is_whole(descriptor, frame) for frame in header.frames):
            return None
        mapped = mmap.mmap(descriptor, found.st_size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)
    parts = tuple(FrameParts(frame.names, frame.count, _arrays(mapped, frame)) for frame in header.frames)
    return LogState(
        header.place, header.lines, header.bad_lines, header.first_bad, header.attempts, header.fields, parts
    )


def _arrays(mapped: mmap.mmap, frame: _Frame) -> tuple[NDArray[Any], ...]:
    kinds = part_types(len(frame.names))
    return tuple(
        np.frombuffer(mapped, kind, frame.capacity, start) for kind, start in zip(kinds, frame.starts, strict=True)
    )


def _read_header(descriptor: int, size_bytes: int) -> _Header | None:
    begin = os.pread(descriptor, _BEGIN.size, 0)
    if len(begin) < _BEGIN.size:
        return None
    magic, digest, start = _BEGIN.unpack(begin)
    data = os.pread(descriptor, size_bytes - start, start) if start < size_bytes else b""
    if magic != _MAGIC or xxhash.xxh3_128_digest(data) != digest:
        return None
    return msgspec.msgpack.decode(data, type=_Header)


def _is_of(header: _Header, path: Path) -> bool:
    """Whether the log at `path` is the one that was read, perhaps with more behind it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != header.place[:2] or found.st_size < header.log_bytes:
            return False
        if found.st_size == header.log_bytes and found.st_mtime_ns != header.modified_ns:
            return False  # something was written, and nothing appended
        return _digest_of(descriptor, header.place.offset) == header.digest
    finally:
        os.close(descriptor)


def _digest_of(log: int, offset: int) -> str:
    begin = max(0, offset - _TAIL_BYTES)
    return xxhash.xxh3_128_hexdigest(os.pread(log, min(offset, _PAGE), 0) + os.pread(log, offset - begin, begin))


def _is_whole(descriptor: int, frame: _Frame) -> bool:
    kinds = part_types(len(frame.names))
    for kind, start, digest in zip(kinds, frame.starts, frame.digests, strict=True):
        # Through a buffer: what is hashed in the map would count as memory in use.
        hashed, buffer, left = xxhash.xxh3_128(), bytearray(_CHUNK_BYTES), frame.count * kind.itemsize
        view = memoryview(buffer)
        while left > 0:
            got = os.preadv(descriptor, [view[: min(left, _CHUNK_BYTES)]], start)
            if not got:
                return False
            hashed.update(view[:got])
            start, left = start + got, left - got
        if hashed.hexdigest() != digest:
            return False
    return True


# Writing.


def save(place: Path, path: Path, state: LogState) -> bool:
    """Put what was read of the log at `path` in place; False where that is another one by now.

    Raises:
        OSError: The disk refused; the old file stands, if there was one.
    """
    log = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(log)
        if (found.st_dev, found.st_ino) != state.place[:2] or found.st_size < state.place.offset:
            return False
        digest = _digest_of(log, state.place.offset)
    finally:
        os.close(log)
    frames, end = _laid_out(state.parts)
    header = _Header(
        place=state.place, log_bytes=found.st_size, modified_ns=found.st_mtime_ns, digest=digest, lines=state.lines,
        bad_lines=state.bad_lines, first_bad=state.first_bad, attempts=state.attempts, fields=state.fields,
        frames=tuple(frames),
    )  # fmt: skip
    staged = place.with_name(staged_name(place.name))
    with removed_on_error(staged, LOCAL):
        _write(staged, header, state.parts, end)
        staged.replace(place)
    return True


def _laid_out(parts: Sequence[FrameParts]) -> tuple[list[_Frame], int]:
    """Where every array is to stand, on pages of its own and with room to grow, and where the last one ends."""
    frames, end = [], _PAGE
    for part in parts:
        capacity = part.count + part.count // 4 + 1024
        starts, digests = [], []
        for array in part.arrays:
            starts.append(end)
            digests.append(xxhash.xxh3_128_hexdigest(array.data.cast("B")))
            end += _pages(capacity * array.itemsize)
        frames.append(_Frame(part.names, part.count, capacity, tuple(starts), tuple(digests)))
    return frames, end


def _pages(size_bytes: int) -> int:
    return -(-size_bytes // _PAGE) * _PAGE


def _write(staged: Path, header: _Header, parts: Sequence[FrameParts], end: int) -> None:
    """Write it all; the room to grow is a hole in the file, and takes none on the disk."""
    data = msgspec.msgpack.encode(header)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_at(descriptor, _BEGIN.pack(_MAGIC, xxhash.xxh3_128_digest(data), end), 0)
        for frame, part in zip(header.frames, parts, strict=True):
            for array, start in zip(part.arrays, frame.starts, strict=True):
                _write_at(descriptor, array.data.cast("B"), start)
        _write_at(descriptor, data, end)
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
