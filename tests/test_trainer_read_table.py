"""A person's table of numbers, and every mistake in it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from ckptop.store.errors import DataError
from ckptop.trainer.tasks.read_rows import read_rows
from ckptop.trainer.tasks.read_table import read_table


def csv_file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "a,b\n1,2\n3,4", "\ufeff1,2\r\n3,4\r\n", "x,y\n\n1, 2\n \n3,4.0\n\n", '"1","2"\n3,4'],
    ids=["plain", "names", "spreadsheet", "blank-lines", "quoted"],
)
def test_a_csv_is_read_with_or_without_names(tmp_path: Path, text: str) -> None:
    assert read_table(csv_file(tmp_path, text), 2, "sides").values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 2)])
def test_rows_of_an_array_are_flattened(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.arange(8, dtype=np.uint8).reshape(shape))

    assert read_table(tmp_path / "a.npy", 4, "pixels").values.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_labels_are_the_last_column_whatever_the_file(tmp_path: Path) -> None:
    inputs, targets = np.arange(8).reshape(2, 2, 2), np.array([8, 9])
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=targets)
    np.save(tmp_path / "a.npy", np.column_stack([inputs.reshape(2, 4), targets]))
    csv_file(tmp_path, "0,1,2,3,8\n4,5,6,7,9\n")

    tables = [read_table(tmp_path / name, 4, "pixels", labelled=True) for name in ("a.npz", "a.npy", "table.csv")]

    for table in tables:
        assert table.values.tolist() == [[0, 1, 2, 3, 8], [4, 5, 6, 7, 9]]
    assert read_table(tmp_path / "a.npz", 4, "pixels").values.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3\n", "table.csv, line 2: 1 column, expected 2 (sides)"),
        ("a,b\n\n1,2,3\n", "table.csv, line 3: 3 columns, expected 2 (sides)"),
        ("1,2\n3,four\n", "table.csv, line 2, column 2: 'four' is no number"),
        ("1,two\n", "table.csv, line 1, column 2: 'two' is no number"),
        ("a,b\nc,d\n", "table.csv, line 2, column 1: 'c' is no number"),
        ("1,\n", "table.csv, line 1, column 2: '' is no number"),
        ("1,2\n3,nan\n", "table.csv, line 2, column 2: not a number that a model can take"),
        ("1e39,2\n", "table.csv, line 1, column 1: not a number that a model can take"),
        ("", "table.csv holds no rows; each has 2 numbers (sides)"),
        ("a,b\n", "table.csv holds no rows"),
        (b"\xff\xfe1,2", "table.csv is not UTF-8 text"),
        pytest.param("1,2\n" + "3" * 200_000, "table.csv, line 2: field larger than field limit", id="a huge cell"),
    ],
)
def test_a_mistake_in_a_csv_is_said_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(csv_file(tmp_path, text), 2, "sides")

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labelled_data_says_that_the_label_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 columns, expected 3 \(sides, then the label\)"):
        read_table(csv_file(tmp_path, "1,2\n"), 2, "sides", labelled=True)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((1, 2))}, "has no array 'inputs'; it has x"),
        ({"inputs": np.zeros((1, 2))}, "has no array 'targets'; it has inputs"),
        ({"inputs": np.zeros((2, 2)), "targets": np.zeros(3)}, "2 inputs, but 3 targets"),
        ({"inputs": np.zeros((1, 5)), "targets": np.zeros(1)}, "6 columns, expected 3"),
        ({"inputs": np.array([["a", "b"]]), "targets": np.zeros(1)}, "holds <U1 of shape (1, 2), no table of numbers"),
        ({"inputs": np.float64(1), "targets": np.zeros(1)}, "holds float64 of shape (), no table"),
        ({"inputs": np.zeros((0, 2)), "targets": np.zeros(0)}, "holds no rows"),
    ],
)
def test_a_mistake_in_an_archive_is_said(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes any name for its one flag

    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "a.npz", 2, "sides", labelled=True)

    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04zzz", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_what_is_no_numpy_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)

    with pytest.raises(DataError, match="is no NumPy file of plain numbers"):
        read_table(tmp_path / "a.npy", 2, "sides")


def test_a_pickle_in_an_array_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)

    with pytest.raises(DataError, match="is no NumPy file of plain numbers"):
        read_table(tmp_path / "a.npy", 2, "sides")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("no.csv", "does not exist"), (".", "is no file"), ("table.xlsx", "is none of .csv, .npy and .npz")],
)
def test_what_cannot_be_a_table_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "table.xlsx").write_bytes(b"PK")

    with pytest.raises(DataError, match=said):
        read_table(tmp_path / name, 2, "sides")


def test_reading_texts_leaves_the_limit_of_cells_as_it_was(tmp_path: Path) -> None:
    csv_file(tmp_path, f"text,label\n{'long ' * 40_000},1\n")
    before = csv.field_size_limit()

    rows = read_rows(tmp_path / "table.csv")

    assert len(rows.cells[0][0]) > before
    assert csv.field_size_limit() == before
