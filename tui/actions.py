"""What a key does to a run: ask where something is lost, do it outside the event loop, say what really happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes, format_count
from ckptop.store.errors import CkptopError
from ckptop.tui.child import run_ckptop
from ckptop.tui.model import LIVE_STATES, CheckpointRow
from ckptop.tui.presenting import short_problem

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.trash import TrashEntry
    from ckptop.store.views import RunView
    from ckptop.tui.reader import StoreReader
    from ckptop.tui.screens.main import MainScreen

T = TypeVar("T")

TOAST_SECONDS = 5
SLOW_BYTES = 256 * 1024**2
"""Verifying more than this is announced."""


@dataclass(frozen=True, slots=True)
class Undo:
    """One deletion that can be taken back."""

    view: RunView
    entries: Sequence[TrashEntry]


class Actions:
    """The actions of one main screen."""

    def __init__(self, screen: MainScreen, reader: StoreReader) -> None:
        self._screen = screen
        self._reader = reader
        self._undos: list[Undo] = []

    # Deleting.

    def delete(self, rows: Sequence[CheckpointRow]) -> None:
        """Move these checkpoints to the trash, once confirmed."""
        view = self._view_to_change()
        released = [row for row in rows if row.tier == "production"]
        if view is None or not rows:
            return
        if released:
            self.say("A release is never deleted; unmark it.", "warning")
            return
        self._start(self._delete(view, rows))

    async def _delete(self, view: RunView, rows: Sequence[CheckpointRow]) -> None:
        from ckptop.store.actions import delete_checkpoints
        from ckptop.tui.screens.confirm import Confirm

        size = format_bytes(bytes_of([row.info for row in rows]))
        named = [word for mark, word in (("latest", "newest"), ("best", "best")) if any(r.mark == mark for r in rows)]
        confirmed = await self._screen.app.push_screen_wait(
            Confirm(
                f"Move {counted(len(rows), 'checkpoint')} ({size}) to trash?",
                note=_warning(named, len(rows)),
                no=f"No, keep {'all' if len(rows) > 1 else 'it'}",
                yes=f"Move {len(rows):,} to trash",
                undoable=True,
            )
        )
        if confirmed:
            entries = await self._in_thread(delete_checkpoints, view, [row.info for row in rows])
            self._tell_deleted(view, entries)

    def prune(self) -> None:
        """Ask for rules, show what they mean, and delete what they do not keep."""
        view = self._view_to_change()
        if view is None:
            return
        if not view.checkpoints:
            self.say(f"{clean(view.name)} has no checkpoint to delete.", "warning")
            return
        self._start(self._prune(view))

    async def _prune(self, view: RunView) -> None:
        from ckptop.store.actions import prune
        from ckptop.tui.screens.prune import PruneScreen

        policy = await self._screen.app.push_screen_wait(PruneScreen(view))
        if policy is not None:
            carried_out = await self._in_thread(prune, view, [policy])
            self._tell_deleted(view, carried_out[1] if carried_out is not None else None)

    def _tell_deleted(self, view: RunView, entries: Sequence[TrashEntry] | None) -> None:
        self._reader.wake([view.name])
        if entries is None:
            return
        if not entries:
            self.say("Nothing was deleted: it is gone already.", "warning")
            return
        self._undos.append(Undo(view, tuple(entries)))
        gone = {entry.info.inode for entry in entries}
        kept = {info.inode for info in view.checkpoints if info.inode in gone} - _only_in(view, entries)
        freed = bytes_of([entry.info for entry in entries if entry.info.inode not in kept])
        self.say(f"{len(entries):,} in trash, {format_bytes(freed)} freed once emptied. u undoes.")

    def undo(self) -> None:
        """Take the last deletion of this session back."""
        if not self._undos:
            self.say("Nothing to undo.", "warning")
            return
        self._start(self._undo(self._undos.pop()))

    async def _undo(self, undo: Undo) -> None:
        from ckptop.store.actions import restore_checkpoints

        restored = await self._in_thread(restore_checkpoints, undo.view, undo.entries)
        self._reader.wake([undo.view.name])
        if restored is None:
            self._undos.append(undo)  # it failed, with the reason said; it may go better the next time
        if restored is not None:
            self.say(f"{len(restored):,} back from the trash.")

    # Verifying.

    def verify(self, rows: Sequence[CheckpointRow]) -> None:
        """Compare the bytes of these checkpoints with their manifests."""
        view = self._view()
        rows = [row for row in rows if row.tier != "production"]
        if view is not None and rows:
            self._start(self._verify(view, rows))

    async def _verify(self, view: RunView, rows: Sequence[CheckpointRow]) -> None:
        size = bytes_of([row.info for row in rows])
        if size > SLOW_BYTES:
            self.say(f"Verifying {counted(len(rows), 'checkpoint')}, {format_bytes(size)}…")
        found = await self._in_thread(_verify_all, [row.info for row in rows])
        if found is None:
            return
        sound = [row.key for row in rows if row.key not in found]
        self._reader.mark_damaged(view.name, found, sound)
        if not found:
            self.say(f"Verified {len(rows):,}: all good.")
            return
        bad = next(row for row in rows if row.key in found)
        self.say(f"Verified {len(rows):,}: {len(sound):,} good, {len(found):,} damaged.", "error")
        self.say(f"Checkpoint {format_count(bad.step)}: {short_problem(found[bad.key], bad.info)}. d deletes.", "error")

    # What a child does.

    def promote(self, info: CheckpointInfo | None) -> None:
        """Make a checkpoint a milestone or a release; the run's best where none is given."""
        view = self._view_to_change()
        chosen = info or (view.best or view.latest if view is not None else None)
        if view is None:
            return
        if chosen is None or chosen.manifest is None:
            self.say("No checkpoint to promote here.", "warning")
            return
        if chosen.tier == "production":
            self.say("This one is released already.", "warning")
            return
        self._start(self._promote(view, chosen))

    async def _promote(self, view: RunView, info: CheckpointInfo) -> None:
        from ckptop.tui.screens.promote import PromoteScreen

        arguments = await self._screen.app.push_screen_wait(PromoteScreen(view, info, self._reader.look.root))
        if arguments is None:
            return
        if "production" in arguments:
            self.say("Releasing…")
        answer = await run_ckptop(arguments)
        self._reader.wake(["", view.name])
        if not answer.ok:
            self.say(answer.error, "error")
        elif "version" in answer.facts:
            self.say(f"Released {answer.facts.get('model')} {answer.facts['version']}.")
        else:
            self.say(f"Milestone of step {format_count(info.step)}.")

    def resume(self, info: CheckpointInfo | None) -> None:
        """Go on with the run in the background, from a checkpoint or the newest."""
        view = self._view_to_change()
        if view is None:
            return
        if view.state in LIVE_STATES:
            self.say(f"{clean(view.name)} is {view.state} already.", "warning")
            return
        if view.record is None or view.record.command is None:
            self.say(f"{clean(view.name)} has no recorded command to resume with.", "warning")
            return
        chosen = info if info is not None and info.tier != "production" else None
        self._start(self._resume(view, chosen))

    async def _resume(self, view: RunView, info: CheckpointInfo | None) -> None:
        from ckptop.tui.screens.resume import ResumeScreen

        arguments = await self._screen.app.push_screen_wait(ResumeScreen(view, info, self._reader.look.root))
        if arguments is None:
            return
        self.say(f"Resuming {clean(view.name)}…")
        answer = await run_ckptop(arguments)
        self._reader.wake([view.name])
        if not answer.ok:
            self.say(answer.error, "error")
            return
        step, pid = answer.facts.get("from_step", 0), answer.facts.get("pid", "?")
        self.say(f"Resumed {clean(view.name)} from step {format_count(int(step))} (pid {pid}).")

    # Shared.

    def say(self, message: str, severity: str = "information") -> None:
        """Show a toast; one at a time says more than a pile."""
        self._screen.notify(clean(message), severity=severity, timeout=TOAST_SECONDS, markup=False)  # type: ignore[arg-type]  # one of Textual's three words

    def _view(self) -> RunView | None:
        detail = self._screen.snapshot.detail if self._screen.snapshot is not None else None
        if detail is not None and detail.view is None:
            self.say(detail.row.problem or "This run cannot be read.", "warning")
        return detail.view if detail is not None else None

    def _view_to_change(self) -> RunView | None:
        """The selected run, where it may be changed; else None, with the reason said."""
        snapshot = self._screen.snapshot
        if snapshot is not None and not snapshot.writable:
            self.say(snapshot.problem or "The store is read-only.", "warning")
            return None
        return self._view()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._screen.run_worker(work, group="actions")

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Run a call of the store outside the event loop; None where it failed, with the error said."""
        try:
            return await asyncio.to_thread(function, *arguments)
        except (CkptopError, OSError) as error:
            self.say(str(error), "error")
            return None


def bytes_of(infos: Sequence[CheckpointInfo]) -> int:
    """Bytes of checkpoints, each inode once."""
    return sum({info.inode: info.size_bytes for info in infos}.values())


def counted(count: int, noun: str) -> str:
    """`1 checkpoint`, `7 checkpoints`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


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


def _verify_all(infos: Sequence[CheckpointInfo]) -> dict[str, str]:
    from ckptop.store.verify import verify_checkpoint

    hashes: dict[tuple[int, int], str] = {}
    found = {}
    for info in infos:
        finding = verify_checkpoint(info, hashes=hashes)
        if finding is not None and finding.severe:
            found[info.key] = finding.message
    return found
