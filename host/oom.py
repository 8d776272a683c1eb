"""Whether the kernel's out-of-memory killer took a process: counters compared over its life, and the kernel's log.

A process that dies of SIGKILL cannot say who sent it. The kernel counts its own kills, for each control group and for
the whole machine, so a count that did not move clears it; one that moved makes it likely; only the kernel's log names
the process, and most machines let nobody but root read that.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
KERNEL_LOG = Path("/dev/kmsg")

_LOG_RECORDS = 20_000
"""The kernel's buffer holds fewer; a bound all the same."""
_RECORD_BYTES = 8192


@dataclass(frozen=True, slots=True)
class OomCounts:
    """How often the kernel has killed for want of memory, at one moment."""

    group: str | None = None
    """Directory of the process's control group, where one counts."""
    group_kills: int | None = None
    """Processes of that group."""
    machine_kills: int | None = None
    """Of the whole machine, since it was started."""


def read_oom_counts(proc: Path = PROC, cgroups: Path = CGROUPS) -> OomCounts:
    """The counts now, as this process sees them; None for what the machine does not tell."""
    directory, name = _own_group(proc, cgroups)
    kills = _counter(directory / name, "oom_kill") if directory is not None else None
    return OomCounts(str(directory) if kills is not None else None, kills, _counter(proc / "vmstat", "oom_kill"))


def killed_for_memory(pid: int, before: OomCounts, *, proc: Path = PROC, log: Path = KERNEL_LOG) -> bool | None:
    """Whether the kernel killed `pid`, which died of SIGKILL, for want of memory.

    Args:
        pid: The process; it must have died on this machine, since its last start.
        before: What was read when it began.
        proc: Where the kernel's process files are mounted.
        log: The kernel's log.

    Returns:
        True where the log names it or its group's count has moved, False where no count that covers it has, None
        where nothing tells.
    """
    machine_kills = _counter(proc / "vmstat", "oom_kill")
    if machine_kills is not None and machine_kills == before.machine_kills:
        return False
    group_kills = None
    if before.group is not None and before.group_kills is not None:
        name = "memory.events" if (Path(before.group) / "memory.events").exists() else "memory.oom_control"
        group_kills = _counter(Path(before.group) / name, "oom_kill")
        if group_kills is not None and group_kills > before.group_kills:
            return True
    if _is_named(pid, log):
        return True
    return None if group_kills is None else False


def _own_group(proc: Path, cgroups: Path) -> tuple[Path | None, str]:
    """The control group that counts this process's kills, and the file in which it does."""
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, name = cgroups, "memory.events"
            elif "memory" in controllers.split(","):
                root, name = cgroups / "memory", "memory.oom_control"
            else:
                continue
            group = root / path.lstrip("/")
            # In a container the path may be the host's, and only the root is there.
            for directory in (group, root):
                if (directory / name).exists():
                    return directory, name
    return None, ""


def _counter(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of `name number` lines; None where there is none."""
    with contextlib.suppress(OSError, ValueError, UnicodeDecodeError):
        for line in path.read_text().splitlines():
            key, _, number = line.partition(" ")
            if key == name:
                return int(number)
    return None


def _is_named(pid: int, log: Path) -> bool:
    """Whether the kernel's log says that `pid` was killed; False too where it may not be read."""
    pattern = re.compile(rb"[Oo]ut of memory: Killed process %d \(" % pid)
    with contextlib.suppress(OSError):
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for _ in range(_LOG_RECORDS):
                try:
                    record = os.read(descriptor, _RECORD_BYTES)  # one record a read; EAGAIN when there are no more
                except BrokenPipeError:  # records were overwritten while we read
                    continue
                if not record:
                    return False
                if pattern.search(record):
                    return True
        finally:
            os.close(descriptor)
    return False
