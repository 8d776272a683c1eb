"""Pane 2: the charts of the selected run, as many as fit, one of them chosen. Enter shows that one alone.

Charts bring NumPy and plotext, which take longer to import than all the rest; they are mounted when the first
curves arrive, after the screen has been painted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.layout import Layout
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ckptop.tui import text
from ckptop.tui.keys import COPY, binding
from ckptop.tui.layout import MOST_CHARTS, ChartLayout, arrange_charts
from ckptop.tui.model import RunDetail, Snapshot
from ckptop.tui.plot_settings import Plan, PlotSettings, value_figures, values_text
from ckptop.tui.widgets.pane_rule import PaneRule, figure

if TYPE_CHECKING:
    from ckptop.tui.curves import CurveGroup, Curves
    from ckptop.tui.widgets.chart import Chart


class Plots(Widget, can_focus=True):
    """Charts under their rules."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding(
            "enter",
            "screen.enlarge",
            "plots.enlarge",
            "Enlarge",
            "Show the chosen chart alone, with a cursor",
            show=True,
        ),
        binding("left_square_bracket", "smooth(-1)", "plots.smooth-less", "Rougher", "Smooth less"),
        binding(
            "right_square_bracket", "smooth(1)", "plots.smooth-more", "Smooth", "Smooth more", show=True, shown_as="[ ]"
        ),
        binding("L", "toggle_log", "plots.log", "Log y", "Logarithmic or linear y axis", show=True),
        binding("a", "next_axis", "plots.axis", "x axis", "Over steps, epochs, time or the clock", show=True),
        binding("o", "overlay", "plots.overlay", "Overlay", "The marked runs over this one, by split", show=True),
        binding("h,left,k,up", "choose(-1)", "plots.previous", "Previous chart", "Choose the chart before"),
        binding("l,right,j,down", "choose(1)", "plots.next", "Next chart", "Choose the chart after"),
        binding("g,home", "choose_end(0)", "plots.first", "First chart", "Choose the first chart"),
        binding("G,end", "choose_end(-1)", "plots.last", "Last chart", "Choose the last chart"),
        COPY,
    ]

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    query_text: reactive[str] = reactive("", repaint=False)
    """Only charts of metrics whose name holds this are shown."""
    filter_hint: ClassVar[str] = "a metric"

    class OverlayChanged(Message):
        """The marked runs are to be laid over the selected one, or no more."""

    class Enlarged(Message):
        """A chart was clicked twice."""

    def __init__(self, settings: PlotSettings, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._layout = ChartLayout()
        self._settings = settings
        self._first = 0
        self._shown: dict[int, Plan] = {}
        """What each place was last drawn for."""

    @property
    def layout(self) -> Layout:
        """Our own."""
        return self._layout

    def compose(self) -> ComposeResult:
        """Rules only; charts come with the first curves."""
        yield from (PaneRule(id=f"chart-rule-{place}") for place in range(MOST_CHARTS))

    @property
    def _detail(self) -> RunDetail | None:
        return self.snapshot.detail if self.snapshot is not None else None

    @property
    def _groups(self) -> Sequence[CurveGroup]:
        return self._settings.listed(self._detail.curves if self._detail is not None else None)

    @property
    def _cells(self) -> int:
        return len(arrange_charts(self.size, self._layout.available))

    # What changes the picture.

    def watch_snapshot(self) -> None:
        """Draw the new curves; another number of charts moves them."""
        self._arrange()
        self.redraw()

    def watch_query_text(self) -> None:
        """Show what matches."""
        self._settings.query = self.query_text
        self._arrange()
        self.redraw()

    def _arrange(self) -> None:
        available = max(1, len(self._groups))
        if self._layout.available != available:
            self._layout.available = available
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
        if not self.is_mounted or not self.size:  # a pane without a place would find room for one chart
            return
        detail = self._detail
        if self.snapshot is None or detail is None or detail.curves is None:
            self._rule(0).show("Plots", (), digit="2", focused=self.has_focus)
            if detail is not None and self.query("#chart-0"):
                self._show_no_curves(detail)
            return
        self._mount_charts()
        cells, groups, settings = self._cells, self._groups, self._settings
        settings.choose(settings.chosen, len(groups))
        self._first = max(settings.chosen - cells + 1, min(self._first, settings.chosen))
        self._first = max(0, min(self._first, len(groups) - cells))
        for place in range(cells):
            index = self._first + place
            if index < len(groups):
                self._show_chart(place, self.snapshot, groups[index])
            else:
                self._show_nothing(place, detail.curves)
            self._show_rule(place)

    def _show_chart(self, place: int, snapshot: Snapshot, group: CurveGroup) -> None:
        plan = self._settings.plan(snapshot, group)
        shown = self._shown.get(place)
        if shown is None or shown.key != plan.key:
            self._shown[place] = plan
            self._chart(place).show(plan.make, plan.points)

    def _show_no_curves(self, detail: RunDetail) -> None:
        """Until the log of another run is read, its charts are empty: those of the run before are not its own."""
        for place in range(self._cells):
            self._show_message(place, detail.row.name, detail.row.problem or "Reading the log.")

    def _show_nothing(self, place: int, curves: Curves) -> None:
        self._show_message(place, curves.run, "Nothing matches. Esc clears." if curves.groups else None)

    def _show_message(self, place: int, run: str, said: str | None) -> None:
        from ckptop.tui.chart_model import ChartModel

        self._shown.pop(place, None)
        self._chart(place).set_model(ChartModel(series=(), subject=run, message=said))

    def _show_rule(self, place: int) -> None:
        groups, index, settings = self._groups, self._first + place, self._settings
        digit = "2" if place == 0 else ""
        if index >= len(groups):
            searched = [figure("/" + settings.query, "accent")] if settings.query else []
            self._rule(place).show("Plots", searched, digit=digit, focused=self.has_focus)
            return
        figures = value_figures(self._chart(place).frame.model)
        if place in self._shown and self._shown[place].overlay:
            figures.append(figure(self._shown[place].overlay, "accent"))
        if words := settings.words(always=False):
            figures.append(figure(" · ".join(words)))
        if settings.query and place == 0:
            figures.append(figure("/" + settings.query, "accent"))
        if self._cells == 1 < len(groups):
            figures.append(figure(f"chart {index + 1} of {len(groups)}"))
        focused = self.has_focus and index == settings.chosen
        self._rule(place).show(groups[index].title, figures, digit=digit, focused=focused)

    def _rule(self, place: int) -> PaneRule:
        return self.query_one(f"#chart-rule-{place}", PaneRule)

    def _chart(self, place: int) -> Chart:
        from ckptop.tui.widgets.chart import Chart

        return self.query_one(f"#chart-{place}", Chart)

    def _mount_charts(self) -> None:
        if self.query("#chart-0"):
            return
        from ckptop.tui.widgets.chart import Chart

        self.mount(*(Chart(id=f"chart-{place}", marker=text.chart_marker()) for place in range(MOST_CHARTS)))

    def on_chart_drawn(self, message: Chart.Drawn) -> None:
        """The rule tells the values of what is drawn."""
        place = int(str(message.chart.id).rpartition("-")[2])
        if place < self._cells:
            self._show_rule(place)

    # Keys and mouse.

    def copy_text(self) -> str:
        """The newest values of the chosen chart."""
        place = self._settings.chosen - self._first
        if not self._groups or place >= self._cells:
            return ""
        return values_text(self._groups[self._settings.chosen].title, self._chart(place).frame.model)

    @property
    def has_charts(self) -> bool:
        """Whether one of them could be enlarged."""
        return bool(self._groups)

    def action_smooth(self, direction: int) -> None:
        """Smooth more or less."""
        self._settings.smooth(direction)
        self.redraw()

    def action_toggle_log(self) -> None:
        """Turn the chosen chart's y axis."""
        if self._groups:
            frame = self._chart(self._settings.chosen - self._first).frame
            self._settings.toggle_log(self._groups[self._settings.chosen], frame)
            self.redraw()

    def action_next_axis(self) -> None:
        """Steps, epochs, time since the start, time of day."""
        self._settings.next_axis()
        self.redraw()

    def action_overlay(self) -> None:
        """The marked runs over this one: each split in turn, then none."""
        groups = self._groups
        self._settings.next_overlay(groups[self._settings.chosen] if groups else None)
        self.post_message(self.OverlayChanged())
        self.redraw()

    def action_choose(self, direction: int) -> None:
        """Choose the chart beside."""
        self._settings.choose(self._settings.chosen + direction, len(self._groups))
        self.redraw()

    def action_choose_end(self, end: int) -> None:
        """Choose the first or the last chart."""
        self._settings.choose(0 if end == 0 else len(self._groups) - 1, len(self._groups))
        self.redraw()

    def on_click(self, event: Click) -> None:
        """Choose the chart clicked; the chosen one is enlarged."""
        at = event.screen_offset - self.region.offset
        for place, cell in enumerate(arrange_charts(self.size, self._layout.available)):
            index = self._first + place
            if (cell.rule.union(cell.chart)).contains_point(at) and index < len(self._groups):
                if index == self._settings.chosen and event.chain == 2:
                    self.post_message(self.Enlarged())
                self._settings.choose(index, len(self._groups))
        self.redraw()
