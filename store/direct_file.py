"""A large new file, written past the page cache.

A checkpoint is written once and hardly ever read. Through the cache it costs a copy of every byte, evicts what the
training reads, and takes a core while the loop computes; past it (O_DIRECT) the disk fetches the bytes itself. What is
written must then lie on whole blocks, in memory and in the file: whole blocks of the caller's memory are handed over
as they are where they lie right, all else passes through a buffer. A file system that refuses is written to as ever.
"""

from __future__ import annotations

import errno
import mmap

import numpy as np
from numpy.typing import NDArray

from ckptop.store.fs import FileSystem

BLOCK_BYTES = mmap.PAGESIZE
"""Of memory and of the file; a multiple of every disk's own."""

_BUFFER_BYTES = 1024 * 1024
_WHOLE_BYTES = 256 * 1024
"""From here on it pays to hand memory over as it is, and to empty the buffer before."""

Bytes = NDArray[np.uint8]


class DirectFile:
    """Writes front to back to a new, empty file; `finish` before it is fsynced."""

    def __init__(self, fs: FileSystem, fd: int) -> None:
        self._fs, self._fd = fs, fd
        self._is_direct = fs.bypass_cache(fd, True)
        self._buffer: Bytes = np.frombuffer(mmap.mmap(-1, _BUFFER_BYTES), np.uint8)  # maps begin on a page
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write `data`, of which some may wait in the buffer.

        Raises:
            OSError: The disk refused.
        """
        left: Bytes = np.frombuffer(data, np.uint8)
        while left.size:
            if not self._is_direct:
                self._put(left)
                return
            left = left[self._take(left) :]

    def finish(self) -> None:
        """Write what waits.

        Raises:
            OSError: The disk refused.
        """
        self._leave()

    def _take(self, data: Bytes) -> int:
        """Write or keep the beginning of `data`; returns its length."""
        whole = data.size // BLOCK_BYTES * BLOCK_BYTES
        if whole >= _WHOLE_BYTES and self._filled % BLOCK_BYTES == 0 and data.ctypes.data % BLOCK_BYTES == 0:
            self._empty()
            self._put(data[:whole])
            return whole
        length = min(data.size, _BUFFER_BYTES - self._filled)
        self._buffer[self._filled : self._filled + length] = data[:length]  # NumPy lets go of the GIL
        self._filled += length
        if self._filled == _BUFFER_BYTES:
            self._empty()
        return length

    def _empty(self) -> None:
        filled, self._filled = self._filled, 0
        if filled:
            self._put(self._buffer[:filled])

    def _put(self, data: Bytes) -> None:
        view = data.data
        while view:
            try:
                written = self._fs.write(self._fd, view)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._leave()  # it said yes and meant no
                continue
            view = view[written:]
            if written % BLOCK_BYTES and view and self._is_direct:  # a short write: no block begins where it ended
                self._leave()

    def _leave(self) -> None:
        """Through the cache from here on."""
        if self._is_direct:
            self._fs.bypass_cache(self._fd, False)
            self._is_direct = False
        self._empty()
