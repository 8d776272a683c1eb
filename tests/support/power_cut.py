"""File systems that fail on purpose: the power goes at a chosen call, or the disk refuses it.

A cut write leaves half its bytes, every later call of the dead process fails as well, and what was never fsynced is
taken away afterwards, as a disk without battery does: bytes of files, and names in directories.

Whoever changes what stands in a tier or among the releases through this seam must hold the lock of that set.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from held_locks import require_locks
from lost_names import Loss, NameJournal

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

    def note(self, *paths: Path) -> None:
        """Called before names come to stand for something else; of a rename the new name first."""

    def _change(self, *paths: Path) -> None:
        require_locks(*paths)
        self.note(*paths)

    def create(self, path: Path) -> int:
        self.before(Call("create", path))
        self._change(path)
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, fd: int, data: bytes | memoryview) -> int:
        path = self._path_of(fd)
        self.before(Call("write", path))
        if path.name == "registry.jsonl":
            require_locks(path)
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
        self._change(target, source)
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.before(Call("link", target))
        self._change(target)
        super().link(source, target)

    def symlink(self, text: str, path: Path) -> None:
        self.before(Call("symlink", path))
        self._change(path)
        super().symlink(text, path)

    def unlink(self, path: Path) -> None:
        self.before(Call("unlink", path))
        self._change(path)
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self.before(Call("mkdir", path))
        if not path.is_dir():
            if not path.parent.is_dir():
                self.mkdir(path.parent)
            self.note(path)
        super().mkdir(path)

    def rmdir(self, path: Path) -> None:
        self.before(Call("rmdir", path))
        self._change(path)
        super().rmdir(path)


class CutFileSystem(RecordingFileSystem):
    """The power goes at call number `at`, from 0, and takes with it what was not fsynced."""

    def __init__(self, at: int, loss: Loss = "everything") -> None:
        super().__init__()
        self.loss = loss
        self.has_lost = False
        """Whether anything was not durable when the power went."""
        self._at = at
        self._names = NameJournal()
        self._unsynced: dict[int, tuple[int, int]] = {}
        """Descriptor to a second one of the same file, which outlives `close`, and the bytes of it that are durable."""

    @property
    def is_cut(self) -> bool:
        """Whether the power went; else there were no more calls than that."""
        return len(self.calls) > self._at

    def dies(self, act: Callable[[], object]) -> bool:
        """Act until the power goes, at its call or after the last; returns whether it went before the end."""
        try:
            act()
        except PowerCut:
            assert self.is_cut
        self.lose_power()
        return self.is_cut

    def before(self, call: Call) -> None:
        super().before(call)
        if self.is_cut:
            raise PowerCut(f"at call {self._at}: {call.name} {call.path.name}")

    def note(self, *paths: Path) -> None:
        self._names.note(*paths)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if fd not in self._unsynced and not self.is_cut:
            durable_bytes = os.fstat(fd).st_size
            self._unsynced[fd] = os.dup(fd), durable_bytes
            if fd not in self._paths and durable_bytes == 0:  # made by who opened it to append
                self._names.note_made(self._path_of(fd))
        try:
            return super().write(fd, data)
        except PowerCut:
            if len(self.calls) == self._at + 1:
                os.write(fd, data[: len(data) // 2])
            raise

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        synced = os.fstat(fd)
        for descriptor, (second, _) in list(self._unsynced.items()):
            if os.path.samestat(os.fstat(second), synced):
                os.close(second)
                del self._unsynced[descriptor]

    def close(self, fd: int) -> None:
        super().close(fd)
        if fd in self._unsynced:  # the number is handed out again, the file is still not durable
            second, durable_bytes = self._unsynced.pop(fd)
            self._unsynced[-second] = second, durable_bytes

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        self._names.sync(path)

    def lose_power(self) -> None:
        """What was not fsynced is gone, as `loss` says; the dead process holds nothing open."""
        self.has_lost = bool(self._unsynced)
        for second, durable_bytes in self._unsynced.values():
            size_bytes = os.fstat(second).st_size
            if isinstance(self.loss, random.Random) and size_bytes > durable_bytes:
                os.ftruncate(second, self.loss.randint(durable_bytes, size_bytes))
            else:
                os.ftruncate(second, durable_bytes)
            os.close(second)
        for descriptor in self._paths:
            os.close(descriptor)
        self._unsynced.clear()
        self._paths.clear()
        self.has_lost = self._names.lose(self.loss) > 0 or self.has_lost


def each_cut() -> Iterator[CutFileSystem]:
    """File systems to act on, cut off at each call in turn, with each kind of loss where that makes a difference.

    Of many writes in a row the first two have them all.
    The last is not cut off before the end: what was done on it must be there.
    """
    for at in itertools.count():
        losses: tuple[Loss, ...] = ("everything", "data", random.Random(at))  # noqa: S311 - to be the same each time
        for loss in losses:
            fs = CutFileSystem(at, loss)
            yield fs
            if not fs.is_cut:
                assert at >= 3, "the seam was not used"
                return
            is_among_writes = fs.calls[-1].name == "write" and fs.calls[-3:] == 3 * fs.calls[-1:]
            if is_among_writes or not fs.has_lost:
                break


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
