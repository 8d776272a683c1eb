"""What was appended to a file since the last look, as whole lines; nothing stays open between looks.

The place is (device, inode, offset) and the last few bytes before it: a file that was replaced, cut, or rewritten under
a reused inode number is read anew from its start. A look at a file that did not change costs one `stat`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
"""Most bytes a poll hands over; a longer line is handed over cut short, and so counts as one bad line."""

_MARK_BYTES = 64
_CUT_BYTES = 64


class Place(NamedTuple):
    """How far a file was read, and what tells that it is still that file."""

    device: int
    inode: int
    offset: int
    """Bytes read; a line begins there."""
    mark: bytes
    """The last bytes before it."""


class LineTail:
    """Follows one file by its name; the file may appear later, vanish, or be replaced at any time."""

    def __init__(self, path: Path, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        self.problem: str | None = None
        """Why nothing more can be read, for a person; None while all is well or the file never was."""
        self.generation = 0
        """Counts how often reading began anew; what was read before such a change is void."""
        self.offset = 0
        """Bytes handed over or skipped so far."""
        self._chunk_bytes = chunk_bytes
        self._identity: tuple[int, int] | None = None
        self._drained: tuple[int, int, int] | None = None
        self._mark = b""
        self._is_skipping = False

    def poll(self) -> bytes:
        """New whole lines, at most about `chunk_bytes`; empty when there are none for now.

        Call again until it is empty. Never raises OSError: see `problem`.
        """
        try:
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                self.problem = f"{self.path.name} is not a regular file"
                return b""
            lines = b"" if self._drained == _state(found) else self._look()
        except FileNotFoundError:
            if self._identity is not None:
                self.problem = f"{self.path.name} is gone; what was read of it stays"
            return b""
        except OSError as error:
            self.problem = f"{self.path.name} cannot be read: {error.strerror}"
            return b""
        self.problem = None
        return lines

    def skip_to_end(self) -> None:
        """Count what is there now as handed over, but for a line that is still being written; a missing file is fine.

        It costs the same whatever the size. Never raises OSError: the next poll says what is wrong.
        """
        with suppress(OSError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode):
                    self._skip_to_end(descriptor, found)
            finally:
                os.close(descriptor)

    @property
    def place(self) -> Place | None:
        """Where to go on another time; None before anything was read, or in the midst of a line."""
        if self._identity is None or self._is_skipping:
            return None
        return Place(*self._identity, self.offset, self._mark)

    def go_on_from(self, place: Place) -> None:
        """Count what is before `place` as handed over; the next poll finds out if the file is another one by now."""
        self._identity, self._drained = (place.device, place.inode), None
        self.offset, self._mark, self._is_skipping = place.offset, place.mark, False

    @property
    def is_behind(self) -> bool:
        """Whether another poll may find more, though the file did not change."""
        return self._identity is not None and self._drained is None

    def _skip_to_end(self, descriptor: int, found: os.stat_result) -> None:
        begin = max(0, found.st_size - self._chunk_bytes)
        end = os.pread(descriptor, self._chunk_bytes, begin).rfind(b"\n") + 1
        self._is_skipping = end == 0 and begin > 0  # within a line of more than a chunk
        self.offset = found.st_size if self._is_skipping else begin + end
        self._identity, self._drained = (found.st_dev, found.st_ino), None
        mark_begin = max(0, self.offset - _MARK_BYTES)
        self._mark = os.pread(descriptor, self.offset - mark_begin, mark_begin)

    def _look(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if self._is_another(descriptor, found):
                self._begin()
            self._identity = (found.st_dev, found.st_ino)
            lines = self._read_lines(descriptor)
        finally:
            os.close(descriptor)
        # A torn last line counts as read: it is looked at again as soon as the file changes.
        self._drained = _state(found) if not lines or self.offset == found.st_size else None
        return lines

    def _is_another(self, descriptor: int, found: os.stat_result) -> bool:
        if self._identity != (found.st_dev, found.st_ino) or found.st_size < self.offset:
            return True
        # A new file often gets the inode number of the one just removed.
        return os.pread(descriptor, len(self._mark), self.offset - len(self._mark)) != self._mark

    def _begin(self) -> None:
        if self._identity is not None:
            self.generation += 1
        self.offset, self._mark, self._is_skipping = 0, b"", False

    def _read_lines(self, descriptor: int) -> bytes:
        while True:
            data = os.pread(descriptor, self._chunk_bytes, self.offset)
            is_last = len(data) < self._chunk_bytes
            if self._is_skipping:
                end = data.find(b"\n") + 1
                self._is_skipping = end == 0
                self._advance(data[: end or len(data)])
                if is_last and self._is_skipping:
                    return b""
            elif end := data.rfind(b"\n") + 1:
                lines = data[:end]
                self._advance(lines)
                return lines
            elif is_last:
                return b""
            else:
                self._is_skipping = True
                self._advance(data)
                return data[:_CUT_BYTES] + b"\n"

    def _advance(self, data: bytes) -> None:
        self.offset += len(data)
        self._mark = (self._mark + data[-_MARK_BYTES:])[-_MARK_BYTES:]


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
