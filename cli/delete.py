"""`ckptop delete` and `ckptop restore`: checkpoints and whole runs to the trash and back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes
from ckptop.store import run_trash
from ckptop.store.actions import delete_checkpoints, require_deletable, restore_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import StoreError
from ckptop.store.facts import store_of
from ckptop.store.find import find_checkpoint, find_run, find_trashed
from ckptop.store.names import is_run_name
from ckptop.store.run_trash import DeletedRun, list_deleted_runs, restore_run
from ckptop.store.store import Store
from ckptop.store.trash import TrashEntry, bytes_freed_by_purge
from ckptop.store.views import RunView


@click.command()
@click.argument("what", metavar="CHECKPOINT|RUN…", nargs=-1, required=True)
@store_option
@json_option
def delete(what: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Move checkpoints, or a whole run, to the trash; `ckptop restore` takes them back.

    A bare RUN is the whole run; RUN:latest, RUN:epoch=3 or a path is one checkpoint. What is pinned, what a running
    trainer started from and what a fork began from is refused; of several then none goes.
    """
    store = Store.open(store_path, missing_ok=True)
    runs, groups = _find(store, what)
    for view, infos in groups:
        require_deletable(view, infos)
    for view in runs:
        run_trash.require_deletable(store_of(view), view)
    entries: list[TrashEntry] = []
    deleted: list[DeletedRun] = []
    try:
        for view, infos in groups:
            entries += delete_checkpoints(view, infos)
        for view in runs:
            deleted.append(run_trash.delete_run(store_of(view), view))  # noqa: PERF401 - those before a refusal are told
    except (StoreError, OSError):
        if gone := [*(entry.home for entry in entries), *(run.name for run in deleted)]:
            click.echo(clean(f"ckptop: in the trash before the next was refused: {', '.join(gone)}"), err=True)
        raise
    freed = bytes_freed_by_purge(entries) + sum(run.size_bytes for run in deleted)
    if as_json:
        print_json({
            "deleted": [{"checkpoint": entry.home, "trash": str(entry.info.path)} for entry in entries],
            "deleted_runs": [{"run": run.name, "trash": str(run.directory)} for run in deleted],
            "freed_now_bytes": 0, "freed_after_purge_bytes": freed,
        })  # fmt: skip
        return
    click.echo(f"{len(entries) + len(deleted)} in trash, {format_bytes(freed)} freed once emptied. "
               "`ckptop restore` undoes, `ckptop trash --empty` frees.")  # fmt: skip


_Group = tuple[RunView, list[CheckpointInfo]]


def _find(store: Store, what: Iterable[str]) -> tuple[list[RunView], list[_Group]]:
    """The runs and, by run, the checkpoints that are meant; all are found before the first is moved."""
    runs: list[RunView] = []
    groups: dict[Path, _Group] = {}
    for text in what:
        if (is_run_name(text) and not text.endswith(".pt")) or Path(text).is_dir():
            runs.append(find_run(store, text))
        else:
            view, info = find_checkpoint(store, text)
            groups.setdefault(view.root, (view, []))[1].append(info)
    return runs, list(groups.values())


@click.command()
@click.argument("what", metavar="CHECKPOINT|RUN…", nargs=-1, required=True)
@store_option
@json_option
def restore(what: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Take back from the trash.

    RUN:FILE, RUN:epoch=3, RUN:step=300 or the path of a file in the trash is a checkpoint; RUN alone the newest
    deletion of that run, or the whole run where that was deleted.
    """
    store = Store.open(store_path, missing_ok=True)
    restored: list[CheckpointInfo] = []
    runs: list[str] = []
    for text in what:
        whole = _deleted_run(store, text)
        if whole is not None:
            runs.append(restore_run(store.paths, whole).name)
            continue
        view, entry = find_trashed(store, text)
        restored += restore_checkpoints(view, [entry])
    if as_json:
        print_json({"restored": [info.key for info in restored], "restored_runs": runs})
        return
    click.echo(clean(f"Restored {', '.join([*runs, *(info.key for info in restored)])}."))


def _deleted_run(store: Store, name: str) -> DeletedRun | None:
    """The newest deleted run of that name, where there is no run of it now."""
    if (store.root / name / "run.json").exists():
        return None
    return next((run for run in list_deleted_runs(store.paths) if run.name == name), None)
