"""Going back by itself when a loss is no number (`on_nan=rollback`).

The attempt ends, and another begins from the newest checkpoint with a lower rate, exactly as a person's resume would:
the lineage, the override recorded with the attempt and the bits are the same. What was logged past the checkpoint is
abandoned. A fault that the rate is not to blame for comes back, and ends the run after `rollbacks` of them.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ckptop.store.errors import EXIT_STOPPED
from ckptop.store.run import Run
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.console import Console
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.stepping import NotFinite


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """An attempt that ended in order to go back."""

    root: Path
    """The run's directory."""
    config: TrainConfig[Any]
    """The configuration it had."""

    def options(self, options: TrainOptions) -> TrainOptions:
        """How the next attempt begins: from the newest checkpoint, or the start where there is none yet."""
        changes = [("lr", repr(self.config.lr * self.config.rollback_lr_factor))]
        if self.config.accept_new_data:  # nothing may have been saved since it was accepted
            changes.append(("accept_new_data", "true"))
        return replace(
            options,
            store=self.root.parent,
            name=self.root.name,
            resume="auto",
            config_file=None,
            assignments=changes,
            is_own_wish=True,
        )


def may_go_back(run: Run, config: TrainConfig[Any], done: int) -> bool:
    """Whether an attempt that came upon no number goes back; one that was asked to stop does not."""
    return config.on_nan == "rollback" and done < config.rollbacks and not run.should_stop


def end_attempt(error: NotFinite, run: Run, config: TrainConfig[Any], console: Console, done: int) -> Rollback:
    """Say why the attempt ends and end it as stopped."""
    what = str(error).partition(";")[0]
    where = "the newest checkpoint" if run.checkpoints.get_latest_checkpoint() else "the start, for nothing was saved,"
    message = (
        f"{what}: going back to {where} with lr {config.lr * config.rollback_lr_factor:g}, times "
        f"{config.rollback_lr_factor:g} (rollback {done + 1} of {config.rollbacks})"
    )
    console.say(message)
    run.event("alert", kind="nan", message=message, goes_on=True)
    run.request_stop(message)
    run.finish("stopped", code=EXIT_STOPPED, summary={"goes_on": True})
    return Rollback(root=run.root, config=config)


def free_memory() -> None:
    """Let go of the ended attempt's model and workers before the next one builds its own."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no types here
        torch.cuda.empty_cache()
