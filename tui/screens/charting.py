"""A screen with charts of the selected run: one of them enlarged, and other runs laid over it."""

from __future__ import annotations

from textual.reactive import reactive

from ckptop.tui.layout import CHECKPOINTS, ENLARGED
from ckptop.tui.plot_settings import PlotSettings
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.acting import ActingScreen
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.chart_viewer import ChartViewer
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import RunsList


class ChartingScreen(ActingScreen):
    """What the panes of charts ask of the main screen."""

    full: reactive[str | None] = reactive(None, repaint=False)
    """The pane shown alone."""

    def __init__(self, reader: StoreReader, tasks: Tasks) -> None:
        super().__init__(reader, tasks)
        self._plot_settings = PlotSettings()
        self._full_before: str | None = None
        """What was shown alone before a chart was enlarged."""

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        raise NotImplementedError

    def on_plots_enlarged(self) -> None:
        """Show the chosen chart alone."""
        self.action_enlarge()

    def action_enlarge(self) -> None:
        """Show the chosen chart alone; by no message, so that the next key of the same packet is for it."""
        if not self.query_one(Plots).has_charts:
            return
        self._full_before, self.full = self.full, ENLARGED
        self.give_keys(self.query_one(EnlargedPlot))

    def _leave_chart(self) -> bool:
        """Back from the enlarged chart to the plots; False where none is."""
        if self.full != ENLARGED:
            return False
        self.full = self._full_before
        plots = self.query_one(Plots)
        plots.redraw()
        self.give_keys(plots)
        return True

    def on_chart_viewer_mark_opened(self, message: ChartViewer.MarkOpened) -> None:
        """Go to the row of a checkpoint marked on the curve."""
        table = self.query_one(CheckpointTable)
        table.query_text = ""
        if table.move_to_key(message.key):
            self.action_pane(CHECKPOINTS)

    def _want(self) -> None:
        runs = self.query_one(RunsList)
        current = runs.current.name if runs.current is not None else None
        marked = [str(name) for name in sorted(runs.marked, key=str)] if self._plot_settings.overlay else []
        self._reader.want(current, [run.name for run in runs.visible_items], marked)

    def on_plots_overlay_changed(self) -> None:
        """Have the curves of the marked runs read, or no more."""
        self._want()
        if self._plot_settings.overlay and not self.query_one(RunsList).marked:
            self.notify("Mark runs with Space in pane 1: they are laid over this one.", markup=False)

    def on_enlarged_plot_overlay_changed(self) -> None:
        """The same."""
        self.on_plots_overlay_changed()
