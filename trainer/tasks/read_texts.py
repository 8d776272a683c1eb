"""Texts with a sentiment, from a file, a folder or a data set of the Hugging Face hub.

A folder holds `train` and maybe `test` as tables, one table alone, or `pos/` and `neg/` with a text a file as the Large
Movie Review Dataset does. Labels are 0 and 1, or their words; nothing else is guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptop.store.errors import DataError, MissingExtra
from ckptop.trainer.tasks.read_rows import TABLES, Rows, is_table, read_rows

CLASSES = ("negative", "positive")
TEXT_NAMES = ("text", "sentence", "review", "content", "comment", "document")
LABEL_NAMES = ("label", "sentiment", "target", "class", "polarity")

_LABELS = {"0": 0, "neg": 0, "negative": 0, "1": 1, "pos": 1, "positive": 1}
_UNLABELLED = "-1"
"""What a hub says where the label of a test part is kept secret."""
_SHOWN_CHARACTERS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns to take; None finds them by their usual names."""

    text: str | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, and a label each unless they are to be predicted."""

    texts: Sequence[str]
    labels: Sequence[int]


def read_parts(path: Path, columns: Columns) -> tuple[Texts, Texts | None]:
    """What to train on, and what to test on where the data says so.

    Args:
        path: A file, a folder, or the name of a data set on the hub.
        columns: Which columns hold text and label.

    Raises:
        DataError: It is not there or holds something else; the message names file and row.
        MissingExtra: A package is missing.
    """
    if path.is_file():
        return _texts(read_rows(path), columns), None
    if not path.exists():
        return _from_hub(path, columns)
    for root in (path / "train", path):
        if all((root / name).is_dir() for name in ("neg", "pos")):
            test = path / "test"
            return _from_folders(root), _from_folders(test) if root.name == "train" and test.is_dir() else None
    train, tested = _find_table(path, "train"), _find_table(path, "test")
    if train is None:
        tables = sorted(file for file in path.iterdir() if is_table(file))
        if len(tables) != 1:
            raise DataError(f"{path} holds no train{TABLES[0]}, no pos/ and neg/, and no single table; name the file")
        return _texts(read_rows(tables[0]), columns), None
    return _texts(read_rows(train), columns), _test_of(read_rows(tested), columns) if tested is not None else None


def read_labelled_texts(path: Path, columns: Columns) -> Texts:
    """A person's file or folder, all of it."""
    return read_parts(path, columns)[0]


def read_plain_texts(path: Path, columns: Columns) -> list[str]:
    """The texts of a person's file: a `.txt` has one a line, a table a column of them.

    Raises:
        DataError: It cannot be read, or a text is empty.
    """
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
        rows = Rows(path=path, names=("text",), cells=[[line] for line in lines], lines=range(1, len(lines) + 1))
    else:
        rows = read_rows(path)
    name = columns.text or next((name for name in rows.names if name.lower() in TEXT_NAMES), None)
    if name is None and len(rows.names) == 1:
        rows, name = rows.with_header_as_row(), "1"
    if name is None:
        raise DataError(f"{path} names no column of texts; name it, such as text, in the first line")
    return _require_text(rows, rows.column(name))


def _find_table(folder: Path, part: str) -> Path | None:
    found = sorted(
        file for at in (folder, folder / "data") if at.is_dir() for file in at.iterdir()
        if is_table(file) and (file.name.startswith((f"{part}.", f"{part}-")))
    )  # fmt: skip
    return found[0] if found else None


def _texts(rows: Rows, columns: Columns) -> Texts:
    text, label = _which(rows, columns)
    if text.isdecimal():
        rows = rows.with_header_as_row()
    texts, labels = _require_text(rows, rows.column(text)), []
    for row, cell in enumerate(rows.column(label)):
        known = _LABELS.get(cell.strip().lower())
        if known is None:
            raise DataError(
                f"{rows.place(row)}: the label {cell[:_SHOWN_CHARACTERS]!r} is none of 0, 1, negative, positive; "
                f"correct it, or name another column with --set label_column=…"
            )
        labels.append(known)
    if not texts:
        raise DataError(f"{rows.path} holds no rows; each is a text and its label")
    return Texts(texts=texts, labels=labels)


def _which(rows: Rows, columns: Columns) -> tuple[str, str]:
    """The columns of text and label; of a file without names their places, from 1."""
    lower = {name.lower(): name for name in reversed(rows.names)}
    text = columns.text or next((lower[name] for name in TEXT_NAMES if name in lower), None)
    label = columns.label or next((lower[name] for name in LABEL_NAMES if name in lower), None)
    if text is not None and label is not None:
        return text, label
    if text is None and label is None and len(rows.names) == 2:
        for at, cell in enumerate(rows.names):
            if cell.strip().lower() in _LABELS:
                return ("2", "1") if at == 0 else ("1", "2")
    what = "texts" if text is None else "labels"
    there = ", ".join(name[:_SHOWN_CHARACTERS] for name in rows.names[:6])
    raise DataError(
        f"{rows.path} names no column of {what} in its first line ({there}); "
        f"say which with --set {'text' if text is None else 'label'}_column=NAME"
    )


def _test_of(rows: Rows, columns: Columns) -> Texts | None:
    """The test part, unless its labels are kept secret."""
    text, label = _which(rows, columns)
    is_secret = not text.isdecimal() and set(rows.column(label)) <= {_UNLABELLED, ""}
    return None if is_secret else _texts(rows, columns)


def _require_text(rows: Rows, cells: Sequence[str]) -> list[str]:
    texts = [_plain(cell) for cell in cells]
    for row, text in enumerate(texts):
        if not text:
            raise DataError(f"{rows.place(row)}: the text is empty; fill it in or remove the row")
    return texts


def _plain(cell: str) -> str:
    return cell.replace("<br />", " ").strip()


def _from_folders(folder: Path) -> Texts:
    texts: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(("neg", "pos")):
        for file in sorted((folder / name).glob("*.txt")):
            try:
                text = _plain(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                raise DataError(f"{file} cannot be read as UTF-8 text; convert or remove it") from None
            if not text:
                raise DataError(f"{file}, line 1: the text is empty; fill it in or remove the file")
            texts.append(text)
            labels.append(label)
    if not labels or len(set(labels)) < len(CLASSES):
        raise DataError(f"{folder} needs .txt files in both neg/ and pos/; the data set has them")
    return Texts(texts=texts, labels=labels)


def _from_hub(path: Path, columns: Columns) -> tuple[Texts, Texts | None]:
    name = str(path)
    if path.is_absolute() or name.startswith(".") or is_table(path) or len(path.parts) > 2:
        raise DataError(f"{path} does not exist; name a file or folder, or a data set of the Hugging Face hub")
    try:
        import datasets
    except ImportError:
        raise MissingExtra(
            f"{name} is no file or folder here, and a data set of the hub needs datasets: pip install 'ckptop[text]'"
        ) from None
    try:
        found: Any = datasets.load_dataset(name)
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise DataError(
            f"{name} is no file or folder here, and the hub gave no such data set ({first}); name a file or folder"
        ) from error
    if "train" not in found:
        raise DataError(f"{name} has no part train; it has {', '.join(found)}")
    train = _texts(_hub_rows(path, found["train"]), columns)
    return train, _test_of(_hub_rows(path, found["test"]), columns) if "test" in found else None


def _hub_rows(path: Path, part: Any) -> Rows:
    names = tuple(part.column_names)
    cells = [[str(row[name]) for name in names] for row in part]
    return Rows(path=path / str(part.split), names=names, cells=cells)
