"""A screen whose keys do something to the selected run: from a key to the action that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptop.tui.deleting import Deleting
from ckptop.tui.front import Front
from ckptop.tui.judging import Judging
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.reading import ReadingScreen
from ckptop.tui.trainers import Tasks, Trainers
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
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
        self._deleting = Deleting(self.front)
        self._judging = Judging(self.front)
        self._trainers = Trainers(self.front, tasks)

    def _checkpoint_at_cursor(self) -> CheckpointInfo | None:
        table = self.query_one(CheckpointTable)
        return table.current.info if table.has_focus and table.current is not None else None

    def action_copy(self) -> None:
        """Copy what the pane in focus offers."""
        pane = self.focused
        if isinstance(pane, RunsList | Plots | EnlargedPlot | CheckpointTable | HardwarePane) and (
            text := pane.copy_text()
        ):
            self.app.copy_to_clipboard(text)
            self.front.say("Copied.")

    def action_train(self) -> None:
        """Train something new."""
        self._trainers.train()

    def action_resume(self) -> None:
        """Resume or fork the run, from the checkpoint under the cursor where one is."""
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
        """Promote the checkpoint under the cursor, or the run's best."""
        self._judging.promote(self._checkpoint_at_cursor())

    def action_delete(self) -> None:
        """Delete the marked checkpoints, or the one under the cursor."""
        self._deleting.delete(self.query_one(CheckpointTable).selection())

    def action_verify(self) -> None:
        """Verify the marked checkpoints, or the one under the cursor."""
        self._judging.verify(self.query_one(CheckpointTable).selection())

    def action_undo(self) -> None:
        """Take the last deletion back."""
        self._deleting.undo()
