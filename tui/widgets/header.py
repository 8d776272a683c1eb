"""The top line: which store, who runs, who is ill, and right the free disk and the clock in minutes."""

from __future__ import annotations

import time
from collections import Counter

from textual.geometry import Size
from textual.reactive import reactive

from ckptop.host.units import format_bytes, shorten_left
from ckptop.tui.model import STATE_ORDER, Snapshot
from ckptop.tui.text import Line, Span, spread, width_of
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.lines import Lines

ROUTINE_STATES = frozenset({"finished", "stopped"})
"""Left out first where room is short."""

ALL_STATES, NO_STATES = frozenset(STATE_ORDER), frozenset[str]()
NAMED_STATES = frozenset({"running", "crashed", "failed"})
"""Named longest: who runs, and who is ill with a glyph that two states share."""

LEAST_GAP = 2
"""Cells between the states and what stands right."""

STORE_WIDTH = 28
"""Cells of the store's path at most."""

LOW_DISK_BYTES = 5 * 1024**3


class Header(Lines):
    """The header line."""

    GROUND = "panel"

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)

    def watch_snapshot(self) -> None:
        """Show the new counts."""
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """One line."""
        snapshot, width = self.snapshot, size.width
        if snapshot is None:
            return [Line((Span(" ckptop", "accent", bold=True),))]
        left = [Span(" ckptop ", "accent", bold=True), Span(shorten_left(snapshot.store, STORE_WIDTH), "muted")]
        if not snapshot.writable:
            left.append(Span("  read-only", "warning"))
        if snapshot.unwatched is not None:
            left.append(Span("  polled", "warning"))
        for routine, disk, words in (
            (True, True, ALL_STATES),
            (False, True, ALL_STATES),
            (False, False, ALL_STATES),
            (False, False, NAMED_STATES),
            (False, False, NAMED_STATES - {"running"}),
            (False, False, NO_STATES),
        ):
            states = self._states(snapshot, routine=routine, words=words)
            right = self._right(snapshot, disk=disk)
            if width_of(left) + width_of(states) + width_of(right) + LEAST_GAP <= width:
                return [Line(spread([*left, *states], right, width))]
        return [Line((left[0], *self._states(snapshot, routine=False, words=NO_STATES)))]

    def _states(self, snapshot: Snapshot, *, routine: bool, words: frozenset[str]) -> list[Span]:
        counts = Counter(run.state for run in snapshot.runs)
        spans: list[Span] = []
        for state in STATE_ORDER:
            if counts[state] and (routine or state not in ROUTINE_STATES):
                text = f"{GLYPHS[state][0]} {counts[state]:,}" + (f" {state}" if state in words else "")
                spans.append(Span(("  " if spans else "   ") + text, STATE_TOKENS[state]))
        return spans

    def _right(self, snapshot: Snapshot, *, disk: bool) -> list[Span]:
        spans: list[Span] = []
        if snapshot.alerts is not None and (new := snapshot.alerts.new):
            spans.append(Span(f"{GLYPHS['alert'][0]} {new:,} alert{'s' if new > 1 else ''}   ", "warning", bold=True))
        space = snapshot.hardware.disk if snapshot.hardware else None
        if disk and space is not None:
            tone = "warning" if space.free_bytes < LOW_DISK_BYTES else "muted"
            spans.append(Span(f"{format_bytes(space.free_bytes)} free   ", tone))
        return [*spans, Span(time.strftime("%H:%M ", time.localtime(snapshot.now)), "muted")]
