"""What is known of the selected run, one fact a line."""

from __future__ import annotations

from textual.geometry import Size
from textual.reactive import reactive

from ckptop.tui.model import Snapshot
from ckptop.tui.text import Line, Span, wrapped
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import rule_line

LABEL_WIDTH = 11

LABEL_TONES = {"error": "error", "problem": "error", "stalled": "warning", "next": "accent"}
"""Facts that stand out; others are plain."""
WRAPPED_LABELS = frozenset({"error", "problem"})
"""What went wrong is told on up to `MOST_LINES` lines, since a person has to read it."""
MOST_LINES = 3


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
            tone = LABEL_TONES.get(label, "foreground")
            most = MOST_LINES if label in WRAPPED_LABELS else 1
            for place, part in enumerate(wrapped(text, max(1, width - LABEL_WIDTH - 3), most)):
                shown = label if place == 0 else ""
                lines.append(Line((Span(f" {shown:<{LABEL_WIDTH}}", "muted"), Span(part, tone))))
        return lines[: size.height - 1]  # a blank line above the pane below
