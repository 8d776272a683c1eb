"""Where each pane stands: one pure function from the terminal's size to regions.

Textual's own layouts would need the tree of widgets to change with the size; here the tree is flat and stays,
and a resize only moves panes. What has no region is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.geometry import Offset, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement

if TYPE_CHECKING:
    from textual.widget import Widget

RUNS, PLOTS, CHECKPOINTS, HARDWARE, FACTS = "runs", "plots", "checkpoints", "hardware", "facts"
ENLARGED = "enlarged"
"""The chosen chart alone; shown only in full size."""
DETAIL = "detail"
"""The checkpoint under the cursor; beside the table where there is room, else only in full size."""
PANES = (RUNS, PLOTS, CHECKPOINTS, HARDWARE)
"""The panes of the main screen, in their order."""
REGISTRY, LOG, EVENTS, COMPARE, ALERTS = "registry", "log", "events", "compare", "alerts"
SCREENS = (REGISTRY, LOG, COMPARE, ALERTS)
"""What is a screen of its own, 5 to 8; the log stands among the panes too where there is room for all."""
LOG_PANES = (LOG, EVENTS)
"""They share a screen."""

TWO_COLUMNS = Size(110, 28)
"""Body from which on there are two columns."""
SMALLEST = Size(60, 14)
"""Body below which runs stand alone: a screen of 60x16."""

LEFT_WIDTH, WIDE_LEFT_WIDTH = 46, 50
WIDE = Size(180, 48)
TABLE_WIDTH, DETAIL_WIDTH = 72, 70
"""Cells that the table needs beside a detail, and cells of the detail at most."""
LEAST_HARDWARE_ROWS, HARDWARE_ROWS = 7, 11
"""Without a GPU, and with one."""
CHECKPOINT_ROWS = 14
LOG_ROWS = 8
"""Of the log among the other panes, its rule included."""
LEAST_SHARED_ROWS = 16
"""Body from which on events stand below the log; in a lower one they are a screen away."""
FACT_ROWS = 8
"""Facts, not counting their rule and the blank line below."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What the layout needs to know beside the size."""

    full: str | None = None
    """The pane shown alone."""
    runs: int = 1
    """Rows of the run list."""
    hardware: int = LEAST_HARDWARE_ROWS
    """Rows that show all hardware, its rule included."""


def arrange(size: Size, wants: Wants) -> dict[str, Region]:
    """The region of each pane shown, by id.

    Args:
        size: Of the body: the screen without header and footer.
        wants: What else it depends on.
    """
    body = Region(0, 0, size.width, size.height)
    if wants.full in LOG_PANES and size.height >= LEAST_SHARED_ROWS:
        events = max(6, size.height * 3 // 10)
        log = size.height - events
        return {LOG: Region(0, 0, size.width, log), EVENTS: Region(0, log, size.width, events)}
    if wants.full is not None:
        return {wants.full: body}
    if size.width < SMALLEST.width or size.height < SMALLEST.height:
        return {RUNS: body}
    if size.width >= TWO_COLUMNS.width and size.height >= TWO_COLUMNS.height:
        return _two_columns(body, wants)
    return _stacked(body)


def _stacked(body: Region) -> dict[str, Region]:
    rows = body.height - 1  # the hardware line
    table = max(5, round(rows * 6 / 21))
    runs = max(5, round(rows * 6 / 21))
    plots = rows - runs - table
    return {
        RUNS: Region(0, body.y, body.width, runs),
        PLOTS: Region(0, body.y + runs, body.width, plots),
        CHECKPOINTS: Region(0, body.y + runs + plots, body.width, table),
        HARDWARE: Region(0, body.bottom - 1, body.width, 1),
    }


def _two_columns(body: Region, wants: Wants) -> dict[str, Region]:
    wide = body.width >= WIDE.width and body.height >= WIDE.height
    left = WIDE_LEFT_WIDTH if wide else LEFT_WIDTH
    hardware = min(HARDWARE_ROWS if not wide else 2 * HARDWARE_ROWS, wants.hardware)
    facts = FACT_ROWS + 2 if body.height - hardware - (wants.runs + 2) >= FACT_ROWS + 2 else 0
    runs = body.height - hardware - facts
    log = LOG_ROWS if wide else 0
    table = max(CHECKPOINT_ROWS, (body.height - log) // 3)
    right = body.width - left - 1
    beside = min(DETAIL_WIDTH, right - TABLE_WIDTH - 1) if wide else 0
    regions = {
        RUNS: Region(0, body.y, left, runs),
        PLOTS: Region(left + 1, body.y, right, body.height - log - table),
        CHECKPOINTS: Region(left + 1, body.bottom - log - table, right - (beside + 1 if beside else 0), table),
        HARDWARE: Region(0, body.bottom - hardware, left, hardware),
    }
    if beside:
        regions[DETAIL] = Region(body.right - beside, body.bottom - log - table, beside, table)
    if log:
        regions[LOG] = Region(left + 1, body.bottom - log, right, log)
    if facts:
        regions[FACTS] = Region(0, body.y + runs, left, facts)
    return regions


@dataclass(frozen=True, slots=True)
class ChartCell:
    """One chart of the plots pane: its rule and the chart below it."""

    rule: Region
    chart: Region


LEAST_CHART = Size(36, 16)
"""A chart smaller than this gives its place to its neighbour."""
LEAST_PAIR_HEIGHT = 12
"""Rows of a plots pane below which one wide chart says more than two small ones."""
MOST_CHARTS, MOST_CHART_COLUMNS = 6, 3


def arrange_charts(size: Size, available: int) -> list[ChartCell]:
    """Cells of the charts shown at once, in rows from the left.

    Args:
        size: Of the plots pane.
        available: How many charts there are.
    """
    most = max(1, min(available, MOST_CHARTS))
    fitting = min(most, max(1, size.width // LEAST_CHART.width), MOST_CHART_COLUMNS)
    rows = max(1, min(-(-most // fitting), size.height // LEAST_CHART.height))
    columns = min(fitting, -(-most // rows))  # four charts are two by two, not three and one
    if size.height < LEAST_PAIR_HEIGHT:
        rows = columns = 1
    across = size.width - (columns - 1)  # a blank column between two charts
    cells = []
    for row in range(rows):
        top, bottom = size.height * row // rows, size.height * (row + 1) // rows
        for column in range(columns):
            left, right = across * column // columns, across * (column + 1) // columns
            rule = Region(left + column, top, right - left, 1)
            cells.append(ChartCell(rule, Region(rule.x, top + 1, rule.width, bottom - top - 1)))
    return cells[: max(1, most)]


class RegionLayout(Layout):
    """The layout of the body: `arrange` as Textual asks for it."""

    name: ClassVar[str] = "regions"

    def __init__(self) -> None:
        self._wants = Wants()

    def take(self, wants: Wants) -> bool:
        """Arrange for these wants from now on; False where they are what they were."""
        changed, self._wants = wants != self._wants, wants
        return changed

    def arrange(
        self,
        parent: Widget,  # noqa: ARG002  asked for by Textual
        children: list[Widget],
        size: Size,
        greedy: bool = True,  # noqa: ARG002
    ) -> ArrangeResult:
        """Place each child that has a region."""
        regions = arrange(size, self._wants)
        none, origin = Spacing(), Offset(0, 0)
        return [WidgetPlacement(regions[child.id], origin, none, child) for child in children if child.id in regions]


class ChartLayout(Layout):
    """Rules and charts in a grid."""

    name: ClassVar[str] = "charts"

    def __init__(self) -> None:
        self.available = 1

    def arrange(
        self,
        parent: Widget,  # noqa: ARG002  asked for by Textual
        children: list[Widget],
        size: Size,
        greedy: bool = True,  # noqa: ARG002
    ) -> ArrangeResult:
        """Place rule and chart of each cell."""
        cells = arrange_charts(size, self.available)
        by_id = {child.id: child for child in children}
        none, origin = Spacing(), Offset(0, 0)
        placed = []
        for place, cell in enumerate(cells):
            for region, name in ((cell.rule, f"chart-rule-{place}"), (cell.chart, f"chart-{place}")):
                if name in by_id:
                    placed.append(WidgetPlacement(region, origin, none, by_id[name]))
        return placed
