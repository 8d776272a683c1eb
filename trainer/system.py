"""Samples of the machine for system.jsonl: processor, memory and the GPU in use, from a thread of its own.

A minute's last sample of the GPU is said on the console too. NVML counts all that is used on a card; what torch
holds of it is asked of torch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil
import torch

from ckptop.host.gpus import GpuReader, GpuSample
from ckptop.host.machine import HostReader
from ckptop.host.units import format_bytes

SAY_SECONDS = 60.0
"""Between lines on the console."""
_FIGURES = ("memory_used_bytes", "memory_total_bytes", "utilization_percent", "temperature_celsius", "power_watts")

NOT_USED = "no GPU used"


@dataclass(slots=True)
class Figure:
    """A series of samples, reduced."""

    peak: float = float("-inf")
    total: float = 0.0
    samples: int = 0

    def add(self, value: float) -> None:
        """One more sample."""
        self.peak, self.total, self.samples = max(self.peak, value), self.total + value, self.samples + 1

    @property
    def mean(self) -> float:
        """Of at least one sample."""
        return self.total / self.samples


@dataclass(slots=True)
class GpuUsage:
    """What was sampled of the GPUs in use."""

    figures: dict[str, Figure] = field(default_factory=dict)
    """By the name in system.jsonl: `gpu0/power_watts`."""
    problem: str = "not sampled (system_interval_seconds is 0)"
    """Why there are no figures: `no NVIDIA GPU`."""

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Peak and mean of each figure."""
        return {name: {"peak": figure.peak, "mean": figure.mean} for name, figure in self.figures.items()}

    def lines(self) -> list[str]:
        """A line each GPU, or why there is none."""
        gpus = sorted({name.partition("/")[0] for name in self.figures})
        return [self._line(gpu) for gpu in gpus] or [self.problem]

    def _line(self, gpu: str) -> str:
        parts = []
        for name, what in (("memory_used_bytes", "used"), ("reserved_bytes", "reserved by torch")):
            if figure := self.figures.get(f"{gpu}/{name}"):
                parts.append(f"{format_bytes(int(figure.peak))} {what} at most, {format_bytes(int(figure.mean))} mean")
        for name, unit in (("utilization_percent", "%"), ("temperature_celsius", "°C"), ("power_watts", "W")):
            if figure := self.figures.get(f"{gpu}/{name}"):
                parts.append(f"{figure.peak:.0f} {unit} at most, {figure.mean:.0f} {unit} mean")
        return f"{gpu}: {' · '.join(parts)}"


class SystemSampler:
    """Calls `log` with a sample at once and then every so often, until it is closed."""

    def __init__(
        self,
        log: Callable[[Mapping[str, float]], None],
        interval_seconds: float,
        *,
        device: torch.device | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Begin to sample.

        Args:
            log: Called from the sampler's thread.
            interval_seconds: Above 0.
            device: What the training computes on: of the GPUs, that one alone is sampled. None samples all.
            say: Told the GPU's figures in a line, once a minute, from the sampler's thread.
        """
        self._log, self._interval_seconds, self._device, self._say = log, interval_seconds, device, say
        self.usage = GpuUsage()
        """Whole once it is closed."""
        self._said_seconds = float("-inf")
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
                # A sample is missed; the next may be had. torch raises RuntimeError where the driver has gone.
                with contextlib.suppress(OSError, RuntimeError, psutil.Error):
                    self._sample(gpus, host, process)
                if self._closing.wait(self._interval_seconds):
                    return

    def _sample(self, gpus: GpuReader, host: HostReader, process: psutil.Process) -> None:
        used = [gpu for gpu in gpus.read() if _is_in_use(gpu, self._device)]
        figures = _flatten(used) | {f"gpu{gpu.index}/{name}": value for gpu in used for name, value in self._held()}
        self._note(used, figures, gpus.problem)
        self._log({**_read_host(host, process), **figures})

    def _held(self) -> list[tuple[str, float]]:
        """What torch holds of the GPU it computes on."""
        device = self._device
        if device is None or device.type != "cuda":
            return []
        allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        return [("allocated_bytes", float(allocated)), ("reserved_bytes", float(reserved))]

    def _note(self, used: list[GpuSample], figures: dict[str, float], problem: str | None) -> None:
        """Take a sample into the usage, and say it now and then."""
        if not used:
            self.usage.problem = problem or NOT_USED
        for name, value in figures.items():
            if not name.endswith("total_bytes"):
                self.usage.figures.setdefault(name, Figure()).add(value)
        now = time.monotonic()
        if now - self._said_seconds >= SAY_SECONDS:
            is_first, self._said_seconds = self._said_seconds < 0, now
            for gpu in used:
                self._say(_line(gpu, figures.get(f"gpu{gpu.index}/reserved_bytes")))
            if not used and is_first:
                self._say(f"GPU memory: {self.usage.problem}")


def _is_in_use(gpu: GpuSample, device: torch.device | None) -> bool:
    """Whether the training computes on this GPU: torch and NVML number them each in its own way."""
    if device is None:
        return True
    if device.type != "cuda":
        return False
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return gpu.uuid.endswith(uuid)


def _line(gpu: GpuSample, reserved_bytes: float | None) -> str:
    parts = []
    if gpu.memory_used_bytes is not None and gpu.memory_total_bytes is not None:
        held = f" ({format_bytes(int(reserved_bytes))} reserved by torch)" if reserved_bytes is not None else ""
        parts.append(f"{format_bytes(gpu.memory_used_bytes)} of {format_bytes(gpu.memory_total_bytes)} used{held}")
    figures = ((gpu.utilization_percent, "%"), (gpu.temperature_celsius, "°C"), (gpu.power_watts, "W"))
    parts += [f"{value:.0f} {unit}" for value, unit in figures if value is not None]
    return f"GPU {gpu.index}: {', '.join(parts) or gpu.problem or 'it tells nothing'}"


def _read_host(host: HostReader, process: psutil.Process) -> dict[str, float]:
    sample = host.read()
    return {
        "cpu_percent": sample.cpu_percent,
        "memory_used_bytes": sample.memory_used_bytes,
        "memory_total_bytes": sample.memory_total_bytes,
        "process_memory_bytes": process.memory_info().rss,
    }


def _flatten(gpus: list[GpuSample]) -> dict[str, float]:
    """`gpu0/memory_used_bytes` and so on; what a GPU does not offer has no key."""
    values = {f"gpu{gpu.index}/{name}": getattr(gpu, name) for gpu in gpus for name in _FIGURES}
    return {name: float(value) for name, value in values.items() if value is not None}
