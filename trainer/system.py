"""Samples of the machine for system.jsonl: processor, memory and GPUs, from a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import psutil

from ckptop.host.gpus import GpuReader, GpuSample
from ckptop.host.machine import HostReader


class SystemSampler:
    """Calls `log` with a sample at once and then every so often, until it is closed."""

    def __init__(self, log: Callable[[Mapping[str, float]], None], interval_seconds: float) -> None:
        """`interval_seconds` is above 0; `log` is called from the sampler's thread."""
        self._log, self._interval_seconds = log, interval_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptop-system", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        host, process = HostReader(), psutil.Process()
        with GpuReader() as gpus:
            while True:
                with contextlib.suppress(OSError, psutil.Error):  # a sample is missed; the next may be had
                    self._log({**_read_host(host, process), **_flatten(gpus.read())})
                if self._closing.wait(self._interval_seconds):
                    return


def _read_host(host: HostReader, process: psutil.Process) -> dict[str, float]:
    sample = host.read()
    return {
        "cpu_percent": sample.cpu_percent,
        "memory_used_bytes": sample.memory_used_bytes,
        "memory_total_bytes": sample.memory_total_bytes,
        "process_memory_bytes": process.memory_info().rss,
    }


def _flatten(gpus: tuple[GpuSample, ...]) -> dict[str, float]:
    """`gpu0/memory_used_bytes` and so on; what a GPU does not offer has no key."""
    names = ("memory_used_bytes", "memory_total_bytes", "utilization_percent", "temperature_celsius", "power_watts")
    values = {f"gpu{gpu.index}/{name}": getattr(gpu, name) for gpu in gpus for name in names}
    return {name: float(value) for name, value in values.items() if value is not None}
