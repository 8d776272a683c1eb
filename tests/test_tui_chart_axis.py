"""Limits hold all they should and stand still; ticks are round numbers that fit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ckptop.tui.chart_axis import (
    LADDER,
    Scale,
    tick_labels,
    wants_log,
    x_limits,
    x_ticks,
    y_limits,
    y_ticks,
)
from ckptop.tui.chart_limits import Limits

magnitude = st.floats(-1e300, 1e300)
positive = st.floats(1e-300, 1e300)


@given(magnitude, magnitude)
def test_linear_limits_hold_the_values(a: float, b: float) -> None:
    low, high = sorted((a, b))

    bottom, top = y_limits(low, high, log=False)

    slack = 1e-9 * max(abs(low), abs(high), 1e-280)
    assert bottom < top
    assert bottom - slack <= low <= high <= top + slack


@given(positive, positive)
def test_log_limits_hold_the_values_and_stand_on_the_ladder(a: float, b: float) -> None:
    low, high = sorted((a, b))

    bottom, top = y_limits(low, high, log=True)

    assert 0.0 < bottom < top
    assert bottom * (1 - 1e-9) <= low <= high <= top * (1 + 1e-9)
    for end in (bottom, top):
        mantissa = end / 10.0 ** math.floor(math.log10(end) + 1e-9)
        assert any(mantissa == pytest.approx(rung, rel=1e-6) for rung in LADDER)


@given(st.floats(0, 1e15), st.floats(0, 1e15))
def test_the_x_limit_is_a_power_of_one_and_a_quarter(a: float, b: float) -> None:
    low, high = sorted((a, b))

    start, end = x_limits(low, high)

    assert start <= low <= high <= end * (1 + 1e-9)
    assert start < end


def test_the_x_limit_stands_still_while_steps_come_in() -> None:
    ends = {x_limits(0.0, float(step))[1] for step in range(1010, 1263)}

    assert ends == {1.25**32}


@given(st.lists(st.tuples(magnitude, magnitude), min_size=1, max_size=20))
def test_limits_never_narrow_by_themselves(ranges: list[tuple[float, float]]) -> None:
    limits = Limits()
    last_x, last_y = (math.inf, -math.inf), (math.inf, -math.inf)
    for ends in ranges:
        low, high = sorted(ends)
        assume(low < high)

        x, y = limits.fit_x(low, high), limits.fit_y(low, high, log=False)

        assert x[0] <= last_x[0]
        assert x[1] >= last_x[1]
        assert y[0] <= last_y[0]
        assert y[1] >= last_y[1]
        last_x, last_y = x, y


def test_a_first_value_alone_does_not_hold_the_limits_apart() -> None:
    limits = Limits()

    alone = limits.fit_y(40.0, 40.0, log=False)
    both = limits.fit_y(39.0, 40.0, log=False)
    again = limits.fit_y(39.5, 39.5, log=False)

    assert alone[0] == 0.0
    assert both == (39.0, 40.0)
    assert again == both


def test_limits_start_afresh_for_another_subject_or_scale() -> None:
    limits = Limits()
    limits.follow("run a")
    limits.fit_x(0.0, 1000.0)
    limits.fit_y(0.01, 100.0, log=False)

    log = limits.fit_y(0.5, 2.0, log=True)
    limits.follow("run b")

    assert log == pytest.approx((0.1, 2.0))  # further down: values that turn the scale go on falling
    assert limits.fit_x(0.0, 1.0) == (0.0, 1.0)
    assert limits.fit_y(0.5, 2.0, log=True) == pytest.approx((0.5, 2.0))


@pytest.mark.parametrize(
    ("low", "high", "log"), [(0.1, 2.0, True), (0.1, 1.9, False), (0.0, 5.0, False), (-1.0, 50.0, False)]
)
def test_a_positive_loss_spanning_twentyfold_wants_a_log_axis(low: float, high: float, log: bool) -> None:
    assert wants_log(low, high) is log


@pytest.mark.parametrize(
    ("low", "high", "log", "rows", "labels"),
    [
        (0.021, 2.1, True, 21, ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (0.021, 2.1, True, 7, ["0.02", "0.1", "1"]),
        (0.12, 0.98, False, 21, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.25, 0.98, False, 21, ["0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.97, 0.981, False, 12, ["0.970", "0.975", "0.980", "0.985"]),
        (-3.0, 5.0, False, 12, ["-2", "0", "2", "4"]),
        (0.0, 1e-3, False, 12, ["0", "5e-4", "1e-3"]),
        (0.0, 4e6, False, 12, ["0", "2e6", "4e6"]),
        (1.0, 1.0, False, 12, ["0.0", "0.5", "1.0", "1.5"]),
        (1e-300, 1e300, True, 12, ["1e-288", "1e-192", "1e-96", "1", "1e96", "1e192", "1e288"]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, log: bool, rows: int, labels: list[str]) -> None:
    scale = Scale(*y_limits(low, high, log=log), log)

    assert tick_labels(y_ticks(scale, rows), log=log) == labels


@given(magnitude, magnitude, st.integers(1, 60))
def test_linear_ticks_lie_within_the_limits_one_a_row_at_most(a: float, b: float, rows: int) -> None:
    bottom, top = y_limits(*sorted((a, b)), log=False)

    ticks = y_ticks(Scale(bottom, top, log=False), rows)

    slack = (top - bottom) * 1e-6
    assert all(bottom - slack <= tick <= top + slack for tick in ticks)
    assert len(ticks) <= max(rows, 2) + 1
    assert len(tick_labels(ticks)) == len(ticks)


def test_step_labels_have_thousands_and_room() -> None:
    wide = x_ticks(0.0, 1578.0, 43, whole=True)
    narrow = x_ticks(0.0, 1578.0, 25, whole=True)

    assert [label for _, label in wide] == ["0", "500", "1,000", "1,500"]
    assert [label for _, label in narrow] == ["0", "1,000"]


def test_no_label_stands_between_two_steps() -> None:
    assert [tick for tick, _ in x_ticks(0.0, 2.44, 80, whole=True)] == [0.0, 1.0, 2.0]
    assert 0.5 in [tick for tick, _ in x_ticks(0.0, 2.44, 80, whole=False)]


@given(st.floats(0, 1e9), st.floats(1, 1e9), st.integers(1, 300))
def test_x_labels_never_touch(low: float, span: float, columns: int) -> None:
    ticks = x_ticks(low, low + span, columns, whole=False)

    at = [((tick - low) / span * columns, len(label)) for tick, label in ticks]
    assert all(right - left >= width + 1 for (left, width), (right, _) in itertools.pairwise(at))


def test_values_land_between_the_edges_and_what_cannot_be_drawn_nowhere() -> None:
    linear, log = Scale(0.0, 10.0, log=False), Scale(0.01, 100.0, log=True)
    values = np.array([0.0, 5.0, 10.0, 1e308, -1e308, np.inf, -np.inf, np.nan])

    assert linear.pixels(values, 11).tolist() == [0, 5, 10, 10, 0, 10, 0, -1]
    assert log.pixels(np.array([1e-5, 0.01, 1.0, 100.0, 0.0, -1.0, np.nan]), 5).tolist() == [0, 0, 2, 4, -1, -1, -1]
