"""A callback for Lightning: `Trainer(callbacks=[ckptop])`, then `fit(module, ckpt_path=ckptop.checkpoint)`.

Checkpoints are ours and Lightning's at once: the `.pt` holds what Lightning's own file holds, so that it restores
itself from it, `load_from_checkpoint` reads it, and so does everything else of ckptop. The weights are there under two
names and once in bytes. Works with `lightning` and with `pytorch_lightning`, whichever the script has imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptop.store.errors import UsageError
from ckptop.store.loading import restore_random
from ckptop.store.looping import Rates
from ckptop.store.random_state import capture_random_state
from ckptop.store.rate_change import take_up_rate
from ckptop.store.state_dicts import plain
from ckptop.store.verified_reading import read_verified
from ckptop.trainer.hooks.run_hook import RunHook, Save

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import Logger
elif "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback
    from pytorch_lightning.loggers import Logger
else:
    try:
        from lightning.pytorch import Callback
        from lightning.pytorch.loggers import Logger
    except ModuleNotFoundError:
        from pytorch_lightning import Callback
        from pytorch_lightning.loggers import Logger

_OURS = ("epoch", "global_step")
"""Keys of Lightning's file that ours has already; Lightning itself resumes by its `loops`."""


class CkptopCallback(RunHook, Callback):
    """Shows a Lightning run with curves, checkpoints, control and resume.

    What the module logs is logged under its names, every `log_every_n_steps`. See `RunHook` for the arguments. Set
    `enable_checkpointing=False`: Lightning's own checkpoints would be written beside ours.
    """

    def __init__(self, store: Path | str, *, name: str, task: str, **create: Any) -> None:
        super().__init__(store, name=name, task=task, **create)
        self.logger = CkptopLogger(self)

    @property
    def checkpoint(self) -> str | None:
        """What to resume from, for `fit(ckpt_path=…)`; None where the run begins."""
        path = self.run.start.from_checkpoint
        return str(path) if path is not None else None

    # Lightning's events

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to what the module logs."""
        if trainer.world_size > 1:
            raise UsageError("CkptopCallback works in one process; this training has several")
        self.logger.trainer = trainer
        if self.logger not in trainer.loggers:
            trainer.loggers = [*trainer.loggers, self.logger]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random state, before the first loader draws the order of its data."""
        path = self.run.start.from_checkpoint
        if path is not None:
            restore_random(read_verified(path), path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the attempt.

        Lightning has put its SIGTERM handler over ours by now, and would end the fit without a save.
        """
        self.run.retake_signals()
        self.require_restored(trainer.global_step, "pass ckpt_path=ckptop.checkpoint to fit()")
        take_up_rate(self.run, *_rates(trainer))
        steps, epochs = trainer.estimated_stepping_batches, trainer.max_epochs
        self.run.begin(
            total_epochs=epochs if epochs is not None and epochs > 0 else None,
            total_steps=int(steps) if steps not in (-1, float("inf")) else None,
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commit what is due."""
        self.save_due()

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Commit what is due."""
        self.save_due()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Obey what is asked, between two optimizer steps."""
        if trainer.global_step == self._step:
            return  # gradients are accumulated
        step, epoch = trainer.global_step, trainer.current_epoch + 1
        if self.stepped(step, epoch, lambda: self._save_of(trainer), _rates(trainer)):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save every epoch, unless it is done by steps; one that was cut short has been saved at its step."""
        if trainer.is_last_batch and (self._save_every_steps is None or self._due is not None):
            self._due = self._save_of(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step."""
        self.save_last(lambda: self._save_of(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the run as failed."""
        self.end(exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the run with the fit."""
        if stage == "fit":
            self.end()

    # Inside

    def _save_of(self, trainer: Trainer) -> Save:
        step, epoch, random = trainer.global_step, self.run.epoch, capture_random_state()
        own = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        for key in _OURS:
            own.pop(key, None)
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in own:
                own[key] = plain(own[key])  # of a class its name: a checkpoint holds no pickled objects

        def save(metrics: Mapping[str, float]) -> None:
            model = trainer.lightning_module
            self.save_checkpoint(model, None, None, epoch, step, metrics, {**own, "rng": random})

        return save


class CkptopLogger(Logger):
    """Hands what Lightning logs to the run; `CkptopCallback` adds it to the trainer's loggers by itself."""

    def __init__(self, hook: CkptopCallback) -> None:
        super().__init__()
        self.trainer: Trainer | None = None
        self._hook = hook

    @property
    def name(self) -> str:
        """The run's name."""
        return self._hook.run.name

    @property
    def version(self) -> str:
        """The attempt."""
        return str(self._hook.run.attempt)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """The run's configuration is what the callback was made with."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log at the optimizer steps done; Lightning counts from 0."""
        if self.trainer is None or (not self.trainer.training and not self.trainer.validating):
            return
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if values:
            self._hook.note(self.trainer.global_step, self.trainer.current_epoch + 1, values)


def _rates(trainer: Trainer) -> Rates:
    return trainer.optimizers, [config.scheduler for config in trainer.lr_scheduler_configs]
