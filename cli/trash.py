"""`ckptop trash`: what was put away, what it would free, and emptying it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, print_table, store_option
from ckptop.cli.quantities import duration, size
from ckptop.host.units import format_age, format_bytes
from ckptop.store.errors import UsageError
from ckptop.store.find import find_run
from ckptop.store.run_trash import DeletedRun, list_deleted_runs, purge_run
from ckptop.store.store import Store
from ckptop.store.trash import (
    TrashEntry,
    TrashLimit,
    bytes_freed_by_purge,
    list_discarded,
    list_quarantine,
    list_trash,
    past_limit,
    purge,
)
from ckptop.store.views import RunView


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing that was put away: a checkpoint of a run, or a whole run."""

    view: RunView | None
    entry: TrashEntry | DeletedRun

    @property
    def kind(self) -> str:
        return self.entry.kind if isinstance(self.entry, TrashEntry) else "run"

    @property
    def name(self) -> str:
        if isinstance(self.entry, DeletedRun):
            return self.entry.name
        return f"{self.view.name if self.view else ''}:{self.entry.info.name}"

    @property
    def size_bytes(self) -> int:
        """Bytes it holds; a purge may free less, where something live shares them."""
        return self.entry.size_bytes if isinstance(self.entry, DeletedRun) else self.entry.info.size_bytes

    @property
    def freed_bytes(self) -> int:
        return self.entry.size_bytes if isinstance(self.entry, DeletedRun) else bytes_freed_by_purge([self.entry])


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--empty", is_flag=True, help="Remove for good what is listed.")
@click.option("--older-than", type=duration, metavar="AGE", help="Only what was put away longer ago: 12h, 30d.")
@click.option("--keep-size", type=size, metavar="SIZE", help="Only what is past the newest SIZE of it: 500M, 20G.")
@click.option("--all", "everything", is_flag=True, help="Also damaged and abandoned checkpoints.")
@store_option
@json_option
def trash(
    run: str | None,
    empty: bool,
    older_than: float | None,
    keep_size: int | None,
    everything: bool,
    store_path: Path,
    as_json: bool,
) -> None:
    """List what was deleted, newest first; --empty removes it for good.

    Without RUN of the whole store, deleted runs included. Abandoned checkpoints (of attempts that went back) and
    damaged ones are listed too, and removed only with --all; pinned ones never.
    """
    if everything and not empty:
        raise UsageError("--all goes with --empty; the list shows everything")
    store = Store.open(store_path, missing_ok=run is not None)
    items = list(_items(store, run))
    if older_than is not None or keep_size is not None:
        gone = past_limit([item.entry for item in items], TrashLimit(older_than, keep_size), time.time())
        items = [item for item in items if any(item.entry is entry for entry in gone)]
    if not empty:
        _list(items, as_json)
        return
    doomed = [item for item in items if _may_go(item, everything=everything)]
    freed = sum(_purge(store, item) for item in doomed)
    if as_json:
        print_json({"removed": [item.name for item in doomed], "freed_bytes": freed})
    else:
        click.echo(f"Removed {len(doomed)} for good, {format_bytes(freed)} freed.")


def _items(store: Store, run: str | None) -> Iterator[_Item]:
    views = [find_run(store, run)] if run is not None else store.runs()
    for view in views:
        paths = view.checkpoint_paths
        for entry in (*list_trash(paths), *list_discarded(paths), *list_quarantine(paths)):
            yield _Item(view, entry)
    if run is None:
        for deleted in list_deleted_runs(store.paths):
            yield _Item(None, deleted)


def _may_go(item: _Item, *, everything: bool) -> bool:
    if isinstance(item.entry, DeletedRun):
        return True
    return not item.entry.info.pinned and (everything or item.entry.kind == "deleted")


def _purge(store: Store, item: _Item) -> int:
    if isinstance(item.entry, DeletedRun):
        return purge_run(store.paths, item.entry)
    if item.view is None:
        raise UsageError(f"{item.name} belongs to no run")
    return purge(item.view.checkpoint_paths, [item.entry])


def _list(items: list[_Item], as_json: bool) -> None:
    items = sorted(items, key=lambda item: item.entry.deleted, reverse=True)
    if as_json:
        print_json({"trash": [
            {"name": item.name, "kind": item.kind, "time": item.entry.deleted, "size_bytes": item.size_bytes,
             "freed_bytes": item.freed_bytes, "path": str(item.entry.directory)}
            for item in items
        ]})  # fmt: skip
        return
    if not items:
        click.echo("The trash is empty.")
        return
    now = time.time()
    rows = [
        [item.kind, format_age(now - item.entry.deleted), format_bytes(item.size_bytes), item.name] for item in items
    ]
    print_table(["what", "since", "size", "name"], rows, right=frozenset({1, 2}))
    going = [item for item in items if _may_go(item, everything=False)]
    freed = format_bytes(sum(item.freed_bytes for item in going))
    click.echo(f"`ckptop restore` takes back; `ckptop trash --empty` removes {len(going)} for good, {freed} freed.")
