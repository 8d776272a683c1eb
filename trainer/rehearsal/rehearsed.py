"""The trainer's side of a rehearsal: it stops, or dies, at a step set beforehand, and measures what is left to measure.

There is no second loop. A rehearsal starts `ckptop train` itself and says in a variable of its environment, as a
resume does, at which step to end. That is obeyed where the loop asks between any two steps whether somebody wants it
to stop. A request in `control/` or a signal would come some steps late, and by the clock: two runs could not be made
to end at the same step. The log is no place to count steps either: on CUDA its lines come one step late.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from ckptop.store.errors import UsageError
from ckptop.store.files import write_durably
from ckptop.store.run import Run
from ckptop.trainer.build import evaluation_loader
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.parts import Parts
from ckptop.trainer.rehearsal.records import MEASURED, REHEARSAL_VARIABLE, Evaluated, GpuMemory, Measured, Orders
from ckptop.trainer.state import Progress
from ckptop.trainer.task import TaskData

EVALUATION_SECONDS = 10.0
"""How long a part of the data is evaluated at most; the rest is scaled from the batches that were."""
WARM_UP_SECONDS = 1.0
"""A pass that takes less is done again."""

_OWN_STATUS = Path("/proc/self/status")


class RehearsedRun(Run):
    """A run that ends at a step set beforehand; everything else is that of any run."""

    _orders = Orders()
    _progress: Progress | None = None

    def follow(self, progress: Progress) -> None:
        """Obey the orders of the environment from now on; `progress` is the loop's own, which it moves on."""
        self._orders, self._progress = _orders(), progress

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked for it, or the step is reached at which to stop; at that to die at, it dies."""
        step = self._progress.step if self._progress is not None else 0
        orders = self._orders
        if orders.kill_at_step is not None and step >= orders.kill_at_step:
            self.end_saves()  # the resume shall begin from it
            os.kill(os.getpid(), signal.SIGKILL)
        if orders.stop_at_step is not None and step >= orders.stop_at_step:
            self.request_stop("the rehearsal is done")
        return super().should_stop


def run_class() -> type[Run]:
    """What this process's run is: a rehearsed one where the environment says so."""
    return RehearsedRun if os.environ.get(REHEARSAL_VARIABLE) else Run


def measure(run: RehearsedRun, parts: Parts, data: TaskData) -> None:
    """Evaluate both parts for a while, look at the memory, and write it all down in the run's directory."""
    validation = _evaluated(parts, parts.validation, "val")
    test = _evaluated(parts, evaluation_loader(data.test, parts.config, parts.device), "test")
    worker_count, worker_bytes = _workers()
    measured = Measured(
        validation=validation, test=test, peak_memory_bytes=_peak_memory(), worker_memory_bytes=worker_bytes,
        worker_count=worker_count, gpu=_gpu_memory(parts.device.torch_device),
    )  # fmt: skip
    write_durably(run.root / MEASURED, msgspec.json.encode(measured))


class _TimeIsUp(Exception):
    pass


def _evaluated(parts: Parts, loader: EpochLoader, split: str) -> Evaluated:
    """One pass; a quick one is done twice, since most of the first is what happens only once."""
    first = _pass(parts, loader, split)
    return first if first.seconds > WARM_UP_SECONDS else _pass(parts, loader, split)


def _pass(parts: Parts, loader: EpochLoader, split: str) -> Evaluated:
    began, batches = time.perf_counter(), 0

    def count() -> None:
        nonlocal batches
        batches += 1
        if time.perf_counter() - began > EVALUATION_SECONDS and batches < loader.batches.batch_count:
            raise _TimeIsUp

    with suppress(_TimeIsUp):
        evaluate(parts.task, parts.network, loader, parts.device, split, count)
    if parts.device.is_cuda:
        torch.cuda.synchronize(parts.device.torch_device)
    seconds = time.perf_counter() - began
    return Evaluated(seconds=seconds, batches=batches, batch_count=loader.batches.batch_count)


def _peak_memory() -> int | None:
    # Not getrusage: its figure also remembers the process that started this one.
    for line in _OWN_STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def _workers() -> tuple[int, int | None]:
    """How many processes this one has started, all generations, and what they hold."""
    children = psutil.Process().children(recursive=True)
    try:
        return len(children), sum(int(_memory(child).pss) for child in children)
    except psutil.Error:
        return len(children), None


def _memory(process: psutil.Process) -> Any:
    return process.memory_full_info()  # Linux has the proportional share, which psutil's types do not


def _gpu_memory(device: torch.device) -> GpuMemory | None:
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return GpuMemory(
        name=torch.cuda.get_device_name(device), peak_bytes=torch.cuda.max_memory_allocated(device),
        available_bytes=free + torch.cuda.memory_reserved(device), total_bytes=total,
    )  # fmt: skip


def _orders() -> Orders:
    text = os.environ.get(REHEARSAL_VARIABLE, "{}")
    try:
        return msgspec.json.decode(text, type=Orders)
    except msgspec.DecodeError as error:
        raise UsageError(f"{REHEARSAL_VARIABLE} does not hold a rehearsal's orders: {error}; unset it") from None
