"""Loss and metrics of a model over one part of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ckptop.trainer.device import Device
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.metrics import ConfusionCounts
from ckptop.trainer.task import Task


@torch.no_grad()
def evaluate(
    task: Task[Any],
    model: torch.nn.Module,
    loader: EpochLoader,
    device: Device,
    split: str,
    on_batch: Callable[[], None],
    confusion: ConfusionCounts | None = None,
) -> dict[str, float]:
    """The mean loss a sample and the task's metrics, named `split/…`. The model is left in training mode.

    `confusion` is updated with all outputs and targets beside them.
    """
    metrics = task.metrics().to(device.torch_device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device.torch_device)
    model.eval()
    for batch in loader.epoch(1):
        inputs, targets = device.move(batch)
        with device.autocast():
            outputs = model(inputs)
            loss = task.loss(outputs, targets)
        loss_sum += loss.double() * len(targets)
        metrics.update(outputs.float(), targets)
        if confusion is not None:
            confusion.update(outputs.float(), targets)
        on_batch()
    model.train()
    results = {"loss": loss_sum / loader.batches.sample_count, **metrics.compute()}
    return {f"{split}/{name}": float(value) for name, value in results.items()}  # waits for the GPU
