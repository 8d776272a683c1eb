"""What every command shares: options, the store a command means, tables, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ckptop.host.terminal import clean
from ckptop.store.errors import NotFound
from ckptop.store.names import is_run_name
from ckptop.store.store import Store
from ckptop.store.views import RunView

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_STORE = "./runs"
STORE_VARIABLE = "CKPTOP_STORE"


def store_option(function: F) -> F:
    """`--store DIR`."""
    return click.option(
        "--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), default=default_store,
        help=f"The store (default: ${STORE_VARIABLE}, else {DEFAULT_STORE}).",
    )(function)  # fmt: skip


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(function)


def default_store() -> Path:
    """$CKPTOP_STORE, else ./runs."""
    return Path(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)


def store_or_run(where: str | None, store_path: Path | None) -> tuple[Store, RunView | None]:
    """What `[STORE|RUN]` means: a run of the store, else the directory of a run or a stand-alone set, else a store.

    Raises:
        NotFound: It is none of these.
    """
    root = store_path or default_store()
    if where is None:
        return Store.open(root), None
    if is_run_name(where) and (root / where / "run.json").exists():
        return Store.open(root), Store.open(root).run(where)
    path = Path(where).expanduser()
    from ckptop.store.find import run_at

    if (view := run_at(path)) is not None:
        return Store.open(view.root if view.is_standalone else view.root.parent), view
    if path.exists() and store_path is None:
        return Store.open(path), None
    if root.exists():
        return Store.open(root), Store.open(root).run(where)  # its error lists the runs there are
    raise NotFound(f"{where} is neither a run in {root} nor a store; `ckptop train` makes one")


def names_file(text: str) -> bool:
    """Whether a person who writes this means a checkpoint or a release, rather than a run or a store."""
    if Path(text).expanduser().is_dir():
        return False
    from ckptop.store.find import is_release

    return ":" in text or text.endswith(".pt") or is_release(text)


def print_json(value: object) -> None:
    """Print a value as indented JSON; NaN and infinities as strings."""
    import json

    from ckptop.store.lines import to_json

    # ASCII alone: a file's string may hold what steers a terminal, 8-bit forms and DEL among it.
    click.echo(json.dumps(to_json(value), indent=2).replace("\x7f", "\\u007f"))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
    """Print columns two spaces apart; `right` names the right-aligned ones. Cells are cleaned."""
    columns = [
        _padded(_cleaned(column), to_right=place in right) for place, column in enumerate(zip(head, *rows, strict=True))
    ]
    click.echo("\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True)))


def _cleaned(cells: Sequence[str]) -> Sequence[str]:
    text = "".join(cells)  # at once: ten thousand rows have eighty thousand cells
    return cells if text.isascii() and text.isprintable() else [clean(cell) for cell in cells]


def _padded(cells: Sequence[str], *, to_right: bool) -> list[str]:
    """The cells of a column, all as wide as the widest."""
    if "".join(cells).isascii():  # a character is a cell, and nothing need be called for each
        most = max(map(len, cells))
        return [cell.rjust(most) for cell in cells] if to_right else [cell.ljust(most) for cell in cells]
    from ckptop.host.units import cell_width

    widths = list(map(cell_width, cells))
    most = max(widths)
    if to_right:
        return [" " * (most - width) + cell for cell, width in zip(cells, widths, strict=True)]
    return [cell + " " * (most - width) for cell, width in zip(cells, widths, strict=True)]


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    try:
        return sys.stdout.isatty()
    except ValueError:  # closed
        return False
