"""The orders of the run list; the reader needs the first one too, to know which run is on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckptop.tui.model import STATE_ORDER, RunRow

SORTS = ("newest first", "by name", "by state", "by progress", "by best")

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
