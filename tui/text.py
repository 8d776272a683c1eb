"""Lines of a pane as spans of text with a colour tone, and the few shapes drawn with them.

Panes compose plain data; colours enter when a line becomes a strip. So a line can be compared with the one
on screen for the price of comparing tuples, and tests read lines without a terminal.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from ckptop.host.units import cell_width, shorten_right
from ckptop.tui.ascii_art import TO_ASCII, TO_QUADRANTS, Marker, marker_of
from ckptop.tui.theme import Palette

BAR_FULL, BAR_HALF, BAR_EMPTY = "━", "╸", "─"
"""A progress bar resolves half a cell."""

MARKER: Marker = marker_of()
"""What curves are drawn with on this terminal."""
ASCII_ONLY = MARKER == "ascii"
"""Whether this terminal is drawn on in ASCII."""


def draw_with(marker: Marker) -> None:
    """Draw with these from now on; there is one terminal to a process."""
    global MARKER, ASCII_ONLY
    MARKER, ASCII_ONLY = marker, marker == "ascii"


def chart_marker() -> Marker:
    """What curves are drawn with here."""
    return "ascii" if ASCII_ONLY else MARKER


def drawable(text: str) -> str:
    """`text` in characters that this terminal shows, each as wide as it was."""
    if ASCII_ONLY:
        return text.translate(TO_ASCII)
    return text.translate(TO_QUADRANTS) if MARKER == "hd" and not text.isascii() else text


BRAILLE = 0x2800
_LEFT_DOTS, _RIGHT_DOTS = (0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)
"""Dots of a braille cell from the lowest level to the highest."""


class Span(NamedTuple):
    """A piece of a line; `text` is clean and `tone` a field of the palette."""

    text: str
    tone: str = "foreground"
    bold: bool = False


class Line(NamedTuple):
    """One line of a pane; lines are equal where nothing needs repainting."""

    spans: tuple[Span, ...] = ()
    ground: str | None = None
    """Token behind the text; None is the widget's own background."""


def plain(line: Line) -> str:
    """The text of `line`."""
    return "".join(span.text for span in line.spans)


def width_of(spans: Iterable[Span]) -> int:
    """Cells taken by `spans`."""
    return sum(cell_width(span.text) for span in spans)


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> tuple[Span, ...]:
    """`left` and `right` at the two ends of `width` cells; where they do not fit, the right goes."""
    gap = width - width_of(left) - width_of(right)
    return (*left, Span(" " * gap), *right) if gap >= 1 else tuple(left)


def pad(text: str, width: int) -> str:
    """`text` with spaces on its right, by cells; longer text stays as it is."""
    return text + " " * (width - cell_width(text))


def pad_left(text: str, width: int) -> str:
    """`text` with spaces on its left, by cells; longer text stays as it is."""
    return " " * (width - cell_width(text)) + text


def wrapped(text: str, width: int, most: int | None = None) -> list[str]:
    """`text` in lines of at most `width` cells, broken between words where that is possible; at least one line.

    Args:
        text: Clean; blanks at a break are dropped.
        width: Cells of a line; at least 1.
        most: At most so many lines, the last cut with an ellipsis.
    """
    lines: list[str] = []
    rest = text
    while cell_width(rest) > width and (most is None or len(lines) < most - 1):
        end, cells = 0, 0
        while cells + cell_width(rest[end]) <= width:
            cells += cell_width(rest[end])
            end += 1
        end = max(1, end)
        blank = rest.rfind(" ", 1, end + 1)
        cut = blank if blank > 0 and rest[:blank].strip() else end
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, shorten_right(rest, width)]


def folded(text: str, width: int) -> list[str]:
    """`text` cut into rows of at most `width` cells, wherever that is; at least one row. `width` >= 1."""
    if text.isascii():
        return [text[at : at + width] for at in range(0, len(text), width)] or [""]
    rows, row, cells = [], "", 0
    for character in text:
        taken = cell_width(character)
        if cells + taken > width and row:
            rows.append(row)
            row, cells = "", 0
        row, cells = row + character, cells + taken
    return [*rows, row]


def clipped(text: str, first: int, width: int) -> str:
    """The `width` cells of `text` from cell `first` on; a character that is cut in two is left out."""
    if text.isascii():
        return text[first : first + width]
    shown, at = "", 0
    for character in text:
        taken = cell_width(character)
        if at >= first and at + taken <= first + width:
            shown += character
        at += taken
    return shown


def bar(fraction: float, width: int, tone: str = "accent") -> tuple[Span, ...]:
    """A bar of `width` cells, filled to `fraction` of 1 in half cells; anything above 0 shows."""
    halves = min(2 * width, max(0, round(fraction * 2 * width)))
    if fraction > 0:
        halves = max(1, halves)
    full, half = divmod(halves, 2)
    filled = BAR_FULL * full + BAR_HALF * half
    return Span(filled, tone), Span(BAR_EMPTY * (width - full - half), "faint")


def thinned(values: Sequence[float], count: int) -> Sequence[float]:
    """At most `count` of the values, evenly over all of them, the first and the last among them; `count` >= 2."""
    if len(values) <= count:
        return values
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def sparkline(values: Sequence[float], lowest: float | None = None, highest: float | None = None) -> str:
    """A braille line of two values a cell and four levels, between the extremes given or found."""
    if not values:
        return ""
    low = min(values) if lowest is None else lowest
    high = max(values) if highest is None else highest
    span = high - low
    levels = [min(3, max(0, int((value - low) / span * 4))) if span > 0 else 0 for value in values]
    if len(levels) % 2:
        levels.append(levels[-1])
    return "".join(
        chr(BRAILLE | _LEFT_DOTS[left] | _RIGHT_DOTS[right])
        for left, right in zip(levels[::2], levels[1::2], strict=True)
    )


@functools.lru_cache(maxsize=256)
def _style(palette: Palette, tone: str, bold: bool, ground: str) -> Style:
    style = palette.style(tone)
    if bold:
        style += Style(bold=True)
    return style + (palette.style(ground) if palette.mono else Style(bgcolor=palette.color(ground)))


def to_strip(line: Line, width: int, palette: Palette, ground: str = "background") -> Strip:
    """`line` in colour, exactly `width` cells wide, on `ground` unless it has one of its own."""
    behind = line.ground or ground
    segments = [Segment(drawable(text), _style(palette, tone, bold, behind)) for text, tone, bold in line.spans]
    filler = _style(palette, "foreground", False, behind)
    return Strip(segments).adjust_cell_length(width, filler)


def changed_span(old: Strip, new: Strip) -> tuple[int, int] | None:
    """First and past-the-last cell in which two strips of one width differ; None where they are equal."""
    before, after = _cells(old), _cells(new)
    shared = min(len(before), len(after))
    first = next((index for index in range(shared) if before[index] != after[index]), shared)
    if first == shared and len(before) == len(after):
        return None
    end = max(len(before), len(after))
    while end > first + 1 and end <= shared and before[end - 1] == after[end - 1]:
        end -= 1
    return first, end


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    cells: list[tuple[str, Style | None]] = []
    for text, style, _control in strip:
        if text.isascii():
            cells.extend((character, style) for character in text)
            continue
        for character in text:
            width = cell_width(character)
            if width == 0 and cells:
                cells[-1] = (cells[-1][0] + character, style)
            else:
                cells.append((character, style))
                cells.extend([("", style)] * (width - 1))
    return cells
