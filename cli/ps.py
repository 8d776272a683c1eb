"""`ckptop ps`: every run's state, from two small files a run: no checkpoint is looked at."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ckptop.cli.common import default_store, json_option, print_json, print_table
from ckptop.cli.states import is_ascii_only, rank, state_cell
from ckptop.host.units import MISSING, format_age, format_count, format_duration, shorten_right
from ckptop.store.ending import ILL_STATES, LIVE_STATES, how_it_ended
from ckptop.store.records import Status
from ckptop.store.store import Store
from ckptop.store.views import RunHead

SHOWN = 20
"""Runs that ended well, the newest, are listed up to so many; who is live or ill always is."""

_WHY_CELLS = 60


@click.command()
@click.argument("stores", metavar="[STORE]…", type=click.Path(path_type=Path), nargs=-1)
@click.option("--all", "every", is_flag=True, help=f"Also what ended well before the newest {SHOWN}.")
@json_option
def ps(stores: tuple[Path, ...], every: bool, as_json: bool) -> None:
    """Print every run's state: live ones first, then those that failed or crashed, and why.

    --json prints all of them.
    """
    heads = [head for store in stores or (default_store(),) for head in Store.open(store).heads()]
    if as_json:
        print_json({"runs": [describe_head(head) for head in in_order(heads)]})
    else:
        print_heads(heads, every=every, several=len(stores) > 1)


def in_order(heads: Iterable[RunHead]) -> list[RunHead]:
    """Live ones by state and name, then ill ones, then the rest; what ended, newest first."""
    return sorted(heads, key=lambda head: (rank(head.state), -_ended(head), head.name))


def print_heads(heads: Iterable[RunHead], *, every: bool = False, several: bool = False) -> None:
    """The table; the store is a column of its own where there are several."""
    ordered, ascii_only, now = in_order(heads), is_ascii_only(), time.time()
    wanting = [head for head in ordered if head.state in LIVE_STATES | ILL_STATES]
    well = [head for head in ordered if head.state not in LIVE_STATES | ILL_STATES]
    shown = [*wanting, *(well if every else well[:SHOWN])]
    if not shown:
        click.echo("No runs. `ckptop train digits` makes one; `ckptop demo` shows two.")
        return
    head = ["run", "state", "process", "epoch", "step", "ETA", "beat", "why"]
    rows = [_row(one, now, ascii_only) for one in shown]
    if several:
        head = [*head[:1], "store", *head[1:]]
        rows = [[row[0], os.fspath(one.root.parent), *row[1:]] for one, row in zip(shown, rows, strict=True)]
    print_table(head, rows, right=frozenset(place + several for place in (3, 4, 5, 6)))
    if left := len(well) - (len(shown) - len(wanting)):
        click.echo(f"{format_count(left)} more stopped or finished; --all lists them.")


def lost_lines(status: Status | None) -> str:
    """That the disk refused lines of metrics; empty where it took them all."""
    return f"{status.lost_lines:,} lines of metrics were lost" if status is not None and status.lost_lines else ""


def describe_head(head: RunHead) -> dict[str, Any]:
    """A run's state as `--json` prints it."""
    status = head.status
    process = status.process if status is not None else None
    return {
        "run": head.name,
        "state": head.state,
        "live": head.state in LIVE_STATES,
        "why": how_it_ended(status, head.state) or head.problem or lost_lines(status) or None,
        "lost_lines": status.lost_lines if status else None,
        "phase": status.phase if status else None,
        "attempt": status.attempt if status else None,
        "epoch": status.epoch if status else None,
        "total_epochs": status.total_epochs if status else None,
        "step": status.step if status else None,
        "total_steps": status.total_steps if status else None,
        "progress": head.progress,
        "eta_seconds": head.eta_seconds,
        "heartbeat": status.heartbeat if status else None,
        "heartbeat_age_seconds": max(0.0, time.time() - status.heartbeat) if status else None,
        "process": process,
        "exit": status.exit if status else None,
        "path": str(head.root),
    }


def _row(head: RunHead, now: float, ascii_only: bool) -> list[str]:
    status = head.status
    why = how_it_ended(status, head.state) or head.problem or lost_lines(status)
    state = state_cell(head.state, ascii_only=ascii_only)
    if status is None:
        return [head.name, state, MISSING, MISSING, MISSING, "", MISSING, shorten_right(why, _WHY_CELLS)]
    process = f"{status.process.pid}@{status.process.host}"
    epoch = str(status.epoch) + (f"/{status.total_epochs}" if status.total_epochs else "")
    step = format_count(status.step) + (f"/{status.total_steps:,}" if status.total_steps else "")
    eta = format_duration(head.eta_seconds) if head.eta_seconds is not None else ""
    beat = format_age(now - status.heartbeat)
    return [head.name, state, process, epoch, step, eta, beat, shorten_right(why, _WHY_CELLS)]


def _ended(head: RunHead) -> float:
    return head.status.heartbeat if head.status is not None and head.state not in LIVE_STATES else 0.0
