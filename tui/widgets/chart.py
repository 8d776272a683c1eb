"""The chart as a widget: cells are composed once a model, size and palette; only changed cells are repainted.

Textual repaints whatever region it is asked to, changed or not, so the old and the new cells are compared
here and each row refreshes from its first to its last changed cell. A long curve is drawn by a thread: two
million points take 0.4 s, and a key must be answered meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import format_cell, format_count
from ckptop.tui.ascii_art import Marker
from ckptop.tui.chart_cells import Row, changed_spans, to_strips
from ckptop.tui.chart_compose import ChartMemory, Frame, draw, series_tokens
from ckptop.tui.chart_cursor import with_cursor
from ckptop.tui.chart_marks import Glyphs
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_reading import readout
from ckptop.tui.theme import GLYPHS, MONO, Palette, palette_of

DRAW_AT_ONCE_POINTS = 20_000
"""Fewer are drawn sooner than a thread could be asked for it."""


class Chart(Widget):
    """Curves of one metric with their axes and marks; the title belongs to the pane around it."""

    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; }
    """

    class Drawn(Message):
        """Another model is on screen."""

        def __init__(self, chart: Chart) -> None:
            super().__init__()
            self.chart = chart

    def __init__(
        self,
        *,
        marker: Marker = "braille",
        readable: bool = False,
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        """Create an empty chart.

        Args:
            marker: What the terminal can show.
            readable: Whether it will have a cursor.
            id: As for any widget.
            classes: As for any widget.
        """
        super().__init__(id=id, classes=classes)
        self._marker: Marker = marker
        self._readable = readable
        self._make: Callable[[], ChartModel] = lambda: ChartModel(series=())
        self._points = 0
        self._memory = ChartMemory()
        self._palette: Palette = MONO
        self._frame = Frame(ChartModel(series=()), [])
        self._cursor: float | None = None
        self._rows: list[Row] = []
        self._strips: list[Strip] = []
        self._drawn_size: Size | None = None
        """Size of `_rows`; None when they are not what is to be shown, and everything is to be drawn anew."""
        self._is_drawing = False
        self._is_stale = False
        """Whether more was asked for while the thread was drawing."""

    @property
    def frame(self) -> Frame:
        """What is on screen."""
        return self._frame

    @property
    def is_blank(self) -> bool:
        """Whether nothing is on screen yet of what is to be shown."""
        return self._drawn_size is None

    @property
    def cursor(self) -> float | None:
        """X of the value cursor; None where there is none."""
        return self._cursor

    def set_model(self, model: ChartModel) -> None:
        """Show `model`; repaints the cells that differ from what is shown."""
        self.show(lambda: model, sum(series.y.size for series in model.series))

    def show(self, make: Callable[[], ChartModel], points: int) -> None:
        """Show the model that `make` returns; it may be called in a thread.

        Args:
            make: Makes the model out of what never changes.
            points: How many it will draw; decides who does it.
        """
        self._make, self._points = make, points
        self._draw_soon()

    def set_cursor(self, x: float | None) -> None:
        """Put the cursor at `x`, or take it away."""
        if x != self._cursor:
            self._cursor = x
            if self._drawn_size == self.size:
                self._show_rows()

    def on_mount(self) -> None:
        """Take the theme's colours, now and whenever it changes."""
        self._take_theme(self.app.current_theme)
        self.app.theme_changed_signal.subscribe(self, self._take_theme)

    def on_resize(self) -> None:
        """Have a long curve drawn for the new size; a short one is, when it is painted."""
        if self._points > DRAW_AT_ONCE_POINTS:
            self._draw_soon()

    def render_line(self, y: int) -> Strip:
        """Row `y` on the widget's ground, composed before but after a new size or theme."""
        if self._drawn_size != self.size and self._points <= DRAW_AT_ONCE_POINTS:
            self._take(self._composed(self._make, self.size))
            self._paint_all()
        strip = self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)
        return strip.adjust_cell_length(self.size.width).apply_style(self.rich_style)  # kept by the strip

    # Drawing.

    def _draw_soon(self) -> None:
        if self._is_drawing:
            self._is_stale = True
        elif not self.size:
            self._drawn_size = None  # in the place that will come, be it as large as the last one
            self.refresh()  # or Textual paints the lines it has kept
        elif self._points > DRAW_AT_ONCE_POINTS:
            self._is_drawing = True
            self.run_worker(self._draw_in_thread(), exit_on_error=True)
        elif self._drawn_size != self.size:
            self.refresh()  # nothing on screen to compare with
        else:
            self._take(self._composed(self._make, self.size))
            self._show_rows()

    async def _draw_in_thread(self) -> None:
        """Draw what is wanted until nothing newer is; one thread at a time, for the memory is its own."""
        try:
            self._is_stale = True
            while self._is_stale:
                self._is_stale = False
                size = self.size
                if not size:
                    self._drawn_size = None
                    self.refresh()
                    return
                self._take(await asyncio.to_thread(self._composed, self._make, size))
                if size != self._drawn_size:
                    self._paint_all(size)
                    self.refresh()
                else:
                    self._show_rows()
        finally:
            self._is_drawing = False

    def _composed(self, make: Callable[[], ChartModel], size: Size) -> Frame:
        try:
            return draw(make(), *size, self._memory, self._marker, readable=self._readable)
        except Exception as error:  # noqa: BLE001  one odd curve must not take the dashboard with it
            self._memory = ChartMemory()
            message = clean(f"This cannot be drawn: {error}", max(8, size.width))
            return draw(ChartModel(series=(), message=message), *size)

    def _take(self, frame: Frame) -> None:
        self._frame = frame
        self.post_message(self.Drawn(self))

    def _decorated(self) -> list[Row]:
        frame = self._frame
        if frame.plot is None or self._cursor is None:
            return frame.rows
        lines = readout(frame.model, frame.plot, frame.readings, self._cursor)
        return with_cursor(frame.rows, frame.plot, self._cursor, lines, Glyphs.of(ascii_only=self._marker == "ascii"))

    def _paint_all(self, size: Size | None = None) -> None:
        self._rows = self._decorated()
        self._strips = to_strips(self._rows, self._palette)
        self._drawn_size = size or self.size

    def _show_rows(self) -> None:
        """Repaint the cells that differ from those on screen."""
        old, self._rows = self._rows, self._decorated()
        if len(old) != len(self._rows) or (old and len(old[0]) != len(self._rows[0])):
            self._paint_all()
            self.refresh()
            return
        spans = list(changed_spans(old, self._rows))
        for span in spans:
            self._strips[span.y] = to_strips([self._rows[span.y]], self._palette)[0]
        if spans:  # without regions, all would be repainted
            self.refresh(*spans)

    def _take_theme(self, theme: Theme) -> None:
        self._palette = palette_of(theme, no_color=self.app.no_color)
        self._strips = to_strips(self._rows, self._palette)
        self.refresh()


def title_pairs(model: ChartModel, *, ascii_only: bool = False) -> list[tuple[str, str, str]]:
    """Label, value and the label's colour token of each pair in the pane's title.

    First the newest value of each named series ("train", "0.0414"), then the best ("★", "0.9812 at 1,392").
    A title that is too narrow drops whole pairs from the front.
    """
    pairs = [
        (series.label, format_cell(float(series.y[-1]) if series.y.size else None), token)
        for series, token in zip(model.series, series_tokens(model), strict=True)
        if not series.faded
    ]
    if model.best:
        x, value = model.best
        at = f" at {format_count(math.floor(x))}" if math.isfinite(x) else ""
        pairs.append((GLYPHS["best"][ascii_only], format_cell(value) + at, "foreground"))
    return pairs
