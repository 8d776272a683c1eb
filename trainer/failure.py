"""What ends a training by force, said in one line with what to do, in its log too."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

import torch

from ckptop.store.errors import CkptopError, TrainingFailed
from ckptop.store.run import Run
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.console import Console

_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
"""The CPU's allocator raises a plain RuntimeError."""


@contextlib.contextmanager
def told_to(console: Console, run: Run, config: TrainConfig[Any]) -> Iterator[None]:
    """What ends a training is in its log too, not only on a terminal that may be gone.

    Raises:
        TrainingFailed: Memory ran out: it says what to lower, and with what a resumed run fitted before. Or
            torch.compile could not compile.
    """
    try:
        yield
    except CkptopError as error:
        console.note(f"ckptop: {error}")
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        if is_out_of_memory(error):
            failed = TrainingFailed(f"out of memory: {first}; {_advice(run, config)}")
        elif type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            failed = TrainingFailed(f"torch.compile failed: {first}; --set compile=false goes on without it")
        else:
            console.note(traceback.format_exc())
            raise
        console.keep(traceback.format_exc())
        console.note(f"ckptop: {failed}")
        raise failed from error


@contextlib.contextmanager
def model_must_fit() -> Iterator[None]:
    """What is put together within the block is as large whatever the batch.

    Raises:
        TrainingFailed: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).strip().partition("\n")[0]
        raise TrainingFailed(
            f"out of memory: {first}; the model alone does not fit; free the device, or train a smaller one"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the host had no more memory to give."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OUT_OF_MEMORY)


def _advice(run: Run, config: TrainConfig[Any]) -> str:
    size = config.batch_size
    parts = next((parts for parts in range(2, size + 1) if size % parts == 0), 0)  # whole ones, so also mid-epoch
    lower = f"--batch-size {size // parts} --set accumulate={config.accumulate * parts}"
    if not parts:
        lower = "--set precision=bf16"
    manifest = run.start.manifest
    if manifest is None:
        return f"resume with a smaller batch and the same step: {lower}"
    saved = manifest.config
    before = ", ".join(f"{key} {saved[key]}" for key in ("batch_size", "accumulate", "precision") if key in saved)
    where = manifest.environment.get("device", "an unknown device")
    now = f"batch_size {config.batch_size}, accumulate {config.accumulate}, precision {config.precision}"
    return f"the checkpoint was trained with {before} on {where}, this attempt with {now}; with the same step: {lower}"
