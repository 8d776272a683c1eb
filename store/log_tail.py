"""The end of a text file, and what is appended from then on, as it is: for a train.log of any size.

It is read from the end, a block at a time, and stays open between looks, so that what was written to a file before it
was replaced is not lost. `tail` follows logs of records instead: whole lines, from the first.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read

CHUNK_BYTES = 1 << 20
"""Most bytes one read hands over."""

LONGEST_LINE_BYTES = 1 << 20
"""Of a line longer than this the end is read: a log may hold gigabytes without a newline."""
CUT_CHARACTERS = 200

_BLOCK_BYTES = 64 * 1024
_MARK_BYTES = 64


class LogTail:
    """Follows one file by its name; it may appear later, be cut, or be replaced. A context manager."""

    def __init__(self, path: Path, last_lines: int) -> None:
        """Nothing is read yet; of the file that is found first, the last `last_lines` lines count."""
        self.path = path
        self.problem: str | None = None
        """Why nothing can be read, for a person; None while all is well."""
        self._last_lines: int | None = last_lines
        self._file: BinaryIO | None = None
        self._offset = 0
        self._mark = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def read(self) -> bytes:
        """What is new, at most `CHUNK_BYTES`; empty when there is nothing for now. Never raises: see `problem`."""
        try:
            if self._file is None:
                self._open()
            data = self._read_on()
            if not data and self._is_replaced():
                self._close()
                self._open()
                data = self._read_on()
        except FileNotFoundError:
            self.problem = f"{self.path.name} does not exist"
        except StoreError as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = f"{self.path.name} cannot be read: {error.strerror}"
        else:
            self.problem = None
            return data
        return b""

    def _open(self) -> None:
        self._file = open_to_read(self.path)
        self._offset, self._mark = 0, b""
        if self._last_lines is not None:
            self._offset = start_of_last_lines(self._file.fileno(), self._last_lines)
            self._last_lines = None  # a file that takes its place is read from its start

    def _read_on(self) -> bytes:
        assert self._file is not None  # noqa: S101 - opened by `read`
        descriptor = self._file.fileno()
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes < self._offset or self._is_rewritten(descriptor):
            self._offset, self._mark = 0, b""
        data = os.pread(descriptor, CHUNK_BYTES, self._offset)
        if data:
            self._offset += len(data)
            self._mark = (self._mark + data[-_MARK_BYTES:])[-_MARK_BYTES:]
        return data

    def _is_rewritten(self, descriptor: int) -> bool:
        """Whether what was read last is no longer there: cut and written anew between two looks."""
        return os.pread(descriptor, len(self._mark), self._offset - len(self._mark)) != self._mark

    def _is_replaced(self) -> bool:
        assert self._file is not None  # noqa: S101 - opened by `read`
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False  # gone, or about to be replaced

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def start_of_last_lines(descriptor: int, lines: int) -> int:
    """Where the last `lines` lines of an open file begin; a last line without an end counts as one.

    Of a line longer than `LONGEST_LINE_BYTES` its end counts, and nothing before it is looked for.
    """
    end = position = os.fstat(descriptor).st_size
    if lines <= 0:
        return end
    is_ended = end > 0 and os.pread(descriptor, 1, end - 1) == b"\n"
    wanted = lines + is_ended
    line_end = end - is_ended
    while position > 0:
        longest = max(0, line_end - LONGEST_LINE_BYTES)
        begin = max(longest, position - _BLOCK_BYTES)
        block = os.pread(descriptor, position - begin, begin)
        newlines = block.count(b"\n")
        if newlines >= wanted:
            place = len(block)
            for _ in range(wanted):
                place = block.rfind(b"\n", 0, place)
            return begin + place + 1
        if newlines:
            line_end = begin + block.find(b"\n")
        elif begin == longest:
            return begin
        wanted, position = wanted - newlines, begin
    return 0


def last_lines(path: Path, limit_bytes: int) -> list[str]:
    """The lines within the last `limit_bytes` of a log, without blank ones; none where it cannot be read.

    Of a first line that began before that, the last `CUT_CHARACTERS` characters are told.
    """
    try:
        with open_to_read(path) as file:
            begin = max(0, file.seek(0, os.SEEK_END) - limit_bytes)
            data = os.pread(file.fileno(), limit_bytes, begin)
    except (StoreError, OSError):
        return []
    # A machine that went down leaves NULs where the file had grown and the bytes had not been written.
    lines = [line.rstrip() for line in data.replace(b"\0", b"").decode(errors="replace").splitlines()]
    if begin and lines and len(lines[0]) > CUT_CHARACTERS:
        lines[0] = f"…{lines[0][1 - CUT_CHARACTERS :]}"
    return [line for line in lines if line]
