"""An exclusive lock on a file, between processes and between threads.

POSIX record locks (`fcntl.lockf`), because `flock` stays held by a forked child after its parent was killed.
They do not exclude threads of one process, and closing ANY descriptor of the file drops them: so each path has
one guard in the process, which alone opens the file. A thread may take a lock again that it holds, so that
whoever changes checkpoints can append an event under the same lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from ckptop.store.errors import DiskError, Held
from ckptop.store.files import open_to_change

TIMEOUT_SECONDS = 30.0
"""Locks are held for renames and appends only, so that this means a stopped process or a lost host."""

_FIRST_WAIT_SECONDS = 0.001
_LONGEST_WAIT_SECONDS = 0.05
_BUSY = frozenset({errno.EACCES, errno.EAGAIN})
_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


class FileLock:
    """Exclusive while a `with` block runs; the file stays behind, empty, and says nothing.

    The lock belongs to the thread that took it; a forked child holds nothing.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._guard = _guard_of(path)

    def __enter__(self) -> Self:
        """Take the lock, waiting up to `timeout_seconds`.

        Raises:
            Held: Somebody else kept it all that time.
            DiskError: The file cannot be opened or its file system has no locks.
        """
        deadline = time.monotonic() + self._timeout_seconds
        guard = self._guard
        if not guard.threads.acquire(timeout=self._timeout_seconds):
            raise self._held_by("another thread of this process")
        try:
            if guard.depth == 0:
                guard.descriptor = self._lock_file(deadline)
            guard.depth += 1
        except BaseException:
            guard.threads.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard = self._guard
        if guard.depth == 0:
            return  # we are a child forked inside the block, and never held it
        guard.depth -= 1
        if guard.depth == 0:
            guard.close()
        guard.threads.release()

    def _lock_file(self, deadline: float) -> int:
        """An open descriptor that holds the lock on the file that stands at the path now."""
        while True:
            descriptor = self._open()
            try:
                self._wait_for(descriptor, deadline)
                if _is_still_at(descriptor, self.path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the directory was moved or deleted while we waited

    def _open(self) -> int:
        try:
            return open_to_change(self.path, os.O_RDWR, 0o666)
        except DiskError:
            raise
        except OSError as error:
            raise DiskError(error.errno, f"{self.path} cannot be locked: {error.strerror}") from error

    def _wait_for(self, descriptor: int, deadline: float) -> None:
        # A blocking lockf has no time limit, hence the polling; an Event waits without a busy loop.
        pause, pause_seconds = threading.Event(), _FIRST_WAIT_SECONDS
        while not try_lock(descriptor, self.path):
            if time.monotonic() >= deadline:
                raise self._held_by("another process")
            pause.wait(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_WAIT_SECONDS)

    def _held_by(self, who: str) -> Held:
        waited = f"waited {self._timeout_seconds:g} s"
        return Held(f"{self.path} is held by {who} ({waited}); try again when it is done")


def try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file exclusively without waiting; False if another process has it.

    Raises:
        DiskError: The file system has no locks, or refused for another reason.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise DiskError(
            error.errno, f"{path} cannot be locked: {error.strerror}; mount its file system with locks"
        ) from error
    return True


def lock_holder(descriptor: int) -> int | None:
    """The pid that holds a lock on this open file; None if nobody does, or nobody of this machine that we can see."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError:
        return None
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None


def is_locked(descriptor: int) -> bool:
    """Whether another process has a lock on this open file, whether or not we can see which."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
    except OSError:
        return False
    return kind != fcntl.F_UNLCK


class _Guard:
    """The one holder of a path in this process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.threads = threading.RLock()
        self.depth = 0
        self.descriptor: int | None = None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


_guards: weakref.WeakValueDictionary[str, _Guard] = weakref.WeakValueDictionary()
_guards_lock = threading.Lock()


def _guard_of(path: Path) -> _Guard:
    key = os.path.realpath(path)
    with _guards_lock:
        guard = _guards.get(key)
        if guard is None:
            guard = _guards[key] = _Guard()
        return guard


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _forget_locks_in_child() -> None:
    """A child inherits descriptors but no locks, and threads that held a guard do not exist in it."""
    global _guards_lock
    _guards_lock = threading.Lock()
    for guard in list(_guards.values()):
        guard.close()
        guard.reset()


os.register_at_fork(after_in_child=_forget_locks_in_child)
