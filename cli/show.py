"""`ckptop show`: everything known of a checkpoint, a run or a release."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec

from ckptop.cli import show_text
from ckptop.cli.common import default_store, json_option, names_file, print_json, store_or_run
from ckptop.cli.listing import describe_checkpoint, describe_run
from ckptop.cli.releases import describe_release
from ckptop.cli.show_parts import print_tensors
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import EXIT_DONE, Damaged, StoreError, UsageError
from ckptop.store.facts import (
    CheckpointFacts,
    RunFacts,
    checkpoint_facts,
    release_config,
    run_facts,
    store_of,
    typed,
)
from ckptop.store.find import find_put_away, find_release, is_release, release_at
from ckptop.store.flatten import flatten
from ckptop.store.records import Attempt
from ckptop.store.registry import ReleaseLine, read_registry, release_path
from ckptop.store.releases import release_problem
from ckptop.store.store import Store
from ckptop.store.tensor_table import TensorTable, elements_of, read_tensor_table
from ckptop.store.views import RunView

LARGEST = 10
"""Tensors shown unless all are asked for."""


@click.command()
@click.argument("what", metavar="CHECKPOINT|RUN|MODEL@VERSION")
@click.option("--tensors", "all_tensors", is_flag=True, help=f"Every tensor, not only the largest {LARGEST}.")
@click.option("--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), help="The store it is in.")
@json_option
@click.pass_context
def show(ctx: click.Context, what: str, all_tensors: bool, store_path: Path | None, as_json: bool) -> None:
    """Print everything known of a checkpoint, a run or a release; RUN alone is the run, RUN:latest its newest.

    Exit codes: 0 done; 2 wrong use; 11 not found; 12 what is shown is damaged: the rest of it was printed.
    """
    if names_file(what) or Path(what).is_file():
        store = Store.open(store_path or default_store(), missing_ok=True)
        released = (store, find_release(store, what)) if is_release(what) else release_at(Path(what))
        if released is not None:
            ctx.exit(_show_release(*released, all_tensors, as_json))
        view, info = find_put_away(store, what)
        ctx.exit(_show_checkpoint(view, info, all_tensors, as_json))
    if all_tensors:
        raise UsageError(f"--tensors goes with a checkpoint or a release, such as {what}:latest")
    ctx.exit(_show_run(_run(what, store_path), as_json))


def _run(what: str, store_path: Path | None) -> RunView:
    _store, view = store_or_run(what, store_path)
    if view is None:
        raise UsageError(f"{what} is a store; `ckptop ls {what}` lists its runs")
    return view


def _show_checkpoint(view: RunView, info: CheckpointInfo, all_tensors: bool, as_json: bool) -> int:
    facts, tensors = checkpoint_facts(view, info), _tensors_of(info.path)
    if not as_json:
        show_text.print_checkpoint(view, info, facts)
        print_tensors(tensors, None if all_tensors else LARGEST)
        return _exit_code(info.problem is not None)
    manifest = info.manifest
    print_json({
        "kind": "checkpoint",
        "run": view.name,
        **describe_checkpoint(info, view.best, view.latest),
        "pin": manifest.pinned if manifest else None,
        "promoted": manifest.promoted if manifest else None,
        "forks": manifest.forks if manifest else [],
        "ranking": manifest.ranking if manifest else None,
        "same_bytes": facts.same_bytes,
        "best_so_far": _describe_best(view, facts.best_so_far),
        "save": asdict(facts.save) if facts.save else None,
        "lineage": {
            "attempt": _describe_attempt(facts.attempt) if facts.attempt else None,
            "parent": view.record.parent if view.record else None,
        },
        "releases": _describe_releases(view, facts),
        "git_commit": manifest.git_commit if manifest else None,
        "xxh3_128": manifest.xxh3_128 if manifest else None,
        "config": flatten(manifest.config) if manifest else {},
        "environment": flatten(manifest.environment) if manifest else {},
        **_describe_tensors(tensors, all_tensors),
    })  # fmt: skip
    return _exit_code(info.problem is not None)


def _show_run(view: RunView, as_json: bool) -> int:
    facts, record = run_facts(view), view.record
    if not as_json:
        show_text.print_run(view, facts)
        return _exit_code(view.state == "unreadable")
    print_json({
        "kind": "run",
        **describe_run(view),
        **(msgspec.structs.asdict(record) if record else {}),
        "attempts": [_describe_attempt(attempt) for attempt in record.attempts] if record else [],
        "config": flatten(record.config) if record else {},
        "typed": typed(record.command) if record and record.command else None,
        "status": view.status,
        "tiers": {tier: asdict(kept) for tier, kept in facts.tiers.items()},
        "put_away": {kind: asdict(kept) for kind, kept in facts.put_away.items()},
        "forks": facts.forks,
        "releases": _describe_releases(view, facts),
    })  # fmt: skip
    return _exit_code(view.state == "unreadable")


def _show_release(store: Store, release: ReleaseLine, all_tensors: bool, as_json: bool) -> int:
    registry, config = read_registry(store.paths), release_config(store.paths, release)
    problem = release_problem(store.paths, release)
    try:
        tensors = _tensors_of(release_path(store.paths, release))
    except StoreError as error:
        tensors = str(error)
    if not as_json:
        show_text.print_release(store.paths, registry, release, config, problem)
        print_tensors(tensors, None if all_tensors else LARGEST)
        return _exit_code(problem is not None or config is None)
    print_json({
        "kind": "release",
        **describe_release(store, registry, release),
        "config": flatten(config.config) if config else {},
        "card": flatten(config.card) if config else {},
        **_describe_tensors(tensors, all_tensors),
    })  # fmt: skip
    return _exit_code(problem is not None or config is None)


def _describe_best(view: RunView, best: CheckpointInfo | None) -> dict[str, Any] | None:
    if best is None or view.metric is None:
        return None
    metric = view.metric.name
    return {"metric": metric, "value": best.metric(metric), "epoch": best.epoch, "checkpoint": best.key}


def _describe_releases(view: RunView, facts: CheckpointFacts | RunFacts) -> list[dict[str, Any]]:
    store = Store(store_of(view).root)
    return [describe_release(store, facts.registry, release) for release in facts.releases]


def _describe_attempt(attempt: Attempt) -> dict[str, Any]:
    return {**msgspec.structs.asdict(attempt), "overrides": flatten(attempt.overrides)}


def _exit_code(damaged: bool) -> int:
    return Damaged.exit_code if damaged else EXIT_DONE


def _tensors_of(checkpoint: Path) -> TensorTable | str:
    """The tensors, or one line that says why they are not known."""
    try:
        return read_tensor_table(checkpoint)
    except StoreError as error:
        return str(error).removeprefix(f"{checkpoint} ")
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _describe_tensors(tensors: TensorTable | str, all_tensors: bool) -> dict[str, Any]:
    if isinstance(tensors, str):
        return {"tensors": None, "tensors_problem": tensors}
    shown = tensors.entries if all_tensors else tensors.largest(LARGEST)
    entries = [{"name": entry.name, "dtype": entry.dtype, "shape": entry.shape, "elements": elements_of(entry),
                "size_bytes": entry.size_bytes} for entry in shown]  # fmt: skip
    total = {"count": tensors.total.tensors, "elements": tensors.total.elements, "size_bytes": tensors.total.size_bytes}
    groups = [asdict(group) for group in tensors.groups]
    return {
        "tensors": {**total, "groups": groups, "all" if all_tensors else "largest": entries},
        "tensors_problem": None,
    }
