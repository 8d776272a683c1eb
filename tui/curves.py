"""The curves of one run, grouped into charts, and the model of each chart for a choice of x axis.

Made in the reader thread and handed over frozen. Arrays are those of the metric log, not copies; a chart's
model adds only what depends on the axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ckptop.host.terminal import clean
from ckptop.store.columns import Columns
from ckptop.tui.chart_axis import wants_log
from ckptop.tui.chart_compose import ChartModel
from ckptop.tui.chart_series import Series

Floats = npt.NDArray[np.float64]
Axis = Literal["step", "epoch", "time"]
AXES: tuple[Axis, ...] = ("step", "epoch", "time")

SPLITS = ("train", "val", "test", "valid", "validation", "eval", "dev")
"""First parts of metric names that tell splits of one metric apart."""

DENSE_POINTS = 64
"""A series of another split than val with at least so many points is drawn as a range under a smooth curve."""

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
    step: npt.NDArray[np.int64]
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


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """All charts of one run, the most asked for first."""

    run: str
    groups: tuple[CurveGroup, ...]
    metric: str | None
    """The name that says what best means."""
    start_time: float = 0.0
    """Seconds since the epoch at the first logged line."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Where checkpoints stand, as (step, epoch, time)."""

    checkpoints: tuple[tuple[int, int, float], ...] = ()
    milestones: tuple[tuple[int, int, float], ...] = ()
    best: tuple[int, int, float] | None = None
    best_value: float | None = None


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
    return Curves(run, tuple(made), wanted, min(times, default=0.0))


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


def chart_model(
    curves: Curves, group: CurveGroup, marks: Marks, *, axis: Axis, log: bool | None, smoothing: float
) -> ChartModel:
    """The chart of `group` over `axis`."""
    unit_name, unit_seconds = _time_unit(curves, group)
    to_epoch = _epoch_of_step(group) if axis == "epoch" else None

    def position(curve: Curve) -> Floats:
        if axis == "time":
            return (curve.time - curves.start_time) / unit_seconds
        step = curve.step.astype(np.float64)
        return to_epoch(step) if to_epoch is not None else step

    def at(mark: tuple[int, int, float]) -> float:
        step, epoch, time = mark
        return {"step": float(step), "epoch": float(epoch), "time": (time - curves.start_time) / unit_seconds}[axis]

    drawn = [part for curve in group.curves for part in _series_of(curve, position(curve))]
    best = None
    if marks.best is not None and marks.best_value is not None and curves.metric in {c.name for c in group.curves}:
        best = (at(marks.best), marks.best_value)
    return ChartModel(
        series=tuple(sorted(drawn, key=lambda series: not series.faded)),  # dropped attempts lie underneath
        best=best,
        checkpoints=tuple(at(mark) for mark in marks.checkpoints),
        milestones=tuple(at(mark) for mark in marks.milestones),
        x_label=unit_name if axis == "time" else axis,
        log=log,
        smoothing=smoothing,
        subject=f"{curves.run} {group.title}",
    )


def _series_of(curve: Curve, x: Floats) -> list[Series]:
    """What is drawn of a curve: its live points, and apart from them those of dropped attempts."""
    dense = curve.split != "val" and curve.value.size >= DENSE_POINTS and "lr" not in curve.name.split("/")
    label, lost = curve.split or curve.name, curve.abandoned
    if not lost.any():
        return [Series(curve.name, label, x, curve.value, dense)]
    return [
        Series(f"{curve.name} dropped", label, x[lost], curve.value[lost], False, faded=True),
        Series(curve.name, label, x[~lost], curve.value[~lost], dense),
    ]


def starts_in_log(group: CurveGroup) -> bool:
    """Whether the chart of `group` is logarithmic until somebody says otherwise."""
    finite = [curve.value[np.isfinite(curve.value)] for curve in group.curves]
    extents = [(float(values.min()), float(values.max())) for values in finite if values.size]
    if "loss" not in group.title.lower() or not extents:
        return False
    return wants_log(min(low for low, _ in extents), max(high for _, high in extents))


def _time_unit(curves: Curves, group: CurveGroup) -> tuple[str, float]:
    last = max((float(curve.time[-1]) for curve in group.curves if curve.time.size), default=curves.start_time)
    span = last - curves.start_time
    for name, seconds in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if span >= 2 * seconds:
            return name, seconds
    return "s", 1.0


class _EpochOfStep:
    """Fractional epochs: the end of epoch 3 is 3.0, and steps between are spread evenly."""

    def __init__(self, steps: Floats, epochs: Floats) -> None:
        self._steps, self._epochs = steps, epochs

    def __call__(self, step: Floats) -> Floats:
        if self._steps.size < 2:
            return step
        return np.interp(step, self._steps, self._epochs)


def _epoch_of_step(group: CurveGroup) -> _EpochOfStep:
    """The map from steps to epochs that the densest curve of a chart tells."""
    curve = max(group.curves, key=lambda item: item.value.size)
    known = curve.epoch > 0  # 0 where the line said nothing
    step, epoch = curve.step[known], curve.epoch[known]
    if not step.size:
        return _EpochOfStep(np.empty(0), np.empty(0))
    order = np.argsort(step, kind="stable")
    step, epoch = step[order], np.maximum.accumulate(epoch[order])
    last = np.flatnonzero(np.append(np.diff(epoch) > 0, True))
    ends, numbers = step[last].astype(np.float64), epoch[last].astype(np.float64)
    if ends.size >= 2:  # the newest epoch may have only begun
        ends[-1] = max(ends[-1], ends[-2] + (ends[-2] - (ends[-3] if ends.size >= 3 else 0.0)))
    return _EpochOfStep(np.append(0.0, ends), np.append(numbers[0] - 1.0, numbers))
