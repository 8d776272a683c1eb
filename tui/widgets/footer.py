"""The keys of the focused pane, made from its live bindings; or one line of hint."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from textual.binding import Binding
from textual.dom import DOMNode
from textual.geometry import Size

from ckptop.tui.keys import shown_key
from ckptop.tui.text import Line, Span, width_of
from ckptop.tui.widgets.lines import Lines

KEY_GAP = 3
NARROW_GAP = 2


@runtime_checkable
class NamesItsKeys(Protocol):
    """A pane whose footer depends on what it shows."""

    def shown_bindings(self) -> list[tuple[Binding, str]]:
        """Bindings with the words to show, most important first."""


class Footer(Lines):
    """The bottom line."""

    GROUND = "panel"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._keys: list[tuple[str, str]] = []
        self._hint = ""
        self._off = False

    def show(self, focused: DOMNode | None, screen: DOMNode, *, hint: str = "", actions_off: bool = False) -> None:
        """Name the keys of `focused` and then those of `screen`; a hint stands right of them."""
        shown = shown_bindings(focused) if focused is not None else []
        self._keys = [(shown_key(item), text) for item, text in shown + shown_bindings(screen)]
        self._hint, self._off = hint, actions_off
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """One line; a key that does not fit is left out, help stays."""
        width = size.width
        for keys in (self._keys, *(self._keys[:n] + self._keys[-1:] for n in range(len(self._keys) - 2, -1, -1))):
            for gap in (KEY_GAP, NARROW_GAP):
                spans = _spans(keys, gap)
                if width_of(spans) < width:
                    room = width - width_of(spans)
                    hint = self._hint if len(self._hint) + 4 <= room else ""
                    filler = Span(" " * (room - len(hint) - 1)) if hint else Span("")
                    return [Line((*spans, filler, Span(hint, "muted")))]
        return []


def _spans(keys: list[tuple[str, str]], gap: int) -> list[Span]:
    spans = []
    for place, (key, text) in enumerate(keys):
        spans.append(Span((" " * gap if place else " ") + key, "accent", bold=True))
        spans.append(Span(" " + text, "muted"))
    return spans


def shown_bindings(node: DOMNode) -> list[tuple[Binding, str]]:
    """The bindings a node wants in the footer, in its own order."""
    if isinstance(node, NamesItsKeys):
        return node.shown_bindings()
    own = type(node).__dict__.get("BINDINGS", ())
    return [(item, item.description) for item in own if isinstance(item, Binding) and item.show]
