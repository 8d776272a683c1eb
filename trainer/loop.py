"""The training loop: epochs and steps, and what is written down, saved and decided after each.

Everything of a step, evaluation included, is logged and durable before the checkpoint of that step. `stepping` is
one optimizer step, `best` what an epoch's metric decides.
"""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ckptop.store.run import Run
from ckptop.trainer import rng
from ckptop.trainer.best import DEGRADED_SHARE, is_out_of_patience, lost_share, note_epoch
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.console import Console
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.pace import Pace
from ckptop.trainer.parts import Parts
from ckptop.trainer.saving import Saving
from ckptop.trainer.state import Progress
from ckptop.trainer.steering import steer
from ckptop.trainer.stepping import NotFinite, Step, Stepper
from ckptop.trainer.tensorboard import EventWriter

NOT_SAVED = -1
"""No step: the newest save was lost."""

MOST_FLUSH_SECONDS = 5.0
"""How long a save waits for TensorBoard's events."""


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
        self._parts, self._run, self._console, self._events = parts, run, console, events
        self.progress = progress
        self._rng_state = rng_state
        self._batches = parts.train.batches
        self._stepper, self._saving = Stepper(parts), Saving(parts, run, console)
        self._unread: deque[Step] = deque()
        self._is_queued = parts.device.is_cuda
        """Whether a step may still be running when the call that takes it returns."""
        self._saved_step = progress.step
        self._is_prepared = False
        self._pace = Pace()
        self._epoch_began = time.perf_counter()

    def fit(self) -> bool:
        """Train to the last epoch, or until early stopping ends it; False if it was asked to stop, and has saved.

        Raises:
            NotFinite: A loss is no number; it is logged, and what was saved before it is whole.
        """
        self._parts.model.train()
        try:
            while self.progress.epoch <= self._config.epochs and not self.is_out_of_patience:
                if not self._train_epoch():
                    return False
                self._end_epoch()
        except NotFinite as error:
            self.log(error.step, error.epoch, error.values)
            self._run.sync()
            raise
        if self.is_out_of_patience:
            stale = self.progress.trend.stale_epochs
            self._console.say(f"Stopped early: {self._parts.metric[0]} has not improved for {stale} epochs")
        return True

    @property
    def _config(self) -> TrainConfig[Any]:
        return self._parts.config  # which may change between two steps

    @property
    def is_out_of_patience(self) -> bool:
        """Whether early stopping ends the training here."""
        return is_out_of_patience(self.progress, self._config)

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
        self._pace.restart()
        while progress.batch < self._batches.batch_count:
            if self._run.inbox.has_news:  # else the block alone would cost as much as a line of the log
                with self._pace.aside():
                    self._run.obey(save=self._save_now, change=self._steer, tell=self._console.say)
            if self._run.should_stop:
                self._save(must=True)
                return False
            self._take_step(batches)
            if not self._saving.look():
                self._saved_step = NOT_SAVED
            if self._due_by_steps() and progress.batch < self._batches.batch_count:
                self._save()
                self._pace.restart()
        return True

    def _take_step(self, batches: Iterator[tuple[torch.Tensor, ...]]) -> None:
        """Take a step and log what is done by then: on CUDA, at a step that is logged, all before it."""
        step = self._stepper.take(batches, self.progress)
        if not self._is_prepared:
            self._saving.prepare()
            self._is_prepared = True
        if self._is_queued and self._is_logged(step.step):
            self._read_values()
        self._unread.append(step)
        if not self._is_queued:
            self._read_values()
        self._run.progress(epoch=step.epoch, step=step.step, step_seconds=self._pace.step_seconds)

    def _end_epoch(self) -> None:
        progress, parts, config = self.progress, self._parts, self._config
        epoch, (name, mode) = progress.epoch, parts.metric
        self._read_values()
        results = evaluate(parts.task, parts.network, parts.validation, parts.device, "val", self._run.touch)
        for split, loader in parts.also.items():
            results |= evaluate(parts.task, parts.network, loader, parts.device, split, self._run.touch)
        train_loss = progress.loss_sum / progress.sample_count
        metrics = {"train/loss_epoch": train_loss, **results}
        self.log(progress.step, epoch, {**metrics, "epoch_seconds": time.perf_counter() - self._epoch_began})
        value = results[name]
        self._console.say(
            f"Epoch {epoch}/{config.epochs} - Train Loss: {train_loss:.4f} - Val {parts.format_metric(value)}"
        )
        self._warn_if_degraded(value)
        if note_epoch(progress, value, mode, config):
            self._console.say(f"{name} is on a plateau: lr times {config.decay_factor:g} from the next epoch on")
        progress.begin_next_epoch()
        is_last = epoch == config.epochs or self.is_out_of_patience
        due = epoch % config.save_every_epochs == 0 or is_last
        if due or self._run.should_stop or self._due_by_steps():
            self._save(metrics, must=self._run.should_stop or is_last)
        self._saving.milestone(progress, value, epoch, metrics)

    def _warn_if_degraded(self, value: float) -> None:
        """Raise an alert when the metric falls behind the best, once until it is back."""
        progress, (name, mode) = self.progress, self._parts.metric
        best, lost = progress.best, lost_share(value, progress.best, mode)
        was_degraded, progress.degraded = progress.degraded, lost > DEGRADED_SHARE
        if best is None or not progress.degraded or was_degraded:
            return
        run, where = self._run.name, f"--store {shlex.quote(str(self._run.root.parent))}"
        message = (
            f"{name} is {value:.4f}, {lost:.1%} worse than the best, {best.value:.4f} of epoch {best.epoch}; to go "
            f"back: ckptop stop {run} {where} && ckptop resume {run} --from best {where}"
        )
        self._console.say(message)
        self._run.event("alert", kind="degraded", message=message)

    def _due_by_steps(self) -> bool:
        every = self._config.save_every_steps
        return every is not None and self.progress.step % every == 0

    # What a step leaves behind

    def _is_logged(self, step: int) -> bool:
        return step % self._config.log_every_steps == 0

    def _read_values(self) -> None:
        """Wait for the steps so far, take up what they left behind, and log those that are due."""
        progress, done, samples = self.progress, list[Step](), 0
        try:
            while self._unread:
                step = self._unread.popleft()
                if self._is_queued:  # else it was looked at before the optimizer moved
                    self._stepper.require_finite(step)
                self._stepper.count_skipped(step, progress)
                loss, _ = step.values.read()
                progress.loss_sum += loss * step.samples
                progress.sample_count += step.samples
                samples += step.samples
                done.append(step)
        finally:
            self._pace.lap(len(done), samples)
            for step in done:
                if self._is_logged(step.step):
                    self._log_step(step)

    def _log_step(self, step: Step) -> None:
        loss, grad_norm = step.values.read()
        seconds = self._pace.step_seconds or 0.0
        metrics = {
            "train/loss": loss,
            "lr": step.lr,
            "grad_norm": grad_norm,
            "step_seconds": seconds,
            "samples_per_second": self._pace.samples_per_second,
        }
        self.log(step.step, step.epoch, metrics)
        total_steps = self._parts.schedule.total_steps
        self._console.bar(step.epoch, self._config.epochs, step.step, total_steps, loss, seconds)

    # Saving

    def _save(self, metrics: dict[str, float] | None = None, *, must: bool = False) -> None:
        """Commit a training checkpoint of this step, unless there is one already or it is skipped; see `Saving`."""
        if self.progress.step == self._saved_step or (not must and self._saving.skips(self.progress.step)):
            return
        self._read_values()
        flushed = self._events.flush() if self._events is not None else None
        if self._saving.training(self.progress, metrics or {}, must=must):
            self._saved_step = self.progress.step
        if flushed is not None:  # by now it is, as a rule: written beside the save; a copy is not worth a long wait
            flushed.wait(MOST_FLUSH_SECONDS)

    # What others ask

    def _save_now(self) -> str | None:
        self._settle()  # or it would be skipped
        self._save()
        self._settle()
        step = self.progress.step
        return f"step {step:,} is saved" if self._saved_step == step else None

    def _settle(self) -> None:
        if not self._saving.settle():
            self._saved_step = NOT_SAVED

    def _steer(self, wanted: Mapping[str, Any]) -> str:
        return steer(self._parts, self._run, self.progress, wanted, self._save_now)
