"""`ckptop ls`: the runs of a store, or the checkpoints of one run."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import click

from ckptop.cli.common import json_option, print_json, print_table, store_or_run
from ckptop.cli.garbage import nothing_collected
from ckptop.host.units import (
    format_age,
    format_bytes,
    format_cell,
    format_count,
    format_duration,
    format_percent,
    format_value,
)
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.manifest import to_stored
from ckptop.store.store import Store
from ckptop.store.views import RunView


@click.command()
@click.argument("where", metavar="[STORE|RUN]", required=False)
@click.option("--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), help="The store RUN is in.")
@json_option
def ls(where: str | None, store_path: Path | None, as_json: bool) -> None:
    """List the runs of a store, or the checkpoints of a run."""
    with nothing_collected():
        _list(where, store_path, as_json)


def _list(where: str | None, store_path: Path | None, as_json: bool) -> None:
    store, view = store_or_run(where, store_path)
    if view is None:
        views = store.runs()
        if as_json:
            print_json({"store": str(store.root), "runs": [describe_run(view) for view in views]})
        else:
            _print_runs(store, views)
        return
    if as_json:
        best, latest = view.best, view.latest
        checkpoints = [describe_checkpoint(info, best, latest) for info in view.checkpoints]
        print_json({**describe_run(view), "checkpoints": checkpoints})
    else:
        _print_checkpoints(view)


def describe_run(view: RunView) -> dict[str, Any]:
    """A run as `--json` prints it."""
    status, record, metric = view.status, view.record, view.metric
    best, latest = view.best, view.latest
    return {
        "run": view.name,
        "state": view.state,
        "problem": view.problem,
        "task": record.task if record else None,
        "attempt": status.attempt if status else None,
        "epoch": status.epoch if status else None,
        "total_epochs": status.total_epochs if status else None,
        "step": status.step if status else None,
        "total_steps": status.total_steps if status else None,
        "progress": view.progress,
        "eta_seconds": view.eta_seconds,
        "metric": {"name": metric.name, "mode": metric.mode} if metric else None,
        "best": describe_checkpoint(best, best, latest) if best else None,
        "latest": latest.key if latest else None,
        "result": {name: to_stored(value) for name, value in view.result.items()},
        "checkpoint_count": len(view.checkpoints),
        "size_bytes": view.size_bytes,
        "trash_count": view.trash_count,
        "pid": status.process.pid if status else None,
        "exit": {"code": status.exit.code, "error": status.exit.error} if status and status.exit else None,
        "path": str(view.root),
    }


def describe_checkpoint(
    info: CheckpointInfo, best: CheckpointInfo | None, latest: CheckpointInfo | None
) -> dict[str, Any]:
    """A checkpoint as `--json` prints it, beside its run's best and latest."""
    return {
        "checkpoint": info.key,
        "tier": info.tier,
        "epoch": info.epoch,
        "step": info.step,
        "metrics": dict(info.manifest.metrics) if info.manifest else {},
        "evaluations": dict(info.manifest.evaluations) if info.manifest else {},
        "size_bytes": info.size_bytes,
        "time": info.time,
        "attempt": info.attempt,
        "latest": info is latest,
        "best": info is best,
        "pinned": info.pinned,
        "problem": info.problem,
        "path": str(info.path),
    }


def _print_runs(store: Store, views: list[RunView]) -> None:
    if not views:
        click.echo(f"No runs in {store.root}. `ckptop train digits` makes one; `ckptop demo` shows two.")
        return
    rows = []
    for view in views:
        eta = format_duration(view.eta_seconds) if view.eta_seconds is not None else ""
        tests = ", ".join(f"{name} {format_value(v)}" for name, v in view.result.items() if name.startswith("test/"))
        rows.append([
            view.name, view.state, format_percent(view.progress) if view.progress is not None else "—", eta,
            format_count(view.status.step) if view.status else "—",
            format_value(view.best_value), view.metric.name if view.metric else "—",
            format_count(len(view.checkpoints)), format_bytes(view.size_bytes), view.problem or tests,
        ])  # fmt: skip
    head = ["run", "state", "done", "ETA", "step", "best", "of", "checkpoints", "size", "test"]
    print_table(head, rows, right=frozenset({2, 3, 4, 5, 7, 8}))


def _print_checkpoints(view: RunView) -> None:
    if view.problem:
        click.echo(view.problem, err=True)
    if not view.checkpoints:
        click.echo(f"{view.name} has no checkpoint yet; the first comes with its first save.")
        return
    metric, now = view.metric, time.time()
    best, latest = view.best, view.latest
    evaluated = _evaluation_columns(view)
    size_of = functools.lru_cache(format_bytes)  # of one run most are of one size
    rows = []
    for info in reversed(view.checkpoints):
        words = ["latest"] * (info is latest) + ["best"] * (info is best) + ["pin"] * info.pinned
        value = info.metric(metric.name) if metric else None
        rows.append([
            info.tier, " ".join(words) if info.problem is None else "! bad", format_count(info.epoch),
            format_count(info.step), format_cell(value), *(format_cell(info.metric(name)) for name in evaluated),
            size_of(info.size_bytes), format_age(now - info.time), info.problem or info.name,
        ])  # fmt: skip
    head = ["tier", "mark", "epoch", "step", metric.name if metric else "metric", *evaluated, "size", "age", "file"]
    print_table(head, rows, right=frozenset(range(2, len(head) - 1)))


def _evaluation_columns(view: RunView) -> list[str]:
    """Of each evaluation the metric that says what best means in the run; of a run that names none, all."""
    found = [info.manifest for info in view.checkpoints if info.manifest is not None and info.manifest.evaluations]
    named = dict.fromkeys(name for manifest in found for name in manifest.evaluated)
    if view.metric is None:
        return list(named)
    own = view.metric.name.rpartition("/")[2]
    return [name for name in named if name.rpartition("/")[2] == own]
