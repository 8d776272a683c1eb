"""The whole machine: processor, memory and disk space.

Processor load is measured between two reads of one reader. psutil keeps that state per thread of the process,
where two readers, or a reader that moves to another thread, would spoil each other's figures; ours is in the
reader.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostSample:
    """Load and memory of this machine at one moment."""

    cpu_percent: float
    """0 to 100 over all processors, since the reader's previous read."""
    cpu_count: int
    """Logical processors of the machine."""
    memory_used_bytes: int
    """What programs cannot get any more: total less available, so the page cache does not count."""
    memory_total_bytes: int


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Room on the file system that holds a path."""

    free_bytes: int
    """What this user may still write; root's reserve is not in it."""
    total_bytes: int


class HostReader:
    """Reads this machine; the first sample's load is since construction."""

    def __init__(self) -> None:
        self._busy_seconds, self._total_seconds = _cpu_seconds()

    def read(self) -> HostSample:
        """One sample; the load is 0.0 where no processor time has passed since the last one."""
        import psutil  # 30 ms to import: only where a machine is looked at

        busy_seconds, total_seconds = _cpu_seconds()
        elapsed_seconds = total_seconds - self._total_seconds
        share = (busy_seconds - self._busy_seconds) / elapsed_seconds if elapsed_seconds > 0 else 0.0
        self._busy_seconds, self._total_seconds = busy_seconds, total_seconds
        memory = psutil.virtual_memory()
        return HostSample(
            cpu_percent=100.0 * min(1.0, max(0.0, share)),  # iowait may run backwards
            cpu_count=psutil.cpu_count() or 1,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
        )


def disk_space(path: str | os.PathLike[str]) -> DiskSpace:
    """Room on the file system that holds `path`.

    Raises:
        OSError: `path` does not exist or cannot be reached.
    """
    status = os.statvfs(Path(path))
    return DiskSpace(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def _cpu_seconds() -> tuple[float, float]:
    """Busy and total processor seconds since boot, over all processors."""
    import psutil

    times = psutil.cpu_times()._asdict()
    # Linux counts guests in user and nice already.
    total_seconds = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total_seconds - times["idle"] - times.get("iowait", 0.0), total_seconds
