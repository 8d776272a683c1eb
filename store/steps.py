"""Which step a save is of: what was saved of it already, what it leaves behind, and steps that make no sense.

Checkpoints sort by (epoch, step). A run's steps count on from epoch to epoch; a stand-alone set's may begin again.
"""

from __future__ import annotations

from ckptop.store.checkpoint_info import CheckpointInfo, latest_of
from ckptop.store.errors import UsageError
from ckptop.store.going_back import discard_past
from ckptop.store.loading import loaded_from
from ckptop.store.saving import SavePoint, Saver


def training_at(saver: Saver, epoch: int, step: int) -> CheckpointInfo | None:
    """The newest training checkpoint of that step that this attempt saved; None if there is none."""
    same = [c for c in saver.live("training") if (c.epoch, c.step) == (epoch, step) and c.manifest]
    same = [info for info in same if info.attempt == saver.run.attempt]
    return max(same, key=lambda info: info.order, default=None)


def newest_step(saver: Saver, at: SavePoint, epoch: int) -> int:
    """The step of a milestone whose caller does not say: going back must know what to leave behind."""
    own = [c.step for c in saver.live("training") if c.attempt == saver.run.attempt and c.epoch <= epoch]
    return max(at.step, *own, 0)


def go_back_if_loaded(saver: Saver, epoch: int, step: int) -> None:
    """Put aside what came after, where a script loaded an older checkpoint and now saves before the newest.

    Rules and resumes would take that for the newest. A run knows of going back by its attempts.

    Raises:
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    if saver.run.name or (origin := loaded_from(saver.paths.root)) is None:
        return
    newest = latest_of(saver.live("training"))
    if newest is not None and origin < (epoch, step) < (newest.epoch, newest.step):
        discard_past(saver.paths, *origin, saver.fs)


def refuse_steps_that_begin_again(saver: Saver, epoch: int, step: int) -> None:
    """Return unless it is a run, which goes back by its steps, and this one is less than an earlier epoch's.

    Raises:
        UsageError: It is; nothing was saved.
    """
    if not saver.run.name:
        return
    own = [info for info in saver.live("training") if info.attempt == saver.run.attempt]
    past = [info for info in own if info.epoch < epoch and info.step > step]
    if past:
        before = max(past, key=lambda info: info.order)
        raise UsageError(
            f"step {step} of epoch {epoch} is less than step {before.step} of epoch {before.epoch}: the steps of a "
            "run count on from epoch to epoch"
        )
