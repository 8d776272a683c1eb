"""The main screen: four panes, their focus and sizes, and the way from a key to an action.

Values go down: one snapshot, bound to each pane. Messages come up: what the cursor stands on, what was opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from ckptop.tui.keys import binding
from ckptop.tui.layout import (
    CHECKPOINTS,
    DETAIL,
    ENLARGED,
    FACTS,
    HARDWARE,
    LEAST_HARDWARE_ROWS,
    PANES,
    PLOTS,
    RUNS,
    Wants,
    arrange,
)
from ckptop.tui.memory import Layout
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.remembering import RememberingScreen
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.body import Body
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.detail import Detail
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.facts import Facts
from ckptop.tui.widgets.filter_prompt import FilterPrompt
from ckptop.tui.widgets.footer import Footer
from ckptop.tui.widgets.hardware import HardwarePane
from ckptop.tui.widgets.header import Header
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import DEAD_STATES, RunsList

HINT = "Tab moves, Enter opens, ? lists every key."
"""Shown until the first key."""


class MainScreen(RememberingScreen):
    """Runs, Plots, Checkpoints and Hardware."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("slash", "filter", "main.filter", "Filter", "Filter runs, charts or checkpoints", show=True),
        binding("T", "train", "main.train", "Train", "Train something new in the background", show=True),
        binding("question_mark", "help", "main.help", "Help", "List every key", show=True),
        binding("tab", "next_pane(1)", "main.next-pane", "Next pane", "Go to the next pane"),
        binding("shift+tab", "next_pane(-1)", "main.previous-pane", "Previous pane", "Go to the pane before"),
        binding("1", "pane('runs')", "main.runs", "Runs", "Go to the runs; again: full size"),
        binding("2", "pane('plots')", "main.plots", "Plots", "Go to the plots; again: full size"),
        binding(
            "3", "pane('checkpoints')", "main.checkpoints", "Checkpoints", "Go to the checkpoints; again: full size"
        ),
        binding("4", "pane('hardware')", "main.hardware", "Hardware", "Go to the hardware; again: full size"),
        binding("z", "full_size", "main.full-size", "Full size", "Show this pane alone, or all again"),
        binding("escape", "back", "main.back", "Back", "One step back; never quits"),
        binding("u", "undo", "main.undo", "Undo", "Take the last deletion or pin back"),
    ]

    def __init__(
        self, reader: StoreReader, tasks: Tasks = tuple, *, layout: Layout | None = None, remember: Path | None = None
    ) -> None:
        super().__init__(reader, tasks, layout=layout, remember=remember)
        self._hint = HINT if layout is None else ""

    def compose(self) -> ComposeResult:
        """Header, panes in the order of Tab, footer."""
        settings = self._plot_settings
        yield Header(id="header").data_bind(MainScreen.snapshot)
        yield Body(
            RunsList(id=RUNS).data_bind(MainScreen.snapshot),
            Plots(settings, id=PLOTS).data_bind(MainScreen.snapshot),
            EnlargedPlot(settings, id=ENLARGED).data_bind(MainScreen.snapshot),
            CheckpointTable(id=CHECKPOINTS).data_bind(MainScreen.snapshot),
            Detail(id=DETAIL).data_bind(MainScreen.snapshot),
            HardwarePane(id=HARDWARE).data_bind(MainScreen.snapshot),
            Facts(id=FACTS).data_bind(MainScreen.snapshot),
            id="body",
        )
        yield Footer(id="footer")

    def on_mount(self) -> None:
        """Start looking at the store, as it was left."""
        self.query_one(RunsList).focus()
        self._restore_layout()
        self.call_after_refresh(self.read_store)

    # A new snapshot.

    def watch_snapshot(self) -> None:
        """Bring layout and footer up to date."""
        if self.is_mounted:  # a look at a reactive of a screen in the making calls its watcher
            self._relayout()
            self.call_next(self._show_detail)  # the table takes the snapshot after this
            self._update_footer()

    def on_cursor_list_cursor_moved(self) -> None:
        """Another run under the cursor: read it; other marks: other keys in the footer."""
        self._want()
        self._show_detail()
        self._update_footer()

    # Panes.

    @property
    def wants(self) -> Wants:
        """What the layout depends on."""
        return Wants(
            full=self.full,
            runs=len(self.snapshot.runs) if self.snapshot is not None else 1,
            hardware=max(LEAST_HARDWARE_ROWS, self.query_one(HardwarePane).needed_rows),
        )

    def _relayout(self) -> None:
        body = self.query_one(Body)
        if body.regions.take(self.wants):
            # A widget's own request leaves its arrangement cached; a child's clears it.
            self.query_one(RunsList).refresh(layout=True)

    @property
    def shown_panes(self) -> set[str]:
        """Ids of the panes that have a place on screen."""
        return set(arrange(self.query_one(Body).size, self.wants))

    def on_resize(self) -> None:
        """A pane that has no place any more gives its focus to the runs."""
        self.call_after_refresh(self._keep_focus_on_screen)

    def _keep_focus_on_screen(self) -> None:
        focused = self.focused.id if self.focused is not None else None
        if focused == DETAIL and DETAIL not in self.shown_panes:
            self.query_one(CheckpointTable).focus()
            focused = CHECKPOINTS
        if focused in PANES and focused not in self.shown_panes:
            self.query_one(RunsList).focus()

    def on_descendant_focus(self) -> None:
        """Name the keys of the pane in focus; full size goes with it."""
        focused = self.focused.id if self.focused is not None else None
        if self.full is not None and focused in PANES and focused != self.full:
            self.full = focused
        self._update_footer()

    def watch_full(self) -> None:
        """Place the panes anew."""
        if self.is_mounted:
            self.query_one(EnlargedPlot).is_open = self.full == ENLARGED
            self.query_one(HardwarePane).is_full = self.full == HARDWARE
            self._relayout()

    def _update_footer(self) -> None:
        self.query_one(Footer).show(self.focused, self, hint=self._hint)

    def on_key(self) -> None:
        """The first key takes the hint away; what it changed is remembered."""
        self._remember_soon()
        if self._hint:
            self._hint = ""
            self._update_footer()

    def action_pane(self, name: str) -> None:
        """Focus a pane; where it has the focus already, or has no place here, show it full size."""
        self._leave_chart()
        self._leave_detail()
        pane = self.query_one(f"#{name}")
        if pane.has_focus:
            self.action_full_size()
            return
        if self.full is not None or name not in self.shown_panes:
            self.full = name
        pane.focus()

    def action_next_pane(self, direction: int) -> None:
        """Focus the pane after or before this one."""
        self._leave_detail()
        here = PANES.index(self.focused.id) if self.focused is not None and self.focused.id in PANES else -1
        self.action_pane(PANES[(here + direction) % len(PANES)])

    def action_full_size(self) -> None:
        """Show the pane in focus alone, or all panes again."""
        if self._leave_chart() or (self.full == DETAIL and self._leave_detail()):
            return
        if self.focused is not None and self.focused.id in (*PANES, DETAIL):
            self.full = None if self.full is not None else self.focused.id

    def action_back(self) -> None:
        """One step back: marks, the filter, full size, then the runs."""
        runs = self.query_one(RunsList)
        if self._leave_chart() or self._leave_detail() or self._verifying.stop():
            return
        if isinstance(self.focused, RunsList | CheckpointTable) and self.focused.clear_marks():
            self.on_cursor_list_cursor_moved()
        elif isinstance(self.focused, RunsList | CheckpointTable | Plots) and self.focused.query_text:
            self.focused.query_text = ""
        elif self.full is not None:
            self.full = None
            if self.focused is not None and self.focused.id not in self.shown_panes:
                runs.focus()
        else:
            runs.focus()

    def on_runs_list_opened(self) -> None:
        """Go to the checkpoints of the run; of a dead one, say why."""
        current = self.query_one(RunsList).current
        if current is not None and current.state in DEAD_STATES:
            self.action_why()
        elif not self.query_one(CheckpointTable).has_focus:
            self.action_pane(CHECKPOINTS)

    # Filter.

    def action_filter(self) -> None:
        """Ask for a filter of the list or the charts in focus; of the runs elsewhere."""
        plots = self.query_one(Plots)
        target = plots if isinstance(self.focused, EnlargedPlot) else self.focused
        self.query_one(Footer).display = False
        if not isinstance(target, CheckpointTable | Plots):
            target = self.query_one(RunsList)
        self.mount(FilterPrompt(target))

    async def on_filter_prompt_closed(self, message: FilterPrompt.Closed) -> None:
        """Bring the footer back."""
        await self.query_one(FilterPrompt).remove()
        self.query_one(Footer).display = True
        (self.query_one(EnlargedPlot) if self.full == ENLARGED else message.target).focus()

    def action_help(self) -> None:
        """List every key."""
        from ckptop.tui.screens.help import HelpScreen

        self.app.push_screen(
            HelpScreen(
                [self.query_one(f"#{name}") for name in (RUNS, PLOTS, ENLARGED, CHECKPOINTS, DETAIL, HARDWARE)], self
            )
        )
