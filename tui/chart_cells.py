"""A chart as rows of (character, token) cells: written here, turned into strips, compared with the last one.

Cells and not Rich text, because only cells can be compared: what did not change is not sent to the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from ckptop.tui.theme import Palette

Cell = tuple[str, str]
"""A character and its colour token; the second cell of a wide character holds an empty string."""

Row = list[Cell]

BLANK: Cell = (" ", "foreground")

_EMPTY = " \u2800"  # plotext leaves spaces; a braille cell without dots is as empty


def blank_rows(width: int, height: int) -> list[Row]:
    """Rows of blank cells, `height` by `width`."""
    return [[BLANK] * width for _ in range(height)]


def put(rows: list[Row], y: int, x: int, text: str, token: str) -> None:
    """Write `text` from cell (`x`, `y`) on; what falls outside is dropped, wide characters whole."""
    if not 0 <= y < len(rows):
        return
    for character in text:
        size = cell_len(character)
        if size and x >= 0 and x + size <= len(rows[y]):
            rows[y][x : x + size] = [(character, token), ("", token)][:size]
        x += size


def lay(rows: list[Row], left: int, layer: Sequence[str], token: str) -> None:
    """Lay a drawn layer over the rows, `left` cells in: where it has ink it owns the cell."""
    for row, line in zip(rows, layer, strict=False):
        for x, character in enumerate(line, left):
            if character not in _EMPTY:
                row[x] = (character, token)


def to_strips(rows: Sequence[Row], palette: Palette) -> list[Strip]:
    """Strips to render, one a row, one segment a stretch of one token."""
    styles: dict[str, Style] = {}
    strips = []
    for row in rows:
        segments = []
        for token, cells in groupby(row, key=itemgetter(1)):
            style = styles.get(token) or styles.setdefault(token, palette.style(token))
            segments.append(Segment("".join(character for character, _ in cells), style))
        strips.append(Strip(segments, len(row)))
    return strips


def changed_spans(old: Sequence[Row], new: Sequence[Row]) -> Iterator[Region]:
    """Regions one row high, from the first to the last cell that differs; none for equal rows.

    Both must have the same size.
    """
    for y, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            changed = [x for x, cells in enumerate(zip(before, after, strict=True)) if cells[0] != cells[1]]
            yield Region(changed[0], y, changed[-1] - changed[0] + 1, 1)
