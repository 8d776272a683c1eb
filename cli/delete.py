"""`ckptop delete` and `ckptop restore`: checkpoints to the trash and back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes
from ckptop.store.actions import delete_checkpoints, restore_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import NotFound
from ckptop.store.find import find_checkpoint
from ckptop.store.store import Store
from ckptop.store.trash import TrashEntry, bytes_freed_by_purge, list_trash
from ckptop.store.views import RunView


@click.command()
@click.argument("checkpoints", metavar="CHECKPOINT…", nargs=-1, required=True)
@store_option
@json_option
def delete(checkpoints: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Move checkpoints to the trash; `ckptop restore` takes them back."""
    store = Store.open(store_path, missing_ok=True)
    found = [find_checkpoint(store, text) for text in checkpoints]
    entries: list[TrashEntry] = []
    for view, infos in _by_run(found):
        entries += delete_checkpoints(view, infos)
    freed = bytes_freed_by_purge(entries)
    if as_json:
        deleted = [{"checkpoint": entry.home, "trash": str(entry.info.path)} for entry in entries]
        print_json({"deleted": deleted, "freed_now_bytes": 0, "freed_after_purge_bytes": freed})
        return
    click.echo(f"{len(entries)} in trash, {format_bytes(freed)} freed once emptied. `ckptop restore` undoes.")


def _by_run(found: Iterable[tuple[RunView, CheckpointInfo]]) -> Iterable[tuple[RunView, list[CheckpointInfo]]]:
    views: dict[Path, tuple[RunView, list[CheckpointInfo]]] = {}
    for view, info in found:
        views.setdefault(view.root, (view, []))[1].append(info)
    return views.values()


@click.command()
@click.argument("checkpoints", metavar="RUN:FILE…", nargs=-1, required=True)
@store_option
@json_option
def restore(checkpoints: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Take checkpoints back from the trash; RUN alone takes back the newest deletion."""
    store = Store.open(store_path)
    restored: list[CheckpointInfo] = []
    for text in checkpoints:
        name, _, wanted = text.partition(":")
        view = store.run(name)
        restored += restore_checkpoints(view, [_trashed(view, wanted)])
    if as_json:
        print_json({"restored": [info.key for info in restored]})
        return
    click.echo(clean(f"Restored {', '.join(info.key for info in restored)}."))


def _trashed(view: RunView, wanted: str) -> TrashEntry:
    trashed = list_trash(view.checkpoint_paths)
    for entry in trashed:
        if wanted in ("", entry.info.name, entry.home):
            return entry
    there = ", ".join(f"{view.name}:{entry.info.name}" for entry in trashed[:5]) or "nothing"
    raise NotFound(f"{view.name} has no {wanted or 'checkpoint'} in its trash; there: {there}")
