"""A disk that holds a few checkpoints and no more, and a model whose checkpoints fill it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import torch
from power_cut import HastyFileSystem

ONE = 119_500
"""A little more than the bytes of one checkpoint of `model` in a run, random state included."""


def model() -> torch.nn.Module:
    """25,250 parameters."""
    return torch.nn.Linear(100, 250)


class SmallDisk(HastyFileSystem):
    """A disk, or with EDQUOT a quota, of `capacity_bytes` under `root`; small files always fit, and all elsewhere."""

    def __init__(
        self, root: Path, capacity_bytes: int, number: int = errno.ENOSPC, *, can_reserve: bool = True
    ) -> None:
        self._root, self.capacity_bytes, self._errno, self._can_reserve = root, capacity_bytes, number, can_reserve
        self.large_writes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all inodes of checkpoints under `root`."""
        facts = {path.lstat().st_ino: path.lstat().st_size for path in self._root.rglob("*.pt*") if path.is_file()}
        return sum(facts.values())

    def free_bytes(self, path: Path) -> int | None:
        return None if self._errno == errno.EDQUOT else max(0, self.capacity_bytes - self.used_bytes)

    def reserve(self, fd: int, size_bytes: int) -> bool:
        if self._can_reserve:
            self._require(fd, size_bytes)
        return self._can_reserve

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if len(data) > 4096:
            self._require(fd, len(data))
            self.large_writes += 1
        return super().write(fd, data)

    def _require(self, fd: int, size_bytes: int) -> None:
        is_here = Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(self._root)
        if is_here and self.used_bytes + size_bytes > self.capacity_bytes:
            raise OSError(self._errno, os.strerror(self._errno))
