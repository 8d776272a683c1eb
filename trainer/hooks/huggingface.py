"""A callback for transformers: `Trainer(callbacks=[ckptop])`, `train(resume_from_checkpoint=ckptop.checkpoint)`.

Checkpoints are ours: one `.pt` with weights, optimizer, scheduler, random state and the Trainer's own state. To resume,
it is laid out as the directory that the Trainer resumes from, so that the Trainer restores itself, the position in the
data included.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ckptop.store.errors import Damaged, UsageError
from ckptop.store.loading import restore_random
from ckptop.store.looping import Rates
from ckptop.store.random_state import capture_random_state
from ckptop.store.rate_change import take_up_rate
from ckptop.store.verified_reading import read_verified
from ckptop.trainer.hooks.run_hook import RunHook, Save

_STATE = "trainer_state"
"""The key of our file that holds what the Trainer writes to trainer_state.json."""
_NO_CURVES = ("epoch", "_runtime", "_per_second")
"""Ends of names of what the Trainer logs beside metrics."""


class CkptopCallback(RunHook, TrainerCallback):
    """Shows a Trainer's run with curves, checkpoints, control and resume.

    `loss` is logged as `train/loss`, `learning_rate` as `lr`, `eval_loss` as `val/loss`. See `RunHook` for the
    arguments. Set `save_strategy="no"`: the Trainer's own checkpoints would be written beside ours.
    """

    def __init__(self, store: Path | str, *, name: str, task: str, **create: Any) -> None:
        super().__init__(store, name=name, task=task, **create)
        self._parts: dict[str, Any] = {}
        self._layout: tempfile.TemporaryDirectory[str] | None = None
        self._random: Mapping[str, Any] | None = None

    @property
    def checkpoint(self) -> str | None:
        """What to resume from, for `train(resume_from_checkpoint=…)`; None where the run begins.

        Raises:
            Damaged: The checkpoint's bytes differ, or it was not saved by this callback.
        """
        path = self.run.start.from_checkpoint
        if path is None:
            return None
        if self._layout is None:
            self._random = read_verified(path)
            self._layout = tempfile.TemporaryDirectory(prefix="ckptop-resume-")
            _lay_out(self._random, path, Path(self._layout.name))
        return self._layout.name

    # The Trainer's events

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Begin the attempt."""
        if args.world_size > 1:
            raise UsageError("CkptopCallback works in one process; this training has several")
        self.require_restored(state.global_step, "pass resume_from_checkpoint=ckptop.checkpoint to train()")
        self._parts = parts
        take_up_rate(self.run, *self._rates)
        self.run.begin(total_epochs=math.ceil(args.num_train_epochs), total_steps=state.max_steps)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Commit what is due; at the start of an epoch the order of the data is drawn."""
        self.save_due()
        self._restore_random()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Commit what is due; in the middle of an epoch the Trainer has just skipped what was trained on."""
        self.save_due()
        if self._layout is not None:
            if _is_within_epoch(state):
                self._restore_random()
            self._forget_layout()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Obey what is asked."""
        if self.stepped(state.global_step, _epoch(state), lambda: self._save_of(state), self._rates):
            control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What is due holds the random state of after the evaluation, whose loader draws."""
        if self._due is not None:
            self._due = self._save_of(state)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save every epoch, unless it is done by steps; what a stop cut short is saved before the evaluation it brings.

        The uninterrupted training has no evaluation there, and an evaluation's loader draws.
        """
        if _is_within_epoch(state):
            self.save_due()
        elif self._save_every_steps is None:
            self._due = self._save_of(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Commit what is due before the Trainer may load its best weights."""
        self.save_due()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: Mapping[str, Any] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        """Log; not the Trainer's summary at the end, which is no curve."""
        numbers = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
        values = {_name(key): value for key, value in numbers.items() if not key.endswith(_NO_CURVES)}
        if values and "train_runtime" not in numbers:
            self.note(state.global_step, _epoch(state), values)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save the last step and end the run."""
        self._forget_layout()
        self.save_last(lambda: self._save_of(state))
        self.end()

    # Inside

    @property
    def _rates(self) -> Rates:
        return [self._parts["optimizer"]], [self._parts["lr_scheduler"]]

    def _save_of(self, state: TrainerState) -> Save:
        step, epoch, random = state.global_step, _epoch(state), capture_random_state()

        def save(metrics: Mapping[str, float]) -> None:
            own = {"rng": random, _STATE: json.dumps(dataclasses.asdict(state))}
            parts = self._parts
            self.save_checkpoint(
                parts["model"], parts["optimizer"], parts["lr_scheduler"], epoch, step, metrics, own
            )  # fmt: skip

        return save

    def _restore_random(self) -> None:
        if self._random is not None and self.run.start.from_checkpoint is not None:
            restore_random(self._random, self.run.start.from_checkpoint)

    def _forget_layout(self) -> None:
        if self._layout is not None:
            self._layout.cleanup()
        self._layout = self._random = None


def _lay_out(state: Mapping[str, Any], path: Path, directory: Path) -> None:
    """Write our checkpoint as the directory that `train(resume_from_checkpoint=…)` reads."""
    names = {
        "model_state_dict": "pytorch_model.bin", "optimizer_state_dict": "optimizer.pt",
        "scheduler_state_dict": "scheduler.pt",
    }  # fmt: skip
    missing = [key for key in (*names, _STATE) if key not in state]
    if missing:
        raise Damaged(f"{path} has no {', '.join(missing)}: it was not saved by the Trainer's callback")
    for key, name in names.items():
        torch.save(state[key], directory / name)
    (directory / "trainer_state.json").write_text(state[_STATE])


def _epoch(state: TrainerState) -> int:
    return max(1, math.ceil(state.epoch or 0))


def _is_within_epoch(state: TrainerState) -> bool:
    return (state.epoch or 0) % 1 != 0


def _name(key: str) -> str:
    """The field's name for what the Trainer calls `key`."""
    if key.startswith("eval_"):
        return f"val/{key.removeprefix('eval_')}"
    return {"loss": "train/loss", "learning_rate": "lr"}.get(key, key)
