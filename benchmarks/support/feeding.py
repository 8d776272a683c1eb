"""A run at work beside the program that is measured: lines at a pace, or one by one, with a heartbeat or without."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.stores import STEPS_PER_EPOCH, train_loss, val_loss, write_run

from ckptop.store.metric_writer import MetricWriter
from ckptop.store.run import Run

HISTORY_STEPS = 1_500
"""Logged before anybody looks."""
TOTAL_STEPS = 24_000


class LiveRun:
    """A run of this process; a context manager."""

    def __init__(self, store: Path, name: str, *, steps_per_second: float = 0.0, counting: bool = False) -> None:
        """Nothing is written before the context is entered.

        Args:
            store: Where the run is made.
            name: The run's.
            steps_per_second: Pace of the lines; 0 writes none after the history.
            counting: Log the training loss alone, each line 0.0001 above the one before, so that each can be told.
        """
        self.logged: list[tuple[float, float]] = []
        """Moment (of `time.perf_counter`) and training loss of each line written at the pace."""
        self.step = 0
        self._run = Run.create(store, name=name, task="digits", metric=("val/loss", "min"), total_steps=TOTAL_STEPS)
        self._pace = steps_per_second
        self._counting = counting
        self._chance = random.Random(1)  # noqa: S311  made-up data
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def log(self, loss: float) -> None:
        """Append one line with this training loss alone."""
        self.step += 1
        self._run.log(self.step, {"train/loss": loss}, epoch=self._epoch)
        self._run.progress(epoch=self._epoch, step=self.step, step_seconds=0.1)

    def stop(self) -> None:
        """Write no more lines."""
        self._stopping.set()

    @property
    def _epoch(self) -> int:
        return (self.step - 1) // STEPS_PER_EPOCH + 1

    def _log_step(self) -> None:
        """A line as a trainer writes it, and at an epoch's end one of the validation."""
        self.step += 1
        values = {"train/loss": train_loss(self.step, self._chance), "lr": 1e-3, "grad_norm": self._chance.random()}
        self._run.log(self.step, values, epoch=self._epoch)
        self._run.progress(epoch=self._epoch, step=self.step, step_seconds=0.1)
        if self.step % STEPS_PER_EPOCH == 0:
            loss = val_loss(self._epoch)
            self._run.log(self.step, {"val/loss": loss, "val/accuracy": 1 - loss / 3}, epoch=self._epoch)

    def _write(self) -> None:
        due = time.perf_counter()
        while not self._stopping.wait(max(0.0, due - time.perf_counter())):
            due += 1 / self._pace
            if self._counting:
                value = round(0.2 + 0.0001 * len(self.logged), 4)
                self.logged.append((time.perf_counter(), value))
                self.log(value)
            else:
                self._log_step()

    def __enter__(self) -> Self:
        for _ in range(HISTORY_STEPS):
            if self._pace and not self._counting:
                self._log_step()
            else:
                self.log(train_loss(self.step + 1, self._chance))
        if self._pace:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._pace:
            self._thread.join()
        self._run.finish("stopped", code=3)


class QuietRun:
    """A run whose log somebody else's program writes: lines and nothing more, no heartbeat; a context manager."""

    def __init__(self, store: Path, name: str) -> None:
        paths = write_run(store, name, checkpoints=1)
        paths.metrics.unlink()
        self._writer = MetricWriter(paths.metrics)
        self._step = 0

    def log(self, loss: float) -> None:
        """Append one line with this training loss."""
        self._step += 1
        self._writer.log(self._step, {"train/loss": loss}, epoch=1)

    def __enter__(self) -> Self:
        chance = random.Random(1)  # noqa: S311  made-up data
        for step in range(1, HISTORY_STEPS + 1):
            self.log(train_loss(step, chance))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
