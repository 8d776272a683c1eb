"""How `ckptop show` prints: a title, and under it names and values, aligned. Every string is cleaned."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click
import msgspec

from ckptop.cli.common import print_table
from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, cell_width, format_age, format_bytes, format_cell, format_count
from ckptop.store.flatten import flatten
from ckptop.store.manifest import to_number
from ckptop.store.records import Actor
from ckptop.store.tensor_table import TensorTable

Value = str | Iterable[str] | None
"""What stands beside a name: one line, several, or nothing, and then the name is left out too."""


def print_facts(title: str, facts: Mapping[str, Value]) -> None:
    """A title and what is known, names aligned; the lines of a value stand below each other."""
    known = [(name, [value] if isinstance(value, str) else list(value or ())) for name, value in facts.items()]
    known = [(clean(name), lines) for name, lines in known if any(lines)]
    if not known:
        return
    if title:
        click.echo(f"\n{title}")
    most = max(cell_width(name) for name, _ in known)
    for name, lines in known:
        for place, line in enumerate(lines):
            label = name if place == 0 else ""
            click.echo(f"  {label}{' ' * (most - cell_width(label))}  {clean(line)}")


def print_metrics(metrics: Mapping[str, float | str]) -> None:
    """Metrics as a section of their own."""
    print_facts("metrics", {name: format_cell(to_number(value)) for name, value in metrics.items()})


def print_tree(title: str, tree: Mapping[str, Any]) -> None:
    """A configuration as a section, with dotted keys."""
    print_facts(title, {name: plain(value) for name, value in flatten(tree).items()})


def plain(value: object) -> str:
    """A configured value as it is typed; None is a dash."""
    if isinstance(value, str):
        return value or '""'
    return MISSING if value is None else msgspec.json.encode(value).decode()


def print_tensors(tensors: TensorTable | str, most: int | None) -> None:
    """The groups, and the largest `most` tensors or, in the order of the file, all."""
    if isinstance(tensors, str):
        print_facts("tensors", {"not known": tensors})
        return
    click.echo("\ntensors")
    rows = [["", group.name, format_count(group.tensors), format_count(group.elements), format_bytes(group.size_bytes)]
            for group in (*tensors.groups, tensors.total)]  # fmt: skip
    print_table(["", "group", "tensors", "elements", "size"], rows, right=frozenset({2, 3, 4}))
    shown = tensors.entries if most is None else tensors.largest(most)
    if not shown:
        return
    click.echo()
    rows = [["", entry.name, entry.dtype, shape_text(entry.shape), format_bytes(entry.size_bytes)] for entry in shown]
    print_table(["", "tensor", "dtype", "shape", "size"], rows, right=frozenset({4}))
    if left := len(tensors.entries) - len(shown):
        click.echo(f"  {format_count(left)} smaller ones; --tensors prints all.")


def shape_text(shape: list[int]) -> str:
    """`64x1x3x3`; of more than eight extents the first."""
    return "x".join(str(extent) for extent in shape[:8]) + "x…" * (len(shape) > 8) if shape else "scalar"


def who(actor: Actor) -> str:
    """`ada@box1`."""
    return f"{actor.user}@{actor.host}"


def moment(seconds: float) -> str:
    """`2025-11-21 12:41:03, 3 h ago`, in local time."""
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}, {age(seconds)} ago"
    except (ValueError, OverflowError, OSError):  # a file's own time may be anything
        return MISSING


def age(seconds: float) -> str:
    """`3 h`, since a moment of Unix time."""
    return format_age(time.time() - seconds)
