"""A screen whose keys do something to the selected run: from a key to the action that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.tui.deleting import Deleting
from ckptop.tui.exporting import Exporting
from ckptop.tui.front import Front
from ckptop.tui.judging import Judging
from ckptop.tui.pinning import Pinning
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.reading import ReadingScreen
from ckptop.tui.trainers import Tasks, Trainers
from ckptop.tui.undoing import Undoing
from ckptop.tui.verifying import Verifying
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.detail import Detail
from ckptop.tui.widgets.runs_list import RunsList

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.tui.model import RunRow


@runtime_checkable
class Copied(Protocol):
    """A pane that offers something to be copied."""

    def copy_text(self) -> str:
        """It; empty for nothing."""


@runtime_checkable
class Undoes(Protocol):
    """A pane whose last action can be taken back."""

    def undo(self) -> None:
        """Take it back."""


class ActingScreen(ReadingScreen):
    """The actions of the main screen, each of them in a module of its subject."""

    def __init__(self, reader: StoreReader, tasks: Tasks) -> None:
        super().__init__(reader)
        self.front = Front(self, reader)
        self._undoing = Undoing(self.front)
        self._deleting = Deleting(self.front, self._undoing)
        self._exporting = Exporting(self.front)
        self._judging = Judging(self.front)
        self._pinning = Pinning(self.front, self._undoing)
        self._trainers = Trainers(self.front, tasks)
        self._verifying = Verifying(self.front)

    def give_keys(self, pane: Widget) -> None:
        """Focus a pane now: `Widget.focus` lets keys that came in the same packet reach the pane before it."""
        if pane.is_mounted:
            self.set_focus(pane)
        if self.focused is not pane:
            pane.focus()

    @property
    def _is_among_checkpoints(self) -> bool:
        return isinstance(self.focused, CheckpointTable | Detail)

    def _checkpoint_at_cursor(self) -> CheckpointInfo | None:
        current = self.query_one(CheckpointTable).current
        return current.info if self._is_among_checkpoints and current is not None else None

    @property
    def run_at_cursor(self) -> RunRow | None:
        """The run that the cursor stands on, be it read or not."""
        return self.query_one(RunsList).current

    def show_progress(self, text: str) -> None:
        """Show how far a verification is."""
        self.query_one(CheckpointTable).progress = text

    def action_copy(self) -> None:
        """Copy what the pane in focus offers."""
        pane = self.focused
        if isinstance(pane, Copied) and (text := pane.copy_text()):
            self.app.copy_to_clipboard(text)
            self.front.say("Copied.")

    def action_train(self) -> None:
        """Train something new."""
        self._trainers.train()

    def action_resume(self) -> None:
        """Resume or fork the run, from the checkpoint under the cursor where one is; or all that are marked."""
        table, runs = self.query_one(CheckpointTable), self.query_one(RunsList)
        if self._is_among_checkpoints and len(table.marked) > 1:
            self._trainers.fork_checkpoints(table.selection())
        elif self.focused is runs and len(runs.marked) > 1:
            self._trainers.resume_runs(runs.selection())
        else:
            self._trainers.resume(self._checkpoint_at_cursor())

    def action_control(self) -> None:
        """Show what can be asked of the run's trainer."""
        self._trainers.control()

    def action_why(self) -> None:
        """Show what ended the run, or what it does."""
        self._trainers.why()

    def action_prune(self) -> None:
        """Delete old checkpoints by rules."""
        self._deleting.prune()

    def action_promote(self) -> None:
        """Promote the marked checkpoints or the one under the cursor; of a run, its best."""
        rows = self.query_one(CheckpointTable).selection()
        self._judging.promote([row.info for row in rows] if self._is_among_checkpoints else None)

    def action_pin(self) -> None:
        """Pin the marked checkpoints or the one under the cursor; of a run, its best."""
        rows = self.query_one(CheckpointTable).selection()
        self._pinning.pin([row.info for row in rows] if self._is_among_checkpoints else None)

    def action_delete(self) -> None:
        """Delete the marked checkpoints, or the one under the cursor; in the list of runs, runs."""
        if isinstance(self.focused, RunsList):
            self._deleting.delete_runs(self.focused.selection())
        else:
            self._deleting.delete(self.query_one(CheckpointTable).selection())

    def action_verify(self) -> None:
        """Verify the marked checkpoints, or the one under the cursor."""
        self._verifying.verify(self.query_one(CheckpointTable).selection())

    def action_export(self) -> None:
        """Export the marked checkpoints, or the one under the cursor."""
        self._exporting.checkpoints(self.query_one(CheckpointTable).selection())

    def action_undo(self) -> None:
        """Take the last thing back that can be; in a pane that keeps what was done there, of those."""
        if isinstance(self.focused, Undoes):
            self.focused.undo()
        else:
            self._undoing.undo()

    def resume_best(self) -> None:
        """Resume the run, or fork it, from its best checkpoint."""
        view = self.front.view()
        if view is not None and view.best is None:
            self.front.say(f"{clean(view.name)} has no best checkpoint to go back to.", "warning")
        elif view is not None:
            self._trainers.resume(view.best)
