"""One layer of a chart: plotext draws the curve, bare of frame, ticks and colour.

plotext takes 22 ms for a thousand points and raises on inf and on huge values, so it gets whole pixel
coordinates and no numbers of the run's own. A layer is drawn in tiles of a few columns and each tile is
kept: as long as the axis stands still, a growing curve redraws only the tile it grows in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ckptop.tui.ascii_art import Marker
from ckptop.tui.chart_series import Ints

PIXELS: dict[Marker, tuple[int, int]] = {"braille": (2, 4), "hd": (2, 2), "ascii": (1, 1)}
"""Pixels of one cell, across and down."""

TILE_COLUMNS = 14
"""Columns drawn at once: smaller tiles redraw less when a curve grows, larger ones cost less in all."""

Curve = tuple[Ints, Ints]
"""One unbroken stroke: pixel columns, never decreasing, and pixel rows from the bottom; at least one point."""

_Points = tuple[tuple[int, ...], tuple[int, ...]]

_SGR = re.compile(r"\x1b\[[0-9;]*m")


def draw_layer(curves: Sequence[Curve], columns: int, rows: int, marker: Marker, glyph: str = "*") -> list[str]:
    """Draw unbroken curves and return `rows` strings of `columns` cells, blank where nothing is.

    Args:
        curves: In pixels, see `PIXELS`.
        columns: Width in cells; 0 gives empty strings.
        rows: Height in cells.
        marker: How pixels become characters.
        glyph: The character where `marker` is "ascii".
    """
    drawn = [""] * max(0, rows)
    for left in range(0, columns if rows > 0 else 0, TILE_COLUMNS):
        width = min(TILE_COLUMNS, columns - left)
        across = PIXELS[marker][0]
        points = tuple(_crossing(curves, left * across, (left + width) * across))
        tile = _draw_tile(points, width, rows, marker, glyph) if points else (" " * width,) * rows
        drawn = [row + part for row, part in zip(drawn, tile, strict=True)]
    return drawn


def _crossing(curves: Sequence[Curve], left: int, right: int) -> Iterator[_Points]:
    """Parts of the curves that a tile from pixel `left` up to `right` shows, with one neighbour each side."""
    for x, y in curves:
        begin = max(0, int(np.searchsorted(x, left)) - 1)
        end = int(np.searchsorted(x, right)) + 1
        if x[begin] < right and x[min(end, x.size) - 1] >= left:
            yield tuple((x[begin:end] - left).tolist()), tuple(y[begin:end].tolist())


@lru_cache(maxsize=512)
def _draw_tile(points: tuple[_Points, ...], columns: int, rows: int, marker: Marker, glyph: str) -> tuple[str, ...]:
    # Imported at the first curve: it takes 30 ms, and an empty dashboard paints without it.
    from textual_plotext import Plot

    across, down = PIXELS[marker]
    figure = Plot()
    # One column more on the left: plotext cuts a line's coordinates towards zero, so what passes
    # just left of the tile would smear into its first pixel.
    figure._set_size(columns + 1, rows)  # `plot_size` would cut it to the terminal plotext believes in
    figure.theme("clear")
    figure.frame(False)
    figure.xaxes(False, False)
    figure.yaxes(False, False)
    figure.xticks([])
    figure.yticks([])
    for x, y in points:
        figure.plot(list(x), list(y), marker=glyph if marker == "ascii" else marker)
    figure.xlim(-across, columns * across - 1)
    figure.ylim(0, max(1, rows * down - 1))
    lines = _SGR.sub("", figure.build()).split("\n")
    return tuple(line[1 : columns + 1].ljust(columns) for line in lines[:rows])
