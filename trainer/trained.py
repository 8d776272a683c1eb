"""A trained model out of its file: the bytes verified, the model built by its task and loaded, ready to answer.

The task's code and the recorded configuration make the model, never the file: what it holds are numbers. Where it
was trained does not matter; the precision does, and is that of the training unless another is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch

from ckptop.store import tensors
from ckptop.store.checkpoint_info import as_it_is_now
from ckptop.store.errors import Damaged, NotFound, TrainingFailed, UsageError
from ckptop.store.hashing import sha256_of
from ckptop.store.model_files import ModelFile, task_in
from ckptop.store.state_dicts import apply_state
from ckptop.store.verified_reading import verify_before_load
from ckptop.store.verify import verify_checkpoint
from ckptop.trainer.build import evaluation_loader
from ckptop.trainer.config import TrainConfig, layered
from ckptop.trainer.device import Device, open_device
from ckptop.trainer.failure import is_out_of_memory
from ckptop.trainer.fitted import build_model, fitted_in
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.registry import load_task
from ckptop.trainer.task import Samples, Task

Advance = Callable[[float], None]
"""Told how much of the work is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """How models are asked; None is as they were trained."""

    task: str | None = None
    """A registered task or MODULE:CLASS; None is what the file's run recorded."""
    device: str = "auto"
    precision: str | None = None
    batch_size: int | None = None
    """Changes how much memory is needed, and no answer beyond rounding."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model with the weights of a file, in evaluation mode."""

    file: ModelFile
    task: Task[Any]
    config: TrainConfig[Any]
    """What it was trained with, as changed by `Inference`."""
    device: Device
    model: torch.nn.Module
    data_hash: str | None
    """Of the data it was trained on last; None where the file does not say."""

    def loader(self, samples: Samples) -> EpochLoader:
        """`samples` in their own order, in batches."""
        return evaluation_loader(samples, self.config, self.device)


def described(file: ModelFile) -> ModelFile:
    """The file, with the configuration that it holds itself where nothing beside it says.

    Raises:
        NotFound: It is gone.
        Damaged: Its manifest is unreadable, or it is no checkpoint of ckptop.
    """
    if file.config is not None:
        return file
    _verify(file)
    config = tensors.read_state(file.path).get("config")
    if not isinstance(config, Mapping):
        raise Damaged(f"{file.path} does not say what it was trained with; it is no checkpoint of ckptop")
    return replace(file, config=config, task=file.task or task_in(config))


def task_of(file: ModelFile, inference: Inference) -> Task[Any]:
    """The task a file is of.

    Raises:
        UsageError: Nothing says which, or it is not to be found here.
    """
    name = inference.task or file.task
    if name is None:
        raise UsageError(f"nothing says which task trained {file.label}; name it with --task")
    try:
        return load_task(name)
    except UsageError as error:
        if inference.task is not None:
            raise
        raise UsageError(f"{file.label} was trained by {name}, not found here: {error}; name it with --task") from None


def load_trained(file: ModelFile, task: Task[Any], inference: Inference) -> Trained:
    """Verify a file and load it into the model that its task and configuration make.

    Args:
        file: As `described` returned it.
        task: What `task_of` found.
        inference: How it will be asked.

    Raises:
        NotFound: It is gone, or another took its name meanwhile.
        Damaged: Its bytes are not those that were recorded, or it is no checkpoint.
        UsageError: Configuration and task make another model, or there is no such device.
    """
    _verify(file)
    state = tensors.read_state(file.path)
    if file.info is not None and as_it_is_now(file.info) is None:  # what was read may be what took its name
        raise NotFound(f"{file.label} is gone")
    weights = state.get("model_state_dict")
    if not isinstance(weights, Mapping):
        raise Damaged(f"{file.path} holds no model_state_dict; it is no checkpoint of ckptop")
    config = _config(file, task, inference)
    device = open_device(inference.device, config.precision, deterministic=config.deterministic)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    task = task.bound(config.model, fitted_in(weights, file.path))
    model = build_model(task, config.model)
    try:
        apply_state({"model_state_dict": weights}, file.path, model)
    except RuntimeError as error:
        raise UsageError(
            f"{error}, as task {task.name} makes it of the recorded configuration: its code changed, or --task means "
            f"another"
        ) from None
    model.to(device.torch_device).eval()
    loop = state.get("loop")
    data_hash = loop.get("data_hash") if isinstance(loop, Mapping) else None
    return Trained(
        file=file, task=task, config=config, device=device, model=model,
        data_hash=data_hash if isinstance(data_hash, str) else None,
    )  # fmt: skip


@contextlib.contextmanager
def memory_is_told(batch_size: int) -> Iterator[None]:
    """Say what to do where a batch does not fit.

    Raises:
        TrainingFailed: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition("\n")[0]
        smaller = max(1, batch_size // 2)
        raise TrainingFailed(f"out of memory: {first}; --batch-size {smaller} or --device cpu needs less") from error


def _verify(file: ModelFile) -> None:
    if file.info is not None:
        finding = verify_checkpoint(file.info)
        if finding is None:
            return
        if as_it_is_now(file.info) is None:
            raise NotFound(f"{file.label} is gone")
        raise Damaged(f"{finding.message}; it was not loaded: {finding.advice}")
    if file.sha256 is None:
        verify_before_load(file.path)
    elif not file.path.is_file():
        raise NotFound(f"{file.label}: {file.path} is gone")
    elif sha256_of(file.path) != file.sha256:
        raise Damaged(f"{file.label}: {file.path} is not what was released; it was not loaded")


def _config(file: ModelFile, task: Task[Any], inference: Inference) -> TrainConfig[Any]:
    recorded = {key: value for key, value in (file.config or {}).items() if key != "task"}
    try:
        config = layered(task.defaults(), recorded)
    except UsageError as error:
        raise UsageError(f"{file.label} was trained with what task {task.name} does not know: {error}") from None
    asked = {"precision": inference.precision, "batch_size": inference.batch_size}
    return msgspec.structs.replace(
        config, workers=0, **{key: value for key, value in asked.items() if value is not None}
    )
