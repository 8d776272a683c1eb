"""Ticks of an axis of wall clock time: on round local times, dates where days pass."""

from __future__ import annotations

import time

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

STEPS_SECONDS = (
    1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY,
)  # fmt: skip
"""Distances of ticks that a person counts by."""

LATEST = 2.0**36
"""Seconds since the epoch past which a calendar ends; a damaged log may hold any number."""


def clock_ticks(low: float, high: float, columns: int) -> list[tuple[float, str]]:
    """Ticks between two moments with their labels, as many as stand apart in `columns`.

    Args:
        low: Left edge, seconds since the epoch.
        high: Right edge, above `low`.
        columns: Width of the plot, at least 1.
    """
    if not 0.0 <= low < high <= LATEST:
        return []
    room = (high - low) * 14 / columns
    step = next((step for step in STEPS_SECONDS if step >= room), None)
    if step is None or step > high - low:  # room for one
        return [(low, clock_text(low, HOUR))]
    shift = time.localtime(low).tm_gmtoff  # so that ticks of hours stand on local ones
    first = -(-(low + shift) // step) * step - shift
    count = int((high - first) // step) + 1 if first <= high else 0
    return [(tick, clock_text(tick, step)) for tick in (first + index * step for index in range(count))]


def clock_text(moment: float, step: float) -> str:
    """A moment as precisely as ticks `step` seconds apart need: `12:35`, `12:35:10`, `Nov 21`."""
    if not 0.0 <= moment <= LATEST:
        return "?"
    there = time.localtime(moment)
    if step < MINUTE:
        return time.strftime("%H:%M:%S", there)
    if step < DAY and (there.tm_hour or there.tm_min):
        return time.strftime("%H:%M", there)
    return f"{time.strftime('%b', there)} {there.tm_mday}"
