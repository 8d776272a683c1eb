"""What a chart's cursor says: every series at one column, from the full data that the column holds.

Read off the reductions of the frame on screen, so that a step of the cursor costs the same for a million points
as for ten. A column that holds several points has a range beside its value; zoomed in, it is the one point logged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ckptop.host.units import format_count, format_value, shorten_right
from ckptop.tui.chart_clock import DAY, clock_text
from ckptop.tui.chart_curves import Plot
from ckptop.tui.chart_model import ChartModel, Stop
from ckptop.tui.chart_series import Reduced
from ckptop.tui.chart_smooth import Smoother
from ckptop.tui.text import Span

TIME_UNITS = frozenset({"s", "min", "h", "d"})

STOP_ORDER = ("alert", "nan", "best", "milestone", "checkpoint")
"""Kinds of marks; of many in one column the first are read."""

MARK_WIDTH = 20
"""Cells of a mark's words that are shown however little room there is beside the cursor."""


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """One series as the columns of a frame hold it."""

    label: str
    token: str
    raw: Reduced
    """As logged."""
    smooth: Reduced | None
    """As drawn, where that is smoothed."""


@dataclass(frozen=True, slots=True)
class Value:
    """A series in one column."""

    x: float
    """Of the newest point in the column, or of the last one before it."""
    value: float
    low: float
    high: float
    """Range of what was logged in the column."""


def make_readings(model: ChartModel, tokens: Sequence[str], plot: Plot, smoother: Smoother) -> tuple[Reading, ...]:
    """Reduce every named series for reading; `tokens` are their colours."""
    found = []
    for series, token in zip(model.series, tokens, strict=True):
        if series.faded:
            continue
        smoothed = series.dense and model.smoothing > 0.0
        smooth = plot.reduce(series.x, smoother.smooth(series, model.smoothing)) if smoothed else None
        found.append(Reading(series.label, token, plot.reduce(series.x, series.y), smooth))
    return tuple(found)


def value_at(reading: Reading, column: int) -> Value | None:
    """The series in a column, or what it was last before; None before its first point and in a gap."""
    raw = reading.raw
    end = int(np.searchsorted(raw.bucket, 2 * column + 1, side="right"))
    if not end:
        return None
    begin = int(np.searchsorted(raw.bucket, 2 * column, side="left"))
    if begin == end:  # nothing logged here: the line runs through, unless it is broken
        if end == raw.bucket.size or raw.run[end] != raw.run[end - 1]:
            return None
        begin = end - 1
    value = raw.last[end - 1]
    if reading.smooth is not None:
        value = reading.smooth.last[int(np.searchsorted(reading.smooth.bucket, raw.bucket[end - 1]))]
    return Value(float(raw.x[end - 1]), float(value), float(raw.lo[begin:end].min()), float(raw.hi[begin:end].max()))


def column_of(plot: Plot, x: float) -> int | None:
    """The column that shows `x`; None where it is out of sight."""
    found = plot.columns_of(np.array([x]))
    return found[0] if found else None


def centre_of(plot: Plot, column: int) -> float:
    """The x in the middle of a column."""
    return plot.x0 + (column + 0.5) * (plot.x1 - plot.x0) / plot.columns


def stops_at(stops: Iterable[Stop], plot: Plot, column: int) -> list[Stop]:
    """The marks that stand in a column."""
    return [stop for stop in stops if column_of(plot, stop.x) == column]


def readout(model: ChartModel, plot: Plot, readings: Sequence[Reading], x: float) -> list[tuple[Span, ...]]:
    """The lines beside a cursor at `x`: where it is, every series there, and the marks."""
    column = column_of(plot, x)
    if column is None:
        return []
    values = [(reading, value_at(reading, column)) for reading in readings]
    marks = sorted(stops_at(model.stops, plot, column), key=lambda stop: STOP_ORDER.index(stop.kind))
    room = max(column, plot.columns - column - 1) - 2
    logged = [value.x for _, value in values if value is not None and column_of(plot, value.x) == column]
    exact = x if any(stop.x == x for stop in marks) else max(logged, default=x)
    lines: list[tuple[Span, ...]] = [(Span(place_of(model.x_label, exact, plot)),)]
    width = max((len(reading.label) for reading in readings), default=0)
    for reading, value in values:
        name = Span(f"{reading.label:<{width}} ", reading.token)
        if value is None:
            lines.append((name, Span("—", "muted")))
            continue
        spread = f" ({format_value(value.low)}–{format_value(value.high)})" if value.low < value.high else ""
        lines.append((name, Span(format_value(value.value)), Span(spread, "muted")))
    return lines + [(Span(shorten_right(stop.text, max(MARK_WIDTH, room)), stop.tone),) for stop in marks[:3]]


def place_of(unit: str, x: float, plot: Plot) -> str:
    """`step 984`, `epoch 41.5`, `12.4 min`."""
    if unit == "step":
        return f"step {format_count(round(x))}"
    column = (plot.x1 - plot.x0) / plot.columns
    if unit == "clock":
        return clock_text(x, 1.0) if column < DAY else clock_text(x, DAY)
    decimals = max(0, 1 - math.floor(math.log10(column)))
    said = f"{x:,.{min(decimals, 4)}f}"
    return f"{said} {unit}" if unit in TIME_UNITS else f"{unit} {said}"
