"""From a configuration to everything a training is made of, in the order an exact resume needs.

Assemble, which refuses what cannot be trained before there is a run; load the checkpoint over it and derive the
schedule from where it stands; the position in the data follows by arithmetic, and the random state comes last, when
the loop has its first iterator.
"""

from __future__ import annotations

import os
import shutil
import warnings
from typing import Any, cast

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import TensorDataset

from ckptop.store.errors import DataError, UsageError
from ckptop.store.run import Run
from ckptop.trainer import rng
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.device import Device
from ckptop.trainer.fitted import build_model
from ckptop.trainer.loader import EpochLoader, count_samples
from ckptop.trainer.optim import Schedule, build_optimizer, hyperparameters
from ckptop.trainer.parts import Parts
from ckptop.trainer.sampler import Batches
from ckptop.trainer.state import Progress, progress_of
from ckptop.trainer.task import BatchedSamples, Samples, Task, TaskData
from ckptop.trainer.trial import try_out

_HASH_LETTERS = 12


def assemble(task: Task[Any], config: TrainConfig[Any], data: TaskData, device: Device) -> Parts:
    """Everything built as for a fresh start.

    Raises:
        UsageError: The model cannot be trained with this configuration, or the parts of the task do not fit together.
    """
    rng.seed_everything(config.seed)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model = build_model(task, config.model)
    task.fit_statistics(model, data)
    model.to(device.torch_device)
    if config.gradient_checkpointing:
        _enable_checkpointing(model, task.name)
    optimizer = build_optimizer(config, model.parameters())
    batches = Batches(count_samples(data.train), config.batch_size, config.accumulate)
    _refuse_batches_of_one(model, batches)
    try_out(task, config, model, data, device)
    schedule = Schedule(optimizer, config, batches, Progress().total_steps(config, batches))
    train = EpochLoader(
        data.train, batches, seed=config.seed, task=task, options=config.model, workers=config.workers,
        pin_memory=device.is_cuda,
    )  # fmt: skip
    return Parts(
        task=task, config=config, device=device, model=model, compiled=_compiled(model, config), optimizer=optimizer,
        schedule=schedule, scaler=device.scaler(), train=train,
        validation=evaluation_loader(data.validation, config, device),
        also={split: evaluation_loader(samples, config, device) for split, samples in data.also.items()},
    )  # fmt: skip


def restore(parts: Parts, run: Run, data: TaskData) -> tuple[Progress, dict[str, Any] | None, str | None]:
    """Load the checkpoint the run starts from, where it has one.

    Returns:
        The position to go on from, the random state to restore last, and what to say where the data is other than the
        checkpoint's.

    Raises:
        DataError: It is not the data of the checkpoint.
        Damaged: The checkpoint is not one of this trainer.
        UsageError: It cannot be gone on from with this configuration.
    """
    progress, rng_state = _load(run, parts)
    other_data = _require_same_data(run, parts.config, progress, data)
    parts.reconfigure(parts.config, progress)
    return progress, rng_state, other_data


def require_samples(task: Task[Any], data: object) -> None:
    """Refuse what is no data, or lacks a part.

    Raises:
        UsageError: The task's load() returned something else.
        DataError: A part is empty.
    """
    if not isinstance(data, TaskData):
        raise UsageError(f"load() of {task.name} returned a {type(data).__name__}; it must return a TaskData")
    for part, samples in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        try:
            size = count_samples(samples)
        except TypeError:
            raise UsageError(
                f"the {part} part of {task.name} has no length ({type(samples).__name__}); load() must give map-style "
                f"datasets"
            ) from None
        if size == 0:
            raise DataError(f"the {part} part of the data is empty; the task's load() must put samples into all three")


def refuse_fewer_epochs(name: str, done: int, config: TrainConfig[Any]) -> None:
    """Refuse a run to end before where it stands.

    Raises:
        UsageError: It has `done` more epochs than the configuration wants.
    """
    if done > config.epochs:
        raise UsageError(
            f"{name} has done {done} epochs; --epochs {config.epochs} is behind it: ask for at least {done}, or go "
            f"back to an earlier checkpoint too"
        )


def evaluation_loader(samples: Samples, config: TrainConfig[Any], device: Device) -> EpochLoader:
    """A part of the data in its own order, as it is; what is in memory anyway needs no workers."""
    batches = Batches(count_samples(samples), config.batch_size)
    workers = 0 if isinstance(samples, TensorDataset | BatchedSamples) else config.workers
    return EpochLoader(samples, batches, seed=config.seed, workers=workers, pin_memory=device.is_cuda)


def _enable_checkpointing(model: torch.nn.Module, task_name: str) -> None:
    enable = getattr(model, "gradient_checkpointing_enable", None)
    if enable is None:
        raise UsageError(
            f"the model of {task_name} offers no gradient checkpointing (it has no gradient_checkpointing_enable()); "
            f"leave gradient_checkpointing out, and lower batch_size where memory is short"
        )
    enable()


def _compiled(model: torch.nn.Module, config: TrainConfig[Any]) -> torch.nn.Module | None:
    if not config.compile:
        return None
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(f"torch.compile needs the C++ compiler {compiler}, which is not on PATH; leave compile out")
    return cast(torch.nn.Module, torch.compile(model))


def _refuse_batches_of_one(model: torch.nn.Module, batches: Batches) -> None:
    """A sample alone has no deviation to normalise by."""
    if min(batches.batch_size, batches.sample_count) > 1:
        return
    norm = next((name for name, module in model.named_modules() if isinstance(module, _BatchNorm)), None)
    if norm is not None:
        raise UsageError(f"the BatchNorm at {norm} cannot train on batches of one sample; use --batch-size 2 or more")


def _require_same_data(run: Run, config: TrainConfig[Any], progress: Progress, data: TaskData) -> str | None:
    """Refuse data other than the checkpoint's, unless it is accepted; `progress` then goes by the new. What changed."""
    source, path = run.record.data, run.start.from_checkpoint
    before = progress.data_hash or (source.hash if source is not None else data.hash)
    progress.data_hash = data.hash
    if path is None or before == data.hash:
        return None
    was = f"{source.path if source is not None else 'other'} ({before[:_HASH_LETTERS]})"
    if not config.accept_new_data:
        raise DataError(
            f"the data in {data.path} has changed since {path.name} was saved; bring it back, or go on with the new "
            f"data by --accept-new-data"
        )
    return f"the data was {was}, now {data.path} ({data.hash[:_HASH_LETTERS]}): {data.description}"


def _load(run: Run, parts: Parts) -> tuple[Progress, dict[str, Any] | None]:
    path, config, optimizer = run.start.from_checkpoint, parts.config, parts.optimizer
    if path is None:
        return Progress(), None
    configured = hyperparameters(optimizer)
    try:
        with warnings.catch_warnings():
            # After a change of precision, which is said on a line of its own.
            warnings.filterwarnings("ignore", message=r".* holds no scaler_state_dict")
            state = run.checkpoints.load_checkpoint(
                path, parts.model, optimizer, None, parts.scaler, parts.device.torch_device
            )
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UsageError(f"{error}; resume with the model it was trained with") from None
    for group, values in zip(optimizer.param_groups, configured, strict=True):
        group.update(values)  # the configuration decides, not what was saved
    progress = progress_of(state, path.name, config, parts.train.batches)
    refuse_fewer_epochs(run.name, progress.epoch - 1, config)
    rng.restore_threads(state["rng"], config.threads)
    if state["loader"]["seed"] != config.seed:  # a fork with its own
        return progress, None
    return progress, state["rng"]
