"""The chart as a widget: cells are composed once a model, size and palette; only changed cells are repainted.

Textual repaints whatever region it is asked to, changed or not, so the old and the new cells are compared
here and each row refreshes from its first to its last changed cell.
"""

from __future__ import annotations

import math

from textual.geometry import Size
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from ckptop.host.units import format_cell, format_count
from ckptop.tui.chart_canvas import Marker
from ckptop.tui.chart_cells import Row, changed_spans, to_strips
from ckptop.tui.chart_compose import ChartMemory, ChartModel, compose, series_tokens
from ckptop.tui.theme import GLYPHS, MONO, Palette, palette_of


class Chart(Widget):
    """Curves of one metric with their axes and marks; the title belongs to the pane around it."""

    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; }
    """

    def __init__(self, *, marker: Marker = "braille", id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        """Create an empty chart.

        Args:
            marker: What the terminal can show.
            id: As for any widget.
            classes: As for any widget.
        """
        super().__init__(id=id, classes=classes)
        self._marker: Marker = marker
        self._model = ChartModel(series=())
        self._memory = ChartMemory()
        self._palette: Palette = MONO
        self._rows: list[Row] = []
        self._strips: list[Strip] = []
        self._drawn_size: Size | None = None
        """Size of `_rows`; None when the palette changed too, and everything is to be drawn anew."""

    def set_model(self, model: ChartModel) -> None:
        """Show `model`; repaints the cells that differ from what is shown."""
        self._model = model
        if self._drawn_size != self.size:
            self.refresh()  # nothing on screen to compare with
            return
        old, self._rows = self._rows, self._composed()
        spans = list(changed_spans(old, self._rows))
        for span in spans:
            self._strips[span.y] = to_strips([self._rows[span.y]], self._palette)[0]
        if spans:  # without regions, all would be repainted
            self.refresh(*spans)

    def on_mount(self) -> None:
        """Take the theme's colours, now and whenever it changes."""
        self._take_theme(self.app.current_theme)
        self.app.theme_changed_signal.subscribe(self, self._take_theme)

    def render_line(self, y: int) -> Strip:
        """Row `y` on the widget's ground, composed before but after a new size or theme."""
        if self._drawn_size != self.size:
            self._rows = self._composed()
            self._strips = to_strips(self._rows, self._palette)
            self._drawn_size = self.size
        strip = self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)
        return strip.apply_style(self.rich_style)  # kept by the strip

    def _composed(self) -> list[Row]:
        return compose(self._model, self.size.width, self.size.height, self._memory, self._marker)

    def _take_theme(self, theme: Theme) -> None:
        self._palette = palette_of(theme, no_color=self.app.no_color)
        self._drawn_size = None
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
