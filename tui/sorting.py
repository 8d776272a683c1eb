"""The orders of the lists, and which run stands under which; the reader needs the first run too."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckptop.tui.model import STATE_ORDER, CheckpointRow, CheckpointTableModel, RunRow

if TYPE_CHECKING:
    from ckptop.tui.alert_rows import AlertRow
    from ckptop.tui.trash_items import TrashItem

SORTS = ("newest first", "by name", "by state", "by progress", "by best", "by size")
CHECKPOINT_SORTS = ("newest first", "by step", "by tier", "by metric", "by size")
ALERT_SORTS = ("newest first", "by run", "by kind")
TRASH_SORTS = ("newest first", "by run", "by tier", "by kind", "by step", "by size")

_PLACE_OF_STATE = {state: place for place, state in enumerate(STATE_ORDER)}


class Place(NamedTuple):
    """Where a run stands in the list."""

    run: RunRow
    depth: int = 0
    """0 stands at the edge; a fork or a trial one deeper than what it belongs to."""
    below: int = 0
    """How many stand under it, at any depth."""
    above: str | None = None
    """Name of the run it stands under."""


def sort_runs(runs: Sequence[RunRow], sort: int, *, reverse: bool) -> list[RunRow]:
    """Order `runs` by the column of `SORTS`; in the first order, forks follow their parents."""
    return [place.run for place in place_runs(runs, sort, reverse=reverse)]


def place_runs(
    runs: Sequence[RunRow], sort: int, *, reverse: bool, grouped: bool = False, folded: Collection[str] = ()
) -> list[Place]:
    """Order runs and nest them.

    Args:
        runs: To be listed.
        sort: The column of `SORTS`.
        reverse: Whether it is turned around.
        grouped: Whether the trials of a sweep stand under its best one. Forks stand under their parents then and in
            the first order; by any other column a list is flat.
        folded: Names of the runs whose subordinates are not listed.
    """
    ordered = sorted(runs, key=_run_order(sort), reverse=reverse)
    if sort and not grouped:
        return [Place(run) for run in ordered]
    above = _parents(ordered, grouped=grouped)
    children: dict[str | None, list[RunRow]] = {}
    for run in ordered:
        children.setdefault(above.get(run.name), []).append(run)
    return _nested(children, folded)


def _run_order(sort: int) -> Callable[[RunRow], tuple[float, float | str]]:
    orders: tuple[Callable[[RunRow], tuple[float, float | str]], ...] = (
        lambda run: (-run.created, run.name),
        lambda run: (0.0, run.name),
        lambda run: (float(_PLACE_OF_STATE[run.state]), run.name),
        lambda run: (-(run.progress or 0.0), run.name),
        lambda run: (-run.best if run.best is not None else float("inf"), run.name),
        lambda run: (-float(run.size_bytes), run.name),
    )
    return orders[sort]


def _parents(ordered: Sequence[RunRow], *, grouped: bool) -> dict[str, str]:
    """What each run stands under: its parent, or the best of its sweep; no run stands under itself in a circle."""
    names = {run.name for run in ordered}
    above = {run.name: run.parent for run in ordered if run.parent in names and run.parent != run.name and run.parent}
    if grouped:
        leaders: dict[str, RunRow] = {}
        for run in ordered:
            if run.sweep is not None:
                known = leaders.get(run.sweep)
                leaders[run.sweep] = run if known is None or _is_better(run, known) else known
        for run in ordered:
            if run.sweep is not None and leaders[run.sweep].name != run.name:
                above[run.name] = leaders[run.sweep].name
            elif run.sweep is not None:
                above.pop(run.name, None)
    for name in list(above):
        seen, here = {name}, above.get(name)
        while here is not None and here not in seen:
            seen.add(here)
            here = above.get(here)
        if here is not None:
            del above[name]
    return above


def _is_better(run: RunRow, other: RunRow) -> bool:
    if run.best is None or math.isnan(run.best):
        return False
    if other.best is None or math.isnan(other.best):
        return True
    return run.best < other.best if run.lower_is_better else run.best > other.best


def _nested(children: dict[str | None, list[RunRow]], folded: Collection[str]) -> list[Place]:
    """Each run before what stands under it; without recursion, for a stranger's forks may go a thousand deep."""
    ordered: list[tuple[RunRow, int, str | None]] = []
    pending: list[tuple[RunRow, int, str | None]] = [(run, 0, None) for run in reversed(children.get(None, []))]
    while pending:
        run, depth, above = pending.pop()
        ordered.append((run, depth, above))
        pending += [(child, depth + 1, run.name) for child in reversed(children.get(run.name, []))]
    below: dict[str, int] = {}
    for run, _, above in reversed(ordered):
        if above is not None:
            below[above] = below.get(above, 0) + 1 + below.get(run.name, 0)
    places, limit = [], math.inf
    for run, depth, above in ordered:
        if depth > limit:
            continue
        limit = depth if run.name in folded else math.inf
        places.append(Place(run, depth, below.get(run.name, 0), above))
    return places


def checkpoint_order(model: CheckpointTableModel, sort: int) -> Callable[[CheckpointRow], tuple[float | str, ...]]:
    """The key to sort rows of `model` with, by the column of `CHECKPOINT_SORTS`; equals keep the order of the model."""
    place = {row.key: float(index) for index, row in enumerate(model.rows)}
    column = model.best_column or 0

    def metric(row: CheckpointRow) -> float:
        value = row.values[column] if column < len(row.values) else None
        return math.inf if value is None or math.isnan(value) else -value

    keys: tuple[Callable[[CheckpointRow], tuple[float | str, ...]], ...] = (
        lambda row: (place[row.key],),
        lambda row: (-row.step, place[row.key]),
        lambda row: (row.tier, place[row.key]),
        lambda row: (metric(row), place[row.key]),
        lambda row: (-row.size_bytes, place[row.key]),
    )
    return keys[sort]


def alert_key(row: AlertRow, sort: int) -> str:
    """What an alert is sorted by in the column of `ALERT_SORTS`; the first is the order of the store."""
    return ("", row.label, row.kind)[sort]


def trash_key(item: TrashItem, sort: int) -> str | float:
    """What an item of the trash is sorted by in the column of `TRASH_SORTS`; a whole run has no step and comes last."""
    step = -float(item.step) if item.step is not None else math.inf
    return ("", item.run, item.what, item.kind, step, -float(item.size_bytes))[sort]
