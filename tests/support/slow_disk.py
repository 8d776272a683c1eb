"""A disk that keeps a save on its way for as long as a test wants it there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ckptop.store import CheckpointManager
from ckptop.store.fs import FileSystem


class SlowDisk(FileSystem):
    """Writes no tensor until it is let."""

    def __init__(self, error: OSError | None = None) -> None:
        self.may_write, self.has_begun, self.error = threading.Event(), threading.Event(), error

    def reserve(self, fd: int, size_bytes: int) -> bool:
        self.has_begun.set()
        assert self.may_write.wait(30)
        if self.error is not None:
            raise self.error
        return super().reserve(fd, size_bytes)


def open_manager(root: Path, disk: FileSystem, **options: Any) -> CheckpointManager:
    return CheckpointManager(root / "set", 0, async_save=True, fs=disk, **options)
