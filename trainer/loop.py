"""The training loop: epochs, optimizer steps, micro-batches, and what is written down of each.

Everything of a step, evaluation included, is logged and durable before the checkpoint of that step. On the
CPU a loss that is not finite stops the training before the optimizer moves. On CUDA the loss of a step is
read while the next one runs, so it stops one step late; nothing is ever saved in between.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ckptop.host.units import format_bytes
from ckptop.store.errors import TrainingFailed
from ckptop.store.records import ControlRequest
from ckptop.store.run import Run
from ckptop.trainer import rng
from ckptop.trainer.config import TrainConfig, as_dict
from ckptop.trainer.console import Console
from ckptop.trainer.device import Device, StepValues
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.optim import Schedule
from ckptop.trainer.state import Best, Progress, extra_of
from ckptop.trainer.task import Task
from ckptop.trainer.tensorboard import EventWriter

ACTIONS = ("save", "stop")
"""What a control request may ask for."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything a training is made of."""

    task: Task[Any]
    config: TrainConfig[Any]
    device: Device
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler | None
    train: EpochLoader
    validation: EpochLoader


@dataclass(frozen=True, slots=True)
class _Step:
    """One optimizer step on its way to the log."""

    step: int
    epoch: int
    window: range
    samples: int
    lr: float
    seconds: float
    values: StepValues
    losses: list[torch.Tensor]
    """A micro-batch each."""


class Loop:
    """Trains from wherever `progress` stands; made once an attempt."""

    def __init__(
        self,
        parts: Parts,
        run: Run,
        progress: Progress,
        console: Console,
        events: EventWriter | None,
        rng_state: dict[str, Any] | None,
    ) -> None:
        """`rng_state` is a checkpoint's, restored once the first batch is on its way."""
        self._parts, self._config, self._run, self._console, self._events = parts, parts.config, run, console, events
        self.progress = progress
        self._rng_state = rng_state
        self._batches = parts.train.batches
        self._parameters = [parameter for parameter in parts.model.parameters() if parameter.requires_grad]
        self._unread: deque[_Step] = deque()
        self._saved_step = progress.step
        self.total_steps = progress.total_steps(parts.config, self._batches)
        self._epoch_began = time.perf_counter()

    def fit(self) -> bool:
        """Train to the last epoch; False if it was asked to stop before, and has saved."""
        self._parts.model.train()
        while self.progress.epoch <= self._config.epochs:
            if not self._train_epoch():
                return False
            self._end_epoch()
        return True

    def log(self, step: int, epoch: int, metrics: dict[str, float]) -> None:
        """Write metrics down, in the run's log and for TensorBoard."""
        self._run.log(step, metrics, epoch=epoch)
        if self._events is not None:
            self._events.log(step, metrics)

    # One epoch

    def _train_epoch(self) -> bool:
        progress = self.progress
        self._epoch_began = time.perf_counter()
        batches = self._parts.train.epoch(progress.epoch, progress.batch)
        if self._rng_state is not None:  # the last thing restored: everything before may have drawn numbers
            rng.restore(self._rng_state)
            self._rng_state = None
        while progress.batch < self._batches.batch_count:
            self._answer_requests()
            if self._run.should_stop:
                self._save(must=True)
                return False
            self._train_step(batches)
            if self._due_by_steps() and progress.batch < self._batches.batch_count:
                self._save()
        return True

    def _end_epoch(self) -> None:
        progress, task = self.progress, self._parts.task
        epoch = progress.epoch
        self._read_values(leave=0)
        results = evaluate(task, self._parts.model, self._parts.validation, self._parts.device, "val", self._run.touch)
        train_loss = progress.loss_sum / progress.sample_count
        metrics = {"train/loss_epoch": train_loss, **results}
        self.log(progress.step, epoch, {**metrics, "epoch_seconds": time.perf_counter() - self._epoch_began})
        value = results[task.metric[0]]
        self._console.say(
            f"Epoch {epoch}/{self._config.epochs} - Train Loss: {train_loss:.4f}"
            f" - Val {task.metric_label}: {task.format_metric(value)}"
        )
        self._note_best(value, epoch)
        progress.begin_next_epoch()
        due = epoch % self._config.save_every_epochs == 0 or epoch == self._config.epochs
        if due or self._run.should_stop or self._due_by_steps():
            self._save(metrics, must=self._run.should_stop or epoch == self._config.epochs)
        self._save_milestone(value, epoch, metrics)

    def _note_best(self, value: float, epoch: int) -> None:
        best, mode = self.progress.best, self._parts.task.metric[1]
        improved = best is None or (value < best.value if mode == "min" else value > best.value)
        if improved and not math.isnan(value):
            self.progress.best = Best(value, epoch, self.progress.step)

    def _due_by_steps(self) -> bool:
        every = self._config.save_every_steps
        return every is not None and self.progress.step % every == 0

    # One optimizer step

    def _train_step(self, batches: Iterator[tuple[torch.Tensor, ...]]) -> None:
        parts, progress = self._parts, self.progress
        began = time.perf_counter()
        window = self._batches.window(progress.batch)
        samples = self._batches.samples(window)
        lr = parts.schedule.apply(progress.step)
        losses = [self._backward(parts.device.move(next(batches)), samples) for _ in window]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        values = StepValues(loss, self._grad_norm())
        progress.batch += len(window)
        progress.step += 1
        if not parts.device.is_cuda:
            self._require_finite(progress.step, progress.epoch, window, values, losses)
        self._apply_gradient()
        seconds = time.perf_counter() - began
        self._unread.append(_Step(progress.step, progress.epoch, window, samples, lr, seconds, values, losses))
        self._read_values(leave=1 if parts.device.is_cuda else 0)

    def _backward(self, batch: tuple[torch.Tensor, ...], samples: int) -> torch.Tensor:
        """Add a micro-batch's gradient; its share of the step is its share of the samples."""
        parts = self._parts
        inputs, targets = batch
        with parts.device.autocast():
            loss = parts.task.loss(parts.model(inputs), targets)
        if len(targets) != samples:
            loss = loss * (len(targets) / samples)
        (loss if parts.scaler is None else parts.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    def _grad_norm(self) -> torch.Tensor:
        """The norm of the whole gradient before clipping, and clip it."""
        scaler, clip_norm = self._parts.scaler, self._config.clip_norm
        if scaler is not None:
            scaler.unscale_(self._parts.optimizer)
        if clip_norm is not None:
            return torch.nn.utils.clip_grad_norm_(self._parameters, clip_norm)
        return torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])

    def _apply_gradient(self) -> None:
        scaler, optimizer = self._parts.scaler, self._parts.optimizer
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad(set_to_none=True)

    # What a step leaves behind

    def _read_values(self, *, leave: int) -> None:
        """Log the steps whose values are due; on CUDA the newest is left running."""
        while len(self._unread) > leave:
            step = self._unread.popleft()
            loss, grad_norm = step.values.read()
            self._require_finite(step.step, step.epoch, step.window, step.values, step.losses)
            self.progress.loss_sum += loss * step.samples
            self.progress.sample_count += step.samples
            metrics = {
                "train/loss": loss,
                "lr": step.lr,
                "grad_norm": grad_norm,
                "step_seconds": step.seconds,
                "samples_per_second": step.samples / step.seconds,
            }
            self.log(step.step, step.epoch, metrics)
            self._run.progress(epoch=step.epoch, step=step.step, step_seconds=step.seconds)
            self._console.bar(step.epoch, self._config.epochs, step.step, self.total_steps, loss, step.seconds)

    def _require_finite(
        self, step: int, epoch: int, window: range, values: StepValues, losses: list[torch.Tensor]
    ) -> None:
        """A loss that is not a number is logged, and ends the training.

        Raises:
            TrainingFailed: With step and batch.
        """
        loss, grad_norm = values.read()
        if math.isfinite(loss):
            return
        self.log(step, epoch, {"train/loss": loss, "grad_norm": grad_norm})
        self._run.sync()
        bad = next((i for i, one in zip(window, losses, strict=True) if not math.isfinite(one.item())), window[0])
        raise TrainingFailed(
            f"the loss is {loss} at step {step} (epoch {epoch}, batch {bad + 1} of {self._batches.batch_count}); "
            f"the newest checkpoint is whole: resume from it with a lower lr or --set clip_norm=1"
        )

    # Saving

    def _save(self, metrics: dict[str, float] | None = None, *, must: bool = False) -> None:
        """Commit a training checkpoint of this step, unless there is one already.

        A disk that refuses, or a viewer that keeps the lock, costs this save and not the training; where it is
        the last one and `must` be, that ends the run as failed.
        """
        progress, parts = self.progress, self._parts
        epoch = progress.last_epoch
        if progress.step == self._saved_step:
            return
        self._read_values(leave=0)
        self._run.sync()
        try:
            path = self._run.checkpoints.save_training_checkpoint(
                parts.model, parts.optimizer, epoch, progress.step, metrics or {}, self._saved_config(),
                parts.schedule, parts.scaler, extra_of(progress, self._config, self._batches),
            )  # fmt: skip
            size = format_bytes(Path(path).stat().st_size)
        except OSError as error:
            if must:
                raise
            self._skip_save("checkpoint", error)
            return
        self._saved_step = progress.step
        self._console.say(f"Checkpoint saved: training epoch {epoch}, step {progress.step:,} ({size})")

    def _skip_save(self, what: str, error: OSError) -> None:
        message = f"The {what} of step {self.progress.step:,} was not saved: {error}; training goes on"
        self._console.say(message)
        self._run.event("alert", message=message)

    def _save_milestone(self, value: float, epoch: int, metrics: dict[str, float]) -> None:
        """Commit a milestone if the task's metric improved; the manager compares."""
        progress, parts = self.progress, self._parts
        name, mode = parts.task.metric
        self._run.sync()
        try:
            path = self._run.checkpoints.save_milestone_checkpoint(
                parts.model, value, name, epoch, self._saved_config(), None, parts.optimizer, step=progress.step,
                metrics=metrics, scheduler=parts.schedule, scaler=parts.scaler,
                extra=extra_of(progress, self._config, self._batches), mode=mode,
            )  # fmt: skip
        except OSError as error:
            self._skip_save("milestone", error)
            return
        if path is not None:
            self._console.say(f"New best {name}: {value:.4f} (milestone saved)")

    def _saved_config(self) -> dict[str, Any]:
        """The configuration as a checkpoint holds it: with the task, so that a release says what it is."""
        return {"task": self._parts.task.name} | as_dict(self._config)

    # What others ask

    def _answer_requests(self) -> None:
        for request in self._run.requests():
            ok, message = self._obey(request)
            self._run.answer(request, ok, message)
            self._console.say(f"{request.user} asked for {request.action}: {message}")

    def _obey(self, request: ControlRequest) -> tuple[bool, str]:
        progress = self.progress
        if request.action == "stop":
            self._run.request_stop(f"{request.user} asked for it")
            return True, f"stopping at step {progress.step:,}"
        if request.action == "save":
            self._save()
            return True, f"step {progress.step:,} is saved"
        return False, f"{request.action} is not something this trainer does; it knows {' and '.join(ACTIONS)}"
