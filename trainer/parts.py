"""Everything a training is made of, as `build` hands it to the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ckptop.store.records import Mode
from ckptop.trainer.best import choose_metric
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.device import Device
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.optim import Schedule
from ckptop.trainer.state import Progress
from ckptop.trainer.task import Task


@dataclass(kw_only=True)
class Parts:
    """What a training works with; only the model, the optimizer and the scaler change, and what `reconfigure` does."""

    task: Task[Any]
    config: TrainConfig[Any]
    device: Device
    model: torch.nn.Module
    """Its own names are what a checkpoint holds."""
    compiled: torch.nn.Module | None = None
    """The same model through `torch.compile`."""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler | None
    train: EpochLoader
    validation: EpochLoader
    also: Mapping[str, EpochLoader] = field(default_factory=dict)
    """Further parts of data to evaluate, by the name of their split."""

    def reconfigure(self, config: TrainConfig[Any], progress: Progress) -> None:
        """Go on with another rate, or other epochs: as a resume from here would, with the schedule made anew."""
        self.config = config
        self.schedule.reconfigure(config, progress.total_steps(config, self.train.batches))

    @property
    def network(self) -> torch.nn.Module:
        """What the batches go through."""
        return self.model if self.compiled is None else self.compiled

    @cached_property
    def metric(self) -> tuple[str, Mode]:
        """What best means: a name among `val/…` and whether lower or higher is better."""
        return choose_metric(self.task, self.config)

    @property
    def result_names(self) -> list[str]:
        """The scalars that say how good a run is."""
        names = ["loss", *map(str, self.task.metrics())]
        return [f"{split}/{name}" for split in ("val", "test") for name in names]

    @property
    def parameter_count(self) -> int:
        """Numbers the model holds as parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def trainable_count(self) -> int:
        """Those of them that are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def format_metric(self, value: float) -> str:
        """The metric as people read it, with its name: `Accuracy: 97.22%`."""
        name = self.metric[0]
        if name == self.task.metric[0]:
            return f"{self.task.metric_label}: {self.task.format_metric(value)}"
        return f"{name.partition('/')[2]}: {value:.4f}"
