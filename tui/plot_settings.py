"""How charts are looked at: the chosen one, its axes, the smoothing. Shared by the pane and the enlarged chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ckptop.tui.model import RunDetail
from ckptop.tui.text import Span
from ckptop.tui.widgets.pane_rule import Figure

if TYPE_CHECKING:  # NumPy takes 0.1 s to import: charts come after the first paint
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
        return self.axis_index, self.smoothing_index

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

    def maker(self, curves: Curves, group: CurveGroup, marks: Marks) -> Callable[[], ChartModel]:
        """What makes the chart of a group as the settings are now; for a thread."""
        from ckptop.tui.curve_models import chart_model

        log = self.logs.get(group.title)
        return partial(chart_model, curves, group, marks, axis=self.axis, log=log, smoothing=self.smoothing)

    def words(self, *, always: bool) -> list[str]:
        """What differs from the usual, or all of it, for the rule."""
        words = []
        if always or self.smoothing_index != DEFAULT_SMOOTHING:
            words.append(f"smooth {self.smoothing:g}")
        if always or self.axis_index:
            words.append(AXIS_WORDS[self.axis])
        return words


def value_figures(model: ChartModel) -> list[Figure]:
    """The newest values, for the rule."""
    from ckptop.tui.widgets.chart import title_pairs

    return [(Span(f"{label} ", tone), Span(value)) for label, value, tone in title_pairs(model)]


def values_text(title: str, model: ChartModel) -> str:
    """The newest values as one line, for the clipboard."""
    from ckptop.tui.widgets.chart import title_pairs

    return f"{title}: " + ", ".join(f"{label} {value}" for label, value, _ in title_pairs(model))


def marks_of(detail: RunDetail) -> Marks:
    """Where the checkpoints of a run stand on its charts."""
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
    )
