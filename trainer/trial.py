"""One validation batch through model, loss and metrics before anything begins.

What a task's author gets wrong would otherwise be found at the end of the first epoch, which may be hours away. The
batch leaves no trace: no gradient, no buffer moved, and the random state is put back.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from ckptop.store.errors import UsageError
from ckptop.trainer import rng
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.device import Device
from ckptop.trainer.failure import is_out_of_memory
from ckptop.trainer.loader import EpochLoader, count_samples
from ckptop.trainer.sampler import Batches
from ckptop.trainer.task import Task, TaskData


def try_out(task: Task[Any], config: TrainConfig[Any], model: torch.nn.Module, data: TaskData, device: Device) -> None:
    """Refuse a task whose parts do not fit together.

    Raises:
        UsageError: A sample is no pair, the loss or a metric no single number.
    """
    before = rng.capture()
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few samples are worth a warning to some metrics
            _answer(task, config, model, data, device)
    except Exception as error:
        if not is_out_of_memory(error):  # which the training tells with its advice
            raise
    finally:
        model.train()
        rng.restore(before)


def _answer(task: Task[Any], config: TrainConfig[Any], model: torch.nn.Module, data: TaskData, device: Device) -> None:
    batches = Batches(count_samples(data.validation), config.batch_size)
    batch = device.move(next(EpochLoader(data.validation, batches, seed=config.seed).epoch(1)))
    if len(batch) != 2:
        raise UsageError(f"a sample of {task.name} has {len(batch)} parts; its datasets must give (input, target)")
    inputs, targets = batch
    with device.autocast():
        outputs = model(inputs)
        loss: object = task.loss(outputs, targets)
    if not isinstance(outputs, torch.Tensor):
        raise UsageError(f"the model of {task.name} gives a {type(outputs).__name__}; it must give one tensor")
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        what = f"a tensor of {_shape(loss)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
        raise UsageError(f"the loss of {task.name} is {what}, not one number; return the mean of the batch")
    metrics = task.metrics().to(device.torch_device)
    metrics.update(outputs.float(), targets)
    try:
        values: Mapping[str, Any] = metrics.compute()
    except Exception:  # noqa: BLE001 - a metric may need more samples than one batch has
        return
    for name, value in values.items():
        if isinstance(value, torch.Tensor) and value.numel() != 1:
            raise UsageError(
                f"the metric {name} of {task.name} is a tensor of {_shape(value)}, not one number; "
                f"give it an average, such as average='macro', or leave it out"
            )


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
