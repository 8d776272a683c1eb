"""Zoom, pan and cursor of an enlarged chart as plain values; the clock's ticks; what a cursor reads."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptop.tui.chart_clock import STEPS_SECONDS, clock_ticks
from ckptop.tui.chart_compose import Frame, draw
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_reading import centre_of, column_of, readout, value_at
from ckptop.tui.chart_series import Series
from ckptop.tui.chart_view import View

WHOLE = (0.0, 1000.0)


def framed(x: list[float], y: list[float], *, smoothing: float = 0.0, width: int = 60) -> Frame:
    series = Series("train/loss", "train", np.array(x), np.array(y), dense=True)
    return draw(ChartModel((series,), smoothing=smoothing), width, 12, readable=True)


def said(frame: Frame, x: float) -> list[str]:
    assert frame.plot is not None
    return ["".join(span.text for span in line) for line in readout(frame.model, frame.plot, frame.readings, x)]


@given(st.lists(st.sampled_from(["in", "out", "left", "right", "follow", "hold"]), max_size=30), st.floats(0.0, 1000.0))
def test_a_window_never_leaves_what_there_is(moves: list[str], at: float) -> None:
    view = View()
    for move in moves:
        if move in {"in", "out"}:
            view = view.zoomed(WHOLE, 900.0, 2.0 if move == "in" else 0.5, least=1.0)
        elif move in {"left", "right"}:
            view = view.panned(WHOLE, 900.0, 1 if move == "right" else -1)
        else:
            view = view.following(WHOLE, 900.0) if move == "follow" else view.holding(at, WHOLE, 900.0)

        if view.window is not None:
            assert -1e-6 <= view.window[0] < view.window[1] <= 1000.0 + 1e-6
        if move == "hold":
            assert view.window is None or view.window[0] <= at <= view.window[1] + 1e-9


def test_zooming_keeps_the_cursor_where_it_stands_on_screen() -> None:
    view = View(cursor=250.0).zoomed(WHOLE, 900.0, 2.0, least=1.0)

    assert view.window == (125.0, 625.0)
    assert view.zoomed(WHOLE, 900.0, 0.5, least=1.0).window is None


def test_without_a_cursor_the_newest_point_stays_in_view_and_is_followed() -> None:
    view = View().zoomed(WHOLE, 900.0, 4.0, least=1.0)
    assert view.follows
    assert view.window is not None
    assert view.window[0] < 900.0 < view.window[1]


def test_following_moves_by_quarters_of_the_window() -> None:
    view = View((800.0, 900.0), follows=True)

    assert view.shown(899.0) == (800.0, 900.0)
    assert view.shown(901.0) == (825.0, 925.0)
    assert view.shown(926.0) == (850.0, 950.0)
    assert View((800.0, 900.0)).shown(950.0) == (800.0, 900.0)


def test_zoom_ends_where_there_is_nothing_more_to_see() -> None:
    view = View(cursor=500.0)
    for _ in range(60):
        view = view.zoomed(WHOLE, 900.0, 2.0, least=8.0)

    assert view.window == pytest.approx((496.0, 504.0))


# The clock.


@given(st.floats(0, 2e9), st.floats(1.0, 1e8), st.integers(10, 200))
def test_clock_ticks_are_inside_apart_and_round(low: float, span: float, columns: int) -> None:
    ticks = clock_ticks(low, low + span, columns)

    assert all(low - 1e-3 <= tick <= low + span + 1e-3 for tick, _ in ticks)
    apart = [b - a for (a, _), (b, _) in itertools.pairwise(ticks)]
    assert all(gap * columns / span >= 13.9 for gap in apart)
    assert all(any(math.isclose(gap, step) for step in STEPS_SECONDS) for gap in apart)


def test_clock_labels_are_local_times_as_precise_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")  # half an hour off every whole one
    time.tzset()
    try:
        noon = 1_767_250_800.0  # 2026-01-01 12:30 there
        assert [label for _, label in clock_ticks(noon, noon + 3600, 60)] == [
            "12:30",
            "12:45",
            "13:00",
            "13:15",
            "13:30",
        ]
        assert clock_ticks(noon, noon + 20, 60)[1][1] == "12:30:05"
        assert [label for _, label in clock_ticks(noon, noon + 3 * 86_400, 60)] == ["Jan 2", "Jan 3", "Jan 4"]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("low", "high"), [(-5.0, 5.0), (0.0, 1e300)])
def test_a_clock_out_of_every_calendar_has_no_ticks(low: float, high: float) -> None:
    assert clock_ticks(low, high, 60) == []


# Reading.


def test_a_cursor_reads_the_value_and_the_range_that_its_column_holds() -> None:
    x = np.arange(1001.0)
    frame = framed(list(x), list(np.where(x == 500, 7.0, 1.0)))

    assert any(line.startswith("train 1.00 (1.00–7.00)") for line in said(frame, 500.0))
    assert said(frame, 100.0)[1] == "train 1.00"


def test_a_sparse_series_keeps_its_last_value_between_two_points_and_none_before_the_first() -> None:
    frame = framed([100.0, 900.0], [3.0, 4.0])
    assert frame.plot is not None

    assert said(frame, 500.0) == ["step 500", "train 3.00"]
    assert said(frame, 20.0)[1] == "train —"
    assert said(frame, 950.0)[1] == "train —"


def test_nothing_is_read_across_a_nan() -> None:
    frame = framed([0.0, 400.0, 500.0, 1000.0], [3.0, 3.0, math.nan, 4.0])

    assert said(frame, 600.0)[1] == "train —"


def test_a_smoothed_series_is_read_as_drawn_with_the_range_as_logged() -> None:
    frame = framed([float(x) for x in range(1001)], [float(x % 2) for x in range(1001)], smoothing=0.99)
    assert frame.plot is not None

    value = value_at(frame.readings[0], 30)
    assert value is not None
    assert value.value == pytest.approx(0.5, abs=0.02)
    assert (value.low, value.high) == (0.0, 1.0)


def test_a_column_and_its_centre_agree() -> None:
    plot = framed([0.0, 1000.0], [1.0, 2.0]).plot
    assert plot is not None

    assert [column_of(plot, centre_of(plot, column)) for column in range(plot.columns)] == list(range(plot.columns))


# A million points.


@pytest.mark.parametrize(
    "at", [3, 777_777, *(pytest.param(at, marks=pytest.mark.slow) for at in (500_000, 999_990))]
)  # fmt: skip
def test_a_lone_spike_in_a_million_points_is_drawn_and_read_at_every_zoom(at: int) -> None:
    x, y = np.arange(1e6), np.ones(1_000_000)
    y[at] = 50.0
    series = Series("train/loss", "train", x, y, dense=True)
    whole, view = (0.0, 1_262_177.4), View(cursor=float(at))
    for _ in range(18):
        frame = draw(ChartModel((series,), window=view.window, smoothing=0.93, log=False), 80, 20, readable=True)

        assert frame.plot is not None
        column = column_of(frame.plot, float(at))
        assert column is not None
        top = frame.plot.row(50.0)
        assert any(
            frame.rows[top][frame.plot.left + c][1] in {"band", "accent"} for c in (column - 1, column, column + 1)
        )
        value = value_at(frame.readings[0], column)
        assert value is not None
        assert value.high == 50.0
        view = view.zoomed(whole, 1e6 - 1, 2.0, least=8.0)
