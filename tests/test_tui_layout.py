"""Where panes and charts stand, from the terminal's size alone."""

from __future__ import annotations

import pytest
from textual.geometry import Region, Size

from ckptop.tui.layout import (
    CHECKPOINTS,
    DETAIL,
    EVENTS,
    FACTS,
    HARDWARE,
    LEAST_CHART,
    LOG,
    PANES,
    PLOTS,
    RUNS,
    Wants,
    arrange,
    arrange_charts,
)


def body(width: int, height: int) -> Size:
    """The body of a screen: all but header and footer."""
    return Size(width, height - 2)


def test_eighty_by_twenty_four_is_stacked_as_drawn() -> None:
    regions = arrange(body(80, 24), Wants(runs=6))

    assert [regions[name].height for name in (RUNS, PLOTS, CHECKPOINTS, HARDWARE)] == [6, 9, 6, 1]
    assert all(region.width == 80 for region in regions.values())


def test_a_hundred_and_twenty_by_forty_has_two_columns_as_drawn() -> None:
    regions = arrange(body(120, 40), Wants(runs=6, hardware=11))

    assert regions[RUNS].width == regions[HARDWARE].width == regions[FACTS].width == 46
    assert regions[HARDWARE].height == 11
    assert regions[CHECKPOINTS].height == 14
    assert regions[PLOTS] == Region(47, 0, 73, 24)


def test_facts_give_way_to_a_long_list_of_runs() -> None:
    assert FACTS in arrange(body(120, 40), Wants(runs=6))
    assert FACTS not in arrange(body(120, 40), Wants(runs=60))


def test_two_hundred_by_sixty_has_six_charts_and_the_log() -> None:
    regions = arrange(body(200, 60), Wants(runs=6))

    assert regions[LOG] == Region(51, 50, 149, 8)
    assert regions[CHECKPOINTS].bottom == regions[DETAIL].bottom == regions[LOG].y
    assert regions[CHECKPOINTS].right + 1 == regions[DETAIL].x
    assert len(arrange_charts(regions[PLOTS].size, 6)) == 6


def test_the_log_and_its_events_share_a_screen_that_is_high_enough() -> None:
    for pane in (LOG, EVENTS):
        regions = arrange(body(80, 24), Wants(full=pane))
        assert (regions[LOG].height, regions[EVENTS].height) == (16, 6)
        assert arrange(body(80, 16), Wants(full=pane)) == {pane: Region(0, 0, 80, 14)}


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5)])
def test_a_tiny_terminal_shows_the_runs_alone(size: tuple[int, int]) -> None:
    assert set(arrange(body(*size), Wants())) == {RUNS}


@pytest.mark.parametrize("pane", PANES)
def test_full_size_is_the_pane_alone_at_any_size(pane: str) -> None:
    assert arrange(body(120, 40), Wants(full=pane)) == {pane: Region(0, 0, 120, 38)}
    assert arrange(body(20, 5), Wants(full=pane)) == {pane: Region(0, 0, 20, 3)}


@pytest.mark.parametrize("width", [*range(1, 130, 7), 160, 200, 319])
@pytest.mark.parametrize("height", [1, 5, 15, 16, 18, 23, 24, 29, 30, 31, 40, 60, 100])
def test_panes_never_overlap_or_leave_the_screen(width: int, height: int) -> None:
    size = Size(width, max(0, height - 2))

    regions = list(arrange(size, Wants(runs=9, hardware=11)).values())

    cells = {
        (x, y) for region in regions for y in range(region.y, region.bottom) for x in range(region.x, region.right)
    }
    assert len(cells) == sum(region.area for region in regions)
    assert all(0 <= x < width and 0 <= y < size.height for x, y in cells)


@pytest.mark.parametrize(
    ("size", "available", "shape"),
    [
        (Size(80, 9), 4, (1, 1)),
        (Size(73, 24), 4, (1, 2)),
        (Size(149, 39), 4, (2, 2)),
        (Size(149, 39), 6, (2, 3)),
        (Size(149, 39), 1, (1, 1)),
        (Size(149, 39), 40, (2, 3)),
    ],
)
def test_as_many_charts_as_can_be_read(size: Size, available: int, shape: tuple[int, int]) -> None:
    cells = arrange_charts(size, available)

    rows, columns = len({cell.rule.y for cell in cells}), len({cell.rule.x for cell in cells})
    assert (rows, columns) == shape
    assert len(cells) > 1 or shape == (1, 1)
    assert all(cell.chart.width >= LEAST_CHART.width for cell in cells)


def test_charts_beside_each_other_are_equally_wide() -> None:
    left, right = arrange_charts(Size(73, 24), 2)

    assert left.chart.width == right.chart.width == 36


def test_an_enlarged_chart_stands_alone() -> None:
    (cell,) = arrange_charts(Size(149, 39), 1)

    assert cell.chart == Region(0, 1, 149, 38)
