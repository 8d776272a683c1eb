"""`ckptop diff`: in what two checkpoints, releases or runs differ."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.termui import progressbar

from ckptop.cli.common import default_store, json_option, names_file, print_json, print_table, store_or_run
from ckptop.cli.show_parts import plain, shape_text
from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_cell, format_count
from ckptop.store.difference import Change, Side, changes, file_side, run_side
from ckptop.store.errors import EXIT_DONE, EXIT_NO, UsageError
from ckptop.store.manifest import TensorEntry
from ckptop.store.store import Store
from ckptop.store.tensor_difference import TensorDifference, compare_tensors

MOST = 10
"""Tensors of a kind that are listed unless all are asked for."""


@click.command()
@click.argument("a", metavar="CHECKPOINT|RUN")
@click.argument("b", metavar="CHECKPOINT|RUN")
@click.option("--tensors", "all_tensors", is_flag=True, help=f"Every tensor that differs, not only the first {MOST}.")
@click.option("--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), help="The store they are in.")
@json_option
@click.pass_context
def diff(ctx: click.Context, a: str, b: str, all_tensors: bool, store_path: Path | None, as_json: bool) -> None:
    """Print in what two checkpoints, or two runs, differ: configuration, metrics, environment, and tensors bit for bit.

    A checkpoint may be a release (MODEL@1.2.0) or the path of any .pt. RUN alone is the run, RUN:latest its newest.

    Exit codes: 0 nothing differs; 1 something does; 2 wrong use; 11 not found; 12 one is no whole .pt.
    """
    sides = _sides(a, b, store_path)
    found = _changes(*sides)
    tensors = _tensors(*sides, quiet=as_json)
    same = not any(found.values()) and (tensors is None or tensors.is_empty)
    if as_json:
        print_json(_describe(sides, found, tensors, equal=same))
    else:
        _print(sides, found, tensors, None if all_tensors else MOST)
        if same:
            click.echo("Nothing differs.")
    ctx.exit(EXIT_DONE if same else EXIT_NO)


def _sides(a: str, b: str, store_path: Path | None) -> tuple[Side, Side]:
    store = Store(store_path or default_store())
    if names_file(a) != names_file(b):
        one, run = (a, b) if names_file(a) else (b, a)
        raise UsageError(f"{one} is a checkpoint and {run} is not; compare two of a kind, such as {run}:latest")
    if names_file(a):
        return file_side(store, a), file_side(store, b)
    views = [(text, store_or_run(text, store_path)[1]) for text in (a, b)]
    for text, view in views:
        if view is None:
            raise UsageError(f"{text} is a store; compare two checkpoints or two runs")
    one_side, other_side = (run_side(view) for _text, view in views if view is not None)
    return one_side, other_side


def _changes(a: Side, b: Side) -> dict[str, list[Change]]:
    """By section; what is known of one of the two alone is left out."""
    found = {}
    for section in a.sections:
        one, other = a.sections[section], b.sections[section]
        if one is not None and other is not None:
            found[section] = changes(one, other)
    return found


def _tensors(a: Side, b: Side, *, quiet: bool) -> TensorDifference | None:
    if a.path is None or b.path is None:
        return None
    hidden = quiet or not sys.stderr.isatty()
    with progressbar(length=a.path.stat().st_size, label="comparing", file=sys.stderr, hidden=hidden) as bar:
        return compare_tensors(a.path, b.path, bar.update)


def _print(
    sides: tuple[Side, Side], found: Mapping[str, list[Change]], tensors: TensorDifference | None, most: int | None
) -> None:
    for name, side in zip("AB", sides, strict=True):
        click.echo(clean(f"{name}  {side.label}"))
    for section, changed in found.items():
        if changed:
            click.echo(f"\n{section}")
            rows = [["", change.name, *(_cell(section, change, side) for side in "ab")] for change in changed]
            print_table(["", "name", "A", "B"], rows)
    unknown = [section for section in sides[0].sections if section not in found]
    if unknown:
        click.echo(f"\nNot known of both: {', '.join(unknown)}.")
    if tensors is not None:
        _print_tensors(tensors, most)


def _cell(section: str, change: Change, side: str) -> str:
    if side not in change.values:
        return MISSING
    value = change.values[side]
    return format_cell(value) if section == "metrics" else plain(value)


def _print_tensors(tensors: TensorDifference, most: int | None) -> None:
    click.echo("\ntensors")
    click.echo(f"  {format_count(tensors.equal)} equal, bit for bit")
    one = ["tensor", "dtype", "shape"]
    kinds: list[tuple[str, list[str], list[list[str]]]] = [
        ("only in A", one, [_row(entry) for entry in tensors.only_in_a]),
        ("only in B", one, [_row(entry) for entry in tensors.only_in_b]),
        ("of another dtype or shape", ["tensor", "A", "", "B", ""],
         [[*_row(a), *_row(b)[1:]] for a, b in tensors.described]),
        ("with other elements", one, [_row(entry) for entry in tensors.elements]),
    ]  # fmt: skip
    for title, head, rows in kinds:
        if not rows:
            continue
        click.echo(f"  {format_count(len(rows))} {title}\n")
        shown = rows if most is None else rows[:most]
        print_table(["", *head], [["", *row] for row in shown])
        if left := len(rows) - len(shown):
            click.echo(f"  {format_count(left)} more; --tensors prints all.")


def _row(entry: TensorEntry) -> list[str]:
    return [entry.name, entry.dtype, shape_text(entry.shape)]


def _describe(
    sides: tuple[Side, Side], found: Mapping[str, list[Change]], tensors: TensorDifference | None, *, equal: bool
) -> dict[str, Any]:
    return {
        "a": sides[0].label,
        "b": sides[1].label,
        "equal": equal,
        "differs": {section: {change.name: change.values for change in changed} for section, changed in found.items()},
        "not_known": [section for section in sides[0].sections if section not in found],
        "tensors": None if tensors is None else {
            "equal": tensors.equal,
            "only_in_a": _names(tensors.only_in_a),
            "only_in_b": _names(tensors.only_in_b),
            "described": [{"name": one.name, "a": _kind(one), "b": _kind(other)} for one, other in tensors.described],
            "elements": _names(tensors.elements),
        },
    }  # fmt: skip


def _names(entries: Iterable[TensorEntry]) -> list[str]:
    return [entry.name for entry in entries]


def _kind(entry: TensorEntry) -> dict[str, Any]:
    return {"dtype": entry.dtype, "shape": entry.shape}
