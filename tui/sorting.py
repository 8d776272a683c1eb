"""The orders of both lists; the reader needs the first of the runs too, to know which one is on top."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ckptop.tui.model import STATE_ORDER, CheckpointRow, CheckpointTableModel, RunRow

SORTS = ("newest first", "by name", "by state", "by progress", "by best")
CHECKPOINT_SORTS = ("newest first", "by step", "by tier", "by metric", "by size")

_PLACE_OF_STATE = {state: place for place, state in enumerate(STATE_ORDER)}


def sort_runs(runs: Sequence[RunRow], sort: int, *, reverse: bool) -> list[RunRow]:
    """Order `runs` by the column of `SORTS`; in the first order, forks follow their parents."""
    if sort == 0:
        return _newest_first(runs, reverse=reverse)
    keys: dict[int, Callable[[RunRow], tuple[float, str]]] = {
        1: lambda run: (0.0, run.name),
        2: lambda run: (float(_PLACE_OF_STATE[run.state]), run.name),
        3: lambda run: (-(run.progress or 0.0), run.name),
        4: lambda run: (-run.best if run.best is not None else float("inf"), run.name),
    }
    return sorted(runs, key=keys[sort], reverse=reverse)


def _newest_first(runs: Sequence[RunRow], *, reverse: bool) -> list[RunRow]:
    names = {run.name for run in runs}
    children: dict[str | None, list[RunRow]] = {}
    for run in sorted(runs, key=lambda run: (run.created, run.name), reverse=not reverse):
        parent = run.parent if run.parent in names and run.parent != run.name else None
        children.setdefault(parent, []).append(run)
    ordered: list[RunRow] = []
    pending = list(reversed(children.get(None, [])))
    while pending:
        run = pending.pop()
        ordered.append(run)
        pending.extend(reversed(children.pop(run.name, [])))
    if len(ordered) < len(runs):  # two runs that each claim to stem from the other
        listed = {run.name for run in ordered}
        ordered += [run for run in runs if run.name not in listed]
    return ordered


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
