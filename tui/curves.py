"""The curves of one run, grouped into charts.

Made in the reader thread and handed over frozen. Arrays are those of the metric log, not copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ckptop.host.terminal import clean
from ckptop.store.columns import Columns

Floats = npt.NDArray[np.float64]

SPLITS = ("train", "val", "test", "valid", "validation", "eval", "dev")
"""First parts of metric names that tell splits of one metric apart."""

NAME_LIMIT = 60


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """One series as logged; compared by identity."""

    source: tuple[str, int]
    """Its name in the log, as it is, and the version."""
    name: str
    """As in the log, clean."""
    split: str
    """`train`, `val`, …; empty where the name has none."""
    metric: str
    """The name without the split."""
    step: npt.NDArray[np.float64]
    epoch: npt.NDArray[np.int32]
    time: Floats
    value: Floats
    abandoned: npt.NDArray[np.bool_]
    """True where a later attempt took another line."""


@dataclass(frozen=True, eq=False, slots=True)
class CurveGroup:
    """One chart: the curves of one metric over its splits."""

    title: str
    curves: tuple[Curve, ...]

    @property
    def points(self) -> int:
        """How many are drawn in all."""
        return sum(curve.value.size for curve in self.curves)


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """All charts of one run, the most asked for first."""

    run: str
    """Directory name; identifies the run."""
    groups: tuple[CurveGroup, ...]
    metric: str | None
    """The name that says what best means."""
    label: str
    """The run's name, clean."""
    start_time: float = 0.0
    """Seconds since the epoch at the first logged line."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One series of a metric log at one moment."""

    columns: Columns
    version: int
    """Another one wherever the series changed."""


def make_curves(run: str, named: Mapping[str, Logged], metric: str | None, before: Curves | None = None) -> Curves:
    """Group the series of a run into charts.

    Args:
        run: The run's name.
        named: Each series by its name, in the order logged.
        metric: The run's metric; its chart comes second, after the loss.
        before: What was made of the same log earlier: a chart none of whose series changed is the same object
            again, and need not be drawn.
    """
    known = {curve.source: curve for group in before.groups for curve in group.curves} if before is not None else {}
    groups: dict[str, list[Curve]] = {}
    for raw_name, logged in named.items():
        curve = known.get((raw_name, logged.version)) or _curve(raw_name, logged)
        groups.setdefault(curve.metric, []).append(curve)
    wanted = clean(metric, NAME_LIMIT) if metric is not None else None
    order = {rest: index for index, rest in enumerate(groups)}

    def place(item: tuple[str, list[Curve]]) -> tuple[int, int]:
        names = {curve.name for curve in item[1]}
        return (0 if item[0] == "loss" else 1 if wanted in names else 2, order[item[0]])

    old_groups = {group.curves: group for group in before.groups} if before is not None else {}
    made = []
    for rest, curves in sorted(groups.items(), key=place):
        in_order = _in_split_order(curves)
        made.append(old_groups.get(in_order) or CurveGroup(_title(rest, curves), in_order))
    times = [float(logged.columns.time[0]) for logged in named.values() if logged.columns.time.size]
    return Curves(run, tuple(made), wanted, clean(run, NAME_LIMIT), min(times, default=0.0))


def _curve(raw_name: str, logged: Logged) -> Curve:
    name = clean(raw_name, NAME_LIMIT)
    split, _, rest = name.partition("/")
    if split not in SPLITS or not rest:
        split, rest = "", name
    found = logged.columns
    return Curve(
        source=(raw_name, logged.version),
        name=name,
        split=split,
        metric=rest,
        step=found.step,
        epoch=found.epoch,
        time=found.time,
        value=found.value,
        abandoned=found.abandoned,
    )


def _title(rest: str, curves: Sequence[Curve]) -> str:
    return curves[0].name if len(curves) == 1 else rest


def _in_split_order(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    return tuple(sorted(curves, key=lambda curve: SPLITS.index(curve.split) if curve.split else -1))
