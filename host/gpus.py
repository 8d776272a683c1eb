"""NVIDIA GPUs through NVML, where having none is a normal state and not an error.

A read never raises. Each figure is asked for by itself: one that the card does not offer is None and the rest
still shows, and a card that fell off the bus says so. A machine whose driver was missing is asked again once
a minute, so that a driver loaded later shows up.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ckptop.host.terminal import clean

NO_GPU = "no NVIDIA GPU"
"""The problem where there is no driver library, or a driver without a card."""

RETRY_SECONDS = 60.0
"""How long a failed start of NVML stands before the next one is tried."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU."""

    pid: int
    """As the driver knows it: inside a container it may name nothing."""
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one moment; a figure that it does not offer is None."""

    index: int
    uuid: str
    name: str
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilization_percent: int | None
    """Share of the last sampling period in which a kernel ran, 0 to 100."""
    temperature_celsius: int | None
    power_watts: float | None
    processes: tuple[GpuProcess, ...]
    problem: str | None
    """`lost`, `needs a reset` or what else the driver says is wrong with it; None when it is well."""


class GpuReader:
    """Reads all GPUs of this machine.

    NVML starts at the first read, which may take seconds where the driver is not kept loaded: read from a
    worker thread, and from one thread at a time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        """Why the last read was empty, in one line; None before the first."""
        self._clock = clock
        self._nvml: Any = None  # the pynvml module while NVML is started
        self._retry_at_seconds = -math.inf
        self._labels: dict[int, tuple[str, str]] = {}  # uuid and name: a lost GPU cannot tell them any more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> tuple[GpuSample, ...]:
        """One sample a GPU, in index order; empty with `problem` set where there is none. Never raises."""
        if self._nvml is None and not self._start():
            return ()
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            return self._give_up(_start_problem(self._nvml, error))
        if count == 0:
            return self._give_up(NO_GPU)
        self.problem = None
        return tuple(self._read_gpu(index) for index in range(count))

    def close(self) -> None:
        """Shut NVML down; a later read would start it again."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            with contextlib.suppress(nvml.NVMLError):  # the driver may have gone away first
                nvml.nvmlShutdown()

    def _start(self) -> bool:
        if self._clock() < self._retry_at_seconds:
            return False
        import pynvml  # 30 ms to import: only where GPUs are looked at

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._give_up(_start_problem(pynvml, error))
            return False
        self._nvml = pynvml
        self._labels.clear()
        return True

    def _give_up(self, problem: str) -> tuple[GpuSample, ...]:
        self.close()
        self.problem = problem
        self._retry_at_seconds = self._clock() + RETRY_SECONDS
        return ()

    def _read_gpu(self, index: int) -> GpuSample:
        nvml, ask = self._nvml, _Asker(self._nvml)
        handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            uuid, name = self._labels.get(index, ("", "GPU"))
            return GpuSample(index, uuid, name, None, None, None, None, None, (), ask.problem or "unknown")
        uuid, name = self._label(index, handle, ask)
        # The second version tells reserved memory from used; older drivers know only the first.
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
        if memory is None:
            memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        utilization = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = ask(nvml.nvmlDeviceGetPowerUsage, handle)
        processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        return GpuSample(
            index=index,
            uuid=uuid,
            name=name,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            utilization_percent=None if utilization is None else utilization.gpu,
            temperature_celsius=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            processes=tuple(GpuProcess(process.pid, process.usedGpuMemory) for process in processes),
            problem=ask.problem,
        )

    def _label(self, index: int, handle: object, ask: _Asker) -> tuple[str, str]:
        """The uuid and the name of a GPU, asked for once."""
        known = self._labels.get(index)
        if known is not None:
            return known
        uuid = ask(self._nvml.nvmlDeviceGetUUID, handle)
        name = ask(self._nvml.nvmlDeviceGetName, handle)
        label = clean(uuid or ""), clean(name or "GPU")
        if uuid and name:
            self._labels[index] = label
        return label


class _Asker:
    """Calls NVML for one GPU; keeps the first error that is about the GPU and not about the question."""

    def __init__(self, nvml: Any) -> None:
        self.problem: str | None = None
        self._nvml = nvml
        self._harmless = {
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            nvml.NVML_ERROR_INSUFFICIENT_SIZE,  # processes appeared between its two calls
        }

    def __call__(self, question: Callable[..., Any], *arguments: object) -> Any:
        """The answer; None where there is none."""
        try:
            return question(*arguments)
        except UnicodeDecodeError:  # a name that is no UTF-8
            return None
        except self._nvml.NVMLError as error:
            if self.problem is None and error.value not in self._harmless:
                self.problem = {
                    self._nvml.NVML_ERROR_GPU_IS_LOST: "lost",
                    self._nvml.NVML_ERROR_RESET_REQUIRED: "needs a reset",
                }.get(error.value, clean(str(error)).lower())
            return None


def _start_problem(nvml: Any, error: Any) -> str:
    """One line for a machine whose NVML does not start."""
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: NO_GPU,
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "NVIDIA driver and library versions differ; reboot",
        nvml.NVML_ERROR_NO_PERMISSION: "no permission to use the NVIDIA driver",
    }
    return known.get(error.value) or f"NVIDIA driver: {clean(str(error)).lower()}"
