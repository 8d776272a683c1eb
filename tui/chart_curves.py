"""From series to pixels: which extremes, means and breaks of a series a layer shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ckptop.tui.ascii_art import Marker
from ckptop.tui.chart_axis import Scale
from ckptop.tui.chart_canvas import PIXELS, Curve
from ckptop.tui.chart_series import LARGEST, Floats, Ints, Reduced, bucket_of, reduce_min_max


@dataclass(frozen=True, slots=True)
class Plot:
    """The drawing area: which part of the data it shows, on which cells."""

    x0: float
    x1: float
    scale: Scale
    left: int
    """Cells left of it."""
    columns: int
    rows: int
    marker: Marker

    def reduce(self, x: Floats, y: Floats) -> Reduced:
        """What each half column holds of the series."""
        return reduce_min_max(x, y, self.x0, self.x1, self.columns)

    def reduce_line(self, x: Floats, y: Floats) -> Reduced:
        """Like `reduce`, with the points where the line enters and leaves the plot."""
        return reduce_min_max(x, y, self.x0, self.x1, self.columns, "log" if self.scale.log else "linear")

    def columns_of(self, x: Floats) -> list[int]:
        """Columns that hold one of `x`, ascending and each once; what is outside is left out."""
        bucket = bucket_of(x, self.x0, self.x1, self.columns)
        inside = bucket[(bucket >= 0) & (bucket < 2 * self.columns)]
        return [int(column) for column in np.unique(inside // 2)]

    def pixel_rows(self, y: Floats) -> Ints:
        """Pixel row of each value, from the bottom; -1 where it cannot be drawn."""
        return self.scale.pixels(y, self.rows * PIXELS[self.marker][1])

    def row(self, value: float) -> int:
        """Row of a value, from the top; -1 where it cannot be drawn."""
        pixel = int(self.pixel_rows(np.array([value]))[0])
        return -1 if pixel < 0 else self._row_of_pixel(pixel)

    def end(self, curve: Curve) -> tuple[int, int, int]:
        """Column, row from the top and pixel row from the bottom of a curve's last point."""
        x, y = curve
        return int(x[-1]) // PIXELS[self.marker][0], self._row_of_pixel(int(y[-1])), int(y[-1])

    def _row_of_pixel(self, pixel: int) -> int:
        return self.rows - 1 - pixel // PIXELS[self.marker][1]


def extent(values: Floats) -> tuple[float, float] | None:
    """Range of the finite values, shape (n,), magnitudes cut at `LARGEST`; None without any."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return extent(values[np.isfinite(values)])
    return max(-LARGEST, min(low, LARGEST)), max(-LARGEST, min(high, LARGEST))


def joint_extent(arrays: Iterable[Floats]) -> tuple[float, float] | None:
    """Range of the finite values of all `arrays`; None without any."""
    found = [ends for ends in map(extent, arrays) if ends]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def band(plot: Plot, reduced: Reduced) -> list[Curve]:
    """The range of each half column, zigzagging so that one stroke draws both edges."""
    low, high = _ends(plot, reduced)
    downward = np.arange(low.size) % 2 == 1
    return _strokes(plot, reduced, np.where(downward, high, low), np.where(downward, low, high))


def line(plot: Plot, reduced: Reduced) -> list[Curve]:
    """The curve through both extremes of each half column, in the order its ends suggest."""
    low, high = _ends(plot, reduced)
    rising = reduced.first <= reduced.last
    return _strokes(plot, reduced, np.where(rising, low, high), np.where(rising, high, low))


def mean_line(plot: Plot, reduced: Reduced) -> list[Curve]:
    """The curve through the mean of each half column."""
    rows = plot.pixel_rows(reduced.mean)
    return _strokes(plot, reduced, rows, rows)


def _ends(plot: Plot, reduced: Reduced) -> tuple[Ints, Ints]:
    low, high = plot.pixel_rows(reduced.lo), plot.pixel_rows(reduced.hi)
    # Zero and less have no place on a log axis: a bucket that holds them too reaches down to the edge.
    return np.where((low < 0) & (high >= 0), 0, low), high


def _strokes(plot: Plot, reduced: Reduced, begin: Ints, end: Ints) -> list[Curve]:
    # A bucket is half a column, which is a pixel unless the marker knows only whole cells.
    columns = reduced.bucket * PIXELS[plot.marker][0] // 2
    x = np.repeat(columns, 2)
    y = np.stack([begin, end], axis=1).ravel()
    run = np.repeat(reduced.run, 2) + np.cumsum(y < 0)  # what cannot be drawn breaks the stroke, as NaN does
    drawn = y >= 0
    drawn[1:] &= (np.diff(x) != 0) | (np.diff(y) != 0) | (np.diff(run) != 0)
    x, y, run = x[drawn], y[drawn], run[drawn]
    breaks = np.flatnonzero(np.diff(run)) + 1
    return list(zip(np.split(x, breaks), np.split(y, breaks), strict=True)) if x.size else []
