"""What the loop saves and what happens when the disk refuses: a save is lost, never the training.

The last save of a run is not given up so easily: it waits for room, and goes to the spill directory in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckptop.host.units import format_bytes
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.last_save import save_at_last, spill_directory
from ckptop.store.records import Mode
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.trash import TrashLimit
from ckptop.trainer.config import TrainConfig, as_dict
from ckptop.trainer.console import Console
from ckptop.trainer.parts import Parts
from ckptop.trainer.state import Progress, extra_of


def keeping_rules(config: TrainConfig[Any], metric: tuple[str, Mode]) -> list[Policy]:
    """The rules that keep training checkpoints beside the newest `keep_training`."""
    rules = []
    if config.keep_every_epochs is not None:
        rules.append(Policy(keep_every_epochs=config.keep_every_epochs))
    if config.keep_every_steps is not None:
        rules.append(Policy(keep_every_steps=config.keep_every_steps))
    if config.keep_spacing_minutes is not None:
        rules.append(Policy(keep_spacing_seconds=60 * config.keep_spacing_minutes))
    if config.keep_best is not None:
        rules.append(Policy(keep_best=config.keep_best, metric=metric[0], mode=metric[1]))
    return rules


def trash_limit(config: TrainConfig[Any]) -> TrashLimit | None:
    """What of the trash is purged after a save; None where nothing is."""
    return TrashLimit(max_age_seconds=86_400 * config.trash_days) if config.trash_days is not None else None


class Saving:
    """Saves what a training stands at."""

    def __init__(self, parts: Parts, run: Run, console: Console) -> None:
        self._parts, self._run, self._console = parts, run, console
        self._newest: Path | None = None
        """The training checkpoint saved last; a milestone of its step is of the very same state."""
        self._pending: str | None = None
        """What to say when the save on its way is there."""
        self._pending_step = 0
        self._following: list[tuple[Path, str]] = []
        """Milestones that are made right after it, and what to say of each."""

    def prepare(self) -> None:
        """Make ready for the first save, beside the loop; once the optimizer has a state."""
        self._run.checkpoints.prepare(self._parts.model, self._parts.optimizer)

    def training(self, progress: Progress, metrics: dict[str, float], *, must: bool) -> bool:
        """Save a training checkpoint of this step; False if the disk refused, or a viewer keeps the lock.

        It may still be on its way on return, unless it `must` be saved; `look` tells what became of it.

        Raises:
            OSError: It `must` be saved, being the last, and there is no room here nor in the spill directory.
        """
        parts, epoch = self._parts, progress.last_epoch

        def save(manager: CheckpointManager) -> str:
            path = manager.save_training_checkpoint(
                parts.model, parts.optimizer, epoch, progress.step, metrics, self._config(), parts.schedule,
                parts.scaler, self._extra(progress),
            )  # fmt: skip
            if must:
                manager.wait()
            return path

        self.settle()
        try:
            self._newest = Path(self._at_last(save) if must else save(self._run.checkpoints))
        except OSError as error:
            if must:
                raise
            self._skip("checkpoint", progress.step, error)
            return False
        self._pending_step = progress.step
        self._pending = f"Checkpoint saved: training epoch {epoch}, step {progress.step:,}"
        return self.look()

    def skips(self, step: int) -> bool:
        """Whether a checkpoint that need not be waited for is skipped now, one being on its way; says so."""
        is_skipped = self._run.checkpoints.is_skipping
        if is_skipped:
            self._console.say(f"Checkpoint skipped: step {step:,}, that of step {self._pending_step:,} is on its way")
        return is_skipped

    def look(self) -> bool:
        """Say what became of the save on its way, if it is no longer; False if it was lost. Costs nothing else."""
        if self._pending is None or self._run.checkpoints.is_saving:
            return True
        return self._heard(self._run.check_saves)

    def settle(self) -> bool:
        """Wait until nothing is on its way; False if it was lost."""
        return self._pending is None or self._heard(self._run.checkpoints.wait)

    def _heard(self, ask: Callable[[], None]) -> bool:
        line, self._pending = self._pending, None
        following, self._following = self._following, []
        try:
            ask()
            is_saved = True
        except OSError as error:
            self._skip("checkpoint", self._pending_step, error)
            is_saved = False
        if is_saved:
            self._console.say(f"{line}{_size_of(self._newest)}")
        times = self._run.checkpoints.save_times
        if is_saved and times is not None:
            self._run.log_system({
                "save/blocked_seconds": times.blocked_seconds, "save/durable_seconds": times.durable_seconds,
            })  # fmt: skip
        for path, said in following:
            if path.exists():  # else an alert says why not
                self._console.say(said)
        return is_saved

    def milestone(self, progress: Progress, value: float, epoch: int, metrics: dict[str, float]) -> None:
        """Commit a milestone if the metric improved; the manager compares."""
        parts, (name, mode) = self._parts, self._parts.metric
        try:
            path = self._run.checkpoints.save_milestone_checkpoint(
                parts.model, value, name, epoch, self._config(), None, parts.optimizer, step=progress.step,
                metrics=metrics, scheduler=parts.schedule, scaler=parts.scaler, extra=self._extra(progress), mode=mode,
                same_as=self._newest,
            )  # fmt: skip
        except OSError as error:
            self._skip("milestone", progress.step, error)
            return
        if path is not None:
            line = f"New best {name}: {value:.4f} (milestone saved)"
            if self._pending is None:
                self._console.say(line)
            else:
                self._following.append((Path(path), line))

    def _at_last(self, save: Callable[[CheckpointManager], str]) -> str:
        config, left = self._parts.config, self._run.seconds_left
        patience = config.full_disk_patience_seconds
        if left is not None:  # the other half is for the save itself, here or in the spill directory
            patience = min(patience, left / 2)
        return save_at_last(
            self._run.checkpoints,
            save,
            spill=spill_directory(config.spill_dir),
            patience_seconds=patience,
            say=self._warn,
        )

    def _skip(self, what: str, step: int, error: OSError) -> None:
        self._warn(f"The {what} of step {step:,} was not saved: {error}; training goes on")

    def _warn(self, message: str) -> None:
        self._console.say(message)
        self._run.touch()  # waiting for room is no stall
        self._run.event("alert", kind="disk", message=message)

    def _extra(self, progress: Progress) -> dict[str, Any]:
        return extra_of(progress, self._parts.config, self._parts.train.batches)

    def _config(self) -> dict[str, Any]:
        """The configuration as a checkpoint holds it: with the task, so that a release says what it is."""
        return {"task": self._parts.task.name} | as_dict(self._parts.config)


def _size_of(path: Path | None) -> str:
    """In parentheses; empty where a viewer has deleted it already."""
    try:
        return f" ({format_bytes(path.stat().st_size)})" if path is not None else ""
    except OSError:
        return ""
