"""What the callbacks have in common: the run they write, and saves that wait until everything of their step is logged.

A library evaluates and logs after it has told its callbacks of a step. So a save is *due* at a step and committed when
the next one begins: by then all of it is known, and the weights have not moved yet. What somebody asks for with
`ckptop ctl RUN save` is saved at once, so that the answer is true.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ckptop.store.errors import UsageError
from ckptop.store.looping import Rates
from ckptop.store.rate_change import change_rate
from ckptop.store.run import Run
from ckptop.store.step_saves import StepSaves

Save = Callable[[Mapping[str, float]], object]
"""Commits the training checkpoint of a step with these metrics."""


class RunHook:
    """A run held for a library's loop; the base of its callback.

    The run ends when the training does. Used as a context manager it lasts to the end of the block instead, and an
    exception in there ends it as failed.

    Args:
        store: The store's root.
        name: The run's name; it is taken up where it stopped, or begun.
        task: What it trains.
        save_every_steps: Optimizer steps between two checkpoints; None saves at the end of every epoch.
        create: What else `Run.create` takes: `config`, `metric`, `seed`, `max_training_checkpoints`, …

    Raises:
        Held: Another process holds the run.
        Damaged: There are checkpoints, and none verifies.
    """

    def __init__(
        self, store: Path | str, *, name: str, task: str, save_every_steps: int | None = None, **create: Any
    ) -> None:
        super().__init__()
        self.run = Run.create(store, name=name, task=task, **{"resume": "auto", **create})
        self.run.should_stop  # noqa: B018  # the first look takes the signals: they may come while things are built
        self._save_every_steps = save_every_steps
        self._is_block = False
        self._due: Save | None = None
        self._step = self.run.start.from_step
        self._saves = StepSaves(self.run)
        self._metrics: dict[str, float] = {}
        self._step_began = time.perf_counter()

    def __enter__(self) -> Self:
        self._is_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.__exit__(kind, error, trace)

    def end(self, error: BaseException | None = None) -> None:
        """The training is over: so is the run, unless a block still holds it.

        Raises:
            SystemExit: It was stopped on request; nothing after it may take the model for a whole one.
        """
        if not self._is_block:
            self.run.__exit__(type(error) if error is not None else None, error, None)

    # What happens in the loop

    def require_restored(self, step: int, how: str) -> None:
        """Refuse to train a run from elsewhere than where it goes on.

        Raises:
            UsageError: The loop stands at another step; the message says `how` to resume.
        """
        if step != self.run.start.from_step:
            raise UsageError(f"run {self.run.name} goes on from step {self.run.start.from_step:,}; {how}")

    def stepped(self, step: int, epoch: int, save: Callable[[], Save], rates: Rates) -> bool:
        """After an optimizer step: say so, obey what is asked, note what is due; True if the loop shall stop.

        Args:
            step: Optimizer steps done.
            epoch: From 1.
            save: Takes the state as it is now; what it returns commits that.
            rates: The optimizers and schedulers of the training, for `ckptop ctl RUN set lr=…`.
        """
        now = time.perf_counter()
        self.run.progress(epoch=epoch, step=step, step_seconds=now - self._step_began)
        self._step, self._metrics = step, {}
        self._saves.look()
        self.run.obey(
            save=lambda: self._saves.now(step, lambda: save()(self._metrics)),
            change=lambda wanted: change_rate(self.run, wanted, *rates),
        )
        self._step_began = time.perf_counter()
        every = self._save_every_steps
        if self.run.should_stop or (every is not None and step % every == 0):
            self._due = save()
        return self.run.should_stop

    def note(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of a step; its checkpoint will hold them."""
        self.run.log(step, metrics, epoch=epoch)
        self._metrics.update(metrics)

    def save_due(self) -> None:
        """Commit what is due; a disk that refuses costs a save, never the training."""
        due, self._due = self._due, None
        if due is not None:
            self._saves.due(self._step, lambda: due(self._metrics))

    def save_last(self, save: Callable[[], Save]) -> None:
        """Commit the last step, unless that was done.

        Raises:
            OSError: The disk refused.
        """
        due, self._due = self._due, None
        self._saves.last(self._step, lambda: (due or save())(self._metrics))

    def save_checkpoint(
        self, model: Any, optimizer: Any, scheduler: Any, epoch: int, step: int, metrics: Mapping[str, float],
        extra: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Commit a training checkpoint, and the milestone it is where it improves the run's metric."""
        config, manager = self.run.config, self.run.checkpoints
        saved = manager.save_training_checkpoint(model, optimizer, epoch, step, metrics, config, scheduler, extra=extra)
        best = self.run.record.metric
        if best is not None and best.name in metrics:
            manager.save_milestone_checkpoint(
                model, metrics[best.name], best.name, epoch, config, None, optimizer, step=step, metrics=metrics,
                scheduler=scheduler, extra=extra, mode=best.mode, same_as=saved or None,
            )  # fmt: skip
