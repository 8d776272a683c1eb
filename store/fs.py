"""The one seam under every change to the disk, so that a test can stop between any two calls.

Reads do not go through it: they change nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_UNSYNCABLE = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What some network file systems answer to fsync of a directory; nothing else is tolerated."""

_FALLOC_FL_KEEP_SIZE = 1
_NO_RESERVING = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EPERM})

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""How a full disk, and a quota that is used up, answer."""


class FileSystem:
    """The calls the store makes to change the disk; each either happens or raises OSError."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; FileExistsError if it is there."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)

    write: Callable[[int, bytes | memoryview], int] = staticmethod(os.write)
    """Write some of the data to a descriptor; returns how many bytes. The system's own: logs write every step."""

    def fsync(self, fd: int) -> None:
        """Wait until the file's bytes are durable."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def fsync_dir(self, path: Path) -> None:
        """Wait until the names in a directory are durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _UNSYNCABLE:
                raise
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename; an existing target file is replaced, so callers look first, under the lock."""
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        """Hard link; FileExistsError if the target is there."""
        os.link(source, target)

    def symlink(self, text: str, path: Path) -> None:
        """Make a symbolic link holding `text`."""
        path.symlink_to(text)

    def unlink(self, path: Path) -> None:
        """Remove a file or link."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Make a directory and its parents, durably; no error if it is there."""
        if path.is_dir():
            return
        if path.parent != path:
            self.mkdir(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        self.fsync_dir(path.parent)

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def reserve(self, fd: int, size_bytes: int) -> bool:
        """Take the blocks of `size_bytes` for a new file before it is written; False where the file system cannot.

        A disk or a quota that cannot hold the file says so here (ENOSPC, EDQUOT), not gigabytes later. The file's
        size stays what was written, so reserve no more than that.
        """
        import ctypes  # 5 ms that no reader needs

        libc = ctypes.CDLL(None, use_errno=True)
        fallocate = getattr(libc, "fallocate64", None) or libc.fallocate  # musl has the one name only
        length = ctypes.c_longlong(size_bytes)
        if size_bytes == 0 or fallocate(fd, _FALLOC_FL_KEEP_SIZE, ctypes.c_longlong(0), length) == 0:
            return True
        number = ctypes.get_errno()
        if number in _NO_RESERVING:
            return False
        raise OSError(number, os.strerror(number))

    def bypass_cache(self, fd: int, wanted: bool) -> bool:
        """Whether writes to `fd` go past the page cache from now on, of whole blocks alone; False where they cannot."""
        flag = getattr(os, "O_DIRECT", 0)
        try:
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | flag if wanted else flags & ~flag)
        except OSError:  # a file system in memory, or one that keeps copies elsewhere
            return False
        return wanted and bool(flag)

    def free_bytes(self, path: Path) -> int | None:
        """Bytes that may still be written to the file system of `path`; None where it does not say."""
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize if facts.f_blocks else None

    def write_all(self, fd: int, data: bytes | memoryview) -> None:
        """Write the whole of `data`, however often the system takes less."""
        view = memoryview(data)
        while view:
            view = view[self.write(fd, view) :]


LOCAL = FileSystem()
"""The real thing."""
