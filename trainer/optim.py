"""Optimizer and learning rate.

The rate is a function of where the training stands: of the step while it warms up, then of the share of its epochs that
is done, so that another batch size does not make it jump. The schedule itself has nothing to restore.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch

from ckptop.trainer.config import TrainConfig
from ckptop.trainer.sampler import Batches
from ckptop.trainer.state import Progress

SGD_MOMENTUM = 0.9

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _unguarded(method: _Method) -> _Method:
    """What torch keeps from being traced, as `functools.wraps` left it; the method where torch no longer wraps it."""
    return cast(_Method, getattr(method, "__wrapped__", method))


class _Untraced(torch.optim.Optimizer):
    """An optimizer that no compiled function calls: of `torch.compile` the trainer asks the model alone.

    Torch keeps the compiler from tracing these methods, and imports all of the compiler to say so: two seconds of
    every start.
    """

    add_param_group = _unguarded(torch.optim.Optimizer.add_param_group)
    zero_grad = _unguarded(torch.optim.Optimizer.zero_grad)
    state_dict = _unguarded(torch.optim.Optimizer.state_dict)
    load_state_dict = _unguarded(torch.optim.Optimizer.load_state_dict)


class _SGD(_Untraced, torch.optim.SGD): ...


class _Adam(_Untraced, torch.optim.Adam): ...


class _AdamW(_Untraced, torch.optim.AdamW): ...


def build_optimizer(config: TrainConfig[Any], parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, fused: one kernel a step instead of several a tensor, with the same bits each time."""
    lr, weight_decay = config.lr, config.weight_decay
    if config.optimizer == "sgd":
        return _SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=SGD_MOMENTUM, nesterov=True, fused=True)
    kind = _AdamW if config.optimizer == "adamw" else _Adam
    return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def quick_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimizer's `step`, to the same bits, without what torch wraps around it.

    That is a label for its profiler, hooks, of which nothing here registers any, and a break for the compiler: at steps
    of a millisecond four per cent of one, and once the compiler's import. Without them `step` is to be called without
    gradients, as they do.
    """
    step = inspect.unwrap(type(optimizer).step)

    @torch.no_grad()
    def quick() -> object:
        return step(optimizer)

    return quick


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What the groups hold besides parameters; `load_state_dict` replaces it by what was saved."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def learning_rate(config: TrainConfig[Any], progress: Progress, batches: Batches) -> float:
    """The rate of the next step: warm-up, then cosine, step, plateau or constant.

    With more epochs the cosine is stretched: the rate is what a run planned that long would have here.
    """
    return config.lr * _factor(config, progress, progress.epochs_done(batches))


def _factor(config: TrainConfig[Any], progress: Progress, epochs_done: float) -> float:
    """The share of the highest rate, 0 to 1."""
    if progress.step < config.warmup_steps:
        return (progress.step + 1) / config.warmup_steps
    if config.scheduler == "cosine":
        begun = epochs_done if progress.step == config.warmup_steps else progress.warm_epochs
        share = (epochs_done - begun) / (config.epochs - begun) if begun < config.epochs else 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    if config.scheduler == "step":
        return float(config.decay_factor ** ((progress.epoch - 1) // config.decay_every_epochs))
    if config.scheduler == "plateau":
        return float(config.decay_factor**progress.trend.reductions)
    return 1.0


class Schedule:
    """Sets the learning rate of every step."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, config: TrainConfig[Any], batches: Batches, total_steps: int
    ) -> None:
        self._optimizer, self._config, self._batches = optimizer, config, batches
        self.total_steps = total_steps

    def reconfigure(self, config: TrainConfig[Any], total_steps: int) -> None:
        """Go on by another configuration from the next step on."""
        self._config, self.total_steps = config, total_steps

    def apply(self, progress: Progress) -> float:
        """Set the rate of the step after `progress` and return it."""
        lr = learning_rate(self._config, progress, self._batches)
        if progress.step <= self._config.warmup_steps:
            progress.warm_epochs = progress.epochs_done(self._batches)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        return lr

    def state_dict(self) -> dict[str, Any]:
        """For readers of the checkpoint."""
        config = self._config
        return {"scheduler": config.scheduler, "lr": config.lr, "warmup_steps": config.warmup_steps,
                "total_steps": self.total_steps}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the configuration and the position decide."""
