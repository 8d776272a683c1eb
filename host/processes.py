"""What some processes of this machine use: processor, memory, since when. One that is gone is left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptop.host.terminal import clean

if TYPE_CHECKING:
    import psutil

NAME_LIMIT = 60


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process at one moment."""

    pid: int
    name: str
    """Of its program, clean."""
    user: str
    """Clean; empty where it cannot be told."""
    cpu_percent: float
    """100 is one processor; since the reader's previous read."""
    memory_bytes: int
    """Resident."""
    started: float
    """Seconds since the epoch."""


class ProcessReader:
    """Reads processes by pid; from one thread, for load is counted between two reads."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def read(self, pids: Iterable[int]) -> tuple[ProcessSample, ...]:
        """A sample of each of these that is there, by pid."""
        wanted = sorted(set(pids))
        self._known = {pid: process for pid, process in self._known.items() if pid in wanted}
        return tuple(sample for pid in wanted if (sample := self._sample(pid)) is not None)

    def _sample(self, pid: int) -> ProcessSample | None:
        import psutil  # 30 ms to import: only where a machine is looked at

        try:
            process = self._known.get(pid)
            if process is None or not process.is_running():  # its pid may be another's by now
                process = self._known[pid] = psutil.Process(pid)
            with process.oneshot():
                return ProcessSample(
                    pid=pid,
                    name=clean(process.name(), NAME_LIMIT),
                    user=_user(process),
                    cpu_percent=process.cpu_percent(),
                    memory_bytes=process.memory_info().rss,
                    started=process.create_time(),
                )
        except (psutil.Error, OSError, ValueError, OverflowError):  # a driver may tell a pid of another namespace
            self._known.pop(pid, None)
            return None


def _user(process: psutil.Process) -> str:
    import psutil

    try:
        return clean(process.username(), NAME_LIMIT)
    except (psutil.Error, OSError, KeyError):
        return ""
