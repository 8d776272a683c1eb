"""One optimizer step: its micro-batches, the norm of its gradient, clipping, and the optimizer's move.

The optimizer never moves on a loss or a gradient that is no number. On the CPU such a step is refused at once. On CUDA
the fused kernels see it on the device, so that nothing is waited for; the step is refused when its values are read, at
the next one that is logged or saved, and the loop saves nothing in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ckptop.store.errors import TrainingFailed
from ckptop.trainer.device import StepValues
from ckptop.trainer.gradients import clear_gradients, clip_gradients
from ckptop.trainer.optim import quick_step
from ckptop.trainer.parts import Parts
from ckptop.trainer.state import Progress

MOST_SKIPPED = 20
"""Steps in a row that a gradient scaler may skip: from 65,536 its scale is below 1 by then."""


class NotFinite(TrainingFailed):
    """A step's loss or gradient is NaN or infinite; what was saved before it is whole."""

    def __init__(self, message: str, step: int, epoch: int, values: dict[str, float], advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice
        self.step, self.epoch, self.values = step, epoch, values


@dataclass(slots=True)
class Step:
    """One optimizer step on its way to the log."""

    step: int
    epoch: int
    window: range
    samples: int
    lr: float
    values: StepValues
    losses: list[torch.Tensor]
    """A micro-batch each."""


class Stepper:
    """Takes optimizer steps; holds nothing between them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._parameters = list(parts.model.parameters())  # frozen ones too: they may be thawed
        self._is_queued = parts.device.is_cuda
        self._move_weights = quick_step(parts.optimizer)

    def take(self, batches: Iterator[tuple[torch.Tensor, ...]], progress: Progress) -> Step:
        """The step after `progress`, which is moved on.

        Raises:
            NotFinite: On the CPU, before the optimizer moved.
        """
        parts, cut = self._parts, self._parts.train.batches
        window = cut.window(progress.batch)
        samples = cut.samples(window)
        lr = parts.schedule.apply(progress)
        losses = [self._backward(parts.device.move(next(batches)), samples) for _ in window]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        values = StepValues(loss, self._grad_norm())
        step = Step(progress.step + 1, progress.epoch, window, samples, lr, values, losses)
        if not self._is_queued:
            self.require_finite(step)
        self._apply_gradient(values)
        progress.batch += len(window)
        progress.step += 1
        return step

    def require_finite(self, step: Step) -> None:
        """Refuse a step that leaves no usable weights.

        An infinite gradient under a scaler is no failure: the scaler skips that step.

        Raises:
            NotFinite: With step and batch.
        """
        loss, grad_norm = step.values.read()
        what, value = ("loss", loss) if not math.isfinite(loss) else ("gradient's norm", grad_norm)
        if math.isfinite(value) or (what != "loss" and self._parts.scaler is not None):
            return
        bad = next((i for i, one in zip(step.window, step.losses, strict=True) if not math.isfinite(one.item())), None)
        batch = step.window[0] if bad is None else bad
        raise self._not_finite(
            step, f"the {what} is {value} at step {step.step} (epoch {step.epoch}, batch {batch + 1} of "
            f"{self._parts.train.batches.batch_count})",
        )  # fmt: skip

    def count_skipped(self, step: Step, progress: Progress) -> None:
        """Take into `progress` whether the scaler skipped this step.

        Raises:
            NotFinite: It has skipped so many in a row that no lower scale will help.
        """
        _, grad_norm = step.values.read()
        progress.skipped_steps = 0 if math.isfinite(grad_norm) else progress.skipped_steps + 1
        if progress.skipped_steps >= MOST_SKIPPED:
            raise self._not_finite(
                step, f"the gradient's norm is {grad_norm} at step {step.step} (epoch {step.epoch}) and was no number "
                f"in {MOST_SKIPPED} steps in a row, which {self._parts.config.precision} has skipped",
            )  # fmt: skip

    def _not_finite(self, step: Step, what: str) -> NotFinite:
        loss, grad_norm = step.values.read()
        config = self._parts.config
        advice = "a lower lr or --set clip_norm=1"
        if config.precision == "fp16":
            advice += " or --set precision=bf16"
        if config.on_nan != "rollback":
            advice += ", or train with --on-nan rollback"
        return NotFinite(
            what, step.step, step.epoch, {"train/loss": loss, "grad_norm": grad_norm}, advice
        )  # fmt: skip

    def _backward(self, batch: tuple[torch.Tensor, ...], samples: int) -> torch.Tensor:
        """Add a micro-batch's gradient; its share of the step is its share of the samples."""
        parts = self._parts
        inputs, targets = batch
        with parts.device.autocast():
            loss = parts.task.loss(parts.network(inputs), targets)
        if len(targets) != samples:
            loss = loss * (len(targets) / samples)
        (loss if parts.scaler is None else parts.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    def _grad_norm(self) -> torch.Tensor:
        """The norm of the whole gradient before clipping, and clip it."""
        if self._parts.scaler is not None:
            self._parts.scaler.unscale_(self._parts.optimizer)
        return clip_gradients(self._parameters, self._parts.config.clip_norm)

    def _apply_gradient(self, values: StepValues) -> None:
        scaler, optimizer = self._parts.scaler, self._parts.optimizer
        if scaler is not None:
            scaler.step(optimizer)
            scaler.update()
        elif self._is_queued:
            # As a scaler tells it: the kernels of every optimizer of ours are fused and look at this first.
            fused: Any = optimizer
            fused.found_inf = values.found_inf()
            self._move_weights()
            del fused.found_inf
        else:
            self._move_weights()
        clear_gradients(self._parameters)
