"""The value cursor over a drawn chart: a line and what it reads, laid on a copy, so that nothing is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

from ckptop.host.units import cell_width
from ckptop.tui.chart_cells import BLANK, Row, put
from ckptop.tui.chart_curves import Plot
from ckptop.tui.chart_marks import Glyphs
from ckptop.tui.chart_reading import column_of
from ckptop.tui.text import Span, width_of

GAP = 1
"""Blank cells around what is read."""


def with_cursor(rows: list[Row], plot: Plot, x: float, lines: Sequence[Sequence[Span]], glyphs: Glyphs) -> list[Row]:
    """A copy of `rows` with a line at `x` behind the curves, and `lines` beside it where they hide least."""
    column = column_of(plot, x)
    if column is None:
        return rows
    drawn = [list(row) for row in rows]
    for row in drawn[: plot.rows]:
        if row[plot.left + column][0] in (" ", "\u2800", glyphs.grid):
            row[plot.left + column] = (glyphs.cursor, "foreground")
    width, height = max(map(width_of, lines), default=0) + 2 * GAP, len(lines)
    place = _place(rows, plot, column, width, height, glyphs)
    if place is not None:
        _write(drawn, *place, width, lines)
    return drawn


def _place(rows: list[Row], plot: Plot, column: int, width: int, height: int, glyphs: Glyphs) -> tuple[int, int] | None:
    """Left and top of the box, right of the line or left of it, at the top or the bottom."""
    at = plot.left + column
    lefts = [left for left in (at + 1, at - width) if left >= plot.left and left + width <= len(rows[0])]
    tops = [top for top in (0, plot.rows - height) if top >= 0]
    empty = (" ", "\u2800", glyphs.grid)

    def hidden(place: tuple[int, int]) -> int:
        left, top = place
        return sum(cell[0] not in empty for row in rows[top : top + height] for cell in row[left : left + width])

    return min(((left, top) for top in tops for left in lefts), key=hidden, default=None)


def _write(rows: list[Row], left: int, top: int, width: int, lines: Sequence[Sequence[Span]]) -> None:
    for y, line in enumerate(lines, top):
        rows[y][left : left + width] = [BLANK] * width
        x = left + GAP
        for span in line:
            put(rows, y, x, span.text, span.tone)
            x += cell_width(span.text)
