"""`ckptop releases`, `ckptop rollback` and `ckptop yank`: versions of models, and which of them `latest` means."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from click.termui import progressbar

from ckptop.cli.common import default_store, json_option, print_json, print_table, store_option
from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_age, format_bytes, format_cell
from ckptop.store.errors import UsageError
from ckptop.store.manifest import to_number
from ckptop.store.names import Version
from ckptop.store.registry import Registry, ReleaseLine, read_registry
from ckptop.store.releases import main_metric, release_problem
from ckptop.store.releases import rollback as move_latest
from ckptop.store.releases import yank as take_out_of_use
from ckptop.store.store import Store


@click.command()
@click.argument("where", metavar="[STORE]", type=click.Path(path_type=Path), required=False)
@click.option("--store", "store_path", metavar="DIR", type=click.Path(path_type=Path), help="The same as STORE.")
@json_option
def releases(where: Path | None, store_path: Path | None, as_json: bool) -> None:
    """List the releases of a store: every version of every model, yanked ones too.

    Exit codes: 0 done, none among them; 2 wrong use; 11 no such store; 14 the registry cannot be read.
    """
    if where is not None and store_path is not None:
        raise UsageError("name the store once: as STORE or with --store")
    store = Store.open(where or store_path or default_store())
    registry = read_registry(store.paths)
    if as_json:
        models = [
            {"model": model, "latest": registry.latest(model),
             "releases": [describe_release(store, registry, release) for release in registry.of(model)]}
            for model in registry.models
        ]  # fmt: skip
        print_json({"store": str(store.root), "bad_lines": registry.bad_lines, "models": models})
        return
    if registry.bad_lines:
        unreadable = (
            f"{registry.bad_lines} lines of {store.paths.registry} are torn or were changed and count for nothing"
        )
        click.echo(clean(f"! {unreadable}."), err=True)
    if not registry.releases:
        click.echo(clean(f"No releases in {store.root}. `ckptop promote RUN:best --to production` makes one."))
    for place, model in enumerate(registry.models):
        if place:
            click.echo()
        _print_model(store, registry, model)


def describe_release(store: Store, registry: Registry, release: ReleaseLine) -> dict[str, Any]:
    """A release as `--json` prints it."""
    yanked = registry.yanks.get((release.model, release.version))
    return {
        "model": release.model,
        "version": release.version,
        "latest": registry.latest(release.model) == release.version,
        "yanked": {"time": yanked.time, "reason": yanked.reason, "actor": yanked.actor} if yanked else None,
        "time": release.time,
        "actor": release.actor,
        "run": release.run,
        "checkpoint": release.checkpoint,
        "epoch": release.epoch,
        "step": release.global_step,
        "metrics": release.metrics,
        "size_bytes": release.size_bytes,
        "sha256": release.sha256,
        "problem": release_problem(store.paths, release),
        "path": str(store.paths.production / release.file),
    }


def _print_model(store: Store, registry: Registry, model: str) -> None:
    newest_first = list(reversed(registry.of(model)))
    latest, now = registry.latest(model), time.time()
    metric = main_metric(store.paths, newest_first[0])
    rows = []
    for release in newest_first:
        yanked = registry.yanks.get((model, release.version))
        problem = release_problem(store.paths, release)
        mark = "yanked" if yanked else "! bad" if problem else "latest" if release.version == latest else ""
        value = release.metrics.get(metric) if metric else None
        rows.append([
            "", release.version, mark, format_age(now - release.time, now=now), release.actor.user, origin(release),
            format_cell(to_number(value) if value is not None else None), format_bytes(release.size_bytes),
            problem or (yanked.reason if yanked else None) or "",
        ])  # fmt: skip
    click.echo(clean(f"{model}: latest is {latest}" if latest else f"{model}: latest is none, all are yanked"))
    head = ["", "version", "mark", "age", "by", "from", clean(metric or "metric"), "size", ""]
    print_table(head, rows, right=frozenset({3, 6, 7}))


def origin(release: ReleaseLine) -> str:
    """`digits epoch 12`: the run a release was made from, and how far it had come, as far as either is known."""
    return " ".join([release.run] * bool(release.run) + [f"epoch {release.epoch}"] * bool(release.epoch)) or MISSING


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("version", metavar="VERSION")
@store_option
@json_option
def rollback(model: str, version: str, store_path: Path, as_json: bool) -> None:
    """Let latest of MODEL mean VERSION, whose bytes are checked first; another rollback undoes it.

    Exit codes: 0 done, or it is latest already; 2 wrong use; 10 it is yanked; 11 no such release; 12 its file is
    damaged; 13 held by another; 14 disk.
    """
    paths, wanted = Store.open(store_path).paths, Version.parse(version)
    size_bytes = read_registry(paths).release(model, str(wanted)).size_bytes
    is_hidden = as_json or not sys.stderr.isatty()
    with progressbar(length=size_bytes, label="verifying", file=sys.stderr, hidden=is_hidden) as bar:
        moved = move_latest(paths, model, wanted, progress=bar.update)
    if as_json:
        print_json({"model": model, "before": moved.before, "after": moved.after, "changed": moved.changed})
    elif moved.changed:
        click.echo(clean(f"{model} latest is {moved.after} now; it was {moved.before or 'none'}."))
    else:
        click.echo(clean(f"{model} latest is {moved.after} already; nothing was changed."))


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("version", metavar="VERSION")
@click.option("--reason", metavar="TEXT", help="Why, for whoever finds it yanked.")
@store_option
@json_option
def yank(model: str, version: str, reason: str | None, store_path: Path, as_json: bool) -> None:
    """Take VERSION of MODEL out of use for good: latest never means it. Its file stays.

    Exit codes: 0 done, or yanked already; 2 wrong use; 11 no such release; 13 held by another; 14 disk.
    """
    moved = take_out_of_use(Store.open(store_path).paths, model, Version.parse(version), reason or None)
    name = f"{model} {moved.release.version}"
    if as_json:
        print_json({"model": model, "version": moved.release.version, "before": moved.before, "after": moved.after,
                    "changed": moved.changed})  # fmt: skip
    elif not moved.changed:
        click.echo(clean(f"{name} is yanked already; nothing was changed."))
    elif moved.after == moved.before:
        click.echo(clean(f"Yanked {name}; latest is still {moved.after or 'none'}."))
    else:
        click.echo(clean(f"Yanked {name}; latest is {moved.after or 'none'} now."))
