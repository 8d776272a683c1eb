"""A chart from plain data to cells: grid, ranges, dropped attempts, curves, marks, the topmost owning a cell.

Everything is a function of the model and the size but for `ChartMemory`, which holds what must not start
afresh with each frame: the axis limits, so that they stand still, and the smoothed curves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from rich.cells import cell_len

from ckptop.tui import chart_curves as curves
from ckptop.tui import chart_marks as marks
from ckptop.tui.ascii_art import Marker
from ckptop.tui.chart_axis import GUTTER, SMALLEST, Scale, tick_labels, wants_log, y_ticks
from ckptop.tui.chart_canvas import Curve, draw_layer
from ckptop.tui.chart_cells import Row, blank_rows, lay, put
from ckptop.tui.chart_curves import Plot
from ckptop.tui.chart_limits import Limits
from ckptop.tui.chart_marks import Glyphs, Marks, Name
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_reading import Reading, make_readings
from ckptop.tui.chart_series import Floats, Series, nonfinite_x
from ckptop.tui.chart_smooth import Smoother

NO_DATA = "Waiting for the first metric."
NOT_FINITE = "No finite value so far."

YOUNG_POINTS = 10
"""Fewer do not tell where a curve goes: its axis begins at zero."""

NAME_WIDTH = 14
"""Cells a name at a line's end may take; longer ones are cut in the middle."""

ASCII_INK = {"accent": "o", "value": "x", "band": ":", "faint": ","}
"""What draws a layer where only ASCII is shown; overlays take "+"."""


@dataclass(slots=True)
class ChartMemory:
    """What a chart keeps from frame to frame."""

    limits: Limits = field(default_factory=Limits)
    smoother: Smoother = field(default_factory=Smoother)


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A chart as it was drawn once."""

    model: ChartModel
    rows: list[Row]
    plot: Plot | None = None
    """Where the curves stand; None where there is none to draw."""
    across: tuple[float, float] = (0.0, 1.0)
    """First and last x there is, in the window or not."""
    readings: tuple[Reading, ...] = ()
    """What a cursor can read; empty unless asked for."""


@dataclass(frozen=True, slots=True)
class _Layer:
    drawn: list[Curve]
    token: str
    name: str = ""
    """Written at the line's end, if there is room."""


def compose(
    model: ChartModel, width: int, height: int, memory: ChartMemory | None = None, marker: Marker = "braille"
) -> list[Row]:
    """The rows of `draw`."""
    return draw(model, width, height, memory, marker).rows


def draw(
    model: ChartModel,
    width: int,
    height: int,
    memory: ChartMemory | None = None,
    marker: Marker = "braille",
    *,
    readable: bool = False,
) -> Frame:
    """Draw the chart on `height` rows of `width` cells; any size from 0 up is drawn as well as it fits.

    Args:
        model: What to draw.
        width: Cells across.
        height: Rows.
        memory: The memory of earlier frames, changed in place; None draws a frame of its own.
        marker: "ascii" draws everything in ASCII.
        readable: Whether a cursor is to read values off it.
    """
    memory = memory or ChartMemory()
    memory.smoother.keep_only([series.name for series in model.series])
    rows = blank_rows(width, height)
    if width < 1 or height < 1:
        return Frame(model, rows)
    across = curves.joint_extent(series.x for series in model.series)
    fitted = _fit(model, across, memory.limits)
    if across is None or fitted is None:
        empty = not any(series.y.size for series in model.series)
        text = model.message or (NO_DATA if empty else NOT_FINITE)
        put(rows, height // 2, max(0, (width - cell_len(text)) // 2), text, "muted")
        return Frame(model, rows)
    glyphs = Glyphs.of(ascii_only=marker == "ascii")
    plot = _layout(model, width, height, *fitted, marker)
    _draw(rows, model, plot, memory.smoother, glyphs)
    readings = make_readings(model, series_tokens(model), plot, memory.smoother) if readable else ()
    return Frame(model, rows, plot, across, readings)


def series_tokens(model: ChartModel) -> list[str]:
    """Colour token of each series."""
    alone = sum(not series.faded for series in model.series) == 1
    known = {"train": "accent", "val": "value"}
    tokens, overlays = [], 0
    for series in model.series:
        if series.faded:
            tokens.append("faint")
        elif series.label in known or alone:
            tokens.append(known.get(series.label, "accent"))
        else:
            tokens.append(f"overlay{overlays}")
            overlays += 1
    return tokens


def _fit(
    model: ChartModel, across: tuple[float, float] | None, limits: Limits
) -> tuple[tuple[float, float], Scale] | None:
    """Limits of x and the scale of y; None without a finite value."""
    everything = curves.joint_extent(series.y for series in model.series)
    if across is None or everything is None:
        return None
    limits.follow((model.subject, model.window, model.x_label, model.log))
    young = max(series.y.size for series in model.series) < YOUNG_POINTS
    values = [_inside(series, model.window) for series in model.series]
    shown = curves.joint_extent(values) or everything
    log = _wants_log(model, everything)
    if log and shown[0] < SMALLEST:  # what is not positive is left out, and all of it means a linear axis
        above = curves.joint_extent(y[y >= SMALLEST] for y in values)
        log, shown = above is not None, (above or shown)
    return model.window or limits.fit_x(*across), Scale(*limits.fit_y(*shown, log=log, young=young), log)


def _inside(series: Series, window: tuple[float, float] | None) -> Floats:
    return series.y if window is None else series.y[(series.x >= window[0]) & (series.x <= window[1])]


def _wants_log(model: ChartModel, everything: tuple[float, float]) -> bool:
    if model.log is not None:
        return model.log
    return wants_log(*everything) and any("loss" in series.name.lower() for series in model.series)


def _layout(model: ChartModel, width: int, height: int, x: tuple[float, float], scale: Scale, marker: Marker) -> Plot:
    """The plot area; names, labels and axis go, in this order, where there is no room."""
    rows = height - 2 if height >= 5 else height - 1 if height == 4 else height
    labels = tick_labels(y_ticks(scale, rows), log=scale.log)
    left = max(GUTTER, *map(len, labels)) + 1 if width >= 20 else 0
    longest = max((cell_len(series.label) for series in model.series if not series.faded), default=0)
    right = min(longest, NAME_WIDTH, width // 4) + 1 if width - left >= 24 else 0
    return Plot(*x, scale, left, max(1, width - left - right), rows, marker)


def _layers(model: ChartModel, plot: Plot, smoother: Smoother) -> Iterator[_Layer]:
    """Layers from the bottom up."""
    faded, lines = [], []
    for series, token in zip(model.series, series_tokens(model), strict=True):
        if series.dense and not series.faded and model.smoothing > 0.0:
            if model.bands:
                yield _Layer(curves.band(plot, plot.reduce(series.x, series.y)), "band")
            smooth = plot.reduce_line(series.x, smoother.smooth(series, model.smoothing))
            lines.append(_Layer(curves.mean_line(plot, smooth), token, series.label))
            continue
        line = curves.line(plot, plot.reduce_line(series.x, series.y))
        if series.faded:
            faded.append(_Layer(line, token))
        else:
            lines.append(_Layer(line, token, series.label))
    yield from faded
    yield from lines


def _draw(rows: list[Row], model: ChartModel, plot: Plot, smoother: Smoother, glyphs: Glyphs) -> None:
    marks.draw_grid(rows, plot, glyphs)
    layers = list(_layers(model, plot, smoother))
    for layer in layers:
        ink = ASCII_INK.get(layer.token, "+")
        lay(rows, plot.left, draw_layer(layer.drawn, plot.columns, plot.rows, plot.marker, ink), layer.token)
    if model.best:
        marks.draw_best(rows, plot, model.best, glyphs)
    if len(rows) > plot.rows:
        marks.draw_axis(rows, plot, _axis_marks(model, glyphs), glyphs)
    if len(rows) > plot.rows + 1:
        marks.draw_x_labels(rows, plot, model.x_label)
    _draw_names(rows, plot, [layer for layer in layers if layer.name and layer.drawn], glyphs)


def _draw_names(rows: list[Row], plot: Plot, layers: list[_Layer], glyphs: Glyphs) -> None:
    room = len(rows[0]) - plot.left - plot.columns - 1
    if not layers or room < 1:
        return
    ends = [plot.end(layer.drawn[-1]) for layer in layers]
    names = [
        Name(row, pixel, marks.cut_name(layer.name, room, glyphs.cut), layer.token)
        for (_, row, pixel), layer in zip(ends, layers, strict=True)
    ]
    marks.draw_names(rows, plot, max(column for column, _, _ in ends) + 1, names)


def _axis_marks(model: ChartModel, glyphs: Glyphs) -> Iterator[Marks]:
    for tone in ("error", "warning"):
        yield Marks(np.array([alert.x for alert in model.alerts if alert.tone == tone]), glyphs.alert, tone)
    for series in model.series:
        yield Marks(nonfinite_x(series), glyphs.nan, "error")
    yield Marks(np.array(model.milestones), glyphs.milestone, "foreground")
    yield Marks(np.array(model.doomed), glyphs.doomed, "error")
    yield Marks(np.array(model.checkpoints), glyphs.checkpoint, "muted")
