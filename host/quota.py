"""What a user's quota leaves on the file system of a path, where the kernel can be asked for it.

`quotactl_fd` (Linux 5.14) needs no device name. Quotas that live on a server (NFS) or on a directory (project quotas)
are not told by it: these show as the size of the file system, or when they are used up.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

_QUOTACTL_FD = 443
"""The same number on every architecture: it is newer than their differences."""
_GET_USER_QUOTA = (0x800007 << 8) | 0
_BLOCK_BYTES = 1024


class _DiskQuota(ctypes.Structure):
    """`struct if_dqblk`."""

    _fields_ = [
        ("hard_blocks", ctypes.c_uint64),
        ("soft_blocks", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("hard_inodes", ctypes.c_uint64),
        ("soft_inodes", ctypes.c_uint64),
        ("used_inodes", ctypes.c_uint64),
        ("block_deadline", ctypes.c_uint64),
        ("inode_deadline", ctypes.c_uint64),
        ("valid", ctypes.c_uint32),
    ]


@dataclass(frozen=True, slots=True)
class Quota:
    """A user's quota on one file system."""

    used_bytes: int
    limit_bytes: int

    @property
    def left_bytes(self) -> int:
        """What may still be written."""
        return max(0, self.limit_bytes - self.used_bytes)


def user_quota(path: Path) -> Quota | None:
    """This user's quota where `path` lies; None where there is none, or it cannot be asked for."""
    answer = _ask(path)
    if answer is None:
        return None
    blocks = answer.hard_blocks or answer.soft_blocks
    return Quota(answer.used_bytes, blocks * _BLOCK_BYTES) if blocks else None


def _ask(path: Path) -> _DiskQuota | None:
    answer = _DiskQuota()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        libc = ctypes.CDLL(None)
        failed = libc.syscall(
            ctypes.c_long(_QUOTACTL_FD), ctypes.c_uint(descriptor), ctypes.c_uint(_GET_USER_QUOTA),
            ctypes.c_uint(os.getuid()), ctypes.byref(answer),
        )  # fmt: skip
    finally:
        os.close(descriptor)
    return None if failed else answer
