"""A screen that looks into checkpoints: the detail of the one under the cursor, and what lies in the trash."""

from __future__ import annotations

from ckptop.tui.layout import DETAIL, HARDWARE
from ckptop.tui.screens.charting import ChartingScreen
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.detail import Detail


class BrowsingScreen(ChartingScreen):
    """What the table of checkpoints asks of the main screen."""

    _full_before_detail: str | None = None
    """What was shown alone before a checkpoint was opened."""

    @property
    def shown_panes(self) -> set[str]:
        """Ids of the panes that have a place on screen."""
        raise NotImplementedError

    def on_checkpoint_table_opened(self) -> None:
        """Go to the detail beside, or show it alone."""
        if DETAIL not in self.shown_panes:
            self._full_before_detail, self.full = self.full, DETAIL
        self.give_keys(self.query_one(Detail))

    def on_detail_stepped(self, message: Detail.Stepped) -> None:
        """Move the table's cursor, and with it what is shown."""
        self.query_one(CheckpointTable).action_move(message.rows)

    def _leave_detail(self) -> bool:
        """Back from the detail to the table; False where it has not the keys."""
        detail = self.query_one(Detail)
        if self.focused is not detail:
            return False
        if self.full == DETAIL:
            self.full = self._full_before_detail
        self.give_keys(self.query_one(CheckpointTable))
        return True

    def _show_detail(self) -> None:
        self.query_one(Detail).show(self.query_one(CheckpointTable).current)

    def on_hardware_pane_opened(self) -> None:
        """Show the hardware alone, with its processes; or all panes again."""
        self.full = None if self.full == HARDWARE else HARDWARE

    def action_trash(self) -> None:
        """Show what was deleted: of the run, or from the runs and the hardware of the whole store."""
        from ckptop.tui.screens.trash import TrashScreen

        detail = self.front.detail
        run = detail.row.name if detail is not None and self._is_among_checkpoints else None
        self.app.push_screen(TrashScreen(self.front, run))
