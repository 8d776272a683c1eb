"""The hash of a log as far as it goes, kept up as the log grows: each checkpoint records it in its manifest.

A log is only ever appended to, so what it held when a checkpoint was saved it holds for ever; `verify` compares.
"""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read
from ckptop.store.hashing import CHUNK_BYTES
from ckptop.store.manifest import LogMark


class LogDigest:
    """Reads one log, each byte once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin_anew(None)

    def mark(self) -> LogMark | None:
        """How the log begins, up to its present end; None where there is nothing to be read."""
        try:
            with open_to_read(self._path) as file:
                facts = os.fstat(file.fileno())
                inode = (facts.st_dev, facts.st_ino)
                if inode != self._inode or facts.st_size < self._size_bytes:
                    self._begin_anew(inode)
                file.seek(self._size_bytes)
                while chunk := file.read(min(CHUNK_BYTES, facts.st_size - self._size_bytes)):
                    self._digest.update(chunk)
                    self._size_bytes += len(chunk)
        except (StoreError, OSError):
            return None
        return LogMark(size_bytes=self._size_bytes, xxh3_128=self._digest.hexdigest()) if self._size_bytes else None

    def _begin_anew(self, inode: tuple[int, int] | None) -> None:
        self._inode, self._size_bytes, self._digest = inode, 0, xxhash.xxh3_128()


def begins_as(path: Path, mark: LogMark) -> bool:
    """Whether a log still begins with the bytes that `mark` recorded.

    Raises:
        OSError: It cannot be read.
        Damaged: It is no file.
    """
    digest, left = xxhash.xxh3_128(), mark.size_bytes
    with open_to_read(path) as file:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return left == 0 and digest.hexdigest() == mark.xxh3_128
