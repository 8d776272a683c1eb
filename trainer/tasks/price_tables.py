"""The files with prices: which there are, what they hold in words, and what tells them apart."""

from __future__ import annotations

from pathlib import Path

import xxhash

from ckptop.store.errors import DataError, UsageError
from ckptop.trainer.tasks.read_rows import Rows, is_table, read_rows


def read_tables(path: Path | None) -> tuple[Rows, Rows | None]:
    """The rows to train on, and those of a test file where there is one."""
    if path is None:
        raise UsageError("price needs a table: --data FILE, or a folder with train.csv and test.csv")
    if not path.is_dir():
        return read_rows(path), None
    tables = sorted(file for file in path.iterdir() if is_table(file))
    named = {
        part: next((file for file in tables if file.name.startswith(f"{part}.")), None) for part in ("train", "test")
    }
    train = named["train"] or (tables[0] if len(tables) == 1 else None)
    if train is None:
        raise DataError(f"{path} holds no train.csv and no single table; name the file")
    return read_rows(train), read_rows(named["test"]) if named["test"] is not None else None


def told(kinds: dict[str, str]) -> str:
    """How many columns of each kind there are: `6 numbers, 3 categories`."""
    numbers = {kind: list(kinds.values()).count(kind) for kind in ("number", "category", "text")}
    plural = {"number": "numbers", "category": "categories", "text": "texts"}
    return ", ".join(f"{count} {kind if count == 1 else plural[kind]}" for kind, count in numbers.items() if count)


def hash_of(*parts: Rows | None) -> str:
    """xxh3-128 of the names and cells."""
    digest = xxhash.xxh3_128()
    for part in parts:
        if part is not None:
            digest.update(repr(part.names).encode())
            for row in part.cells:
                digest.update("\x1f".join(row).encode(errors="surrogatepass") + b"\n")
    return str(digest.hexdigest())
