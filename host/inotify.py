"""Whether changes of files can be watched here: the kernel's limits, and a watch that is really tried."""

from __future__ import annotations

import ctypes
import errno
import os
import select
from dataclasses import dataclass
from pathlib import Path

LIMITS = Path("/proc/sys/fs/inotify")

_IN_CREATE = 0x100
_EVENT_BYTES = 4096
_WAIT_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """What one user may watch, over all processes."""

    watches: int
    """Directories."""
    instances: int


def watch_limits(limits: Path = LIMITS) -> WatchLimits | None:
    """The kernel's limits; None where there are none to be read."""
    try:
        watches, instances = (int((limits / name).read_text()) for name in ("max_user_watches", "max_user_instances"))
    except (OSError, ValueError):
        return None
    return WatchLimits(watches, instances)


def try_watch(directory: Path) -> str | None:
    """Watch `directory` and make a file in it; None if that was told of, else one line that says what failed."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return _reason(ctypes.get_errno())
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), ctypes.c_uint32(_IN_CREATE)) < 0:
            return _reason(ctypes.get_errno())
        (directory / "watched").touch()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_WAIT_MILLISECONDS) or not os.read(descriptor, _EVENT_BYTES):
            return "a new file was not told of"
    except OSError as error:
        return str(error.strerror)
    finally:
        os.close(descriptor)
    return None


def _reason(number: int) -> str:
    if number == errno.EMFILE:
        return "every inotify instance is in use"
    return "every inotify watch is in use" if number == errno.ENOSPC else os.strerror(number)
