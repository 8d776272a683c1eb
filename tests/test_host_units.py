"""Numbers and words as people read them."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptop.host.units import (
    cell_width,
    distinct_decimals,
    format_age,
    format_bytes,
    format_bytes_pair,
    format_cell,
    format_count,
    format_duration,
    format_percent,
    format_value,
    shorten_left,
    shorten_middle,
    shorten_right,
)

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def test_counts_have_thousands_separators() -> None:
    assert [format_count(count) for count in (0, 999, 1488, 1_000_000)] == ["0", "999", "1,488", "1,000,000"]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (12.4 * MIB, "12.4 MiB"),
        (86.8 * MIB, "86.8 MiB"),
        (99.94 * MIB, "99.9 MiB"),
        (99.96 * MIB, "100 MiB"),
        (140 * MIB, "140 MiB"),
        (999.4 * MIB, "999 MiB"),
        (999.6 * MIB, "1.0 GiB"),
        (38.2 * GIB, "38.2 GiB"),
        (2.5 * TIB, "2.5 TiB"),
        (4_321 * TIB, "4,321 TiB"),
        (-12.4 * MIB, "-12.4 MiB"),
    ],
)
def test_sizes_take_at_most_three_digits(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("used", "total", "text"),
    [
        (61 * GIB, 80 * GIB, "61.0 / 80.0 GiB"),
        (300 * MIB, 80 * GIB, "0.3 / 80.0 GiB"),
        (61 * GIB, 128 * GIB, "61 / 128 GiB"),
        (0, 0, "0 / 0 B"),
        (90 * GIB, 80 * GIB, "90.0 / 80.0 GiB"),
    ],
)
def test_a_pair_shares_the_unit_and_the_decimals(used: int, total: int, text: str) -> None:
    assert format_bytes_pair(used, total) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.0414, "0.0414"),
        (0.98124, "0.981"),
        (0.9996, "1.00"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (41.23, "41.2"),
        (984.4, "984"),
        (1488.0, "1,488"),
        (123_456.0, "123,456"),
        (999_999.4, "999,999"),
        (999_999.6, "1e6"),
        (1_234_567.0, "1.23e6"),
        (0.001, "0.00100"),
        (0.00099, "9.9e-4"),
        (8.6e-4, "8.6e-4"),
        (3e-12, "3e-12"),
        (-0.027, "-0.0270"),
        (-2.5e-5, "-2.5e-5"),
        (5e-324, "4.94e-324"),
        (1.7e308, "1.7e308"),
        (7, "7.00"),
    ],
)
def test_a_metric_has_three_significant_digits(value: float | None, text: str) -> None:
    assert format_value(value) == text


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(min_value=-1e300, max_value=1e300))
def test_a_shown_metric_is_within_half_a_percent_of_the_real_one(value: float) -> None:
    shown = float(format_value(value).replace(",", ""))

    assert shown == pytest.approx(value, rel=5.01e-3, abs=0)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, 4, "—"),
        (math.nan, 6, "NaN"),
        (0.0, 4, "0.0000"),
        (0.98121, 4, "0.9812"),
        (0.98121, 6, "0.981210"),
        (1.0, 4, "1.0000"),
        (1.0001, 4, "1.00"),
        (41.234, 4, "41.2"),
        (41.234, 6, "41.234"),
        (8.6e-4, 4, "8.6e-4"),
        (-0.5, 4, "-0.500"),
    ],
)
def test_a_table_cell_has_four_decimals_between_zero_and_one(value: float | None, decimals: int, text: str) -> None:
    assert format_cell(value, decimals) == text


@pytest.mark.parametrize(
    ("best", "runner_up", "decimals"),
    [
        (0.9812, 0.9794, 4),
        (0.98121, 0.98124, 5),
        (0.981211, 0.981214, 6),
        (0.98121111, 0.98121112, 6),
        (0.9812, 0.9812, 4),
        (97.412, 97.448, 5),
        (97.4512, 97.4541, 6),
        (0.9812, None, 4),
        (None, None, 4),
        (math.nan, 0.5, 4),
    ],
)
def test_decimals_grow_until_best_and_runner_up_differ(
    best: float | None, runner_up: float | None, decimals: int
) -> None:
    assert distinct_decimals(best, runner_up) == decimals


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (math.inf, "—"),
        (-5, "0 s"),
        (3.9, "3 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (8 * 60 + 59, "8 min"),
        (3 * 3600, "3 h"),
        (86_399, "23 h"),
        (2 * 86_400, "2 d"),
        (400 * 86_400, "400 d"),
    ],
)
def test_an_age_has_one_unit_rounded_down(seconds: float | None, text: str) -> None:
    assert format_age(seconds) == text


def test_the_age_of_what_rests_shows_no_seconds() -> None:
    assert {format_age(seconds, live=False) for seconds in (-5, 0, 1, 59.9)} == {"<1 min"}
    assert format_age(60, live=False) == "1 min"


def test_an_age_over_thirty_days_is_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    now = 1_763_683_200.0  # 2025-11-21 00:00 UTC

    texts = [format_age(days * 86_400, now=now) for days in (30, 30.5, 365)]
    monkeypatch.undo()
    time.tzset()

    assert texts == ["30 d", "2025-10-21", "2024-11-21"]


def test_an_age_from_before_1970_stays_a_number_of_days() -> None:
    """A damaged file may claim any time; no date is made of it."""
    assert format_age(1e15, now=1_763_683_200.0) == "11,574,074,074 d"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (-1, "0 s"),
        (41.4, "41 s"),
        (59.6, "1 min"),
        (119, "2 min"),
        (59.6 * 60, "1 h"),
        (110 * 60, "2 h"),
        (23.6 * 3600, "1 d"),
        (50 * 3600, "2 d"),
    ],
)
def test_a_duration_is_rounded_to_the_nearest(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (0.0, "0 %"),
        (0.29, "29 %"),
        (0.62, "62 %"),
        (0.999, "99 %"),
        (1.0, "100 %"),
        (1.25, "125 %"),
    ],
)
def test_a_hundred_percent_means_all(fraction: float | None, text: str) -> None:
    assert format_percent(fraction) == text


def test_widths_are_terminal_cells() -> None:
    words = ["", "abc", "漢字", "e\u0301", "café", "👍", "ｆ", "★●━"]

    assert [cell_width(word) for word in words] == [0, 3, 4, 1, 4, 2, 2, 3]


@pytest.mark.parametrize(
    ("name", "width", "text"),
    [
        ("resnet-50-lr3e-4-seed3", 12, "resnet…seed3"),
        ("digits-cnn", 10, "digits-cnn"),
        ("digits-cnn", 9, "digi…-cnn"),
        ("漢字漢字漢字", 8, "漢字…字"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
        ("aaaaae\u0301bbbb", 9, "aaaa…bbbb"),
    ],
)
def test_names_are_cut_in_the_middle(name: str, width: int, text: str) -> None:
    assert shorten_middle(name, width) == text


@pytest.mark.parametrize(
    ("path", "width", "text"),
    [
        ("/home/me/experiments/runs", 6, "…/runs"),
        ("/home/me/experiments/runs", 9, "…/runs"),
        ("/home/me/experiments/runs", 18, "…/experiments/runs"),
        ("./runs", 6, "./runs"),
        ("averylongname", 5, "…name"),
        ("/a/漢字漢字", 6, "…漢字"),
        ("/home", 0, ""),
    ],
)
def test_paths_keep_their_end_in_whole_folders(path: str, width: int, text: str) -> None:
    assert shorten_left(path, width) == text


def test_messages_keep_their_beginning() -> None:
    assert shorten_right("loss is NaN since step 745", 12) == "loss is NaN…"
    assert shorten_right("loss", 4) == "loss"
    assert shorten_right("loss", 0) == ""


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(), st.integers(min_value=0, max_value=20))
def test_shortened_text_always_fits(text: str, width: int) -> None:
    for shorten in (shorten_middle, shorten_left, shorten_right):
        shortened = shorten(text, width)

        assert cell_width(shortened) <= width
        assert shortened == text or cell_width(text) > width
