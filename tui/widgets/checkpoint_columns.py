"""How wide each column of the checkpoint table is: what stands in it decides, and what is left goes between them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ckptop.host.units import CELL_DECIMALS, cell_width
from ckptop.tui.model import CheckpointTableModel
from ckptop.tui.theme import GLYPHS

TIER_WIDTH, MARK_WIDTH, EPOCH_WIDTH, SIZE_WIDTH, AGE_WIDTH = 10, 7, 5, 8, 6
"""Cells of the columns, without the gap between them; a column grows with what stands in it."""
LEAST_STEP_WIDTH, LEAST_METRIC_WIDTH, MOST_METRIC_WIDTH = 6, 6, 12

MOST_GAP = 4
"""Cells between columns at most; less where the pane is narrow."""

MARKS: dict[str, tuple[str, str, bool]] = {
    "best": (f"{GLYPHS['best'][0]} best", "foreground", True),
    "latest": ("latest", "foreground", False),
    "bad": ("! bad", "error", True),
    "pin": ("P pin", "foreground", False),
}
"""Words, colour and weight; any other mark is a release."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths in cells that fit a pane."""

    epoch: int
    step: int
    metrics: tuple[int, ...]
    gaps: tuple[int, ...]
    """After each column but the last."""

    def join(self, texts: Sequence[str]) -> str:
        """Texts of the columns' widths with the gaps between them."""
        padded = [text + " " * gap for text, gap in zip(texts, self.gaps, strict=False)]
        return "".join(padded) + texts[-1]


@functools.lru_cache(maxsize=2)
def fit_columns(model: CheckpointTableModel, room: int) -> Columns:
    """As many metrics as fit `room` cells; what is left over goes between the columns."""
    steps = max((row.step for row in model.rows), default=0)
    epochs = max((row.epoch for row in model.rows), default=0)
    step, epoch = max(LEAST_STEP_WIDTH, len(f"{steps:,}")), max(EPOCH_WIDTH, len(f"{epochs:,}"))
    metrics = [
        min(MOST_METRIC_WIDTH, max(LEAST_METRIC_WIDTH + decimals - CELL_DECIMALS, cell_width(name)))
        for name, decimals in zip(model.columns, model.decimals, strict=True)
    ]
    fixed = (TIER_WIDTH, MARK_WIDTH, epoch, step, SIZE_WIDTH, AGE_WIDTH)
    while metrics and room < sum(fixed) + sum(metrics) + len(fixed) + len(metrics) - 1:
        metrics.pop()
    count = len(fixed) + len(metrics) - 1
    slack = max(count, min(room - sum(fixed) - sum(metrics), MOST_GAP * count))
    each, more = divmod(slack, count)
    # The odd cells go to the gaps before numbers, which crowd most.
    gaps = [each + (place >= count - more) for place in range(count)]
    return Columns(epoch, step, tuple(metrics), tuple(gaps))
