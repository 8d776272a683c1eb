"""Pinning from the dashboard: a person's mark that keeps a checkpoint, and with it its run, from being deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ckptop.host.units import format_count
from ckptop.tui.front import Front, counted
from ckptop.tui.undoing import Undoing

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView


class Pinning:
    """Pins set from one main screen."""

    def __init__(self, front: Front, undoing: Undoing) -> None:
        self._front, self._undoing = front, undoing

    def pin(self, infos: Sequence[CheckpointInfo] | None) -> None:
        """Pin these checkpoints; unpin them where all are pinned. None is the best of the run, or its newest."""
        view = self._front.view_to_change()
        if view is None:
            return
        if infos is None:
            held = [info for info in view.checkpoints if info.pinned]
            chosen = held or [found for found in (view.best or view.latest,) if found is not None]
        else:
            chosen = [info for info in infos if info.tier != "production"]
        if not chosen:
            self._front.say("A release is never deleted: it needs no pin." if infos else "No checkpoint to pin here.",
                            "warning")  # fmt: skip
            return
        wanted = not all(info.pinned for info in chosen)
        self._front.start(self._mark(view, [info for info in chosen if info.pinned != wanted], wanted=wanted))

    async def _mark(self, view: RunView, infos: Sequence[CheckpointInfo], *, wanted: bool) -> None:
        if await self._set(view, infos, wanted=wanted):
            self._undoing.remember(lambda: self._set(view, infos, wanted=not wanted))

    async def _set(self, view: RunView, infos: Sequence[CheckpointInfo], *, wanted: bool) -> bool:
        from ckptop.store.pins import pin, unpin

        done = await self._front.in_thread(_each, pin if wanted else unpin, view, infos)
        self._front.wake([view.name])
        if done is None:
            return False
        which = f"checkpoint {format_count(infos[0].step)}" if len(infos) == 1 else counted(len(infos), "checkpoint")
        rule = "nothing deletes it" if len(infos) == 1 else "nothing deletes them"
        self._front.say(f"Pinned {which}: {rule}. u undoes." if wanted else f"Unpinned {which}. u undoes.")
        return True


def _each(
    change: Callable[[RunView, CheckpointInfo], bool], view: RunView, infos: Sequence[CheckpointInfo]
) -> list[bool]:
    return [change(view, info) for info in infos]
