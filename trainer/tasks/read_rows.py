"""Rows of text cells out of `.csv`, `.tsv` (either with `.gz`) or `.parquet`, each with the place it stands in.

In a `.tsv` a quote is a character like any other; in a `.csv` it holds commas and line ends together.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ckptop.store.errors import DataError, MissingExtra

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")

_MOST_CELL_CHARACTERS = 2**31 - 1
"""Reviews are longer than the 131,072 that Python's reader takes by itself."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table of text, a row a sample."""

    path: Path
    names: tuple[str, ...]
    """Of the columns: the first line, which of a file without one is a row like any other."""
    cells: Sequence[Sequence[str]]
    """As many a row as there are names."""
    lines: Sequence[int] = ()
    """The line each row ends in, from 1; of parquet none."""

    def place(self, row: int) -> str:
        """`data.csv, line 12`, for messages."""
        return f"{self.path}, " + (f"line {self.lines[row]}" if self.lines else f"row {row + 1}")

    def column(self, name: str) -> list[str]:
        """The cells of a column.

        Raises:
            DataError: There is no such column.
        """
        if name not in self.names:
            there = ", ".join(self.names[:12])
            raise DataError(f"{self.path} has no column {name!r}; it has {there}")
        at = self.names.index(name)
        return [row[at] for row in self.cells]

    def with_header_as_row(self) -> Rows:
        """For a file whose first line is no line of names."""
        first = self.lines[0] - 1 if self.lines else 0
        names = tuple(str(place + 1) for place in range(len(self.names)))
        return Rows(path=self.path, names=names, cells=[self.names, *self.cells], lines=[max(1, first), *self.lines])


def is_table(path: Path) -> bool:
    """Whether the ending is one of `TABLES`."""
    return path.name.lower().endswith(TABLES)


def read_rows(path: Path) -> Rows:
    """Read a table; its first line names the columns.

    Raises:
        DataError: It cannot be read, has no rows, or a row has another number of cells.
        MissingExtra: It is parquet and pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}; name one of {', '.join(TABLES)}"
        )
    if not is_table(path):
        raise DataError(f"{path} is none of {', '.join(TABLES)}; convert it first")
    try:
        rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; convert it first") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path} is no whole gzip file; fetch it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if not rows.names:
        raise DataError(f"{path} is empty; its first line names the columns")
    return rows


def _read_text(path: Path) -> Rows:
    with _open(path) as file:
        if ".tsv" in path.suffixes or path.name.lower().endswith((".tsv", ".tsv.gz")):
            return _collect(path, _tabbed(file))
        before = csv.field_size_limit(_MOST_CELL_CHARACTERS)  # of the whole process
        reader = csv.reader(file, strict=True)
        try:
            return _collect(path, ((reader.line_num, cells) for cells in reader))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}; correct the quotes there") from None
        finally:
            csv.field_size_limit(before)


def _open(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _tabbed(file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(file, start=1):
        yield number, line.rstrip("\r\n").split("\t")


def _collect(path: Path, numbered: Iterator[tuple[int, list[str]]]) -> Rows:
    names: tuple[str, ...] = ()
    rows: list[list[str]] = []
    lines: list[int] = []
    for number, cells in numbered:
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = tuple(cell.strip() for cell in cells)
            continue
        if len(cells) != len(names):
            raise DataError(
                f"{path}, line {number}: {len(cells)} cells, expected {len(names)} ({', '.join(names)[:80]}); "
                f"correct it"
            )
        rows.append(cells)
        lines.append(number)
    return Rows(path=path, names=names, cells=rows, lines=lines)


def _read_parquet(path: Path) -> Rows:
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError:
        raise MissingExtra(f"{path} needs pyarrow: pip install 'ckptop[text]'") from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{path} is no parquet file: {first}; fetch it again") from None
    columns: list[list[Any]] = [column.to_pylist() for column in table.columns]
    cells = [["" if value is None else str(value) for value in row] for row in zip(*columns, strict=True)]
    return Rows(path=path, names=tuple(table.column_names), cells=cells)
