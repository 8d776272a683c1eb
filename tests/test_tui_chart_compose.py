"""The composed chart: what is visible, what stands where, and that no data breaks it."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.geometry import Region

from ckptop.tui.ascii_art import Marker
from ckptop.tui.chart_canvas import PIXELS, draw_layer
from ckptop.tui.chart_cells import Row, blank_rows, changed_spans, put, to_strips
from ckptop.tui.chart_compose import NO_DATA, NOT_FINITE, ChartMemory, compose, series_tokens
from ckptop.tui.chart_marks import cut_name
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_series import Series
from ckptop.tui.theme import CKPTOP_DARK, MONO, palette_of

Floats = npt.NDArray[np.float64]

STEPS = np.arange(1488.0)
LOSS = 2.1 * np.exp(-STEPS / 130) + 0.022 + 0.02 * np.random.default_rng(7).random(STEPS.size)


def train(x: Floats, y: Floats, *, name: str = "train/loss", dense: bool = True) -> Series:
    return Series(name, "train", x, y, dense=dense)


def val(x: Floats, y: Floats, *, name: str = "val/loss") -> Series:
    return Series(name, "val", x, y, dense=False)


def text(rows: list[Row]) -> list[str]:
    return ["".join(character for character, _ in row) for row in rows]


def cells(rows: list[Row], token: str) -> set[tuple[int, int]]:
    """(x, y) of every cell drawn in `token`."""
    return {(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell[1] == token and cell[0] != " "}


def curve(rows: list[Row], token: str) -> set[tuple[int, int]]:
    """(x, y) of the braille cells drawn in `token`."""
    return {(x, y) for x, y in cells(rows, token) if "\u2801" <= rows[y][x][0] <= "\u28ff"}


hard_floats = st.one_of(
    st.floats(width=64),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan]),
)


@st.composite
def hard_series(draw: st.DrawFn, name: str) -> Series:
    points = draw(st.lists(st.tuples(hard_floats, hard_floats), max_size=12))
    values = np.array(points, dtype=np.float64).reshape(-1, 2)
    label = draw(st.sampled_from(["train", "val", "模型模型模型模型", "resnet-18-lr3e-4-seed3", ""]))
    return Series(
        name, label, values[:, 0].copy(), values[:, 1].copy(), dense=draw(st.booleans()), faded=draw(st.booleans())
    )


@st.composite
def hard_models(draw: st.DrawFn) -> ChartModel:
    marks = st.lists(hard_floats, max_size=6).map(tuple)
    window = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    return ChartModel(
        series=tuple(draw(hard_series(name)) for name in draw(st.sampled_from(["", "a", "ab", "abcd"]))),
        best=draw(st.none() | st.tuples(hard_floats, hard_floats)),
        checkpoints=draw(marks),
        milestones=draw(marks),
        x_label=draw(st.sampled_from(["step", "epoch", "hours", ""])),
        log=draw(st.sampled_from([None, True, False])),
        smoothing=draw(st.sampled_from([0.0, 0.5, 0.99])),
        message=draw(st.sampled_from([None, "Waiting."])),
        window=draw(st.none() | window),
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(hard_models(), min_size=1, max_size=3),
    st.integers(0, 200),
    st.integers(0, 60),
    st.sampled_from(list(PIXELS)),
)
def test_no_data_and_no_size_breaks_a_chart(models: list[ChartModel], width: int, height: int, marker: Marker) -> None:
    memory = ChartMemory()
    for model in models:
        rows = compose(model, width, height, memory, marker)

        assert len(rows) == height
        assert all(cell_len(line) == len(row) == width for line, row in zip(text(rows), rows, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (20, 5), (37, 9), (80, 24), (200, 60)])
@pytest.mark.parametrize("marker", list(PIXELS))
def test_a_curve_is_drawn_at_every_size(size: tuple[int, int], marker: Marker) -> None:
    rows = compose(ChartModel((train(STEPS, LOSS),), smoothing=0.9), *size, marker=marker)

    assert cells(rows, "accent")


@pytest.mark.parametrize("size", [(40, 12), (56, 14), (100, 25)])
def test_one_spike_in_a_million_steps_is_a_tall_dim_column(size: tuple[int, int]) -> None:
    x = np.arange(1_000_000.0)
    y = 0.1 + 0.01 * np.random.default_rng(0).random(x.size)
    y[654_321] = 0.95

    rows = compose(ChartModel((train(x, y),), smoothing=0.9), *size)

    band = curve(rows, "band")
    column = min(band, key=lambda cell: cell[1])[0]
    heights = {y for x, y in band if x == column}
    assert len(heights) >= size[1] // 2
    assert len({y for x, y in band if x == column - 3}) <= 2


def test_train_and_val_are_both_named_where_they_end_together() -> None:
    x = np.arange(100.0)
    falling, rising = 1.0 - x / 100, x / 100

    rows = compose(ChartModel((train(x, falling[::-1].copy(), dense=False), val(x, rising))), 60, 14)

    named = {line.split()[-1]: y for y, line in enumerate(text(rows)) if line.rstrip().endswith(("train", "val"))}
    assert abs(named["train"] - named["val"]) == 1
    assert {rows[named["train"]][-2][1], rows[named["val"]][-4][1]} <= {"accent", "value", "foreground"}


def test_crossing_curves_both_keep_their_ends() -> None:
    x = np.arange(100.0)

    rows = compose(ChartModel((train(x, 1 - x / 100, dense=False), val(x, x / 120))), 60, 14)

    last = max(column for column, _ in curve(rows, "value"))
    assert max(column for column, _ in curve(rows, "accent")) == last


def test_the_upper_line_gets_the_upper_name() -> None:
    x = np.arange(100.0)

    rows = compose(ChartModel((train(x, x / 100, dense=False), val(x, 0.04 + x / 100))), 60, 14)

    lines = [line for line in text(rows) if line.rstrip().endswith(("train", "val"))]
    assert [line.split()[-1] for line in lines] == ["val", "train"]


def test_more_names_than_rows_are_cut_and_none_overlap() -> None:
    x = np.arange(50.0)
    many = tuple(Series(f"r{i}", f"r{i}", x, x / 50 + i * 1e-4, dense=False) for i in range(30))

    rows = compose(ChartModel(many), 60, 10)

    named = [re.findall(r"r\d+", line) for line in text(rows)[:8]]
    assert all(len(names) == 1 for names in named)
    assert len({names[0] for names in named}) == 8


@given(st.lists(st.floats(0, 1000), max_size=80), st.lists(st.floats(0, 1000), max_size=20))
def test_marks_stand_in_every_second_column_at_most(checkpoints: list[float], milestones: list[float]) -> None:
    x = np.arange(0.0, 1000.0, 10)
    model = ChartModel(
        (val(x, np.where(x > 500, np.nan, x)),), checkpoints=tuple(checkpoints), milestones=tuple(milestones)
    )

    axis = text(compose(model, 60, 12))[-2]

    marked = [column for column, character in enumerate(axis) if character in "┴◆×"]
    assert np.diff(marked).min(initial=2) >= 2


def test_a_milestone_is_drawn_rather_than_its_checkpoint_and_nan_rather_than_both() -> None:
    x = np.arange(0.0, 1000.0, 50)
    y = np.where(x == 500, np.nan, x)
    model = ChartModel((val(x, y),), checkpoints=tuple(x.tolist()), milestones=(200.0, 500.0), best=(800.0, 800.0))

    rows = compose(model, 86, 12)

    axis = text(rows)[-2]
    assert axis.count("◆") == 1
    assert axis.count("×") == 1
    assert axis.count("┴") == 18
    assert rows[-2][axis.index("×")][1] == "error"
    assert any("★" in line for line in text(rows))


def test_marks_outside_of_the_window_are_not_drawn() -> None:
    x = np.arange(1000.0)
    model = ChartModel(
        (val(x, x),), window=(400.0, 500.0), checkpoints=(10.0, 450.0, 990.0), milestones=(20.0,), best=(450.0, 999.0)
    )

    rows = text(compose(model, 60, 12))

    assert rows[-2].strip("─ ").strip() == "┴"
    assert not any("★" in row for row in rows)


def test_the_axis_names_its_unit_and_scale() -> None:
    log = text(compose(ChartModel((train(STEPS, LOSS),), x_label="step"), 60, 14))
    linear = text(compose(ChartModel((train(STEPS, LOSS),), x_label="epoch", log=False), 60, 14))

    assert log[-1].split() == ["log", "0", "500", "1,000", "1,500", "step"]
    assert linear[-1].split() == ["0", "500", "1,000", "epoch"]


@pytest.mark.parametrize(
    ("name", "y", "log", "expected"),
    [
        ("train/loss", [2.0, 0.02], None, True),
        ("train/loss", [2.0, 0.2], None, False),
        ("train/accuracy", [0.01, 0.9], None, False),
        ("train/loss", [2.0, 0.0], None, False),
        ("train/loss", [2.0, -1.0], None, False),
        ("train/loss", [2.0, 0.0, 0.5], True, True),
        ("train/loss", [-2.0, 0.0], True, False),
        ("train/loss", [2.0, math.inf, 0.02], None, True),
    ],
)
def test_a_log_axis_needs_positive_values(name: str, y: list[float], log: bool | None, expected: bool) -> None:
    series = train(np.arange(float(len(y))), np.array(y), name=name, dense=False)

    rows = compose(ChartModel((series,), log=log), 60, 14)

    assert text(rows)[-1].startswith("  log") is expected
    assert curve(rows, "accent")


def test_zero_is_left_out_of_a_log_chart() -> None:
    x = np.arange(30.0)
    y = np.where((x >= 10) & (x < 20), 0.0, 1.0)

    rows = compose(ChartModel((train(x, y, dense=False),), log=True), 70, 14)

    drawn = {column - 6 for column, _ in curve(rows, "accent")}
    assert drawn
    assert not drawn & set(range(19, 32))


def test_a_nan_stretch_is_a_hole_in_the_curve() -> None:
    x = np.arange(1000.0)
    y = np.where((x > 400) & (x < 600), np.nan, 0.5)

    rows = compose(ChartModel((train(x, y),), smoothing=0.9), 80, 14)

    columns = {column for column, _ in curve(rows, "accent")}
    hole = sorted(set(range(min(columns), max(columns))) - columns)
    assert len(hole) >= 8
    assert hole == list(range(hole[0], hole[-1] + 1))


def test_a_dropped_attempt_is_faint_and_without_a_name() -> None:
    x = np.arange(100.0)
    old = Series("old", "abandoned", x, 1 - x / 100, dense=False, faded=True)

    rows = compose(ChartModel((val(x, x / 100), old)), 60, 14)

    assert curve(rows, "faint")
    assert not any("abandoned" in line for line in text(rows))


def test_nothing_to_draw_is_said_in_the_middle() -> None:
    empty = train(np.empty(0), np.empty(0))

    assert text(compose(ChartModel(()), 60, 9))[4].strip() == NO_DATA
    assert text(compose(ChartModel((empty,), message="No such metric."), 60, 9))[4].strip() == "No such metric."
    assert text(compose(ChartModel((train(STEPS, STEPS * np.nan),)), 60, 9))[4].strip() == NOT_FINITE
    rows = compose(ChartModel(()), 60, 9)
    assert text(rows)[4].index("W") == pytest.approx(60 - len(text(rows)[4].rstrip()), abs=1)


def test_a_growing_run_leaves_the_cells_it_passed_alone() -> None:
    memory = ChartMemory()
    rows = compose(ChartModel((train(STEPS[:1300], LOSS[:1300]),), smoothing=0.93), 100, 25, memory)
    newest = max(column for column, _ in curve(rows, "accent"))
    for size in range(1310, 1488, 10):
        grown = compose(ChartModel((train(STEPS[:size], LOSS[:size]),), smoothing=0.93), 100, 25, memory)

        assert all(span.x >= newest - 1 for span in changed_spans(rows, grown))
        rows, newest = grown, max(column for column, _ in curve(grown, "accent"))


def test_limits_are_kept_until_the_subject_changes() -> None:
    memory = ChartMemory()
    x = np.arange(100.0)
    compose(ChartModel((val(x, x),), subject="a"), 60, 14, memory)

    same = compose(ChartModel((val(x, x / 100),), subject="a"), 60, 14, memory)
    other = compose(ChartModel((val(x, x / 100),), subject="b"), 60, 14, memory)

    assert text(same)[0].split()[0] == "100"
    assert text(other)[0].split()[0] == "1.0"


def test_zoom_shows_its_window_and_finds_the_spike_again() -> None:
    y = LOSS.copy()
    y[1020] = 9.0

    rows = compose(ChartModel((train(STEPS, y),), smoothing=0.9, window=(1000.0, 1040.0), log=False), 80, 14)

    assert text(rows)[-1].split() == ["1,000", "1,010", "1,020", "1,030", "step"]
    assert min(row for _, row in curve(rows, "band")) <= 2


def test_a_value_is_drawn_on_the_row_of_its_tick() -> None:
    x = np.arange(100.0)
    for value in (0.2, 0.4, 0.6, 0.8):
        y = np.where(x < 50, value, 0.0)

        rows = compose(ChartModel((val(x, np.append(y[:-1], 1.0)),)), 60, 23)

        row = next(i for i, line in enumerate(text(rows)) if line.strip().startswith(str(value)))
        assert (10, row) in curve(rows, "value")


def test_tiles_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(200)
    y = (50 + 49 * np.sin(x / 7)).astype(np.int64)
    tiled = draw_layer([(x, y)], 100, 25, "braille")

    monkeypatch.setattr("ckptop.tui.chart_canvas.TILE_COLUMNS", 1000)

    assert draw_layer([(x, y)], 100, 25, "braille") == tiled


def test_ascii_means_ascii() -> None:
    x = np.arange(100.0)
    model = ChartModel(
        (train(x, x), val(x, x / 2), Series("o", "a-name-that-is-long-and-longer", x, x / 3, dense=False)),
        best=(50.0, 50.0),
        milestones=(20.0,),
        checkpoints=(60.0,),
        smoothing=0.5,
    )

    assert "".join(text(compose(model, 80, 20, marker="ascii"))).isascii()


def test_hues_belong_to_train_and_val_and_overlays_get_their_own() -> None:
    x = np.zeros(1)
    runs = tuple(Series(name, name, x, x, dense=False) for name in ("train", "val", "run-a", "run-b"))

    assert series_tokens(ChartModel(runs)) == ["accent", "value", "overlay0", "overlay1"]
    assert series_tokens(ChartModel(runs[2:3])) == ["accent"]


@pytest.mark.parametrize("name", ["resnet-18-lr3e-4-seed3", "模型模型模型模型", "short"])
@pytest.mark.parametrize("width", [0, 1, 2, 5, 12])
def test_names_are_cut_in_the_middle_to_fit(name: str, width: int) -> None:
    cut = cut_name(name, width, "…")

    assert cell_len(cut) <= width
    assert cut == name or width < 2 or (cut[-1] == name[-1] and "…" in cut) or width < 3


def test_changed_spans_run_from_the_first_to_the_last_changed_cell() -> None:
    old, new = blank_rows(20, 3), blank_rows(20, 3)
    put(new, 1, 4, "ab", "accent")
    put(new, 1, 9, "c", "accent")

    assert list(changed_spans(old, new)) == [Region(4, 1, 6, 1)]
    assert not list(changed_spans(new, new))


def test_a_changed_colour_alone_is_a_change() -> None:
    old, new = blank_rows(5, 1), blank_rows(5, 1)
    put(old, 0, 2, "x", "accent")
    put(new, 0, 2, "x", "value")

    assert list(changed_spans(old, new)) == [Region(2, 0, 1, 1)]


def test_strips_are_as_wide_as_their_rows_and_hold_the_same_text() -> None:
    rows = blank_rows(12, 1)
    put(rows, 0, 2, "a模b", "accent")
    put(rows, 0, 11, "模", "accent")  # no room for a wide one

    (strip,) = to_strips(rows, palette_of(CKPTOP_DARK))

    assert strip.text == "  a模b      "
    assert strip.cell_length == cell_len(strip.text) == 12
    assert all(segment.style is None or segment.style.color is None for segment in to_strips(rows, MONO)[0])


def test_a_model_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="smoothing"):
        ChartModel((), smoothing=1.0)
    with pytest.raises(ValueError, match="window"):
        ChartModel((), window=(5.0, 5.0))
