"""The rule a pane hangs under: its digit, title and key figures, heavy and in the accent while focused."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size

from ckptop.host.units import shorten_middle
from ckptop.tui.text import Line, Span, width_of
from ckptop.tui.widgets.lines import Lines

Figure = tuple[Span, ...]
"""One key figure of a rule; dropped whole where room is short."""

DOT = " · "
"""Between the figures of a list; charts have two spaces."""


def rule_line(
    width: int,
    title: str,
    figures: Sequence[Figure] = (),
    *,
    digit: str = "",
    focused: bool = False,
    last_matter: bool = False,
    between: str = DOT,
) -> Line:
    """A rule of `width` cells: the title left, and right as many of `figures` as fit.

    The first figures are kept, or the last ones with `last_matter`; they stand in their order either way.

    The title is cut in the middle only where it would not fit alone.
    """
    stroke, tone = ("━", "accent") if focused else ("─", "faint")
    left = [Span(stroke + " ", tone)]
    if digit:
        left.append(Span(digit + " ", "accent" if focused else "muted", focused))
    left += [Span(shorten_middle(title, width - width_of(left) - 3), bold=True), Span(" ")]
    room = width - width_of(left) - 4  # a stroke before the figures, a space each side, a stroke at the end
    kept = _kept(figures[::-1], room, len(between))[::-1] if last_matter else _kept(figures, room, len(between))
    shown = [span for place, item in enumerate(kept) for span in ((Span(between, "muted"), *item) if place else item)]
    tail = [Span(" "), *shown, Span(" "), Span(stroke, tone)] if shown else []
    strokes = width - width_of(left) - width_of(tail)
    return Line((*left, Span(stroke * max(0, strokes), tone), *tail))


def _kept(figures: Sequence[Figure], room: int, gap: int) -> list[Figure]:
    kept: list[Figure] = []
    for item in figures:
        room -= width_of(item) + (gap if kept else 0)
        if room < 0:
            break
        kept.append(item)
    return kept


def figure(text: str, tone: str = "muted") -> Figure:
    """A figure of one word and colour."""
    return (Span(text, tone),)


class PaneRule(Lines):
    """A rule as a widget, for panes whose body draws itself."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._title = ""
        self._figures: Sequence[Figure] = ()
        self._digit = ""
        self._focused = False

    def show(self, title: str, figures: Sequence[Figure], *, digit: str = "", focused: bool = False) -> None:
        """Show this title and these figures; the last ones matter most."""
        self._title, self._figures, self._digit, self._focused = title, figures, digit, focused
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule."""
        line = rule_line(
            size.width,
            self._title,
            self._figures,
            digit=self._digit,
            focused=self._focused,
            last_matter=True,
            between=" ",
        )
        return [line]
