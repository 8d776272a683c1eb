"""A part of a log of any size as lines that can be shown, read from wherever somebody looks; for one thread.

What is in memory is bounded: a window slides over the file, and a search reads block by block. A line that has no end
for very long is shown in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from ckptop.host.terminal import shown_line
from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read

WINDOW_BYTES = 128 * 1024
"""Of the file in memory at once, about; 1,500 lines of 80 characters."""
PIECE_BYTES = 4096
"""A longer line is shown in pieces of so much."""
BLOCK_BYTES = 1 << 20
"""Read at once by a search."""
SEARCH_BYTES = 256 << 20
"""Searched for one key; the next goes on from there."""


class LogLine(NamedTuple):
    """One line, or a piece of one; clean."""

    offset: int
    """Byte of the file at which it begins."""
    text: str


class Window(msgspec.Struct, frozen=True, eq=False):
    """The lines around one place of a log."""

    lines: tuple[LogLine, ...] = ()
    begin: int = 0
    end: int = 0
    """First byte of the window, and the one past its last."""
    size_bytes: int = 0
    """Of the whole file, when it was looked at."""
    identity: tuple[int, int] = (0, 0)
    """Device and inode."""
    problem: str | None = None
    """Why there is nothing to read, for a person."""

    @property
    def is_at_end(self) -> bool:
        """Whether nothing follows."""
        return self.end >= self.size_bytes


class Found(NamedTuple):
    """How a search ended."""

    offset: int | None
    """Where the line that matches begins; None where none was found."""
    next_offset: int
    """Where to go on: beyond it nothing was looked at yet."""
    is_done: bool
    """Whether the file ended before `SEARCH_BYTES` did."""


class LogFile:
    """One log by its name; it may appear later, grow, be cut or be replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def at_end(self, known: Window | None = None) -> Window:
        """The newest lines; the same object as `known` where nothing has changed since.

        Of a file that only grew, what is new is all that is read.
        """
        try:
            with open_to_read(self.path) as file:
                facts = os.fstat(file.fileno())
                size, identity = facts.st_size, (facts.st_dev, facts.st_ino)
                if known is None or known.identity != identity or not known.is_at_end or size < known.end:
                    return _read(file, max(0, size - WINDOW_BYTES), size, size, identity)
                if size == known.end and known.problem is None:
                    return known
                if size - known.end > WINDOW_BYTES:
                    return _read(file, size - WINDOW_BYTES, size, size, identity)
                return _grown(file, known, size)
        except (StoreError, OSError) as error:
            return _unreadable(self.path, error, known)

    def around(self, offset: int) -> Window:
        """The lines around a byte of the file."""
        try:
            with open_to_read(self.path) as file:
                facts = os.fstat(file.fileno())
                begin = max(0, min(offset - WINDOW_BYTES // 2, facts.st_size - WINDOW_BYTES))
                end = min(facts.st_size, begin + WINDOW_BYTES)
                return _read(file, begin, end, facts.st_size, (facts.st_dev, facts.st_ino))
        except (StoreError, OSError) as error:
            return _unreadable(self.path, error, None)

    def search(self, needle: str, offset: int, direction: int, is_cancelled: Callable[[], bool]) -> Found:
        """Look for a line that holds `needle`, whatever the case of its Latin letters.

        Args:
            needle: What to look for; not empty.
            offset: Where lines begin that count: at it or after it, or before it.
            direction: 1 for onwards, -1 for back.
            is_cancelled: Asked between two blocks.
        """
        try:
            with open_to_read(self.path) as file:
                size, at = os.fstat(file.fileno()).st_size, offset
                while abs(at - offset) < SEARCH_BYTES and not is_cancelled():
                    if at >= size if direction > 0 else at <= 0:
                        return Found(None, at, True)
                    begin, data = _block(file, at, direction)
                    hits = _hits(data, needle)
                    hit = next(hits, None) if direction > 0 else max(hits, default=None)
                    if hit is not None:
                        return Found(begin + hit, begin + hit, True)
                    at = begin + len(data) if direction > 0 else begin
        except (StoreError, OSError):
            return Found(None, offset, True)
        return Found(None, at, False)


def _block(file: BinaryIO, at: int, direction: int) -> tuple[int, bytes]:
    """Whole lines after `at` or before it, and where they begin; part of a line that is longer than a block."""
    if direction > 0:
        data = os.pread(file.fileno(), BLOCK_BYTES, at)
        return at, data[: data.rfind(b"\n") + 1 or len(data)] if len(data) == BLOCK_BYTES else data
    begin = max(0, at - BLOCK_BYTES)
    data = os.pread(file.fileno(), at - begin, begin)
    start = data.find(b"\n") + 1 if begin else 0
    return (begin + start, data[start:]) if start < len(data) else (begin, data)


def _hits(data: bytes, needle: str) -> Iterator[int]:
    """Where the lines begin that hold `needle` once they are shown, in their order."""
    lowered, wanted = data.lower(), needle.encode(errors="replace").lower()
    place = lowered.find(wanted)
    while place >= 0:
        start = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place)
        end = end if end >= 0 else len(data)
        if needle.casefold() in shown_line(data[start:end]).casefold():
            yield start + (place - start) // PIECE_BYTES * PIECE_BYTES
        place = lowered.find(wanted, end)


def _read(file: BinaryIO, begin: int, end: int, size: int, identity: tuple[int, int]) -> Window:
    """The lines that begin between `begin` and `end`; of a line that began before, nothing unless it fills all."""
    data = os.pread(file.fileno(), end - begin, begin)
    if begin and (start := data.find(b"\n") + 1) and start < len(data):
        begin, data = begin + start, data[start:]
    if end < size:
        data = data[: data.rfind(b"\n") + 1 or len(data)]
    return Window(tuple(_lines(data, begin)), begin, begin + len(data), size, identity)


def _grown(file: BinaryIO, known: Window, size: int) -> Window:
    """The window with what was appended; a last line that had no end then is read again."""
    torn = known.lines[-1].offset if known.lines and _is_torn(file, known.end) else known.end
    kept = [line for line in known.lines if line.offset < torn]
    lines = (*kept, *_lines(os.pread(file.fileno(), size - torn, torn), torn))
    if size - known.begin > 2 * WINDOW_BYTES:
        lines = tuple(line for line in lines if line.offset >= size - WINDOW_BYTES)
    begin = lines[0].offset if lines else size
    return Window(lines, begin, size, size, known.identity)


def _is_torn(file: BinaryIO, end: int) -> bool:
    return end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"


def _lines(data: bytes, begin: int) -> Iterator[LogLine]:
    for line in _split(data):
        bare = line.rstrip(b"\r\n")
        for piece in range(0, max(1, len(bare)), PIECE_BYTES):
            yield LogLine(begin + piece, shown_line(bare[piece : piece + PIECE_BYTES]))
        begin += len(line)


def _split(data: bytes) -> list[bytes]:
    """At newlines alone: a carriage return paints over what its line showed."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _unreadable(path: Path, error: Exception, known: Window | None) -> Window:
    """A window that says why it is empty; `known` where it said so already."""
    if isinstance(error, FileNotFoundError):
        problem = f"no {path.name}: what it printed went to the terminal or file it was started in"
    elif isinstance(error, OSError):
        problem = f"{path.name} cannot be read: {error.strerror}"
    else:
        problem = str(error)
    return known if known is not None and known.problem == problem else Window(problem=problem)
