"""Where the curves of a run broke: the first value that is no number, a loss that jumped, a pace that dropped.

What is usual is told by medians of the values before, so that a curve which is merely noisy or falling has no break.
Lines of abandoned attempts do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ckptop.store.columns import Columns, picked
from ckptop.store.metric_log import MetricLog

WINDOW = 50
"""Values before a jump that say what was usual; an eighth of that where there are few."""
NEWEST = 100_000
"""A jump is looked for among so many values of a metric."""
JUMP_DEVIATIONS, JUMP_SHARE = 10.0, 0.5
"""A jump exceeds the usual by so many deviations of its window, and by this share of it."""
FACTOR_DEVIATIONS = 6.0
"""And by so many deviations of the logarithms, where all are positive."""
SLOW_SHARE = 0.5
"""A pace below this share of the usual has dropped."""

_FEWEST, _RECENT_SHARE = 20, 20
_MAD_TO_DEVIATION = 1.4826

Values = NDArray[np.float64]
Steps = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Break:
    """One place where a curve broke."""

    kind: Literal["not-finite", "jump", "slow"]
    metric: str
    step: int
    value: float
    """What it was there, NaN and infinities included; of a pace what it has been since."""
    usual: float | None
    """What it was before; None where it never was a number."""
    lasts: bool
    """Whether it has not come back."""
    may_be_earlier: bool = False
    """Whether it may have begun before, where nothing was looked at: see `sampled_log`."""


def find_breaks(log: MetricLog, newest: int = NEWEST) -> list[Break]:
    """The breaks of a log as far as it was read, by step: of each metric the first value that is no number, of each
    loss the worst jump among its `newest` values, and one drop of the pace.
    """  # fmt: skip
    found: list[Break] = []
    for name in log.names:
        columns = log.series(name)
        step, value = picked(~columns.abandoned, columns.step, columns.value)
        found += _not_finite(name, step, value)
        if "loss" in name.rpartition("/")[2]:
            found += _jump(name, step, value, newest)
    return sorted([*found, *_slow(log)], key=lambda one: one.step)


def _not_finite(name: str, step: Steps, value: Values) -> Iterator[Break]:
    finite = np.isfinite(value)
    if finite.all():
        return
    place = int(np.argmin(finite))
    before = float(value[place - 1]) if place else None
    yield Break("not-finite", name, int(step[place]), float(value[place]), before, not finite[-1])


def _jump(name: str, step: Steps, value: Values, newest: int) -> Iterator[Break]:
    step, value = step[-newest:], value[-newest:]
    finite = np.isfinite(value)
    step, value = step[finite], value[finite]
    window = WINDOW if value.size >= 2 * WINDOW else WINDOW // 8 + 2
    if value.size <= window:
        return
    before = np.lib.stride_tricks.sliding_window_view(value[:-1], window)
    usual = np.median(before, axis=1)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(before - usual[:, None]), axis=1)
    excess = value[window:] - usual
    over = excess > np.maximum(JUMP_DEVIATIONS * deviation, JUMP_SHARE * np.abs(usual))
    over[over] = _is_odd_by_factor(before[over], value[window:][over])
    if not over.any():
        return
    worst = int(np.argmax(np.where(over, excess, -np.inf)))
    # A curve that climbs away jumps most at its end; it broke where it left what was usual.
    first = worst
    while first > 0 and over[first - 1]:
        first -= 1
    limit = usual[first] + excess[first] / 2
    lasts = bool(np.median(value[window + first :]) > limit and np.median(value[-3:]) > limit)
    place = first if lasts else worst
    yield Break("jump", name, int(step[window + place]), float(value[window + place]), float(usual[first]), lasts)


def _is_odd_by_factor(before: Values, value: Values) -> NDArray[np.bool_]:
    """Whether a value is far from what came before in their logarithms too.

    A batch's loss near zero is ten times the usual now and then, and nothing broke: by factors it is as noisy as ever.
    """
    if before.size == 0 or min(before.min(), value.min()) <= 0.0:
        return np.ones(len(value), np.bool_)
    before = np.log(before)
    usual = np.median(before, axis=1)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(before - usual[:, None]), axis=1)
    odd: NDArray[np.bool_] = np.log(value) - usual > FACTOR_DEVIATIONS * deviation
    return odd


def _slow(log: MetricLog) -> Iterator[Break]:
    name, step, pace = _pace(log)
    if pace.size < _FEWEST:
        return
    usual = float(np.median(pace))
    recent = float(np.median(pace[-max(5, pace.size // _RECENT_SHARE) :]))
    if recent >= SLOW_SHARE * usual:
        return
    place = int(np.flatnonzero(pace >= (usual + recent) / 2)[-1]) + 1
    yield Break("slow", name, int(step[min(place, pace.size - 1)]), recent, usual, lasts=True)


def _pace(log: MetricLog) -> tuple[str, Steps, Values]:
    """What was done a second, from a metric that says it, else from the times of the lines."""
    said = [name for name in log.names if name.endswith("_per_second")]
    if said:
        columns = log.series(said[0])
        kept = ~columns.abandoned & np.isfinite(columns.value) & (columns.value > 0)
        step, value = picked(kept, columns.step, columns.value)
        return said[0], step, value
    densest = max(map(log.series, log.names), key=lambda columns: columns.step.size, default=None)
    if densest is None:
        return "", np.empty(0), np.empty(0)
    return "steps_per_second", *_steps_per_second(densest)


def _steps_per_second(columns: Columns) -> tuple[Steps, Values]:
    kept = ~columns.abandoned & np.isfinite(columns.time)
    step, time = picked(kept, columns.step, columns.time)
    steps, seconds = np.diff(step), np.diff(time)
    forward = (steps > 0) & (seconds > 0)
    return step[1:][forward], steps[forward] / seconds[forward]
