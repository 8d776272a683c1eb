"""What is known of the selected run, one fact a line."""

from __future__ import annotations

from textual.geometry import Size
from textual.reactive import reactive

from ckptop.host.units import shorten_right
from ckptop.tui.model import Snapshot
from ckptop.tui.text import Line, Span
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import rule_line

LABEL_WIDTH = 11


class Facts(Lines):
    """The facts pane; it takes no focus."""

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)

    def watch_snapshot(self) -> None:
        """Show the new facts."""
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule with name and state, then the facts."""
        detail = self.snapshot.detail if self.snapshot is not None else None
        if detail is None:
            return []
        width, state = size.width, detail.row.state
        glyph = (Span(f"{GLYPHS[state][0]} {state}", STATE_TOKENS[state]),)
        lines = [rule_line(width, detail.row.label, [glyph])]
        for label, text in detail.facts:
            value = shorten_right(text, width - LABEL_WIDTH - 3)
            tone = "error" if label in ("error", "problem") else "foreground"
            lines.append(Line((Span(f" {label:<{LABEL_WIDTH}}", "muted"), Span(value, tone))))
        return lines
