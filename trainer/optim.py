"""Optimizer and learning rate.

The rate is a function of the step, under a plateau schedule also of how often it was lowered: the schedule itself has
nothing to restore.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from ckptop.trainer.config import TrainConfig

SGD_MOMENTUM = 0.9


def build_optimizer(config: TrainConfig[Any], parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, fused: one kernel a step instead of several a tensor, with the same bits each time."""
    lr, weight_decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, weight_decay=weight_decay, momentum=SGD_MOMENTUM, nesterov=True, fused=True
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What the groups hold besides parameters; `load_state_dict` replaces it by what was saved."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


class Schedule:
    """The learning rate of every step: warm-up, then cosine, step, plateau or constant.

    With more epochs the cosine is stretched: the rate at a step is what a run planned that long would have had.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, config: TrainConfig[Any], total_steps: int, steps_per_epoch: int
    ) -> None:
        self._optimizer, self._config = optimizer, config
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch

    def reconfigure(self, config: TrainConfig[Any], total_steps: int) -> None:
        """Go on by another configuration from the next step on."""
        self._config, self.total_steps = config, total_steps

    def factor(self, step: int, reductions: int = 0) -> float:
        """The share of the highest rate with which the step after `step` others is done, 0 to 1.

        `reductions` is how often the plateau schedule has lowered the rate.
        """
        config = self._config
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.scheduler == "cosine":
            past = (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, past)))
        if config.scheduler == "step":
            return float(config.decay_factor ** (step // (config.decay_every_epochs * self.steps_per_epoch)))
        if config.scheduler == "plateau":
            return float(config.decay_factor**reductions)
        return 1.0

    def apply(self, step: int, reductions: int = 0) -> float:
        """Set the rate of the step after `step` others and return it."""
        lr = self._config.lr * self.factor(step, reductions)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        return lr

    def state_dict(self) -> dict[str, Any]:
        """For readers of the checkpoint."""
        config = self._config
        return {"scheduler": config.scheduler, "lr": config.lr, "warmup_steps": config.warmup_steps,
                "total_steps": self.total_steps}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the configuration and the step decide."""
