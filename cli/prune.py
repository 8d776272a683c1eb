"""`ckptop prune`: the plan first, with reasons and bytes; then old checkpoints go to the trash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckptop.cli.common import json_option, print_json, print_table, store_option
from ckptop.cli.quantities import duration
from ckptop.host.units import format_bytes, format_count
from ckptop.store.actions import plan_prune
from ckptop.store.actions import prune as carry_out
from ckptop.store.errors import UsageError
from ckptop.store.evaluations import mode_of
from ckptop.store.find import find_run
from ckptop.store.retention import Plan, Policy
from ckptop.store.store import Store
from ckptop.store.views import RunView


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--keep-last", type=click.IntRange(0), metavar="N", help="Keep the newest N training checkpoints.")
@click.option("--keep-every", type=click.IntRange(1), metavar="K", help="Keep those of every Kth epoch.")
@click.option("--keep-every-steps", type=click.IntRange(1), metavar="K", help="Keep those of every Kth step.")
@click.option("--keep-spacing", type=duration, metavar="TIME", help="Keep one every so often: 30m, 2h.")
@click.option("--keep-best", type=click.IntRange(0), metavar="N", help="Keep the best N by --metric.")
@click.option("--metric", metavar="NAME", help="Rank by this metric (default: the run's).")
@click.option("--milestones", is_flag=True, help="Let the policy delete milestones too.")
@click.option("--dry-run", is_flag=True, help="Only print the plan.")
@store_option
@json_option
def prune(
    run: str,
    keep_last: int | None,
    keep_every: int | None,
    keep_every_steps: int | None,
    keep_spacing: float | None,
    keep_best: int | None,
    metric: str | None,
    milestones: bool,
    dry_run: bool,
    store_path: Path,
    as_json: bool,
) -> None:
    """Move a run's old checkpoints to its trash. Newest, best and pinned ones always stay."""
    view = find_run(Store.open(store_path, missing_ok=True), run)
    if metric is not None and keep_best is None:
        raise UsageError("--metric goes with --keep-best")
    if metric is None and keep_best is not None:
        if view.metric is None:
            raise UsageError(f"{run} names no metric; say which with --metric")
        metric = view.metric.name
    if all(rule is None for rule in (keep_last, keep_every, keep_every_steps, keep_spacing, keep_best)):
        keep_last = 3
    mode = mode_of(view, metric) if metric is not None else None
    policy = Policy(
        keep_last=keep_last, keep_every_epochs=keep_every, keep_every_steps=keep_every_steps,
        keep_spacing_seconds=keep_spacing, keep_best=keep_best, metric=metric, mode=mode,
        tiers=("training", "milestone") if milestones else ("training",),
    )  # fmt: skip
    plan = plan_prune(view, [policy]) if dry_run else carry_out(view, [policy])[0]
    if as_json:
        print_json(describe_plan(view, plan, dry_run))
    else:
        _print(plan, dry_run)


def describe_plan(view: RunView, plan: Plan, dry_run: bool) -> dict[str, Any]:
    """A plan as `--json` prints it."""
    return {
        "run": view.name,
        "dry_run": dry_run,
        "kept": [{"checkpoint": item.info.key, "reasons": list(item.reasons)} for item in plan.kept],
        "deleted": [{"checkpoint": item.info.key, "reason": item.reason} for item in plan.deleted],
        "freed_now_bytes": 0,
        "freed_after_purge_bytes": plan.deleted_bytes,
    }


def _print(plan: Plan, dry_run: bool) -> None:
    rows = [
        ["✗", item.info.label, format_count(item.info.step), format_bytes(item.info.size_bytes), item.reason]
        for item in plan.deleted
    ]
    rows += [
        ["✓", k.info.label, format_count(k.info.step), format_bytes(k.info.size_bytes), ", ".join(k.reasons)]
        for k in plan.kept
    ]
    if rows:
        print_table(["", "checkpoint", "step", "size", "why"], rows, right=frozenset({2, 3}))
    size = format_bytes(plan.deleted_bytes)
    if not plan.deleted:
        click.echo("Nothing to delete.")
    elif dry_run:
        click.echo(f"Would move {len(plan.deleted)} to trash: {size} freed once emptied. Nothing was changed.")
    else:
        click.echo(f"{len(plan.deleted)} in trash, {size} freed once emptied. `ckptop restore` undoes.")
