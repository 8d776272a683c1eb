"""A chart that one looks around in: cursor, marks, zoom, pan, by actions and by the mouse; a subclass binds keys.

What is zoomed to is reduced anew from the full data, so a lone spike is seen at every zoom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.widget import Widget

from ckptop.tui import text
from ckptop.tui.chart_view import ZOOM, Range, View

if TYPE_CHECKING:  # NumPy and plotext take 0.1 s to import: charts come after the first paint
    from ckptop.tui.chart_compose import Frame
    from ckptop.tui.widgets.chart import Chart

LEAST_SPAN = {"step": 8.0, "epoch": 0.5, "clock": 1.0, "s": 0.1}
"""Of x, below which zooming shows nothing more; of other units the smallest float decides."""


P = ParamSpec("P")
V = TypeVar("V", bound="ChartViewer")


def once_drawn(action: Callable[Concatenate[V, P], None]) -> Callable[Concatenate[V, P], None]:
    """An action that waits for the chart to be on screen: where one looks is told from what is drawn."""

    @wraps(action)
    def waiting(viewer: V, /, *arguments: P.args, **options: P.kwargs) -> None:
        if viewer._chart.is_blank:
            viewer._typed_ahead.append(partial(waiting, viewer, *arguments, **options))
        else:
            action(viewer, *arguments, **options)

    return waiting


class ChartViewer(Widget, can_focus=True):
    """One chart, made when it is wanted first, and where one looks in it."""

    class MarkOpened(Message):
        """Enter on a checkpoint."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class AlertOpened(MarkOpened):
        """Enter on an alert."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._view = View()
        self._typed_ahead: list[Callable[[], None]] = []
        """What is to be done once the chart is on screen."""

    @property
    def _chart(self) -> Chart:
        """Made when it is wanted first: plotext takes 30 ms to import."""
        from ckptop.tui.widgets.chart import Chart

        if not self.query("#enlarged-chart"):
            self.mount(Chart(id="enlarged-chart", marker=text.chart_marker(), readable=True))
        return self.query_one("#enlarged-chart", Chart)

    @property
    def _frame(self) -> Frame:
        return self._chart.frame

    # Where one looks.

    def _look(self, view: View) -> None:
        self._view = view
        self.redraw()

    def redraw(self) -> None:
        """Show what is looked at; a subclass knows the data."""
        raise NotImplementedError

    def on_chart_drawn(self) -> None:
        """Do what was asked for before there was anything to see."""
        typed, self._typed_ahead = self._typed_ahead, []
        for act in typed:
            act()

    @property
    def _whole(self) -> tuple[Range, float]:
        """All of x, and the newest."""
        from ckptop.tui.chart_axis import x_limits

        return x_limits(*self._frame.across), self._frame.across[1]

    def _hold(self, x: float) -> None:
        self._look(self._view.holding(x, *self._whole))

    @once_drawn
    def action_move(self, columns: int) -> None:
        """Move the cursor by columns; it appears at the newest point."""
        from ckptop.tui.chart_reading import centre_of, column_of

        plot, first, last = self._frame.plot, *self._frame.across
        if plot is None:
            return
        at = self._view.cursor
        if at is None:
            self._hold(min(last, plot.x1))
            return
        column = column_of(plot, at)
        if column is None:
            self._hold(at)
            return
        self._hold(max(first, min(centre_of(plot, column + columns), last)))

    @once_drawn
    def action_move_end(self, end: int) -> None:
        """Move the cursor to the first or the last point."""
        self._hold(self._frame.across[end])

    @once_drawn
    def action_next_stop(self, direction: int) -> None:
        """Move the cursor to the next mark."""
        stops, at = self._frame.model.stops, self._view.cursor
        if at is None:
            found = stops[:1] if direction > 0 else stops[-1:]
        elif direction > 0:
            found = tuple(stop for stop in stops if stop.x > at)[:1]
        else:
            found = tuple(stop for stop in stops if stop.x < at)[-1:]
        for stop in found:
            self._hold(stop.x)

    @once_drawn
    def action_open_mark(self) -> None:
        """Ask for the row of the checkpoint or the alert at the cursor."""
        from ckptop.tui.chart_reading import column_of, stops_at

        plot, at = self._frame.plot, self._view.cursor
        column = column_of(plot, at) if plot is not None and at is not None else None
        here = stops_at(self._frame.model.stops, plot, column) if plot is not None and column is not None else []
        for stop in sorted(here, key=lambda stop: abs(stop.x - (at or 0.0))):
            if stop.key is not None:
                self.post_message((self.AlertOpened if stop.kind == "alert" else self.MarkOpened)(stop.key))
                return
        self.notify("No checkpoint at the cursor; n goes to the next mark.", markup=False)

    @once_drawn
    def action_zoom(self, direction: int) -> None:
        """Half as much of x, or twice."""
        least = LEAST_SPAN.get(self._frame.model.x_label, 0.0)
        self._look(self._view.zoomed(*self._whole, ZOOM**direction, least=least))

    @once_drawn
    def action_pan(self, direction: int) -> None:
        """A quarter of the view to the left or right."""
        self._look(self._view.panned(*self._whole, direction))

    def action_show_all(self) -> None:
        """All of x, no cursor."""
        self._look(View())

    @once_drawn
    def action_follow(self) -> None:
        """Keep the newest point in view, or not."""
        self._look(self._view.following(*self._whole))

    # Mouse.

    def _x_at(self, screen_column: int) -> float | None:
        from ckptop.tui.chart_reading import centre_of

        plot = self._frame.plot
        column = screen_column - self._chart.region.x - plot.left if plot is not None else -1
        return centre_of(plot, column) if plot is not None and 0 <= column < plot.columns else None

    def on_click(self, event: Click) -> None:
        """Put the cursor where it was clicked."""
        if (x := self._x_at(event.screen_x)) is not None:
            self._hold(x)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Zoom in."""
        event.stop()
        self.action_zoom(1)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Zoom out."""
        event.stop()
        self.action_zoom(-1)
