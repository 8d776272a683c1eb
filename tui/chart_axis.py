"""Limits that hold still, and the ticks and labels on them.

A limit that followed the data would move with every step and repaint the whole chart, so x ends at a power
of 1.25 and y at a rung of a ladder; both widen at once and narrow only when `Limits` is told to forget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ckptop.tui.chart_series import LARGEST, Floats, Ints

LADDER = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
"""Rungs within one decade where a y axis may end."""

LOG_SPAN = 20.0
"""A positive loss spanning this factor or more is drawn on a log axis."""

SMALLEST = 1e-300
"""Values nearer zero count as zero: their logarithms and spans leave the range of floats."""


def _exponent(value: float) -> int:
    # log10(1000) is 2.9999999999999996 on some platforms.
    return math.floor(math.log10(value) + 1e-12)


def rung_at_most(value: float) -> float:
    """Largest rung not above `value`, which is positive."""
    decade = 10.0 ** _exponent(value)
    return max((rung * decade for rung in LADDER if rung * decade <= value * (1 + 1e-12)), default=decade)


def rung_at_least(value: float) -> float:
    """Smallest rung not below `value`, which is positive."""
    decade = 10.0 ** _exponent(value)
    return min(rung * decade for rung in LADDER if rung * decade >= value * (1 - 1e-12))


def nice_step(smallest: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is not below `smallest`, which is positive."""
    decade = 10.0 ** _exponent(smallest)
    return next(rung * decade for rung in (1.0, 2.0, 5.0, 10.0) if rung * decade >= smallest * (1 - 1e-12))


def x_limits(low: float, high: float) -> tuple[float, float]:
    """Limits around `low` to `high`: from 0 where that wastes less than half, to a power of 1.25 beyond."""
    start = 0.0 if 0.0 <= low <= high / 2 else low
    span = min(high - start, LARGEST)
    if span <= max(SMALLEST, abs(high) * 1e-12):
        return start, start + max(1.0, abs(start) * 1e-9)
    return start, start + 1.25 ** math.ceil(math.log(span) / math.log(1.25) - 1e-9)


def y_limits(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """Limits on the ladder around `low` to `high`; on a log axis `low` must be positive."""
    if log:
        bottom, top = rung_at_most(low), rung_at_least(high)
        return (bottom, top) if bottom < top else (rung_at_most(bottom * 0.8), rung_at_least(top * 1.2))
    low, high = (0.0 if abs(value) < SMALLEST else value for value in (low, high))
    if low < 0.0 < high:
        return -rung_at_least(-low), rung_at_least(high)
    if low < 0.0:
        bottom, top = y_limits(-high, -low, log=False)
        return -top, -bottom
    if high - low <= high * 1e-9:  # constant: in the middle rather than on an edge
        return 0.0, rung_at_least(high * 1.2) if high else 1.0
    if low <= 0.25 * high:
        return 0.0, rung_at_least(high)
    step = nice_step((high - low) / 4)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def wants_log(low: float, high: float) -> bool:
    """True where a loss between `low` and `high` reads better on a log axis."""
    return low >= SMALLEST and high / low >= LOG_SPAN


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a value stands between the bottom and the top of the plot."""

    bottom: float
    top: float
    log: bool

    def pixels(self, y: Floats, height: int) -> Ints:
        """Pixel row of each value, 0 at the bottom to `height` - 1; -1 where it cannot be drawn.

        NaN is not drawn, nor zero and less on a log axis; what lies outside the limits lands on the edge.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            at = np.log10(y) if self.log else y
            low, high = (math.log10(end) if self.log else end for end in (self.bottom, self.top))
            share = (at - low) / (high - low)
            drawable = y > 0.0 if self.log else ~np.isnan(y)
        rows = np.floor(np.clip(np.nan_to_num(share), 0.0, 1.0) * (height - 1) + 0.5).astype(np.int64)
        return np.where(drawable, rows, -1)


ROWS_PER_TICK = 4.0


def y_ticks(scale: Scale, rows: int) -> list[float]:
    """Tick values from the bottom up, about one per four of `rows`.

    Linear axes step by 1, 2 or 5; log axes hold 1-2-5 of each decade, or decades alone and the ends.
    """
    if scale.log:
        return _log_ticks(scale, rows)
    wanted = (scale.top - scale.bottom) * min(1.0, ROWS_PER_TICK / max(1, rows - 1))
    decade = 10.0 ** _exponent(wanted)
    steps = [rung * decade for rung in (0.5, 1.0, 2.0, 5.0, 10.0)]
    steps.sort(key=lambda step: abs(math.log(step / wanted)))
    choices = [multiples(scale.bottom, scale.top, step) for step in steps]
    return next((ticks for ticks in choices if 2 <= len(ticks) <= max(2, rows)), choices[0])


def multiples(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` from `low` to `high`, both inclusive."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 2 - _exponent(step))  # 3 * 0.1 is 0.30000000000000004
    # A set, for far from zero neighbours may be one float.
    return sorted({round(index * step, digits) for index in range(first, last + 1)})


LOG_ROWS_APART = 1.75
"""Rows between neighbouring ticks of a log axis, before rounding."""


def _log_ticks(scale: Scale, rows: int) -> list[float]:
    low, high = math.log10(scale.bottom), math.log10(scale.top)
    rows_per_decade = (rows - 1) / (high - low)
    decades = range(math.floor(low + 1e-9), math.floor(high + 1e-9) + 1)
    if rows_per_decade * math.log10(2) >= LOG_ROWS_APART:
        exponents = [decade + math.log10(step) for decade in decades for step in (1, 2, 5)]
    else:
        every = max(1, math.ceil(LOG_ROWS_APART / rows_per_decade)) if rows_per_decade > 0 else 1
        exponents = [float(decade) for decade in decades if decade % every == 0]
    exponents = [at for at in exponents if low - 1e-9 <= at <= high + 1e-9]
    for end in (low, high):
        if all(abs(end - at) * rows_per_decade >= LOG_ROWS_APART for at in exponents):
            exponents.append(end)
    return [10.0**at for at in sorted(exponents)]


GUTTER = 5
"""Columns of the labels left of the plot."""


def tick_labels(ticks: list[float], *, log: bool = False, width: int = GUTTER) -> list[str]:
    """Labels of ascending ticks: plain digits where they fit `width`, else powers like "5e-4".

    A linear axis has one notation throughout. Labels longer than `width` come back where neither fits.
    """
    if log:
        return [_power(tick) if len(_plain(tick)) > width else _plain(tick) for tick in ticks]
    apart = min(np.diff(ticks), default=max(map(abs, ticks), default=1.0) or 1.0)
    decimals = max(0, -_exponent(float(apart)))
    plain = [f"{tick:,.{decimals}f}" if abs(tick) < 1e12 else _power(tick) for tick in ticks]
    power = [_power(tick) for tick in ticks]
    return min(plain, power, key=lambda texts: max((len(text) for text in texts if len(text) > width), default=0))


def _plain(value: float) -> str:
    # Six significant digits as they are, for a rung or a tick has no more.
    text = f"{value:,.{min(300, max(0, 5 - _exponent(value)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _power(value: float) -> str:
    if not value:
        return "0"
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def x_ticks(low: float, high: float, columns: int, *, whole: bool) -> list[tuple[float, str]]:
    """Ticks of the x axis with their labels ("1,000"), as many as stand apart in `columns`.

    Args:
        low: Left edge.
        high: Right edge, above `low`.
        columns: Width of the plot, at least 1.
        whole: Steps and epochs: no tick between two of them.
    """
    step = nice_step(max((high - low) * 8 / columns, 1.0 if whole else 0.0))
    while True:
        ticks = multiples(low, high, step)
        labels = tick_labels(ticks, width=11)
        if max(map(len, labels), default=0) + 4 <= step / (high - low) * columns or len(ticks) < 2:
            return list(zip(ticks, labels, strict=True))
        step = nice_step(step * 1.5)
