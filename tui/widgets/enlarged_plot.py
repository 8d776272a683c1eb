"""One chart alone, with a value cursor, zoom and pan; opened from the plots pane, left by Esc.

It has its own keys, since an arrow here moves a cursor and there chooses a chart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from ckptop.tui.chart_view import View
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.model import RunDetail, Snapshot
from ckptop.tui.plot_settings import PlotSettings, value_figures, values_text
from ckptop.tui.widgets.chart_viewer import ChartViewer, once_drawn
from ckptop.tui.widgets.pane_rule import Figure, PaneRule, figure

if TYPE_CHECKING:
    from ckptop.tui.chart_model import ChartModel
    from ckptop.tui.curves import CurveGroup


class EnlargedPlot(ChartViewer):
    """The chosen chart at full size."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("h,left", "move(-1)", "enlarged.left", "Cursor", "Cursor left", show=True, shown_as="← →"),
        binding("l,right", "move(1)", "enlarged.right", "Cursor right", "Cursor right; past the edge the view follows"),
        binding("n", "next_stop(1)", "enlarged.next-mark", "Mark", "To the next checkpoint, alert or NaN", show=True),
        binding("N", "next_stop(-1)", "enlarged.previous-mark", "Previous mark", "The checkpoint, alert or NaN before"),
        binding("enter", "open_mark", "enlarged.open", "Row", "To the row of the checkpoint or alert here", show=True),
        binding(
            "plus,equals_sign", "zoom(1)", "enlarged.zoom-in", "Zoom", "Zoom in at the cursor, or at the newest point",
            show=True, shown_as="+ -",
        ),
        binding("minus", "zoom(-1)", "enlarged.zoom-out", "Zoom out", "Zoom out"),
        binding("less_than_sign", "pan(-1)", "enlarged.pan-left", "Pan left", "Show what is left of the zoomed part"),
        binding("greater_than_sign", "pan(1)", "enlarged.pan-right", "Pan right", "Show what is right of it"),
        binding("0", "show_all", "enlarged.all", "All", "Show all of x again, without a cursor"),
        binding("f", "follow", "enlarged.follow", "Follow", "Keep the newest point in view, or not"),
        binding("left_square_bracket", "smooth(-1)", "enlarged.smooth-less", "Rougher", "Less smooth"),
        binding(
            "right_square_bracket", "smooth(1)", "enlarged.smooth-more", "Smooth", "More smooth", show=True,
            shown_as="[ ]",
        ),
        binding("L", "toggle_log", "enlarged.log", "Log y", "Logarithmic or linear y"),
        binding("a", "next_axis", "enlarged.axis", "x axis", "Steps, epochs, time or the clock"),
        binding("o", "overlay", "enlarged.overlay", "Overlay", "Marked runs over this one"),
        binding("j,down", "choose(1)", "enlarged.next", "Next metric", "The next metric"),
        binding("k,up", "choose(-1)", "enlarged.previous", "Previous metric", "The metric before"),
        binding("g,home", "move_end(0)", "enlarged.first", "First point", "Cursor to the first point"),
        binding("G,end", "move_end(1)", "enlarged.last", "Last point", "Cursor to the last point"),
        COPY,
    ]  # fmt: skip

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen; nothing is drawn otherwise."""

    def __init__(self, settings: PlotSettings, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._settings = settings
        self._subject: tuple[object, ...] = ()
        self._state: tuple[object, ...] = ()
        self._overlay = ""

    def compose(self) -> ComposeResult:
        """The rule; the chart comes when it is opened first."""
        yield PaneRule(id="enlarged-rule")

    # What changes the picture.

    def watch_snapshot(self) -> None:
        """Draw what has grown."""
        self.redraw()

    def watch_is_open(self) -> None:
        """Begin with all of x, without a cursor."""
        self._view, self._state = View(), ()
        self._typed_ahead.clear()
        self.redraw()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """Draw the heavy rule, or the faint one."""
        super().watch_has_focus(_has_focus)
        self.redraw()

    def look_at(self, step: int) -> None:
        """All of x, the cursor at a step."""
        self._look(View(cursor=float(step)))

    @property
    def _detail(self) -> RunDetail | None:
        return self.snapshot.detail if self.snapshot is not None else None

    @property
    def _groups(self) -> Sequence[CurveGroup]:
        return self._settings.listed(self._detail.curves if self._detail is not None else None)

    @property
    def _group(self) -> CurveGroup | None:
        groups = self._groups
        self._settings.choose(self._settings.chosen, len(groups))
        return groups[self._settings.chosen] if groups else None

    def redraw(self) -> None:
        """Bring rule and chart up to date."""
        detail, group = self._detail, self._group
        if not (
            self.is_mounted
            and self.is_open
            and self.snapshot
            and detail is not None
            and detail.curves is not None
            and group
        ):
            return
        settings = self._settings
        if (subject := (detail.row.name, settings.axis)) != self._subject:  # another axis has another x
            self._subject, self._view = subject, View()
        plan = settings.plan(self.snapshot, group)
        state = (plan.key, replace(self._view, cursor=None))
        if state != self._state:
            self._state, self._overlay = state, plan.overlay
            self._chart.show(_windowed(plan.make, self._view), plan.points)
        self._chart.set_cursor(self._view.cursor)
        self._show_rule()

    def _show_rule(self) -> None:
        group = self._group
        if group is not None:
            # The values matter more than the words, and less than those that stand beside a cursor.
            values = value_figures(self._frame.model) if self._view.cursor is None else []
            *words, place = self._words()
            figures = [*words, *values, place]
            self.query_one(PaneRule).show(group.title, figures, digit="2", focused=self.has_focus)

    def _words(self) -> list[Figure]:
        frame, settings = self._frame, self._settings
        words = ["log"] if frame.plot is not None and frame.plot.scale.log else []
        words += settings.words(always=True)
        if self._view.window is not None:
            words.append("follows" if self._view.follows else "zoomed")
        said = [figure(self._overlay, "accent")] if self._overlay else []
        said.append(figure(" · ".join(words)))
        if settings.query:
            said.append(figure("/" + settings.query, "accent"))
        return [*said, figure(f"chart {settings.chosen + 1} of {len(self._groups)}")]

    def on_chart_drawn(self) -> None:
        """The rule tells the values of what is drawn."""
        self._show_rule()

    # What is drawn.

    def action_smooth(self, direction: int) -> None:
        """Smooth more or less."""
        self._settings.smooth(direction)
        self.redraw()

    @once_drawn
    def action_toggle_log(self) -> None:
        """Turn the y axis."""
        if (group := self._group) is not None:
            self._settings.toggle_log(group, self._frame)
            self.redraw()

    def action_next_axis(self) -> None:
        """Steps, epochs, time since the start, time of day."""
        self._settings.next_axis()
        self.redraw()

    class OverlayChanged(Message):
        """The marked runs are to be laid over the selected one, or no more."""

    def action_overlay(self) -> None:
        """The marked runs over this one: each split in turn, then none."""
        self._settings.next_overlay(self._group)
        self.post_message(self.OverlayChanged())
        self.redraw()

    def action_choose(self, direction: int) -> None:
        """The metric beside; cursor and window stay."""
        self._settings.choose(self._settings.chosen + direction, len(self._groups))
        self.redraw()

    def copy_text(self) -> str:
        """What the cursor reads; the newest values without one."""
        from ckptop.tui.chart_reading import readout

        group, frame, at = self._group, self._frame, self._view.cursor
        if group is None:
            return ""
        if frame.plot is None or at is None:
            return values_text(group.title, frame.model)
        lines = readout(frame.model, frame.plot, frame.readings, at)
        return f"{group.title}: " + ", ".join("".join(span.text for span in line) for line in lines)

    def shown_bindings(self) -> list[Shown]:
        """Its own, and the way back."""
        back = binding("escape", "screen.back", "main.back", "Back", "")
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        return [Shown(item, item.description) for item in (*own, back)]


def _windowed(make: Callable[[], ChartModel], view: View) -> Callable[[], ChartModel]:
    """The model with the part of x that `view` shows of it as it is then."""

    def made() -> ChartModel:
        model = make()
        newest = max((float(series.x[-1]) for series in model.series if series.x.size), default=0.0)
        return replace(model, window=view.shown(newest))

    return made
