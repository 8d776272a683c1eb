"""What a chart is asked to show: curves, marks, the part of x, and the places where its cursor may stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ckptop.tui.chart_series import Series


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the curve worth going to."""

    x: float
    kind: str
    """`best`, `milestone`, `checkpoint`, `alert` or `nan`."""
    text: str
    """What it is, in a few clean words."""
    key: str | None = None
    """Key of its row in the table of checkpoints, or of an alert in the list of alerts; None where it has none."""
    tone: str = "foreground"
    """Colour token of the words."""


@dataclass(frozen=True, slots=True)
class AlertPlace:
    """Where an alert began."""

    x: float
    tone: str
    """Colour token: of an error or a warning."""


@dataclass(frozen=True, eq=False, slots=True)
class ChartModel:
    """Everything a chart shows; strings are free of control characters."""

    series: tuple[Series, ...]
    """Drawn in this order, the last on top; those labelled "train" and "val" have hues of their own."""
    best: tuple[float, float] | None = None
    """Where the best checkpoint stands: x, and the value of the metric drawn."""
    checkpoints: tuple[float, ...] = ()
    """x of each committed checkpoint."""
    milestones: tuple[float, ...] = ()
    """x of each milestone; where one meets a checkpoint, it is drawn."""
    doomed: tuple[float, ...] = ()
    """x of each checkpoint that a plan would delete."""
    alerts: tuple[AlertPlace, ...] = ()
    """Where alerts began; drawn over every other mark of the axis."""
    x_label: str = "step"
    """Unit of x: "step", "epoch", or a unit of time."""
    log: bool | None = None
    """Logarithmic y; None lets a positive loss decide. Without a positive value it is linear."""
    smoothing: float = 0.0
    """Weight of the past in dense curves, 0 inclusive (as logged) to 1 exclusive."""
    bands: bool = True
    """Whether a dense curve has its range under it; among many runs that hides more than it tells."""
    message: str | None = None
    """Shown while there is nothing to draw; None stands for a sentence of the chart's own."""
    window: tuple[float, float] | None = None
    """Edges of x when zoomed; None shows all."""
    stops: tuple[Stop, ...] = ()
    """Where the cursor of an enlarged chart stops, in order of x."""
    subject: str = ""
    """What is drawn, such as run and metric: while it stays the same, the limits only widen."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")
        if self.window and not -math.inf < self.window[0] < self.window[1] < math.inf:
            raise ValueError(f"window must be finite and ascend, not {self.window}")
