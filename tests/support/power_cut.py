"""File systems that fail on purpose: the power goes at a chosen call, or the disk refuses it.

A cut write leaves half its bytes, every later call of the dead process fails as well, and what was never fsynced can be
taken away afterwards, as a disk without battery does.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from ckptop.host.process import LARGEST_PID, ProcessIdentity, current_process
from ckptop.store import staging
from ckptop.store.fs import FileSystem

SPACE_TAKING = frozenset({"create", "write", "fsync", "link", "symlink", "mkdir"})
"""Calls that a full disk refuses; renaming and removing still work."""


class PowerCut(BaseException):
    """The process is gone: no `except Exception` may run."""


class Call(NamedTuple):
    """One call through the seam."""

    name: str
    path: Path
    """What it is about; of a rename or a link the target."""


class HastyFileSystem(FileSystem):
    """The real thing, but it does not wait for the disk: half the time of a test that is not about durability."""

    def fsync(self, fd: int) -> None:
        pass

    def fsync_dir(self, path: Path) -> None:
        pass


class RecordingFileSystem(HastyFileSystem):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._paths: dict[int, Path] = {}

    def before(self, call: Call) -> None:
        """Called before each call happens."""
        self.calls.append(call)

    def create(self, path: Path) -> int:
        self.before(Call("create", path))
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.before(Call("write", self._path_of(fd)))
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self.before(Call("fsync", self._path_of(fd)))
        super().fsync(fd)

    def close(self, fd: int) -> None:
        self.before(Call("close", self._path_of(fd)))
        super().close(fd)
        self._paths.pop(fd, None)

    def _path_of(self, fd: int) -> Path:
        """Of a file that was appended to, opened elsewhere, what the kernel says."""
        return self._paths.get(fd) or Path(os.readlink(f"/proc/self/fd/{fd}"))

    def fsync_dir(self, path: Path) -> None:
        self.before(Call("fsync_dir", path))
        super().fsync_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        self.before(Call("rename", target))
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.before(Call("link", target))
        super().link(source, target)

    def symlink(self, text: str, path: Path) -> None:
        self.before(Call("symlink", path))
        super().symlink(text, path)

    def unlink(self, path: Path) -> None:
        self.before(Call("unlink", path))
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self.before(Call("mkdir", path))
        super().mkdir(path)

    def rmdir(self, path: Path) -> None:
        self.before(Call("rmdir", path))
        super().rmdir(path)


class CutFileSystem(RecordingFileSystem):
    """The power goes at call number `at`, from 0."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at
        self._unsynced: dict[int, int] = {}
        """Descriptor to a second one of the same file, which outlives `close`."""

    def before(self, call: Call) -> None:
        super().before(call)
        if len(self.calls) > self._at:
            raise PowerCut(f"at call {self._at}: {call.name} {call.path.name}")

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._unsynced[descriptor] = os.dup(descriptor)
        return descriptor

    def write(self, fd: int, data: bytes | memoryview) -> int:
        try:
            return super().write(fd, data)
        except PowerCut:
            if len(self.calls) == self._at + 1:
                os.write(fd, data[: len(data) // 2])
            raise

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        if fd in self._unsynced:
            os.close(self._unsynced.pop(fd))

    def close(self, fd: int) -> None:
        super().close(fd)
        if fd in self._unsynced:  # the number is handed out again, the file is still not durable
            self._unsynced[-self._unsynced[fd]] = self._unsynced.pop(fd)

    def lose_power(self) -> None:
        """What was not fsynced is gone; the dead process holds nothing open."""
        for second in self._unsynced.values():
            os.ftruncate(second, 0)
            os.close(second)
        for descriptor in self._paths:
            os.close(descriptor)
        self._unsynced.clear()
        self._paths.clear()


class RefusingFileSystem(RecordingFileSystem):
    """The disk refuses call number `at`, from 0; with `stays_full` every later one too that takes space."""

    def __init__(self, at: int, number: int = errno.ENOSPC, *, stays_full: bool = False) -> None:
        super().__init__()
        self._at, self._errno, self._stays_full = at, number, stays_full
        self.refused: Call | None = None
        """The first call refused; None while none was."""

    def before(self, call: Call) -> None:
        super().before(call)
        is_later = len(self.calls) > self._at + 1
        if len(self.calls) == self._at + 1 or (is_later and self._stays_full and call.name in SPACE_TAKING):
            self.refused = self.refused or call
            raise OSError(self._errno, os.strerror(self._errno), str(call.path))

    def close(self, fd: int) -> None:
        try:
            super().close(fd)
        except OSError:  # Linux frees the descriptor whatever close answers
            os.close(fd)
            self._paths.pop(fd, None)
            raise


def die_before_reopening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process sign its torn writes as one that is dead, as whoever opens the store next would find it."""
    me = current_process()
    dead = ProcessIdentity(LARGEST_PID, 1, me.boot_id, me.host, me.user)
    monkeypatch.setattr(staging, "current_process", lambda: dead)
