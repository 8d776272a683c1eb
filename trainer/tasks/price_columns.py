"""The columns of a table with a price: what each is, fitted on the training part, and rows made into numbers.

A number becomes its standard score and its place between the quantiles of the training part, piecewise linear; a
category the place of its value, 0 for one that was never seen; texts are left to the preset.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ckptop.store.errors import DataError
from ckptop.trainer.tasks.read_rows import Rows

Floats = npt.NDArray[np.float64]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_TEXT_WORDS = 3.0
"""A column whose cells have more words than this on average is text."""
_MOST_CATEGORIES = 1000
"""A column with more values than this, most of them of few rows, is text."""
_LARGEST_SCORE = 8.0
"""Standard scores end here: one wild cell is no reason for a wild price."""


class Number(msgspec.Struct, frozen=True, kw_only=True, tag="number"):
    """A column of numbers."""

    name: str
    mean: float
    std: float
    median: float
    """Stands for a missing cell."""
    edges: list[float]
    """Quantiles, rising; empty where no places between them are asked for."""
    has_missing: bool = False
    """Whether the training part misses some; a feature says so then."""

    @property
    def width(self) -> int:
        """Features of a cell."""
        return 1 + max(0, len(self.edges) - 1) + self.has_missing

    def encode(self, values: Floats) -> Floats:
        """(N,) with NaN where a cell is missing to (N, width)."""
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        score = np.clip((filled - self.mean) / self.std, -_LARGEST_SCORE, _LARGEST_SCORE)
        parts = [score[:, None]]
        if len(self.edges) > 1:
            edges = np.array(self.edges)
            parts.append(np.clip((filled[:, None] - edges[:-1]) / np.diff(edges), 0.0, 1.0))
        if self.has_missing:
            parts.append(missing[:, None].astype(np.float64))
        return np.concatenate(parts, axis=1)


class Category(msgspec.Struct, frozen=True, kw_only=True, tag="category"):
    """A column of one value out of a few."""

    name: str
    values: list[str]


class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A column of texts."""

    name: str


Column = Number | Category | Text


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """What a table is like, as JSON can hold it."""

    target: str
    log_mean: float
    log_std: float
    """Of the target's logarithm."""
    columns: list[Column]

    @property
    def numbers(self) -> list[Number]:
        """The columns of numbers."""
        return [column for column in self.columns if isinstance(column, Number)]

    @property
    def categories(self) -> list[Category]:
        """The columns of categories."""
        return [column for column in self.columns if isinstance(column, Category)]

    @property
    def texts(self) -> list[Text]:
        """The columns of texts."""
        return [column for column in self.columns if isinstance(column, Text)]

    @property
    def number_width(self) -> int:
        """Features of all numbers of a row."""
        return sum(column.width for column in self.numbers)


def kinds_of(rows: Rows, target: str, ignore: Iterable[str], text: Iterable[str]) -> dict[str, str]:
    """`number`, `category` or `text` by column, without the target and what is to be ignored.

    Raises:
        DataError: A column that was named is not there, or none is left.
    """
    for name in (target, *ignore, *text):
        if name not in rows.names:
            there = ", ".join(rows.names[:12])
            raise DataError(
                f"{rows.path} has no column {name!r}; it has {there}"
                + ("; name the one to predict with --set target=NAME" if name == target else "; correct the name")
            )
    names = [name for name in rows.names if name != target and name not in set(ignore)]
    if not names:
        raise DataError(f"{rows.path} has no column beside {target}; there is nothing to predict it from")
    wanted = set(text)
    return {name: "text" if name in wanted else _kind(rows.column(name)) for name in names}


def fit_columns(rows: Rows, target: str, kinds: dict[str, str], train: Sequence[int], bins: int) -> Columns:
    """Fit everything on the rows at `train` alone.

    Args:
        rows: The whole table.
        target: The column of prices.
        kinds: As `kinds_of` found them.
        train: Places of rows.
        bins: Quantiles between which a number has a place; 0 for none.

    Raises:
        DataError: A cell is no number where one is wanted, or a price is no positive number.
    """
    logs = np.log(prices(rows, target)[list(train)])
    columns: list[Column] = []
    for name, kind in kinds.items():
        if kind == "number":
            columns.append(_fit_number(name, numbers(rows, name)[list(train)], bins))
        elif kind == "category":
            cells = rows.column(name)
            columns.append(Category(name=name, values=sorted({cells[row].strip() for row in train})))
        else:
            columns.append(Text(name=name))
    std = float(logs.std())
    return Columns(target=target, log_mean=float(logs.mean()), log_std=std if std > 0 else 1.0, columns=columns)


def encode_rows(rows: Rows, columns: Columns) -> npt.NDArray[np.float32]:
    """(N, number_width + categories): the features of all numbers, then the places of the categories.

    Raises:
        DataError: A column is missing, or a cell is no number.
    """
    parts: list[npt.NDArray[Any]] = [column.encode(numbers(rows, column.name)) for column in columns.numbers]
    for column in columns.categories:
        places = {value: place for place, value in enumerate(column.values, start=1)}
        found = [places.get(cell.strip(), 0) for cell in rows.column(column.name)]
        parts.append(np.array(found, dtype=np.float64)[:, None])
    if not parts:
        return np.zeros((len(rows.cells), 0), dtype=np.float32)
    return np.concatenate(parts, axis=1).astype(np.float32)


def texts_of(rows: Rows, columns: Columns) -> list[str]:
    """The texts of each row, in one.

    Raises:
        DataError: A column is missing, or a text is empty.
    """
    cells = [rows.column(column.name) for column in columns.texts]
    for column, texts in zip(columns.texts, cells, strict=True):
        for row, text in enumerate(texts):
            if not text.strip():
                raise DataError(
                    f"{rows.place(row)}: {column.name} is empty; fill it in, remove the row, or leave the column out "
                    f"with --set 'ignore=[\"{column.name}\"]'"
                )
    return [" ".join(parts) for parts in zip(*cells, strict=True)]


def prices(rows: Rows, target: str) -> Floats:
    """(N,) positive finite numbers.

    Raises:
        DataError: One is not.
    """
    values = []
    for row, cell in enumerate(rows.column(target)):
        value = _number(cell)
        if value is None or not math.isfinite(value) or value <= 0:
            raise DataError(
                f"{rows.place(row)}: {target} is {cell.strip()[:30]!r}, and a price is a positive number; correct it "
                f"or remove the row"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def numbers(rows: Rows, name: str) -> Floats:
    """(N,), NaN where a cell is missing.

    Raises:
        DataError: A cell is neither a finite number nor missing.
    """
    values = []
    for row, cell in enumerate(rows.column(name)):
        value = math.nan if _is_missing(cell) else _number(cell)
        if value is None or math.isinf(value):
            raise DataError(
                f"{rows.place(row)}: {name} is {cell.strip()[:30]!r}, and was numbers in the training part; correct it "
                f"or leave it empty"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def _kind(cells: Sequence[str]) -> str:
    known = [cell for cell in cells if not _is_missing(cell)]
    if known and all(_number(cell) is not None for cell in known):
        return "number"
    if sum(len(cell.split()) for cell in known) > _TEXT_WORDS * max(1, len(known)):
        return "text"
    return "text" if len(set(known)) > max(_MOST_CATEGORIES, len(known) // 2) else "category"


def _fit_number(name: str, values: Floats, bins: int) -> Number:
    known = values[~np.isnan(values)]
    if not len(known):
        known = np.zeros(1)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if bins else np.zeros(0)
    std = float(known.std())
    return Number(
        name=name, mean=float(known.mean()), std=std if std > 0 else 1.0, median=float(np.median(known)),
        edges=edges.tolist() if len(edges) > 1 else [], has_missing=len(known) < len(values),
    )  # fmt: skip


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in _MISSING


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
