"""States as the commands print them: glyph and word, who runs first, then who is ill."""

from __future__ import annotations

import sys

GLYPHS = {
    "running": ("●", "*"),
    "starting": ("○", "o"),
    "paused": ("‖", "="),
    "stalled": ("◌", "~"),
    "crashed": ("✗", "x"),
    "failed": ("✗", "x"),
    "unreadable": ("?", "?"),
    "unknown": ("?", "?"),
    "stopped": ("■", "-"),
    "finished": ("✓", "+"),
}
"""Unicode and ASCII glyph of each state, in the order of listing; the dashboard's own table needs Textual."""

_ORDER = {state: place for place, state in enumerate(GLYPHS)}


def state_cell(state: str, *, ascii_only: bool) -> str:
    """`● running`."""
    return f"{GLYPHS[state][ascii_only]} {state}"


def rank(state: str) -> int:
    """Where a state stands in a list."""
    return _ORDER[state]


def is_ascii_only() -> bool:
    """Whether what stdout is written in lacks the glyphs."""
    try:
        "●‖◌✗■✓—…·".encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return True
    return False
