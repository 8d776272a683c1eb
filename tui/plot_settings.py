"""How charts are looked at: the chosen one, its axes, the smoothing. Shared by the pane and the enlarged chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ckptop.tui.model import RunDetail, Snapshot
from ckptop.tui.text import Span
from ckptop.tui.widgets.pane_rule import Figure

if TYPE_CHECKING:  # NumPy takes 0.1 s to import: charts come after the first paint
    from ckptop.tui.alert_marks import AlertMark
    from ckptop.tui.chart_compose import Frame
    from ckptop.tui.chart_model import ChartModel
    from ckptop.tui.curve_models import Axis, Marks
    from ckptop.tui.curves import CurveGroup, Curves

SMOOTHINGS = (0.0, 0.6, 0.8, 0.9, 0.93, 0.97, 0.99, 0.995)
DEFAULT_SMOOTHING = 4

AXES: tuple[Axis, ...] = ("step", "epoch", "time", "clock")
AXIS_WORDS: dict[Axis, str] = {"step": "by step", "epoch": "by epoch", "time": "by time", "clock": "by clock"}


@dataclass(slots=True)
class PlotSettings:
    """One of these for all charts; changed by keys."""

    chosen: int = 0
    """Which of the charts listed."""
    query: str = ""
    """Only metrics whose name holds this are listed."""
    smoothing_index: int = DEFAULT_SMOOTHING
    axis_index: int = 0
    overlay: int = 0
    """0 shows the selected run alone; from 1 on one split of all marked runs."""
    logs: dict[str, bool] = field(default_factory=dict)
    """Logarithmic or not, of the charts whose y axis somebody turned."""

    @property
    def axis(self) -> Axis:
        """What x is."""
        return AXES[self.axis_index]

    @property
    def smoothing(self) -> float:
        """Weight of the past in the curves, 0 to below 1."""
        return SMOOTHINGS[self.smoothing_index]

    @property
    def key(self) -> tuple[object, ...]:
        """What every chart depends on."""
        return self.axis_index, self.smoothing_index, self.overlay

    def smooth(self, direction: int) -> None:
        """Smooth more or less."""
        self.smoothing_index = max(0, min(self.smoothing_index + direction, len(SMOOTHINGS) - 1))

    def next_axis(self) -> None:
        """Steps, epochs, time since the start, time of day."""
        self.axis_index = (self.axis_index + 1) % len(AXES)

    def choose(self, index: int, count: int) -> None:
        """Choose one of `count` charts; past either end is the end."""
        self.chosen = max(0, min(index, count - 1))

    def listed(self, curves: Curves | None) -> Sequence[CurveGroup]:
        """The charts whose names match."""
        if curves is None or not self.query:
            return curves.groups if curves is not None else ()
        needle = self.query.casefold()
        return [
            group
            for group in curves.groups
            if needle in group.title.casefold() or any(needle in curve.name.casefold() for curve in group.curves)
        ]

    def toggle_log(self, group: CurveGroup, frame: Frame) -> None:
        """Turn the y axis of a chart, which was drawn as `frame` says."""
        self.logs[group.title] = not (frame.plot is not None and frame.plot.scale.log)

    def next_overlay(self, group: CurveGroup | None) -> None:
        """One split of all marked runs, the other, none."""
        splits = len({curve.split for curve in group.curves}) if group is not None else 0
        self.overlay = (self.overlay + 1) % (splits + 1)

    def plan(self, snapshot: Snapshot, group: CurveGroup) -> Plan:
        """The chart of a group of the selected run, as the settings are now."""
        from ckptop.tui.alert_marks import alert_marks
        from ckptop.tui.curve_models import chart_model, overlay_model, overlay_splits

        detail = snapshot.detail
        assert detail is not None  # noqa: S101  a group is of a run
        assert detail.curves is not None  # noqa: S101
        alerts = alert_marks(snapshot.alerts, detail.row.name, group)
        log, marks, axis = self.logs.get(group.title), marks_of(detail, alerts), self.axis
        alone = partial(chart_model, detail.curves, group, marks, axis=axis, log=log, smoothing=self.smoothing)
        others = [found for curves in snapshot.overlays if (found := _same_metric(curves, group)) is not None]
        groups = (group, *(found for _, found in others))
        key = (groups, detail.table, alerts, self.key, log)
        points = sum(found.points for found in groups)
        if not (self.overlay and others):
            return Plan(key, alone, points, "")
        splits, runs = overlay_splits(group), [(detail.curves, group), *others]
        split = splits[min(self.overlay, len(splits)) - 1]
        return Plan(key, lambda: overlay_model(alone(), runs, split, axis=axis), points, f"{split} of {len(runs)} runs")

    def words(self, *, always: bool) -> list[str]:
        """What differs from the usual, or all of it, for the rule."""
        words = []
        if always or self.smoothing_index != DEFAULT_SMOOTHING:
            words.append(f"smooth {self.smoothing:g}")
        if always or self.axis_index:
            words.append(AXIS_WORDS[self.axis])
        return words


@dataclass(frozen=True, slots=True)
class Plan:
    """What a chart is to be drawn for."""

    key: tuple[object, ...]
    """Equal where nothing is to be drawn anew: groups and tables are told by identity."""
    make: Callable[[], ChartModel]
    """Makes the model; for a thread."""
    points: int
    overlay: str
    """What is laid over one another, for the rule; empty where one run is alone."""


def _same_metric(curves: Curves, group: CurveGroup) -> tuple[Curves, CurveGroup] | None:
    metric = group.curves[0].metric
    return next(((curves, found) for found in curves.groups if found.curves[0].metric == metric), None)


def value_figures(model: ChartModel) -> list[Figure]:
    """The newest values, for the rule."""
    from ckptop.tui.widgets.chart import title_pairs

    return [(Span(f"{label} ", tone), Span(value)) for label, value, tone in title_pairs(model)]


def values_text(title: str, model: ChartModel) -> str:
    """The newest values as one line, for the clipboard."""
    from ckptop.tui.widgets.chart import title_pairs

    return f"{title}: " + ", ".join(f"{label} {value}" for label, value, _ in title_pairs(model))


def plan_model(detail: RunDetail, doomed: frozenset[str]) -> ChartModel:
    """The curve of a run's metric, or its loss, with what a plan would delete marked on it.

    Args:
        detail: The run; its curves are there.
        doomed: Keys of the checkpoints that would go.
    """
    from ckptop.tui.curve_models import chart_model

    curves, marks = detail.curves, marks_of(detail)
    assert curves is not None  # noqa: S101  asked for by the caller
    named = [group for group in curves.groups if curves.metric in {curve.name for curve in group.curves}]
    going = [mark for mark in (*marks.checkpoints, *marks.milestones) if mark.key in doomed]
    staying = replace(
        marks,
        checkpoints=tuple(mark for mark in marks.checkpoints if mark.key not in doomed),
        milestones=tuple(mark for mark in marks.milestones if mark.key not in doomed),
    )
    group = (named or list(curves.groups))[0]
    model = chart_model(curves, group, staying, axis="step", log=None, smoothing=SMOOTHINGS[DEFAULT_SMOOTHING])
    return replace(model, doomed=tuple(float(mark.step) for mark in going), stops=())


def marks_of(detail: RunDetail, alerts: tuple[AlertMark, ...] = ()) -> Marks:
    """Where the checkpoints of a run stand on its charts, and the alerts of one of them."""
    from ckptop.tui.curve_models import Mark, Marks

    rows = detail.table.rows
    best = next((row for row in rows if row.mark == "best"), None)
    column = detail.table.best_column

    def marks(tier: str) -> tuple[Mark, ...]:
        found = (row for row in rows if row.tier == tier)
        return tuple(Mark(row.step, row.epoch, row.time, row.key, row.mark) for row in found)

    return Marks(
        checkpoints=marks("training"),
        milestones=marks("milestone"),
        best=Mark(best.step, best.epoch, best.time, best.key, best.mark) if best is not None else None,
        best_value=best.values[column] if best is not None and column is not None else None,
        alerts=alerts,
    )
