"""This machine over the last ten minutes, for the hardware pane.

While no run is live the figures hold still until they have moved by more than noise: an idle screen must not
be written every two seconds because a percentage trembles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ckptop.host.gpus import GpuReader, GpuSample
from ckptop.host.machine import DiskSpace, HostReader, HostSample, disk_space
from ckptop.host.processes import ProcessReader
from ckptop.tui.model import GpuHistory, Hardware

SAMPLE_SECONDS = 2.0
BUCKET_SECONDS = 15.0
BUCKETS = 40
"""Ten minutes."""

CPU_NOISE_PERCENT = 5.0
MEMORY_NOISE = 0.01
"""Share of the whole."""
DISK_NOISE = 0.001

LEAST_RATE_SECONDS = 60.0
"""How long the disk is watched before its rate is told."""
LEAST_RATE_BYTES = 1024
"""A second; below this a disk does not fill."""


class HardwareSampler:
    """Reads GPUs, processor, memory and disk; from one thread."""

    def __init__(self, store: Path, gpus: GpuReader | None = None, host: HostReader | None = None) -> None:
        self._store = store
        self._processes = ProcessReader()
        self._gpus = gpus or GpuReader()
        self._host = host or HostReader()
        self._memory = _History()
        self._utilization: dict[int, _History] = {}
        self._gpu_memory: dict[int, _History] = {}
        self._disk: deque[tuple[float, int]] = deque()
        self._shown: Hardware | None = None

    def sample(self, now: float, *, live: bool, pids: Sequence[int] = ()) -> Hardware:
        """The machine at `now`, seconds by any steady clock; the same object where nothing moved.

        Args:
            now: Seconds by any steady clock.
            live: Whether a run is at work: figures hold still otherwise.
            pids: Processes to tell of, beside those that hold memory of a GPU.
        """
        host = self._host.read()
        gpus = self._gpus.read()
        self._memory.add(now, host.memory_used_bytes / max(1, host.memory_total_bytes))
        for gpu in gpus:
            history = self._utilization.setdefault(gpu.index, _History())
            history.add(now, (gpu.utilization_percent or 0) / 100)
            memory = self._gpu_memory.setdefault(gpu.index, _History())
            memory.add(now, (gpu.memory_used_bytes or 0) / max(1, gpu.memory_total_bytes or 1))
        disk = self._look_at_disk(now)
        rate = self._fill_rate()
        new = Hardware(
            host=host,
            gpus=gpus,
            gpu_problem=self._gpus.problem,
            disk=disk,
            memory_history=self._memory.shares,
            gpu_history=tuple(
                GpuHistory(self._utilization[gpu.index].shares, self._gpu_memory[gpu.index].shares) for gpu in gpus
            ),
            processes=self._processes.read([*pids, *(process.pid for gpu in gpus for process in gpu.processes)]),
            full_in_seconds=disk.free_bytes / rate if disk is not None and rate > 0 else None,
            fill_bytes_per_second=rate,
        )
        if self._shown is None or (new != self._shown and (live or _moved(self._shown, new))):
            self._shown = new
        return self._shown

    def _look_at_disk(self, now: float) -> DiskSpace | None:
        path = self._store
        while True:
            try:
                disk = disk_space(path)
                break
            except OSError:
                if path == path.parent:
                    return None
                path = path.parent  # a store that is not there yet
        self._disk.append((now, disk.free_bytes))
        while self._disk[0][0] < now - BUCKETS * BUCKET_SECONDS:
            self._disk.popleft()
        return disk

    def _fill_rate(self) -> float:
        """Bytes a second by which the disk has filled; 0 where it did not, or it is too early to tell."""
        if len(self._disk) < 2:
            return 0.0
        (start, before), (end, after) = self._disk[0], self._disk[-1]
        if end - start < LEAST_RATE_SECONDS:
            return 0.0
        rate = (before - after) / (end - start)
        return rate if rate >= LEAST_RATE_BYTES else 0.0


class _History:
    """Means of 15 seconds each."""

    def __init__(self) -> None:
        self.shares: tuple[float, ...] = ()
        self._past: tuple[float, ...] = ()
        self._bucket: int | None = None
        self._values: list[float] = []

    def add(self, now: float, share: float) -> None:
        bucket = int(now // BUCKET_SECONDS)
        if self._bucket is not None and bucket != self._bucket:
            self._past, self._values = self.shares, []
        self._bucket = bucket
        self._values.append(share)
        self.shares = (*self._past, sum(self._values) / len(self._values))[-BUCKETS:]


def _moved(old: Hardware, new: Hardware) -> bool:
    """Whether anything moved by more than noise."""
    if len(old.gpus) != len(new.gpus) or old.gpu_problem != new.gpu_problem:
        return True
    return (
        _host_moved(old.host, new.host)
        or _disk_moved(old.disk, new.disk)
        or any(_gpu_moved(before, after) for before, after in zip(old.gpus, new.gpus, strict=True))
    )


def _host_moved(old: HostSample, new: HostSample) -> bool:
    used = abs(old.memory_used_bytes - new.memory_used_bytes) / max(1, new.memory_total_bytes)
    return abs(old.cpu_percent - new.cpu_percent) > CPU_NOISE_PERCENT or used > MEMORY_NOISE


def _disk_moved(old: DiskSpace | None, new: DiskSpace | None) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(old.free_bytes - new.free_bytes) / max(1, new.total_bytes) > DISK_NOISE


def _gpu_moved(old: GpuSample, new: GpuSample) -> bool:
    if (old.problem, old.processes) != (new.problem, new.processes):
        return True
    load = abs((old.utilization_percent or 0) - (new.utilization_percent or 0))
    heat = abs((old.temperature_celsius or 0) - (new.temperature_celsius or 0))
    return load > CPU_NOISE_PERCENT or heat > 2
