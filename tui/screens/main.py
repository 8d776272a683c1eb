"""The main screen: its panes, their focus and sizes, and the way from a key to an action.

Values go down: one snapshot, bound to each pane. Messages come up: what the cursor stands on, what was opened.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from ckptop.tui.keys import Shown, binding
from ckptop.tui.layout import (
    ALERTS,
    CHECKPOINTS,
    DETAIL,
    ENLARGED,
    FACTS,
    HARDWARE,
    LEAST_HARDWARE_ROWS,
    LOG,
    LOG_PANES,
    PANES,
    PLOTS,
    RUNS,
    Wants,
)
from ckptop.tui.memory import Layout
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.full_panes import ALONE
from ckptop.tui.screens.remembering import RememberingScreen
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.body import Body
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.detail import Detail
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.facts import Facts
from ckptop.tui.widgets.filter_prompt import Filtered, FilterPrompt
from ckptop.tui.widgets.footer import Footer
from ckptop.tui.widgets.hardware import HardwarePane
from ckptop.tui.widgets.header import Header
from ckptop.tui.widgets.marked_list import MarkedList
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import DEAD_STATES, RunsList

HINT = "Tab moves, Enter opens, ? lists every key."
"""Shown until the first key."""
SETTLED_SECONDS = 2.0
"""After which what starts up has: the libraries that draw and read are there."""
FIRST_SECONDS = 0.04
"""At most so long an empty screen waits for the first look; a disk that hangs must not hold the keys up."""


class MainScreen(RememberingScreen):
    """Runs, Plots, Checkpoints and Hardware."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("slash", "filter", "main.filter", "Filter", "Filter what is listed; search the log", show=True),
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
        binding("5", "pane('registry')", "main.registry", "Registry", "Releases of models; again: back"),
        binding("6", "pane('log')", "main.log", "Log", "What the run printed, its events; again: back"),
        binding("7", "pane('compare')", "main.compare", "Compare", "Marked runs or checkpoints side by side"),
        binding("8", "pane('alerts')", "main.alerts", "Alerts", "What went wrong, in all runs; again: back"),
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
        self.snapshot = self._reader.first(FIRST_SECONDS)
        self.call_after_refresh(self._start_reading)

    def _start_reading(self) -> None:
        self.read_store()
        if not gc.isenabled():  # `tui.start` put it off
            self.set_timer(SETTLED_SECONDS, _collect_from_now)

    # A new snapshot.

    def watch_snapshot(self) -> None:
        """Bring layout and footer up to date."""
        if self.is_mounted:  # a look at a reactive of a screen in the making calls its watcher
            self._relayout()
            self.call_next(self._show_detail)  # the table takes the snapshot after this
            self._update_footer()
            self.follow_cause()
            self.alarming.take(self.snapshot, is_listed=self.full == ALERTS)

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
        self.settle_panes()

    def on_resize(self) -> None:
        """A pane that has no place any more gives its focus to the runs."""
        self.call_after_refresh(self._keep_focus_on_screen)

    def _keep_focus_on_screen(self) -> None:
        self.settle_panes()
        focused = self.focused.id if self.focused is not None else None
        if focused == DETAIL and DETAIL not in self.shown_panes:
            self.give_keys(self.query_one(CheckpointTable))
            focused = CHECKPOINTS
        if focused in (*PANES, LOG) and focused not in self.shown_panes:
            self.give_keys(self.query_one(RunsList))

    def on_descendant_focus(self) -> None:
        """Name the keys of the pane in focus; full size goes with it."""
        focused = self.focused.id if self.focused is not None else None
        ring = LOG_PANES if self.full in LOG_PANES else PANES
        if self.full is not None and focused in ring and focused != self.full:
            self.full = focused
        self._update_footer()

    def watch_full(self) -> None:
        """Place the panes anew."""
        if self.is_mounted:
            self.query_one(EnlargedPlot).is_open = self.full == ENLARGED
            self.query_one(HardwarePane).is_full = self.full == HARDWARE
            self._relayout()

    def _update_footer(self) -> None:
        self.query_one(Footer).show(self.focused, self, hint=self._hint, places=self._places())

    def shown_bindings(self) -> list[Shown]:
        """What the footer names beside the keys of the pane; of a screen of its own, the help alone."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        is_off = self.front.refusal() is not None
        return [
            Shown(item, item.description, is_off and item.id == "main.train")
            for item in own
            if self.full not in ALONE or item.id == "main.help"
        ]

    def _places(self) -> list[Shown]:
        """The screens that the keys 5 to 8 open; on one of them its own keys need the room."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.key in "5678"]
        return [Shown(item, item.description) for item in own] if self.full not in ALONE else []

    def on_key(self) -> None:
        """The first key takes the hint away; a key leads elsewhere than a cause, and what it changed is remembered."""
        self._cause = None
        self._remember_soon()
        if self._hint:
            self._hint = ""
            self._update_footer()

    def action_back(self) -> None:
        """One step back: chart, detail, verification, marks, filter, screen, full size, then the runs."""
        runs = self.query_one(RunsList)
        if self._leave_chart() or self._leave_detail() or self._verifying.stop():
            return
        if isinstance(self.focused, MarkedList) and self.focused.clear_marks():
            self.on_cursor_list_cursor_moved()
        elif isinstance(self.focused, Filtered) and self.focused.query_text:
            self.focused.query_text = ""
        elif self.leave_screen():
            pass
        elif self.full is not None:
            self.full = None
            if self.focused is not None and self.focused.id not in self.shown_panes:
                self.give_keys(runs)
        else:
            self.give_keys(runs)

    def on_runs_list_opened(self) -> None:
        """Go to the checkpoints of the run; of a dead one, say why."""
        current = self.query_one(RunsList).current
        if current is not None and current.state in DEAD_STATES:
            self.action_why()
        elif self.focused is not self.query_one(CheckpointTable):
            self.action_pane(CHECKPOINTS)

    # Filter.

    async def action_filter(self) -> None:
        """Ask for a filter of the list or the charts in focus; of the runs elsewhere."""
        plots = self.query_one(Plots)
        target = plots if isinstance(self.focused, EnlargedPlot) else self.focused
        if self._leave_detail():
            target = self.query_one(CheckpointTable)
        if self.full in ALONE and not isinstance(target, Filtered):
            return
        self.query_one(Footer).display = False
        if not isinstance(target, Filtered):
            target = self.query_one(RunsList)
        prompt = FilterPrompt(target)
        await self.mount(prompt)  # what is typed ahead must not be taken for keys of the pane
        self.give_keys(prompt.field)

    async def on_filter_prompt_closed(self, message: FilterPrompt.Closed) -> None:
        """Bring the footer back."""
        await self.query_one(FilterPrompt).remove()
        self.query_one(Footer).display = True
        (self.query_one(EnlargedPlot) if self.full == ENLARGED else message.target).focus()

    def action_help(self) -> None:
        """List every key."""
        from ckptop.tui.screens.help import HelpScreen

        here = type(self.focused) if self.focused is not None else None
        self.app.push_screen(HelpScreen(explained_panes(), [MainScreen, type(self.app)], here=here))


def _collect_from_now() -> None:
    gc.freeze()  # what stands by now stays, so no collection need look at it
    gc.enable()


def explained_panes() -> list[tuple[str, type[Widget]]]:
    """Title and class of every pane, in the order of the help."""
    from ckptop.tui.widgets.alerts_pane import AlertsPane
    from ckptop.tui.widgets.compare_pane import ComparePane
    from ckptop.tui.widgets.events_pane import EventsPane
    from ckptop.tui.widgets.log_pane import LogPane
    from ckptop.tui.widgets.registry_pane import RegistryPane

    return [
        ("Runs", RunsList),
        ("Plots", Plots),
        ("Enlarged", EnlargedPlot),
        ("Checkpoints", CheckpointTable),
        ("Detail", Detail),
        ("Hardware", HardwarePane),
        ("Registry", RegistryPane),
        ("Log", LogPane),
        ("Events", EventsPane),
        ("Compare", ComparePane),
        ("Alerts", AlertsPane),
    ]
