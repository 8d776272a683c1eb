"""What is written around and over the curves: grid, labels, names at the line ends, marks on the axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len, set_cell_size

from ckptop.tui.chart_axis import tick_labels, x_ticks, y_ticks
from ckptop.tui.chart_cells import Row, put
from ckptop.tui.chart_clock import clock_ticks
from ckptop.tui.chart_curves import Plot
from ckptop.tui.chart_series import Floats
from ckptop.tui.theme import GLYPHS


@dataclass(frozen=True, eq=False, slots=True)
class Marks:
    """Marks of one kind on the x axis."""

    x: Floats
    glyph: str
    token: str


@dataclass(frozen=True, slots=True)
class Name:
    """A series' name and where its line ends."""

    row: int
    """From the top."""
    pixel: int
    """From the bottom; orders the names of lines that end on one row."""
    text: str
    token: str


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a chart, in Unicode or ASCII."""

    grid: str
    axis: str
    cursor: str
    best: str
    milestone: str
    checkpoint: str
    nan: str
    cut: str
    doomed: str
    alert: str

    @classmethod
    def of(cls, *, ascii_only: bool) -> Glyphs:
        """The set for a terminal that can or cannot show more than ASCII."""
        best, milestone, checkpoint = (GLYPHS[name][ascii_only] for name in ("best", "milestone", "checkpoint"))
        alert = GLYPHS["alert"][ascii_only]
        if ascii_only:
            return cls(".", "-", "|", best, milestone, checkpoint, "x", "~", "X", alert)
        return cls("┈", "─", "│", best, milestone, checkpoint, "×", "…", GLYPHS["crashed"][0], alert)


def draw_grid(rows: list[Row], plot: Plot, glyphs: Glyphs) -> None:
    """Draw a faint line at each tick of y and its label left of it, if there is room for labels."""
    ticks = y_ticks(plot.scale, plot.rows)
    for tick, label in zip(ticks, tick_labels(ticks, log=plot.scale.log), strict=True):
        row = plot.row(tick)
        put(rows, row, plot.left, glyphs.grid * plot.columns, "faint")
        if plot.left:
            put(rows, row, 0, label.rjust(plot.left - 1), "muted")


def draw_best(rows: list[Row], plot: Plot, best: tuple[float, float], glyphs: Glyphs) -> None:
    """Draw the star of the best checkpoint at its x and value, unless zoomed out of sight."""
    if not plot.scale.bottom <= best[1] <= plot.scale.top:
        return
    for column in plot.columns_of(np.array([best[0]])):
        put(rows, plot.row(best[1]), plot.left + column, glyphs.best, "foreground")


def draw_axis(rows: list[Row], plot: Plot, kinds: Iterable[Marks], glyphs: Glyphs) -> None:
    """Draw the axis under the plot with its marks; of two that would touch, the first given is drawn."""
    put(rows, plot.rows, plot.left, glyphs.axis * plot.columns, "faint")
    taken: set[int] = set()
    for marks in kinds:
        for column in plot.columns_of(marks.x):
            if not taken & {column - 1, column, column + 1}:
                taken.add(column)
                put(rows, plot.rows, plot.left + column, marks.glyph, marks.token)


def draw_x_labels(rows: list[Row], plot: Plot, unit: str) -> None:
    """Write the labels of the x axis, its unit at the right, and `log` under the labels of a log y axis."""
    y, width = plot.rows + 1, len(rows[0])
    free_until = width - cell_len(unit) - 1
    if unit == "clock":
        ticks = clock_ticks(plot.x0, plot.x1, plot.columns)
    else:
        ticks = x_ticks(plot.x0, plot.x1, plot.columns, whole=unit in ("step", "epoch"))
    for tick, label in ticks:
        for column in plot.columns_of(np.array([tick])):
            at = max(plot.left, plot.left + column - len(label) // 2)
            if at + len(label) < free_until:
                put(rows, y, at, label, "muted")
    put(rows, y, width - cell_len(unit), unit, "muted")
    if plot.scale.log:
        put(rows, y, 0, "log".rjust(plot.left - 1), "muted")


def cut_name(text: str, width: int, cut: str) -> str:
    """Cut a name in the middle to `width` cells: "resnet…seed3"."""
    if cell_len(text) <= width:
        return text
    head, tail = set_cell_size(text, width // 2).rstrip(), text
    while tail and cell_len(head) + 1 + cell_len(tail) > width:
        tail = tail[1:]
    return head + cut + tail if width > 1 else ""


def draw_names(rows: list[Row], plot: Plot, column: int, names: Sequence[Name]) -> None:
    """Write the names from plot column `column` on, each on its line's row if that is free.

    The higher line's name comes first, and names that would collide move apart.
    """
    ordered = sorted(names, key=lambda name: -name.pixel)[: plot.rows]
    places: list[int] = []
    for name in ordered:
        places.append(max(name.row, places[-1] + 1 if places else 0))
    limit = plot.rows - 1
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - 1
    for place, name in zip(places, ordered, strict=True):
        put(rows, place, plot.left + column, f" {name.text} ", name.token)
