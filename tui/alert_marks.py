"""Alerts where they began on a curve: marks on the axis, and stops of an enlarged chart's cursor.

Pure. An alert about one metric stands on the chart of that metric; one about the whole run stands on every chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptop.tui import text
from ckptop.tui.chart_model import AlertPlace, Stop
from ckptop.tui.theme import GLYPHS

if TYPE_CHECKING:
    from ckptop.tui.alert_rows import Alerts
    from ckptop.tui.chart_series import Floats
    from ckptop.tui.curves import CurveGroup


@dataclass(frozen=True, slots=True)
class AlertMark:
    """An alert that has a place on a curve."""

    step: int
    """Where it began."""
    said: str
    """Clean."""
    tone: str
    key: str
    """Of its row in the list of alerts."""


def alert_marks(alerts: Alerts | None, run: str, group: CurveGroup) -> tuple[AlertMark, ...]:
    """The alerts of a run that belong on a chart; equal where nothing is to be drawn anew."""
    names = {name for curve in group.curves for name in (curve.source[0], curve.name)}
    return tuple(
        AlertMark(row.step, row.message, row.tone, row.key)
        for row in (alerts.rows if alerts is not None else ())
        if row.run == run and row.step is not None and (row.metric is None or row.metric in names)
    )


def alert_stops(marks: Sequence[AlertMark], place: Callable[[Sequence[int]], Floats]) -> Iterator[Stop]:
    """One an alert, at the x that `place` gives its step; none where that is not finite."""
    glyph = GLYPHS["alert"][text.ASCII_ONLY]
    for mark, x in zip(marks, place([mark.step for mark in marks]).tolist(), strict=True):
        if math.isfinite(x):
            yield Stop(x, "alert", f"{glyph} {mark.said}", mark.key, mark.tone)


def alert_places(stops: Iterable[Stop]) -> tuple[AlertPlace, ...]:
    """Where the axis has a mark."""
    return tuple(AlertPlace(stop.x, stop.tone) for stop in stops if stop.kind == "alert")
