"""Every key, made from the bindings themselves and grouped by pane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.geometry import Size
from textual.screen import ModalScreen

from ckptop.tui.keys import binding, changed_keys, key_name
from ckptop.tui.text import Line, Span, pad, width_of
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import figure, rule_line

KEY_WIDTH = 12
COLUMN_WIDTH = 54
"""Cells of a column of keys; two from twice that on."""


class KeyList(Lines, can_focus=True):
    """The groups, one or two columns, scrolled by the usual keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("j,down", "scroll_by(1)", "help.down", "Down", "Scroll down"),
        binding("k,up", "scroll_by(-1)", "help.up", "Up", "Scroll up"),
        binding("pagedown,space", "scroll_by(10)", "help.page-down", "Page down", "Scroll a page down"),
        binding("pageup", "scroll_by(-10)", "help.page-up", "Page up", "Scroll a page up"),
        binding("ctrl+d", "scroll_by(5)", "help.half-down", "Half a page down", "Scroll half a page down"),
        binding("ctrl+u", "scroll_by(-5)", "help.half-up", "Half a page up", "Scroll half a page up"),
        binding("g,home", "scroll_by(-10000)", "help.first", "First", "Scroll to the top"),
        binding("G,end", "scroll_by(10000)", "help.last", "Last", "Scroll to the end"),
    ]

    def __init__(self, groups: Sequence[tuple[str, Sequence[Binding]]]) -> None:
        super().__init__(id="keys")
        self._groups = groups
        self._top = 0

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule and a page of keys."""
        changed = changed_keys(self)
        blocks = [_block(title, bindings, changed) for title, bindings in self._groups]
        lines = _in_columns(blocks, size.width)
        room = size.height - 1
        self._top = max(0, min(self._top, len(lines) - room))
        below = len(lines) - self._top - room
        more = [figure(f"{below:,} more below")] if below > 0 else []
        rule = rule_line(size.width, "Keys", [*more, figure("Esc leaves")], focused=True)
        return [rule, *lines[self._top : self._top + room]]

    def action_scroll_by(self, rows: int) -> None:
        """Scroll."""
        self._top += rows
        self.repaint()


class HelpScreen(ModalScreen[None]):
    """All keys; Esc, ? or q leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("escape,question_mark,q,enter", "dismiss", "help.leave", "Back", "Back to the dashboard", show=True),
    ]

    def __init__(
        self,
        panes: Sequence[tuple[str, type[DOMNode]]],
        everywhere: Sequence[type[DOMNode]],
        *,
        here: type[DOMNode] | None = None,
    ) -> None:
        """Explain them.

        Args:
            panes: Title and class of each.
            everywhere: Classes whose keys work in every pane.
            here: The class of the pane in focus; its keys come first.
        """
        super().__init__()
        self._panes, self._everywhere, self._here = panes, everywhere, here

    def compose(self) -> ComposeResult:
        """The keys of the pane in focus, those that work everywhere, then those of every other pane."""
        everywhere = [item for kind in self._everywhere for item in own_bindings(kind)]
        groups = [("Everywhere", everywhere), ("In a list", _only_bindings(CursorList.BINDINGS))]
        here = [(title, own_bindings(kind)) for title, kind in self._panes if kind is self._here]
        groups += [(title, own_bindings(kind)) for title, kind in self._panes if kind is not self._here]
        yield KeyList([*here, *groups])


def own_bindings(kind: type[DOMNode]) -> list[Binding]:
    """The bindings a class adds."""
    return _only_bindings(kind.__dict__.get("BINDINGS", ()))


def _only_bindings(bindings: Sequence[BindingType]) -> list[Binding]:
    return [item for item in bindings if isinstance(item, Binding)]


def _block(title: str, bindings: Sequence[Binding], changed: Mapping[str, str]) -> list[Line]:
    lines = [Line((Span(f" {title}", bold=True),))]
    for item in bindings:
        bound = changed.get(item.id or "", item.key)
        keys = " ".join(key_name(key.strip()) for key in bound.split(","))
        lines.append(Line((Span(" " + pad(keys, KEY_WIDTH), "accent"), Span(" " + item.tooltip, "foreground"))))
    return [*lines, Line()]


def _in_columns(blocks: Sequence[list[Line]], width: int) -> list[Line]:
    lines = [line for block in blocks for line in block]
    if width < 2 * COLUMN_WIDTH:
        return lines
    half = (len(lines) + 1) // 2
    left: list[Line] = []
    right: list[Line] = []
    for block in blocks:
        (left if len(left) + len(block) // 2 <= half and not right else right).extend(block)
    rows = max(len(left), len(right))
    left += [Line()] * (rows - len(left))
    right += [Line()] * (rows - len(right))
    return [
        Line((*a.spans, Span(" " * max(1, width // 2 - width_of(a.spans))), *b.spans))
        for a, b in zip(left, right, strict=True)
    ]
