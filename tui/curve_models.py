"""The model of a chart for a choice of x axis: what a group of curves looks like over steps, epochs or time.

The arrays of the metric log are drawn as they are; only what depends on the axis is made anew, in the thread that
draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ckptop.host.units import format_value
from ckptop.tui import text
from ckptop.tui.alert_marks import AlertMark, alert_places, alert_stops
from ckptop.tui.chart_model import ChartModel, Stop
from ckptop.tui.chart_series import Floats, Series
from ckptop.tui.curves import Curve, CurveGroup, Curves
from ckptop.tui.theme import GLYPHS

Axis = Literal["step", "epoch", "time", "clock"]
"""Steps, epochs, time since the first line, or the time of day."""

DENSE_POINTS = 64
"""A series of another split than val with at least so many points is drawn as a range under a smooth curve."""

UNIT_SECONDS = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0}

MOST_NAN_STOPS = 1000
"""Of a series that is broken again and again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint on the x axis."""

    step: int
    epoch: int
    time: float
    key: str = ""
    """Of its row in the table."""
    mark: str = ""
    """As the table has it: best, latest, pin, a version."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Where checkpoints stand."""

    checkpoints: tuple[Mark, ...] = ()
    milestones: tuple[Mark, ...] = ()
    best: Mark | None = None
    best_value: float | None = None
    alerts: tuple[AlertMark, ...] = ()


def chart_model(
    curves: Curves, group: CurveGroup, marks: Marks, *, axis: Axis, log: bool | None, smoothing: float
) -> ChartModel:
    """The chart of `group` over `axis`."""
    place = _Place(curves, group, axis)
    drawn = [part for curve in group.curves for part in _series_of(curve, place.of(curve))]
    best = None
    if marks.best is not None and marks.best_value is not None and curves.metric in {c.name for c in group.curves}:
        best = (place.at(marks.best), marks.best_value)
    alarms = tuple(alert_stops(marks.alerts, place.of_steps))
    stops = (*alarms, *_checkpoint_stops(marks, place), *_nan_stops(drawn))
    return ChartModel(
        series=tuple(sorted(drawn, key=lambda series: not series.faded)),  # dropped attempts lie underneath
        best=best,
        checkpoints=tuple(place.at(mark) for mark in marks.checkpoints),
        milestones=tuple(place.at(mark) for mark in marks.milestones),
        alerts=alert_places(alarms),
        x_label=place.unit,
        log=log,
        smoothing=smoothing,
        stops=tuple(sorted(stops, key=lambda stop: stop.x)),
        subject=f"{curves.run} {group.title}",
    )


def overlay_model(
    alone: ChartModel, runs: Sequence[tuple[Curves, CurveGroup]], split: str, *, axis: Axis
) -> ChartModel:
    """The same curve of several runs, each from its own start; marks are those of the first.

    Args:
        alone: The chart of the first run.
        runs: The runs and their charts of one metric.
        split: Which of the splits is compared; a run without it is left out.
        axis: What x is; time is counted in the unit of the first.
    """
    drawn: list[Series] = []
    for curves, group in runs:
        place = _Place(curves, group, axis, unit=alone.x_label)
        for curve in group.curves:
            if curve.split == split:
                drawn += [
                    replace(part, name=f"{curves.run} {part.name}", label=curves.label)
                    for part in _series_of(curve, place.of(curve))
                ]
    series = tuple(sorted(drawn, key=lambda part: not part.faded))
    return replace(alone, series=series, bands=False, subject=f"{alone.subject} {split} {len(runs)}")


def overlay_splits(group: CurveGroup) -> list[str]:
    """The splits of a chart, validation first: it is what runs are compared by."""
    return sorted({curve.split for curve in group.curves}, key=lambda split: (split == "train", split))


class _Place:
    """Where points and checkpoints of a run stand on an axis."""

    def __init__(self, curves: Curves, group: CurveGroup, axis: Axis, unit: str | None = None) -> None:
        self._axis, self._start, self._group = axis, curves.start_time, group
        time_unit, self._unit_seconds = _time_unit(curves, group)
        if unit in UNIT_SECONDS:
            time_unit, self._unit_seconds = unit, UNIT_SECONDS[unit]
        self.unit: str = time_unit if axis == "time" else axis
        self._to_epoch = _epoch_of_step(group) if axis == "epoch" else None

    def of(self, curve: Curve) -> Floats:
        """X of each point."""
        if self._axis == "clock":
            return curve.time
        if self._axis == "time":
            return (curve.time - self._start) / self._unit_seconds
        return self._to_epoch(curve.step) if self._to_epoch is not None else curve.step

    def at(self, mark: Mark) -> float:
        """X of a checkpoint."""
        if self._axis in {"step", "epoch"}:
            return float(mark.step if self._axis == "step" else mark.epoch)
        return mark.time if self._axis == "clock" else (mark.time - self._start) / self._unit_seconds

    def of_steps(self, steps: Sequence[int]) -> Floats:
        """X of steps, by what the densest curve logged there or next: at most its last x; NaN where it has none."""
        curve = max(self._group.curves, key=lambda item: item.value.size)
        kept = ~curve.abandoned
        logged, x = (curve.step, self.of(curve)) if kept.all() else (curve.step[kept], self.of(curve)[kept])
        if not (logged.size and steps):
            return np.full(len(steps), np.nan)
        wanted = np.minimum(np.array(steps), logged[-1])
        return np.asarray(wanted if self._axis == "step" else x[np.searchsorted(logged, wanted)], np.float64)


def _checkpoint_stops(marks: Marks, place: _Place) -> Iterator[Stop]:
    """One a checkpoint; of a file in both tiers the milestone."""
    seen = set()
    for kind, glyph, found in (
        ("milestone", GLYPHS["milestone"], marks.milestones),
        ("checkpoint", GLYPHS["checkpoint"], marks.checkpoints),
    ):
        for mark in found:
            if mark.step in seen:
                continue
            seen.add(mark.step)
            is_best = mark == marks.best
            shown = GLYPHS["best"] if is_best else glyph
            said = f"{shown[text.ASCII_ONLY]} {kind} {mark.epoch:,}" + (f", {mark.mark}" if mark.mark else "")
            yield Stop(place.at(mark), "best" if is_best else kind, said, mark.key)


def _nan_stops(drawn: Iterable[Series]) -> Iterator[Stop]:
    """The first of each stretch that is not finite."""
    for series in drawn:
        broken = ~np.isfinite(series.y)
        if series.faded or not broken.any():
            continue
        for index in np.flatnonzero(broken & ~np.append(False, broken[:-1]))[:MOST_NAN_STOPS]:
            said = f"{series.label} is {format_value(float(series.y[index]))}"
            yield Stop(float(series.x[index]), "nan", said, tone="error")


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


def _time_unit(curves: Curves, group: CurveGroup) -> tuple[str, float]:
    last = max((float(curve.time[-1]) for curve in group.curves if curve.time.size), default=curves.start_time)
    span = last - curves.start_time
    return next(((name, seconds) for name, seconds in UNIT_SECONDS.items() if span >= 2 * seconds), ("s", 1.0))


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
