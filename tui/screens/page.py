"""A page of facts over the dashboard: scrolled, copied, left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen

from ckptop.host.units import shorten_middle
from ckptop.tui.keys import Shown, binding
from ckptop.tui.text import Line, Span, folded, pad
from ckptop.tui.widgets.footer import Footer
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

MOST_LABEL = 24
"""Cells of the labels at most."""


class FactsPage(Lines, can_focus=True):
    """Labels and texts, the texts folded beside their labels."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("j,down", "scroll_by(1)", "page.down", "Down", "Scroll down"),
        binding("k,up", "scroll_by(-1)", "page.up", "Up", "Scroll up"),
        binding("pagedown,space", "scroll_pages(1)", "page.page-down", "Page down", "Scroll a page down"),
        binding("pageup", "scroll_pages(-1)", "page.page-up", "Page up", "Scroll a page up"),
        binding("ctrl+d", "scroll_pages(0.5)", "page.half-down", "Half a page down", "Scroll half a page down"),
        binding("ctrl+u", "scroll_pages(-0.5)", "page.half-up", "Half a page up", "Scroll half a page up"),
        binding("g,home", "scroll_by(-100000)", "page.first", "First", "Scroll to the top"),
        binding("G,end", "scroll_by(100000)", "page.last", "Last", "Scroll to the end"),
    ]

    def __init__(self, title: str, facts: Sequence[tuple[str, str]], figures: Sequence[Figure] = ()) -> None:
        super().__init__(id="page")
        self._title, self._facts, self._figures = title, facts, figures
        self._top = 0

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule and a page of facts."""
        cells = min(MOST_LABEL, max((len(label) for label, text in self._facts if text), default=0))
        lines = [Line(), *(line for label, text in self._facts for line in _fact(label, text, cells, size.width))]
        room = size.height - 1
        self._top = max(0, min(self._top, len(lines) - room))
        below = len(lines) - self._top - room
        figures = [*self._figures, figure(f"{below:,} more below")] if below > 0 else self._figures
        return [rule_line(size.width, self._title, figures, focused=True), *lines[self._top : self._top + room]]

    def action_scroll_by(self, rows: int) -> None:
        """Scroll."""
        self._top += rows
        self.repaint()

    def action_scroll_pages(self, pages: float) -> None:
        """Scroll by what is on screen, less one line to hold on to."""
        self.action_scroll_by(round(pages * max(2, self.size.height - 2)))


def _fact(label: str, text: str, cells: int, width: int) -> list[Line]:
    if not text:
        return [Line((Span(" " + label, bold=True),))]
    parts = folded(text, max(1, width - cells - 5))
    labels = [label, *[""] * (len(parts) - 1)]
    return [
        Line((Span(" " + pad(shorten_middle(name, cells), cells) + "  ", "muted"), Span(part)))
        for name, part in zip(labels, parts, strict=True)
    ]


class PageScreen(ModalScreen[None]):
    """A page; Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("y", "copy", "page.copy", "Copy", "Copy the page", show=True),
        binding("escape,enter,q", "leave", "page.leave", "Back", "Back to the dashboard", show=True),
    ]

    def __init__(self, title: str, facts: Sequence[tuple[str, str]], figures: Sequence[Figure] = ()) -> None:
        """Show facts.

        Args:
            title: Of the rule; clean, as all of it.
            facts: Label and text; of a title, an empty text.
            figures: Right in the rule.
        """
        super().__init__()
        self._title, self._facts, self._figures = title, facts, figures

    def compose(self) -> ComposeResult:
        """The page and its keys."""
        yield FactsPage(self._title, self._facts, self._figures)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        """The page has the keys."""
        self.query_one(FactsPage).focus()
        self.query_one(Footer).show(None, self)

    def shown_bindings(self) -> list[Shown]:
        """What the footer names."""
        return [Shown(item, item.description) for item in self.BINDINGS if isinstance(item, Binding)]

    def action_copy(self) -> None:
        """Copy the page as text."""
        self.app.copy_to_clipboard("\n".join(f"{label}\t{text}".rstrip() for label, text in self._facts))
        self.notify("Copied.", markup=False)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)
