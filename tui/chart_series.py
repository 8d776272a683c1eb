"""What a chart receives, and how a million points become two values a screen column.

Nothing here draws. Reduction keeps the minimum and the maximum of every half column, so a lone spike is
seen at every zoom, and its bucket edges depend on the axis limits alone, never on the data: a growing
series changes its newest bucket and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GAP_FACTOR = 8
"""A hole this many times the usual distance between filled buckets is a gap, not a slope."""

LARGEST = 1e300
"""Magnitude past which values are drawn as if they had it: sums and spans stay finite."""


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """One curve as it was logged; the arrays are never written to again."""

    name: str
    """Unique within a chart, such as "train/loss"."""
    label: str
    """Short name for the line's end and the title, such as "train"; free of control characters."""
    x: Floats
    """Steps, epochs or seconds, shape (n,), in the order logged; a clock may have jumped back."""
    y: Floats
    """Values, shape (n,); NaN and infinities are allowed."""
    dense: bool
    """True draws the range of each half column under a smoothed curve; False draws the line alone."""
    faded: bool = False
    """True for a dropped attempt: faint and without a name."""

    def __post_init__(self) -> None:
        if self.x.shape != self.y.shape or self.x.ndim != 1:
            raise ValueError(f"{self.name}: x and y must be flat and of one length, not {self.x.shape}, {self.y.shape}")
        if self.x.dtype != np.float64 or self.y.dtype != np.float64:
            raise ValueError(f"{self.name}: x and y must be float64, not {self.x.dtype}, {self.y.dtype}")


@dataclass(frozen=True, eq=False, slots=True)
class Reduced:
    """Finite values of a series by bucket, in order of x; empty buckets are left out."""

    bucket: Ints
    """Index of each filled bucket, 0 to 2 * columns - 1, strictly increasing."""
    lo: Floats
    hi: Floats
    first: Floats
    last: Floats
    mean: Floats
    """Inexact where values pass 1e300; the smoothed curve, which alone is drawn by it, stays below."""
    x: Floats
    """Of the last value in each bucket."""
    run: Ints
    """Number of the unbroken stretch each bucket belongs to; a new one begins after NaN, inf or a gap."""


def bucket_edges(x0: float, x1: float, columns: int) -> Floats:
    """Edges of the 2 * columns buckets between `x0` and `x1`; the last bucket includes `x1`."""
    return np.linspace(x0, x1, 2 * columns + 1)


def bucket_of(x: Floats, x0: float, x1: float, columns: int) -> Ints:
    """Bucket of each x; -1 left of the window, 2 * columns right of it."""
    found = np.searchsorted(bucket_edges(x0, x1, columns), x, side="right") - 1
    return np.where(x == x1, 2 * columns - 1, found)


def reduce_min_max(
    x: Floats, y: Floats, x0: float, x1: float, columns: int, interpolate: Literal["linear", "log"] | None = None
) -> Reduced:
    """Reduce a series to what each half column between `x0` and `x1`, both inclusive, holds.

    One binary search an edge, then one `reduceat` pass a statistic: 4 ms for a million points in order.

    Args:
        x: Shape (n,), in any order; points with a non-finite x are dropped.
        y: Shape (n,); non-finite values are left out and begin a new run.
        x0: Left edge.
        x1: Right edge, above `x0`.
        columns: Screen columns, at least 1.
        interpolate: How a line runs between two points: adds what it has on the edges, where it crosses them.
    """
    ordered_x, finite_y, broken_before = _in_order(x, y)
    if interpolate:
        ordered_x, finite_y, broken_before = _cut_at_edges(
            ordered_x, finite_y, broken_before, x0, x1, log=interpolate == "log"
        )
    bounds = np.searchsorted(ordered_x, bucket_edges(x0, x1, columns), side="left")
    bounds[-1] = np.searchsorted(ordered_x, x1, side="right")
    bucket = np.flatnonzero(np.diff(bounds))
    starts, ends = bounds[bucket], bounds[bucket + 1]
    inside = finite_y[: bounds[-1]]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(inside, starts) / (ends - starts)
    return Reduced(
        bucket=bucket,
        lo=np.minimum.reduceat(inside, starts),
        hi=np.maximum.reduceat(inside, starts),
        first=inside[starts],
        last=inside[ends - 1],
        mean=mean,
        x=ordered_x[ends - 1],
        run=_runs(bucket, np.isin(starts, broken_before)),
    )


def _cut_at_edges(
    x: Floats, y: Floats, broken_before: Ints, x0: float, x1: float, *, log: bool
) -> tuple[Floats, Floats, Ints]:
    begin, end = int(np.searchsorted(x, x0, "left")), int(np.searchsorted(x, x1, "right"))
    if begin == 0 and end == x.size:
        return x, y, broken_before
    points = [(x[begin:end], y[begin:end])]
    if head := 0 < begin < x.size and begin not in broken_before:
        points.insert(0, _between(x, y, begin, x0, log=log))
    if 0 < end < x.size and end not in broken_before:
        points.append(_between(x, y, end, x1, log=log))
    inner = broken_before[(broken_before > begin) & (broken_before < end)] - begin + head
    if not head and begin in broken_before:
        inner = np.concatenate([[0], inner])
    xs, ys = zip(*points, strict=True)
    return np.concatenate(xs), np.concatenate(ys), inner


def _between(x: Floats, y: Floats, index: int, at: float, *, log: bool) -> tuple[Floats, Floats]:
    """The point at `at` on the line that ends in point `index`."""
    ends = y[index - 1 : index + 1]
    begin, end = x[index - 1] / 2, x[index] / 2  # halves: the span of the largest numbers is not one
    share = (at / 2 - begin) / (end - begin)
    if log and bool(np.all(ends > 0.0)):
        value = np.exp(np.log(ends[0]) * (1 - share) + np.log(ends[1]) * share)
    else:
        value = ends[0] * (1 - share) + ends[1] * share
    return np.array([at]), np.array([value])


def _in_order(x: Floats, y: Floats) -> tuple[Floats, Floats, Ints]:
    """Finite points in order of x, and the indices that follow a non-finite y.

    The usual case, sorted and finite, is found in two passes and copies nothing.
    """
    # In order, only the ends can be infinite; NaN is in no order.
    if x.size and not (np.all(x[1:] >= x[:-1]) and np.isfinite(x[0]) and np.isfinite(x[-1])):
        known = np.flatnonzero(np.isfinite(x))
        order = known[np.argsort(x[known], kind="stable")]
        x, y = x[order], y[order]
    finite = np.isfinite(y)
    if finite.all():
        return x, y, np.empty(0, np.int64)
    kept = np.flatnonzero(finite)
    return x[kept], y[kept], np.flatnonzero(np.diff(kept, prepend=-1) > 1)


def _runs(bucket: Ints, broken: npt.NDArray[np.bool_]) -> Ints:
    distance = np.diff(bucket, prepend=bucket[:1])
    if bucket.size > GAP_FACTOR:  # fewer points have no usual distance
        broken = broken | (distance > GAP_FACTOR * max(1.0, float(np.median(distance[1:]))))
    return np.cumsum(broken)


def nonfinite_x(series: Series) -> Floats:
    """Where the series holds NaN or an infinity, in the order logged."""
    finite = np.isfinite(series.y)
    return np.empty(0) if finite.all() else series.x[~finite & np.isfinite(series.x)]
