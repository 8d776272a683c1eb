"""Which part of x an enlarged chart shows, and where its cursor stands: plain values, moved by plain functions.

Windows move in quarters of their width only, following included, so a growing run repaints what it grew and not
the whole chart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

Range = tuple[float, float]

ZOOM = 2.0
"""How much one press of a key narrows or widens."""
SHIFT = 0.25
"""Share of the window that it moves by."""
MOST_ZOOM = 2.0**24
"""Past this neighbouring columns would hold the same float of a wall clock."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at."""

    window: Range | None = None
    """None shows all."""
    cursor: float | None = None
    follows: bool = False
    """Whether the window goes along with the newest point."""

    def shown(self, newest: float) -> Range | None:
        """The window, moved on where it follows and `newest` has left it."""
        if self.window is None or not self.follows or newest <= self.window[1]:
            return self.window
        low, high = self.window
        by = math.ceil((newest - high) / ((high - low) * SHIFT)) * (high - low) * SHIFT
        return low + by, high + by

    def zoomed(self, whole: Range, newest: float, factor: float, *, least: float) -> View:
        """Narrower by `factor`, or wider below 1: around the cursor, or at the newest point where there is none.

        Args:
            whole: All there is.
            newest: The last x.
            factor: Above 1 zooms in.
            least: Span below which there is nothing more to see.
        """
        low, high = self.shown(newest) or whole
        span = max((high - low) / factor, least, (whole[1] - whole[0]) / MOST_ZOOM)
        if span >= whole[1] - whole[0]:
            return replace(self, window=None, follows=False)
        at = self.cursor
        if at is None or not low <= at <= high:
            right = min(high, newest + span / 8)
            return replace(self, window=_within(right - span, span, whole), follows=right >= newest)
        share = (at - low) / (high - low)
        return replace(self, window=_within(at - share * span, span, whole), follows=False)

    def panned(self, whole: Range, newest: float, direction: int) -> View:
        """A quarter of the window to the left or right; as it is where all is shown."""
        window = self.shown(newest)
        if window is None:
            return self
        span = window[1] - window[0]
        return replace(self, window=_within(window[0] + direction * SHIFT * span, span, whole), follows=False)

    def holding(self, x: float, whole: Range, newest: float) -> View:
        """With the cursor at `x`, the window moved there if it must."""
        window = self.shown(newest)
        if window is None or window[0] <= x <= window[1]:
            return replace(self, cursor=x)
        span = window[1] - window[0]
        return View(_within(x - span / 2, span, whole), x)

    def following(self, whole: Range, newest: float) -> View:
        """Going along with the newest point, or no more; from a view of all, with its last quarter."""
        if self.follows:
            return replace(self, window=self.shown(newest), follows=False)
        low, high = self.window or (whole[0], whole[0] + (whole[1] - whole[0]) * SHIFT)
        span = high - low
        return View(_within(newest - span * (1 - SHIFT), span, whole), None, follows=True)


def _within(low: float, span: float, whole: Range) -> Range:
    low = max(whole[0], min(low, whole[1] - span))
    return low, low + span
