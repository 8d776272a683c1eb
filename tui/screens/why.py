"""Why a run stands where it stands: the page that `ckptop why RUN` prints, made by that command and scrolled here.

A child makes it because it reads the whole log and hashes a checkpoint; leaving the page ends the child.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen

from ckptop.tui.child import read_ckptop
from ckptop.tui.keys import Shown, binding
from ckptop.tui.model import RunRow
from ckptop.tui.text import Line, Span, wrapped
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.footer import Footer
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import rule_line

READING = "Reading its log, its curves and its newest checkpoint…"

FACT_SECTIONS = ("", "saved")
"""Their lines are names with values; the first section has no title."""
RAW_SECTIONS = ("last lines of its log", "traceback")
"""Their lines are the run's own."""

_FACT = re.compile(r"  (\S+(?: \S+)*)?( {2,})(\S.*)")
INDENT = "  "


class Page(Lines, can_focus=True):
    """The page, wrapped to its width and scrolled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("j,down", "scroll_by(1)", "why.down", "Down", "Scroll down"),
        binding("k,up", "scroll_by(-1)", "why.up", "Up", "Scroll up"),
        binding("pagedown,space", "scroll_pages(1)", "why.page-down", "Page down", "Scroll a page down"),
        binding("pageup", "scroll_pages(-1)", "why.page-up", "Page up", "Scroll a page up"),
        binding("ctrl+d", "scroll_pages(0.5)", "why.half-down", "Half a page down", "Scroll half a page down"),
        binding("ctrl+u", "scroll_pages(-0.5)", "why.half-up", "Half a page up", "Scroll half a page up"),
        binding("g,home", "scroll_by(-100000)", "why.first", "First", "Scroll to the top"),
        binding("G,end", "scroll_by(100000)", "why.last", "Last", "Scroll to the end"),
    ]

    def __init__(self, row: RunRow) -> None:
        super().__init__(id="page")
        self._row = row
        self._text: Sequence[str] = ()
        self._said = READING
        self._top = 0

    def show(self, text: Sequence[str], problem: str) -> None:
        """Show what was printed, or why nothing was."""
        self._text, self._said = text, problem
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule and a page of lines."""
        state = self._row.state
        figure = (Span(f"{GLYPHS[state][0]} {state}", STATE_TOKENS[state]),)
        lines = page_lines(self._text, size.width, STATE_TOKENS[state])
        if self._said:
            lines = [Line(), Line((Span(" " + self._said, "muted" if self._said == READING else "error"),))]
        room = size.height - 1
        self._top = max(0, min(self._top, len(lines) - room))
        below = len(lines) - self._top - room
        more = [(Span(f"{below:,} more below", "muted"),)] if below > 0 else []
        rule = rule_line(size.width, f"Why {self._row.label}", [figure, *more], focused=True)
        return [rule, *lines[self._top : self._top + room]]

    def action_scroll_by(self, rows: int) -> None:
        """Scroll."""
        self._top += rows
        self.repaint()

    def action_scroll_pages(self, pages: float) -> None:
        """Scroll by what is on screen, less one line to hold on to."""
        self.action_scroll_by(round(pages * max(2, self.size.height - 2)))


class WhyScreen(ModalScreen[dict[str, str] | None]):
    """Answers with the settings to resume with, where that was asked for; else None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("r", "resume", "why.resume", "Resume", "Resume the run as the page proposes", show=True),
        binding("y", "copy", "why.copy", "Copy command", "Copy the command to go on with", show=True),
        binding("escape,enter,W,q", "leave", "why.leave", "Back", "Back to the dashboard", show=True),
    ]

    def __init__(self, row: RunRow, store: Path, refusal: str | None) -> None:
        """Show the page.

        Args:
            row: The run.
            store: Its store.
            refusal: Why it cannot be resumed; None where it can.
        """
        super().__init__()
        self._row, self._store, self._refusal = row, store, refusal
        self._text: list[str] = []

    def compose(self) -> ComposeResult:
        """The page and its keys."""
        yield Page(self._row)
        yield Footer(id="footer")

    def on_mount(self) -> None:
        """Let the child begin."""
        self.query_one(Page).focus()
        self.query_one(Footer).show(None, self)
        self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        self._text, problem = await read_ckptop(["why", self._row.name, "--store", str(self._store)])
        self.query_one(Page).show(self._text, problem)

    def shown_bindings(self) -> list[Shown]:
        """What the footer names; resume is greyed where it is off."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding)]
        return [Shown(item, item.description, item.id == "why.resume" and self._refusal is not None) for item in own]

    def action_resume(self) -> None:
        """Resume with what the page proposes; where that is off, say why."""
        if self._refusal is not None:
            self.notify(self._refusal, severity="warning", markup=False)
            return
        self.dismiss(proposed_settings(self._text))

    def action_copy(self) -> None:
        """Copy the command."""
        command = next_command(self._text)
        if command:
            self.app.copy_to_clipboard(command)
            self.notify("Copied.", markup=False)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)


def page_lines(text: Sequence[str], width: int, tone: str) -> list[Line]:
    """The printed lines in colour, wrapped under their values.

    Args:
        text: What the command printed; its first line names run and state, which the rule does already.
        width: Cells of the page.
        tone: Of what ended the run.
    """
    lines: list[Line] = [Line()]
    section, label_cells = "", 0
    for printed in text[1:]:
        if printed and not printed.startswith(" "):
            section, label_cells = printed, 0
            lines.append(Line((Span(" " + printed, bold=True),)))
            continue
        fact = _FACT.fullmatch(printed) if section in FACT_SECTIONS else None
        if fact is None:
            lines += _plain_lines(printed, section, width)
            continue
        label = fact[1] or ""
        label_cells = len(printed) - len(fact[3])
        value_tone = tone if label == "ended" else "foreground"
        for place, part in enumerate(wrapped(fact[3], max(1, width - label_cells - 2), None)):
            shown = f" {INDENT}{label}" if place == 0 else ""
            lines.append(Line((Span(f"{shown:<{label_cells + 1}}", "muted"), Span(part, value_tone))))
    return lines


def _plain_lines(printed: str, section: str, width: int) -> list[Line]:
    is_command = section == "next" and printed.startswith(f"{INDENT}$ ")
    tone = "accent" if is_command else "muted" if section in RAW_SECTIONS or section == "next" else "foreground"
    parts = wrapped(printed.strip(), max(1, width - 5), None)
    deeper = " " * (len(printed) - len(printed.lstrip()) - len(INDENT)) if section in RAW_SECTIONS else ""
    return [
        Line((Span(f" {INDENT}{deeper if place == 0 else INDENT}{part}", tone, is_command),))
        for place, part in enumerate(parts)
    ]


def next_command(text: Sequence[str]) -> str:
    """The command that the page proposes; empty where it proposes none."""
    commands = [line.strip().removeprefix("$ ") for line in text if line.startswith(f"{INDENT}$ ")]
    return commands[-1] if commands else ""


def proposed_settings(text: Sequence[str]) -> dict[str, str]:
    """The `--set` of that command, by key."""
    try:
        words = shlex.split(next_command(text))
    except ValueError:
        return {}
    given = [value for option, value in pairwise(words) if option == "--set" and "=" in value]
    return {key: value for key, _, value in (setting.partition("=") for setting in given)}
