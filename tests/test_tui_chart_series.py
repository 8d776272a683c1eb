"""Reduction keeps every extreme on edges that stand still; smoothing agrees with its formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ckptop.tui.chart_series import Series, bucket_of, nonfinite_x, reduce_min_max
from ckptop.tui.chart_smooth import Ema, Smoother, ema

Floats = npt.NDArray[np.float64]

any_float = st.floats(width=64, allow_nan=True, allow_infinity=True)
finite = st.floats(-1e9, 1e9)


def pairs(y: st.SearchStrategy[float] = any_float) -> st.SearchStrategy[tuple[Floats, Floats]]:
    return st.lists(st.tuples(st.floats(-10, 110), y), max_size=60).map(
        lambda points: (
            np.array([point[0] for point in points], dtype=np.float64),
            np.array([point[1] for point in points], dtype=np.float64),
        )
    )


def naive_ema(y: Floats, smoothing: float) -> list[float]:
    total, weight, smoothed = 0.0, 0.0, []
    for value in y.tolist():
        if not np.isfinite(value):
            smoothed.append(np.nan)
            continue
        total = smoothing * total + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        smoothed.append(total / weight)
    return smoothed


@given(pairs(), st.integers(1, 40))
def test_every_bucket_holds_the_extremes_of_its_points(points: tuple[Floats, Floats], columns: int) -> None:
    x, y = points
    shown = (x >= 0) & (x <= 100) & np.isfinite(y)

    reduced = reduce_min_max(x, y, 0.0, 100.0, columns)

    buckets = bucket_of(x[shown], 0.0, 100.0, columns)
    assert reduced.bucket.tolist() == sorted(set(buckets.tolist()))
    for bucket, low, high in zip(reduced.bucket, reduced.lo, reduced.hi, strict=True):
        inside = y[shown][buckets == bucket]
        assert (low, high) == (inside.min(), inside.max())


@pytest.mark.parametrize("columns", [1, 7, 56, 100, 199])
@pytest.mark.parametrize("end", [1e6, 1.25e6, 700_000.0])
def test_one_spike_in_a_million_points_is_seen_at_every_zoom(columns: int, end: float) -> None:
    x = np.arange(1_000_000.0)
    y = np.zeros_like(x)
    y[654_321] = 9.0

    reduced = reduce_min_max(x, y, 0.0, end, columns)
    closer = reduce_min_max(x, y, 654_000.0, 655_000.0, columns)

    assert reduced.hi.max() == closer.hi.max() == 9.0


@given(pairs(finite), st.floats(0, 100), finite)
def test_a_new_point_changes_no_bucket_but_its_own(points: tuple[Floats, Floats], at: float, value: float) -> None:
    x, y = points
    before = reduce_min_max(x, y, 0.0, 100.0, 20)

    after = reduce_min_max(np.append(x, at), np.append(y, value), 0.0, 100.0, 20)

    own = int(bucket_of(np.array([at]), 0.0, 100.0, 20)[0])
    old = {b: (lo, hi) for b, lo, hi in zip(before.bucket.tolist(), before.lo, before.hi, strict=True) if b != own}
    new = {b: (lo, hi) for b, lo, hi in zip(after.bucket.tolist(), after.lo, after.hi, strict=True) if b != own}
    assert old == new


def test_the_window_includes_both_of_its_edges() -> None:
    x = np.array([0.0, 50.0, 100.0, 100.1])

    reduced = reduce_min_max(x, x, 0.0, 100.0, 10)

    assert reduced.bucket.tolist() == [0, 10, 19]
    assert reduced.hi.tolist() == [0.0, 50.0, 100.0]


def test_a_clock_that_jumped_back_gives_buckets_in_order() -> None:
    x = np.array([0.0, 50.0, 20.0, 30.0, np.nan, 90.0])

    reduced = reduce_min_max(x, np.arange(6.0), 0.0, 100.0, 10)

    assert reduced.bucket.tolist() == [0, 4, 6, 10, 18]
    assert reduced.first.tolist() == [0.0, 2.0, 3.0, 1.0, 5.0]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_splits_the_run_and_is_not_an_extreme(broken: float) -> None:
    x = np.arange(10.0)
    y = np.where(x == 4, broken, x)

    reduced = reduce_min_max(x, y, 0.0, 10.0, 5)

    assert reduced.run.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert np.isfinite(reduced.lo).all()


def test_a_long_hole_splits_the_run_and_a_slow_metric_does_not() -> None:
    hole = np.r_[0:20:1.0, 80:100:1.0]
    slow = np.arange(0, 100, 9.0)

    assert reduce_min_max(hole, hole, 0.0, 100.0, 50).run.max() == 1
    assert reduce_min_max(slow, slow, 0.0, 100.0, 50).run.max() == 0


def test_a_line_is_followed_to_the_edges_of_the_window() -> None:
    x, y = np.array([0.0, 100.0]), np.array([0.0, 10.0])

    linear = reduce_min_max(x, y, 40.0, 60.0, 10, "linear")
    log = reduce_min_max(x, y + 1e-9, 40.0, 60.0, 10, "log")

    assert linear.bucket.tolist() == [0, 19]
    assert linear.first.tolist() == pytest.approx([4.0, 6.0])
    assert log.first.tolist() == pytest.approx([10 ** (-9 + 0.4 * 10), 10 ** (-9 + 0.6 * 10)], rel=1e-6)


def test_a_line_broken_outside_of_the_window_is_not_followed() -> None:
    x, y = np.arange(5.0), np.array([0.0, np.nan, 2.0, np.nan, 4.0])

    reduced = reduce_min_max(x, y, 1.5, 2.5, 10, "linear")

    assert reduced.first.tolist() == [2.0]


@given(st_numpy.arrays(np.float64, st.integers(0, 300), elements=any_float), st.floats(0, 0.999))
def test_the_average_agrees_with_its_formula(y: Floats, smoothing: float) -> None:
    y = np.where(np.abs(y) > 1e290, np.nan, y)

    smoothed = ema(y, smoothing)

    scale = np.abs(y[np.isfinite(y)]).max(initial=0.0)
    np.testing.assert_allclose(smoothed, naive_ema(y, smoothing), rtol=1e-9, atol=scale * 1e-12)


@given(st.lists(st.integers(0, 150), max_size=8), st.sampled_from([0.0, 0.5, 0.93, 0.999]))
def test_an_average_continued_is_the_average_of_all(sizes: list[int], smoothing: float) -> None:
    y = np.random.default_rng(sum(sizes)).normal(size=sum(sizes))
    continued = Ema(smoothing)

    pieces = [continued.extend(piece) for piece in np.split(y, np.cumsum(sizes)[:-1])] if sizes else []

    np.testing.assert_allclose(np.concatenate([*pieces, np.empty(0)]), ema(y, smoothing), rtol=1e-9, atol=1e-12)


def test_huge_values_do_not_overflow_the_average() -> None:
    assert np.isfinite(ema(np.array([1.7e308, -1.7e308, 1.0]), 0.9)).all()


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        Ema(smoothing)


def series(y: Floats, name: str = "train/loss") -> Series:
    return Series(name, "train", np.arange(float(y.size)), y, dense=True)


def test_a_series_that_grew_is_smoothed_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    smoother = Smoother()
    first = smoother.smooth(series(y[:3]), 0.9).copy()
    seen: list[int] = []
    extend = Ema.extend

    def noted(self: Ema, more: Floats) -> Floats:
        seen.append(more.size)
        return extend(self, more)

    monkeypatch.setattr(Ema, "extend", noted)

    again = smoother.smooth(series(y.copy()), 0.9)

    assert seen[0] == 2
    np.testing.assert_allclose(again, ema(y, 0.9))
    np.testing.assert_array_equal(again[:3], first)


def test_a_series_that_was_rewritten_is_smoothed_anew() -> None:
    smoother = Smoother()
    smoother.smooth(series(np.array([1.0, 2.0, 3.0])), 0.9)

    shorter = smoother.smooth(series(np.array([1.0, 2.0])), 0.9)
    other = smoother.smooth(series(np.array([9.0, 2.0, 5.0])), 0.9)
    rougher = smoother.smooth(series(np.array([9.0, 2.0, 5.0])), 0.1)

    np.testing.assert_allclose(shorter, ema(np.array([1.0, 2.0]), 0.9))
    np.testing.assert_allclose(other, ema(np.array([9.0, 2.0, 5.0]), 0.9))
    np.testing.assert_allclose(rougher, ema(np.array([9.0, 2.0, 5.0]), 0.1))


def test_nonfinite_points_are_told_by_their_x() -> None:
    broken = Series("a", "a", np.array([1.0, 2.0, 3.0, np.nan]), np.array([0.0, np.nan, -np.inf, np.nan]), dense=False)

    assert nonfinite_x(broken).tolist() == [2.0, 3.0]


def test_a_series_of_uneven_length_or_type_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Series("a", "a", np.zeros(2), np.zeros(3), dense=False)
    with pytest.raises(ValueError, match="float64"):
        Series("a", "a", np.zeros(2), np.zeros(2, np.float32), dense=False)


def test_a_line_between_the_largest_numbers_is_cut_at_the_edges() -> None:
    x, y = np.array([-1e308, 1e308]), np.array([0.0, 4.0])

    reduced = reduce_min_max(x, y, -1e300, 1e300, 10, "linear")

    assert np.allclose(np.append(reduced.lo, reduced.hi), 2.0)
