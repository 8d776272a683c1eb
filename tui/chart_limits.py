"""The limits a chart keeps from frame to frame: they widen at once, and further than asked, and never narrow.

An axis that widened by just what was asked for relabelled eleven times in the half minute in which a loss fell through
three decades; one that goes further does so twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ckptop.tui.chart_axis import SMALLEST, x_limits, y_limits


@dataclass(slots=True)
class Limits:
    """The limits in use: they widen at once and never narrow by themselves."""

    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    log: bool = False
    subject: object = None
    """What the limits were found for; another subject starts afresh."""

    def fit_x(self, low: float, high: float) -> tuple[float, float]:
        """Widen to hold `low` to `high`, both finite."""
        self.x = _widened(self.x, x_limits(low, high))
        return self.x

    def fit_y(self, low: float, high: float, *, log: bool, young: bool = False) -> tuple[float, float]:
        """Widen to hold `low` to `high`, both finite; a change of scale starts afresh.

        What leaves the limits once will do so again: they widen by more than was asked for. A constant is drawn but
        not kept: it tells nothing of the range, and a first value of 40 would hold the axis down to zero for good.

        Args:
            low: Smallest value.
            high: Largest.
            log: Whether the axis is logarithmic.
            young: Whether there are only a few values, too few to tell where they go.
        """
        kept = self.y if log == self.log else None
        if kept and kept[0] <= low and high <= kept[1]:
            return kept
        if self.y is not None and low < high:
            old = kept or (math.inf if log else low, high)  # a scale is turned where values fall and fall
            low, high = _further(old, low, high, log=log)
        elif young and 0.0 < low < high and not log:
            low = 0.0
        limits = _widened(kept, y_limits(low, high, log=log))
        self.log, self.y = log, (limits if low < high else kept)
        return limits

    def follow(self, subject: object) -> None:
        """Forget the limits if `subject` is not the one they were found for."""
        if subject != self.subject:
            self.x, self.y, self.subject = None, None, subject


LINEAR_FURTHER, LOG_FURTHER, MOST_FURTHER_DECADES = 0.5, 1.0, 1.5
"""How much of the range an axis widens beyond what left it."""


def _further(old: tuple[float, float], low: float, high: float, *, log: bool) -> tuple[float, float]:
    """`low` to `high`, and on the side where they left `old` a part of their range more; never across zero."""
    if log:
        factor = 10.0 ** min(MOST_FURTHER_DECADES, LOG_FURTHER * math.log10(high / low))
        return (max(SMALLEST, low / factor) if low < old[0] else low), (high * factor if high > old[1] else high)
    by = LINEAR_FURTHER * (high - low)
    further_low, further_high = (low - by if low < old[0] else low), (high + by if high > old[1] else high)
    return (max(0.0, further_low) if low >= 0.0 else further_low), (
        min(0.0, further_high) if high <= 0.0 else further_high
    )


def _widened(old: tuple[float, float] | None, new: tuple[float, float]) -> tuple[float, float]:
    return new if old is None else (min(old[0], new[0]), max(old[1], new[1]))
