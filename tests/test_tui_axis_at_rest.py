"""The y axis of a run at work stands still: a recorded training of `digits`, from its first step to its last."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ckptop.tui.chart_axis import tick_labels, y_ticks
from ckptop.tui.chart_compose import ChartMemory, draw
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_series import Series

RECORDED = Path(__file__).parent / "golden" / "training.jsonl"
"""Half a minute, in which the loss falls through three decades; `time` in seconds since the start."""
SECONDS = 60.0
FRAME_SECONDS = 0.9
"""As often as a stream of changes is read."""


def frames(name: str, *, beginning: float) -> list[ChartModel]:
    """What a chart is given from `beginning` (0 to 1) of the training on, slowed down to a minute."""
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    points = [(line["step"], line[name], line["time"]) for line in lines if name in line]
    x, y, time = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    end = lines[-1]["time"]
    count = int(SECONDS / FRAME_SECONDS)
    sizes = [
        int(np.searchsorted(time, end * (beginning + (1 - beginning) * at / count), side="right"))
        for at in range(count + 1)
    ]
    return [
        ChartModel((Series(name, name.split("/")[0], x[:size], y[:size], dense=size >= 64),), smoothing=0.93)
        for size in sizes
        if size
    ]


@pytest.mark.parametrize("name", ["train/loss", "val/loss", "val/accuracy", "lr", "grad_norm"])
@pytest.mark.parametrize("beginning", [0.0, 0.1, 0.5])
def test_in_a_minute_of_training_no_y_axis_relabels_more_than_twice(name: str, beginning: float) -> None:
    memory = ChartMemory()
    labels = []
    for model in frames(name, beginning=beginning):
        plot = draw(model, 56, 14, memory).plot
        assert plot is not None
        labels.append(tick_labels(y_ticks(plot.scale, plot.rows), log=plot.scale.log))

    relabelled = [(old, new) for old, new in itertools.pairwise(labels) if old != new]
    assert len(relabelled) <= 2, relabelled
