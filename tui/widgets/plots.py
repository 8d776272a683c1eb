"""Pane 2: the charts of the selected run, as many as fit, one of them chosen.

Charts bring NumPy and plotext, which take longer to import than all the rest; they are mounted when the first
curves arrive, after the screen has been painted once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Resize
from textual.geometry import Offset, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ckptop.tui import text
from ckptop.tui.keys import COPY, binding
from ckptop.tui.layout import MOST_CHARTS, arrange_charts
from ckptop.tui.model import RunDetail, Snapshot
from ckptop.tui.text import Span
from ckptop.tui.widgets.pane_rule import Figure, PaneRule, figure

if TYPE_CHECKING:
    from ckptop.tui.chart_canvas import Marker
    from ckptop.tui.chart_compose import ChartModel
    from ckptop.tui.curves import Curves, Marks
    from ckptop.tui.widgets.chart import Chart

SMOOTHINGS = (0.0, 0.6, 0.8, 0.9, 0.93, 0.97, 0.99, 0.995)
DEFAULT_SMOOTHING = 4
AXIS_WORDS = {"step": "by step", "epoch": "by epoch", "time": "by time"}


class _ChartLayout(Layout):
    """Rules and charts in a grid."""

    name: ClassVar[str] = "charts"

    def __init__(self) -> None:
        self.available = 1
        self.alone = False

    def arrange(
        self,
        parent: Widget,  # noqa: ARG002  asked for by Textual
        children: list[Widget],
        size: Size,
        greedy: bool = True,  # noqa: ARG002
    ) -> ArrangeResult:
        """Place rule and chart of each cell."""
        cells = arrange_charts(size, self.available, alone=self.alone)
        by_id = {child.id: child for child in children}
        none, origin = Spacing(), Offset(0, 0)
        placed = []
        for place, cell in enumerate(cells):
            for region, name in ((cell.rule, f"chart-rule-{place}"), (cell.chart, f"chart-{place}")):
                if name in by_id:
                    placed.append(WidgetPlacement(region, origin, none, by_id[name]))
        return placed


class Plots(Widget, can_focus=True):
    """Charts under their rules."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "enlarge", "plots.enlarge", "Enlarge", "Show the chosen chart alone", show=True),
        binding("left_square_bracket", "smooth(-1)", "plots.smooth-less", "Rougher", "Smooth less"),
        binding(
            "right_square_bracket", "smooth(1)", "plots.smooth-more", "Smooth", "Smooth more", show=True, shown_as="[ ]"
        ),
        binding("L", "toggle_log", "plots.log", "Log y", "Logarithmic or linear y axis", show=True),
        binding("a", "next_axis", "plots.axis", "x axis", "Over steps, epochs or time", show=True),
        binding("h,left,k,up", "choose(-1)", "plots.previous", "Previous chart", "Choose the chart before"),
        binding("l,right,j,down", "choose(1)", "plots.next", "Next chart", "Choose the chart after"),
        binding("g,home", "choose_end(0)", "plots.first", "First chart", "Choose the first chart"),
        binding("G,end", "choose_end(-1)", "plots.last", "Last chart", "Choose the last chart"),
        COPY,
    ]

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    enlarged: reactive[bool] = reactive(False, repaint=False)
    """Whether the chosen chart is shown alone."""

    class Enlarged(Message):
        """Enter on a chart."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._layout = _ChartLayout()
        self._chosen = 0
        self._first = 0
        self._smoothing = DEFAULT_SMOOTHING
        self._axis = 0
        self._logs: dict[str, bool] = {}
        self._shown: dict[int, tuple[object, ...]] = {}
        """What each place was last drawn for."""
        self._models: dict[int, ChartModel] = {}

    @property
    def layout(self) -> Layout:
        """Our own."""
        return self._layout

    def compose(self) -> ComposeResult:
        """Rules only; charts come with the first curves."""
        yield from (PaneRule(id=f"chart-rule-{place}") for place in range(MOST_CHARTS))

    @property
    def curves(self) -> Curves | None:
        """The curves of the selected run."""
        detail = self._detail
        return detail.curves if detail is not None else None

    @property
    def _detail(self) -> RunDetail | None:
        return self.snapshot.detail if self.snapshot is not None else None

    @property
    def available(self) -> int:
        """How many charts there are; 1 where there is none, for the message."""
        return max(1, len(self.curves.groups)) if self.curves is not None else 1

    @property
    def _cells(self) -> int:
        return len(arrange_charts(self.size, self.available, alone=self.enlarged))

    # What changes the picture.

    def watch_snapshot(self) -> None:
        """Draw the new curves; another number of charts moves them."""
        self._arrange()
        self.redraw()

    def watch_enlarged(self) -> None:
        """Give the chosen chart all, or take it back."""
        self._arrange()
        self.redraw()

    def _arrange(self) -> None:
        grid = self._layout
        if (grid.available, grid.alone) != (self.available, self.enlarged):
            grid.available, grid.alone = self.available, self.enlarged
            self._rule(0).refresh(layout=True)  # a child's request: our own would leave the arrangement cached

    def on_resize(self, event: Resize) -> None:
        """Draw as many charts as fit now."""
        del event
        self.redraw()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """Draw the heavy rule, or the faint one."""
        super().watch_has_focus(_has_focus)
        self.redraw()

    def redraw(self) -> None:
        """Bring rules and charts up to date."""
        if not self.is_mounted:
            return
        curves, detail = self.curves, self._detail
        if curves is None or detail is None:
            self._rule(0).show("Plots", (), digit="2", focused=self.has_focus)
            return
        self._mount_charts()
        cells = self._cells
        count = len(curves.groups)
        self._chosen = max(0, min(self._chosen, count - 1))
        self._first = max(self._chosen - cells + 1, min(self._first, self._chosen))
        self._first = max(0, min(self._first, count - cells))
        for place in range(cells):
            self._show_cell(place, curves, detail, cells)

    def _show_cell(self, place: int, curves: Curves, detail: RunDetail, cells: int) -> None:
        from ckptop.tui.chart_compose import ChartModel
        from ckptop.tui.curves import AXES, chart_model

        index = self._first + place
        rule = self._rule(place)
        focused = self.has_focus and index == self._chosen
        digit = "2" if place == 0 else ""
        if index >= len(curves.groups):
            self._shown.pop(place, None)
            self._chart(place).set_model(ChartModel(series=(), subject=curves.run))
            rule.show("Plots", (), digit=digit, focused=self.has_focus)
            return
        group = curves.groups[index]
        log = self._logs.get(group.title)
        state = (group, detail.table, self._axis, self._smoothing, log)
        if self._shown.get(place) != state:  # groups and tables are compared by identity
            self._shown[place] = state
            axis, smoothing = AXES[self._axis], SMOOTHINGS[self._smoothing]
            model = chart_model(curves, group, marks_of(detail), axis=axis, log=log, smoothing=smoothing)
            self._models[place] = model
            self._chart(place).set_model(model)
        rule.show(group.title, self._figures(place, index, cells), digit=digit, focused=focused)

    def _figures(self, place: int, index: int, cells: int) -> list[Figure]:
        from ckptop.tui.curves import AXES
        from ckptop.tui.widgets.chart import title_pairs

        model = self._models[place]
        words = []
        if self.enlarged or self._smoothing != DEFAULT_SMOOTHING:
            words.append(f"smooth {SMOOTHINGS[self._smoothing]:g}")
        if self._axis or self.enlarged:
            words.append(AXIS_WORDS[AXES[self._axis]])
        figures: list[Figure] = [(Span(f"{label} ", tone), Span(value)) for label, value, tone in title_pairs(model)]
        if words:
            figures.append(figure(" · ".join(words)))
        if cells < self.available and cells == 1:
            figures.append(figure(f"chart {index + 1} of {self.available}"))
        return figures

    def _rule(self, place: int) -> PaneRule:
        return self.query_one(f"#chart-rule-{place}", PaneRule)

    def _chart(self, place: int) -> Chart:
        from ckptop.tui.widgets.chart import Chart

        return self.query_one(f"#chart-{place}", Chart)

    def _mount_charts(self) -> None:
        if self.query("#chart-0"):
            return
        from ckptop.tui.widgets.chart import Chart

        marker: Marker = "ascii" if text.ASCII_ONLY else "braille"
        self.mount(*(Chart(id=f"chart-{place}", marker=marker) for place in range(MOST_CHARTS)))

    # Keys and mouse.

    def copy_text(self) -> str:
        """The newest values of the chosen chart."""
        from ckptop.tui.widgets.chart import title_pairs

        if self.curves is None or not self.curves.groups:
            return ""
        pairs = title_pairs(self._models[self._chosen - self._first])
        return f"{self.curves.groups[self._chosen].title}: " + ", ".join(
            f"{label} {value}" for label, value, _ in pairs
        )

    def action_enlarge(self) -> None:
        """Ask for the chosen chart alone, full size."""
        self.post_message(self.Enlarged())

    def action_smooth(self, direction: int) -> None:
        """Smooth more or less."""
        self._smoothing = max(0, min(self._smoothing + direction, len(SMOOTHINGS) - 1))
        self.redraw()

    def action_toggle_log(self) -> None:
        """Turn the chosen chart's y axis."""
        from ckptop.tui.curves import starts_in_log

        if self.curves is None or not self.curves.groups:
            return
        group = self.curves.groups[self._chosen]
        shown = self._logs.get(group.title)
        if shown is None:
            shown = starts_in_log(group)
        self._logs[group.title] = not shown
        self.redraw()

    def action_next_axis(self) -> None:
        """Steps, epochs, time."""
        self._axis = (self._axis + 1) % len(AXIS_WORDS)
        self.redraw()

    def action_choose(self, direction: int) -> None:
        """Choose the chart beside."""
        self._chosen = max(0, min(self._chosen + direction, self.available - 1))
        self.redraw()

    def action_choose_end(self, end: int) -> None:
        """Choose the first or the last chart."""
        self._chosen = 0 if end == 0 else self.available - 1
        self.redraw()


def marks_of(detail: RunDetail) -> Marks:
    """Where the checkpoints of a run stand on its charts."""
    from ckptop.tui.curves import Marks

    rows = detail.table.rows
    best = next((row for row in rows if row.mark == "best"), None)
    column = detail.table.best_column
    return Marks(
        checkpoints=tuple((row.step, row.epoch, row.time) for row in rows if row.tier == "training"),
        milestones=tuple((row.step, row.epoch, row.time) for row in rows if row.tier == "milestone"),
        best=(best.step, best.epoch, best.time) if best is not None else None,
        best_value=best.values[column] if best is not None and column is not None else None,
    )
