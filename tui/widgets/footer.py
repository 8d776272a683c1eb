"""The keys of the focused pane, made from its live bindings, those that are off greyed; and a hint beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from textual.binding import Binding
from textual.dom import DOMNode
from textual.geometry import Size

from ckptop.tui.keys import Shown, changed_keys, shown_key
from ckptop.tui.text import Line, Span, spread, width_of
from ckptop.tui.widgets.lines import Lines

KEY_GAP = 3
NARROW_GAP = 2
LEAST_HINT_GAP = 3
PLACES_WIDTH = 110
"""Cells from which on the other screens are named at the right."""


@runtime_checkable
class NamesItsKeys(Protocol):
    """A pane whose footer depends on what it shows."""

    def shown_bindings(self) -> list[Shown]:
        """Bindings with the words to show, most important first."""


class Footer(Lines):
    """The bottom line."""

    GROUND = "panel"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._keys: list[Shown] = []
        self._hint = ""
        self._places: list[Shown] = []

    def show(self, focused: DOMNode | None, screen: DOMNode, *, hint: str = "", places: Sequence[Shown] = ()) -> None:
        """Name the keys of `focused` and then those of `screen`; right of them a hint, or where else one may go."""
        own = shown_bindings(focused) if focused is not None else []
        named = {item.binding.key for item in own}
        self._keys = own + [item for item in shown_bindings(screen) if item.binding.key not in named]
        self._hint, self._places = hint, list(places)
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """One line; a key that does not fit is left out, help stays; for the hint two may go."""
        width, changed = size.width, changed_keys(self)
        if not self._hint and self._places and width >= PLACES_WIDTH:
            right = [*_spans(self._places, NARROW_GAP, changed, "muted"), Span(" ")]
            left = self._fitting(width - width_of(right) - LEAST_HINT_GAP, changed)
            return [Line(spread(left, right, width))]
        if self._hint:
            for keys in (self._keys, self._keys[:-2] + self._keys[-1:], self._keys[:-3] + self._keys[-1:]):
                for gap in (KEY_GAP, NARROW_GAP):
                    spans = _spans(keys, gap, changed)
                    room = width - width_of(spans) - len(self._hint) - 1
                    if room >= LEAST_HINT_GAP:
                        return [Line((*spans, Span(" " * room), Span(self._hint, "muted")))]
        return [Line(tuple(self._fitting(width, changed)))]

    def _fitting(self, width: int, changed: Mapping[str, str]) -> list[Span]:
        """As many keys as fit, the last one among them."""
        for keys in (self._keys, *(self._keys[:n] + self._keys[-1:] for n in range(len(self._keys) - 2, -1, -1))):
            for gap in (KEY_GAP, NARROW_GAP):
                spans = _spans(keys, gap, changed)
                if width_of(spans) < width:
                    return spans
        return []


def _spans(keys: Sequence[Shown], gap: int, changed: Mapping[str, str], tone: str = "accent") -> list[Span]:
    spans = []
    for place, (item, text, off) in enumerate(keys):
        key = (" " * gap if place else " ") + shown_key(item, changed)
        spans.append(Span(key, "muted" if off else tone, bold=not off))
        spans.append(Span(" " + text, "faint" if off else "muted"))
    return spans


def shown_bindings(node: DOMNode) -> list[Shown]:
    """The bindings a node wants in the footer, in its own order."""
    if isinstance(node, NamesItsKeys):
        return node.shown_bindings()
    own = type(node).__dict__.get("BINDINGS", ())
    return [Shown(item, item.description) for item in own if isinstance(item, Binding) and item.show]
