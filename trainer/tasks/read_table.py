"""A person's table of numbers: `.csv`, `.npy` or `.npz`, with every mistake said by file and line.

A CSV may begin with a line of names, which is passed over: columns are told by their place. Nothing is guessed and
nothing filled in: a model answers a wrong table as readily as a right one.
"""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ckptop.store.errors import DataError

Floats = npt.NDArray[np.float64]

INPUTS, TARGETS = "inputs", "targets"
"""Arrays of an `.npz`; the targets of labelled data become the last column."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Finite numbers, a row a sample."""

    path: Path
    values: Floats
    """(rows, columns)."""
    lines: Sequence[int] = ()
    """Of a CSV, the line each row stands in, from 1."""

    def require(self, good: npt.NDArray[np.bool_], what: str) -> None:
        """Return if all of `good`, (rows,) or (rows, columns), holds.

        Raises:
            DataError: It does not; the message names the first place and ends with `what`.
        """
        if not good.all():
            row, *column = (int(index) for index in np.argwhere(~good)[0])
            raise DataError(f"{self.path}, {self._place(row)}{f', column {column[0] + 1}' if column else ''}: {what}")

    def _place(self, row: int) -> str:
        return f"line {self.lines[row]}" if self.lines else f"row {row + 1}"


def read_table(path: Path, columns: int, what: str, *, labelled: bool = False) -> Table:
    """Read a table of finite numbers.

    Args:
        path: A `.csv`; an `.npy` whose rows are flattened; or an `.npz` with `inputs` and, labelled, `targets`.
        columns: How many numbers the inputs of a sample are.
        what: What they are, for messages: `8 x 8 pixels`.
        labelled: Whether one more column, the last, is the answer.

    Raises:
        DataError: It cannot be read, is empty, or holds something else; the message says where.
    """
    if not path.is_file():
        raise DataError(f"{path} {'is no file' if path.exists() else 'does not exist'}; name a .csv, .npy or .npz")
    wanted = _Wanted(path, columns + labelled, f"{what}, then the label" if labelled else what, labelled)
    try:
        if path.suffix.lower() == ".csv":
            table = _read_csv(wanted)
        elif path.suffix.lower() in (".npy", ".npz"):
            table = Table(path=path, values=_read_arrays(wanted))
        else:
            raise DataError(f"{path} is none of .csv, .npy and .npz; convert it first")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if not len(table.values):
        raise DataError(f"{path} holds no rows; each has {wanted.columns} numbers ({wanted.what})")
    table.require(np.abs(table.values) <= _LARGEST, "not a number that a model can take")
    return table


@dataclass(frozen=True, slots=True)
class _Wanted:
    path: Path
    columns: int
    what: str
    labelled: bool

    def require_columns(self, found: int, where: str = "") -> None:
        if found != self.columns:
            columns = "column" if found == 1 else "columns"
            raise DataError(f"{self.path}{where}: {found} {columns}, expected {self.columns} ({self.what})")


def _read_csv(wanted: _Wanted) -> Table:
    path = wanted.path
    rows: list[list[float]] = []
    lines: list[int] = []
    with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
        reader = csv.reader(file)
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells) or (reader.line_num == 1 and _are_names(cells)):
                    continue
                wanted.require_columns(len(cells), f", line {reader.line_num}")
                rows.append(_numbers(path, reader.line_num, cells))
                lines.append(reader.line_num)
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text") from None
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    return Table(path=path, values=np.array(rows, dtype=np.float64).reshape(len(rows), wanted.columns), lines=lines)


def _are_names(cells: Sequence[str]) -> bool:
    return not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, line: int, cells: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        column = next(place for place, cell in enumerate(cells) if not _is_number(cell))
        raise DataError(f"{path}, line {line}, column {column + 1}: {cells[column][:40]!r} is no number") from None


def _read_arrays(wanted: _Wanted) -> Floats:
    """(rows, columns) of what NumPy saved."""
    path = wanted.path
    try:
        with path.open("rb") as file:  # opened here: NumPy leaves a file open that it cannot read
            loaded: Any = np.load(file, allow_pickle=False)
            arrays = [loaded] if isinstance(loaded, np.ndarray) else _members(loaded, wanted)
    except DataError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise DataError(f"{path} is no NumPy file of plain numbers") from None
    for array in arrays:
        if array.dtype.kind not in "biuf" or not array.ndim:
            raise DataError(f"{path} holds {array.dtype} of shape {array.shape}, no table of numbers")
    if len({len(array) for array in arrays}) > 1:
        raise DataError(f"{path}: {len(arrays[0])} {INPUTS}, but {len(arrays[1])} {TARGETS}")
    rows = len(arrays[0])
    flat = np.concatenate([array.reshape(rows, math.prod(array.shape[1:])) for array in arrays], axis=1)
    wanted.require_columns(flat.shape[1])
    return flat.astype(np.float64)


def _members(archive: Any, wanted: _Wanted) -> list[npt.NDArray[Any]]:
    with archive:
        names = (INPUTS, TARGETS) if wanted.labelled else (INPUTS,)
        for name in names:
            if name not in archive.files:
                there = ", ".join(archive.files[:5]) or "none"
                raise DataError(f"{wanted.path} has no array {name!r}; it has {there}")
        return [np.asarray(archive[name]) for name in names]
