"""Deleting from the dashboard: ask with number and bytes, move to the trash, say what really went, take it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes
from ckptop.tui.front import Front, bytes_of, counted
from ckptop.tui.model import CheckpointRow, RunRow
from ckptop.tui.undoing import Undoing

if TYPE_CHECKING:
    from ckptop.store.run_trash import DeletedRun
    from ckptop.store.store import Store
    from ckptop.store.trash import TrashEntry
    from ckptop.store.views import RunView


class Deleting:
    """Deletions of one main screen."""

    def __init__(self, front: Front, undoing: Undoing) -> None:
        self._front, self._undoing = front, undoing

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

        policy = await self._front.ask(PruneScreen(view, self._front.detail))
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
        self._undoing.remember(lambda: self._restore(view, entries))
        gone = {entry.info.inode for entry in entries}
        kept = {info.inode for info in view.checkpoints if info.inode in gone} - _only_in(view, entries)
        freed = bytes_of([entry.info for entry in entries if entry.info.inode not in kept])
        self._front.say(f"{len(entries):,} in trash, {format_bytes(freed)} freed once emptied. u undoes.")

    async def _restore(self, view: RunView, entries: Sequence[TrashEntry]) -> bool:
        from ckptop.store.actions import restore_checkpoints

        restored = await self._front.in_thread(restore_checkpoints, view, entries)
        self._front.wake([view.name])
        if restored is not None:
            self._front.say(f"{len(restored):,} back from the trash.")
        return restored is not None

    # Whole runs.

    def delete_runs(self, rows: Sequence[RunRow]) -> None:
        """Move these runs with all they hold to the trash, once confirmed."""
        refusal = self._front.refusal()
        live = [row for row in rows if row.is_live]
        if refusal is not None:
            self._front.say(refusal, "warning")
        elif live:
            self._front.say(f"{live[0].label} is {live[0].state}; x stops it first.", "warning")
        elif rows:
            self._front.start(self._delete_runs(rows))

    async def _delete_runs(self, rows: Sequence[RunRow]) -> None:
        from ckptop.store.store import Store
        from ckptop.tui.screens.confirm import Confirm

        several = len(rows) > 1
        files = counted(sum(row.checkpoints for row in rows), "checkpoint")
        named = counted(len(rows), "run") if several else f"run {rows[0].label}"
        size = format_bytes(sum(row.size_bytes for row in rows))
        if await self._front.ask(
            Confirm(
                f"Move {named} ({files}, {size}) to trash?",
                note="Its logs and curves go with it; releases made from it stay.",
                no=f"No, keep {'all' if several else 'it'}",
                yes=f"Move {len(rows):,} to trash" if several else "Move to trash",
                undoable=True,
            )
        ):
            store = Store(self._front.reader.look.root)
            deleted = await self._front.in_thread(_delete_runs, store, [row.name for row in rows])
            self._front.wake([""])
            if deleted:
                self._undoing.remember(lambda: self._restore_runs(store, deleted))
                gone = counted(len(deleted), "run") if several else rows[0].label
                self._front.say(f"{gone} in trash. u undoes; t lists it.")

    async def _restore_runs(self, store: Store, deleted: Sequence[DeletedRun]) -> bool:
        restored = await self._front.in_thread(_restore_runs, store, deleted)
        self._front.wake([""])
        if restored is not None:
            self._front.say(f"{counted(len(restored), 'run')} back from the trash.")
        return restored is not None


def _delete_runs(store: Store, names: Sequence[str]) -> list[DeletedRun]:
    """Each is looked at before the first is moved: where one is refused, none goes."""
    from ckptop.store.run_trash import delete_run, require_deletable

    views = [store.run(name) for name in names]
    for view in views:
        require_deletable(store.paths, view)
    return [delete_run(store.paths, view) for view in views]


def _restore_runs(store: Store, deleted: Sequence[DeletedRun]) -> list[RunView]:
    from ckptop.store.run_trash import restore_run

    return [restore_run(store.paths, run) for run in deleted]


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
