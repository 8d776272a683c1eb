"""Columns side by side: what is read of each, which rows differ and by how much."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_fixture import RunPlan, build_store

from ckptop.store.views import read_run
from ckptop.tui.comparing import Cell, Column, Row, Subject, Value, as_text, compare, order_of, read_column


def column(label: str, **values: Value) -> Column:
    return Column(label, {("metrics" if isinstance(v, float) else "config", k): v for k, v in values.items()}, {})


def row(name: str, *columns: Column, baseline: int = 0) -> Row:
    return next(found for found in compare(columns, baseline) if found.name == name)


def test_numbers_are_told_by_their_difference_and_the_best_is_marked() -> None:
    found = row("accuracy", column("a", accuracy=0.9812), column("b", accuracy=0.954), column("c", accuracy=0.9812))

    assert found.cells == (Cell("0.9812", "", True), Cell("0.9540", "−0.0272"), Cell("0.9812", "", True))
    assert not found.is_equal


def test_lower_is_better_where_the_name_says_so() -> None:
    found = row("val_loss", column("a", val_loss=0.5), column("b", val_loss=0.4))

    assert [cell.is_best for cell in found.cells] == [False, True]
    assert found.cells[1].difference == "−0.1"


def test_texts_differ_or_do_not_and_a_missing_value_is_a_dash() -> None:
    columns = column("a", lr="1e-3", seed="0"), column("b", lr="3e-4", seed="0"), column("c", seed="0")

    assert row("lr", *columns).cells == (Cell("1e-3"), Cell("3e-4", "≠"), Cell("—", "≠"))
    assert row("lr", *columns, baseline=1).cells[1].difference == ""
    assert row("seed", *columns).is_equal


def test_no_number_is_equal_to_itself_and_never_best() -> None:
    nan = float("nan")

    assert row("loss", column("a", loss=nan), column("b", loss=nan)).is_equal
    cells = row("loss", column("a", loss=nan), column("b", loss=0.5), column("c", loss=0.6)).cells
    assert [cell.text for cell in cells] == ["NaN", "0.5000", "0.6000"]
    assert [cell.is_best for cell in cells] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "values", "order"),
    [
        ("accuracy", (0.7, 0.9, 0.8), [1, 2, 0]),
        ("loss", (0.7, 0.9, 0.8), [0, 2, 1]),
        ("lr", ("3e-4", "1e-3", "x"), [0, 1, 2]),
    ],
)
def test_columns_are_sorted_by_a_row(name: str, values: tuple[Value, ...], order: list[int]) -> None:
    columns = [column(str(place), **{name: value}) for place, value in enumerate(values)]
    section = "metrics" if isinstance(values[0], float) else "config"

    assert order_of(columns, (section, name), reverse=False) == order  # type: ignore[arg-type]


def test_a_run_is_its_state_its_best_metrics_and_its_configuration(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=9, phase="finished")])

    found = read_column(Subject("mine", store / "mine"))

    assert found.values["run", "state"] == "finished"
    assert found.values["metrics", "val/accuracy"] == 0.9812
    assert found.values["config", "lr"] == "0.001"
    assert found.modes == {"val/accuracy": "max"}


def test_a_checkpoint_is_its_manifest(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=9)])
    info = read_run(store / "mine").checkpoints[-1]

    found = read_column(Subject("training 216", info=info, run="mine"))

    assert found.values["run", "step"] == "216"
    assert found.values["environment", "pytorch_version"] == "2.13.0"


def test_a_run_that_is_gone_is_a_column_that_says_so(tmp_path: Path) -> None:
    assert read_column(Subject("gone", tmp_path / "gone")).problem is not None


def test_what_is_copied_fits_a_spreadsheet() -> None:
    columns = [column("a", lr="1e-3"), column("b", lr="3e-4")]

    assert as_text(columns, compare(columns, 0)) == "\ta\tb\nlr\t1e-3\t3e-4"
