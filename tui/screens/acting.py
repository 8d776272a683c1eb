"""A screen whose keys do something to the selected run: from a key to the action that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widget import Widget

from ckptop.tui.deleting import Deleting
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
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.hardware import HardwarePane
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import RunsList

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo


class ActingScreen(ReadingScreen):
    """The actions of the main screen, each of them in a module of its subject."""

    def __init__(self, reader: StoreReader, tasks: Tasks) -> None:
        super().__init__(reader)
        self.front = Front(self, reader)
        self._undoing = Undoing(self.front)
        self._deleting = Deleting(self.front, self._undoing)
        self._judging = Judging(self.front)
        self._pinning = Pinning(self.front, self._undoing)
        self._trainers = Trainers(self.front, tasks)
        self._verifying = Verifying(self.front)

    @property
    def _is_among_checkpoints(self) -> bool:
        return isinstance(self.focused, CheckpointTable | Detail)

    def _checkpoint_at_cursor(self) -> CheckpointInfo | None:
        current = self.query_one(CheckpointTable).current
        return current.info if self._is_among_checkpoints and current is not None else None

    def show_progress(self, text: str) -> None:
        """Show how far a verification is."""
        self.query_one(CheckpointTable).progress = text

    def action_copy(self) -> None:
        """Copy what the pane in focus offers."""
        pane: Widget | None = self.focused
        if isinstance(pane, RunsList | Plots | EnlargedPlot | CheckpointTable | Detail | HardwarePane) and (
            text := pane.copy_text()
        ):
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
        elif runs.has_focus and len(runs.marked) > 1:
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

    def action_undo(self) -> None:
        """Take the last thing back that can be."""
        self._undoing.undo()
