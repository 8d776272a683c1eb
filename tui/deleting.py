"""Deleting from the dashboard: ask with number and bytes, move to the trash, say what really went, take it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes
from ckptop.tui.front import Front, bytes_of, counted
from ckptop.tui.model import CheckpointRow

if TYPE_CHECKING:
    from ckptop.store.trash import TrashEntry
    from ckptop.store.views import RunView


@dataclass(frozen=True, slots=True)
class Undo:
    """One deletion that can be taken back."""

    view: RunView
    entries: Sequence[TrashEntry]


class Deleting:
    """Deletions of one main screen, the last of which `u` takes back."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._undos: list[Undo] = []

    def delete(self, rows: Sequence[CheckpointRow]) -> None:
        """Move these checkpoints to the trash, once confirmed."""
        view = self._front.view_to_change()
        released = [row for row in rows if row.tier == "production"]
        if view is None or not rows:
            return
        if released:
            self._front.say("A release is never deleted; unmark it.", "warning")
            return
        self._front.start(self._delete(view, rows))

    async def _delete(self, view: RunView, rows: Sequence[CheckpointRow]) -> None:
        from ckptop.store.actions import delete_checkpoints
        from ckptop.tui.screens.confirm import Confirm

        size = format_bytes(bytes_of([row.info for row in rows]))
        named = [word for mark, word in (("latest", "newest"), ("best", "best")) if any(r.mark == mark for r in rows)]
        confirmed = await self._front.ask(
            Confirm(
                f"Move {counted(len(rows), 'checkpoint')} ({size}) to trash?",
                note=_warning(named, len(rows)),
                no=f"No, keep {'all' if len(rows) > 1 else 'it'}",
                yes=f"Move {len(rows):,} to trash",
                undoable=True,
            )
        )
        if confirmed:
            entries = await self._front.in_thread(delete_checkpoints, view, [row.info for row in rows])
            self._tell_deleted(view, entries)

    def prune(self) -> None:
        """Ask for rules, show what they mean, and delete what they do not keep."""
        view = self._front.view_to_change()
        if view is None:
            return
        if not view.checkpoints:
            self._front.say(f"{clean(view.name)} has no checkpoint to delete.", "warning")
            return
        self._front.start(self._prune(view))

    async def _prune(self, view: RunView) -> None:
        from ckptop.store.actions import prune
        from ckptop.tui.screens.prune import PruneScreen

        policy = await self._front.ask(PruneScreen(view))
        if policy is not None:
            carried_out = await self._front.in_thread(prune, view, [policy])
            self._tell_deleted(view, carried_out[1] if carried_out is not None else None)

    def _tell_deleted(self, view: RunView, entries: Sequence[TrashEntry] | None) -> None:
        self._front.wake([view.name])
        if entries is None:
            return
        if not entries:
            self._front.say("Nothing was deleted: it is gone already.", "warning")
            return
        self._undos.append(Undo(view, tuple(entries)))
        gone = {entry.info.inode for entry in entries}
        kept = {info.inode for info in view.checkpoints if info.inode in gone} - _only_in(view, entries)
        freed = bytes_of([entry.info for entry in entries if entry.info.inode not in kept])
        self._front.say(f"{len(entries):,} in trash, {format_bytes(freed)} freed once emptied. u undoes.")

    def undo(self) -> None:
        """Take the last deletion of this session back."""
        if not self._undos:
            self._front.say("Nothing to undo.", "warning")
            return
        self._front.start(self._undo(self._undos.pop()))

    async def _undo(self, undo: Undo) -> None:
        from ckptop.store.actions import restore_checkpoints

        restored = await self._front.in_thread(restore_checkpoints, undo.view, undo.entries)
        self._front.wake([undo.view.name])
        if restored is None:
            self._undos.append(undo)  # it failed, with the reason said; it may go better the next time
        if restored is not None:
            self._front.say(f"{len(restored):,} back from the trash.")


def _warning(named: Sequence[str], count: int) -> str:
    """What a person should know before these go."""
    if not named:
        return ""
    which = " and the ".join(named)
    return f"The {which} {'are' if len(named) > 1 else 'is'} among them." if count > 1 else f"It is the {which}."


def _only_in(view: RunView, entries: Sequence[TrashEntry]) -> set[tuple[int, int]]:
    """Inodes that nothing but what went held."""
    homes = {entry.home for entry in entries}
    staying = {info.inode for info in view.checkpoints if info.key not in homes}
    return {entry.info.inode for entry in entries} - staying
