"""`ckptop pin` and `ckptop unpin`: a person's mark, which no rule deletes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.terminal import clean
from ckptop.store import pins
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.find import find_put_away
from ckptop.store.store import Store
from ckptop.store.views import RunView


@click.command()
@click.argument("checkpoints", metavar="CHECKPOINT…", nargs=-1, required=True)
@store_option
@json_option
def pin(checkpoints: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Mark checkpoints as never to be deleted; a linked milestone has a mark of its own.

    What `ckptop trash` lists as RUN:FILE can be marked too: abandoned checkpoints and damaged ones.

    Exit codes: 0 done, or pinned already; 2 wrong use; 11 not found; 12 its manifest is damaged; 14 disk.
    """
    _mark(checkpoints, store_path, as_json, pins.pin, pinned=True)


@click.command()
@click.argument("checkpoints", metavar="CHECKPOINT…", nargs=-1, required=True)
@store_option
@json_option
def unpin(checkpoints: tuple[str, ...], store_path: Path, as_json: bool) -> None:
    """Take the mark away; rules may delete the checkpoint again.

    Exit codes: 0 done, or not pinned anyway; 2 wrong use; 11 not found; 12 its manifest is damaged; 14 disk.
    """
    _mark(checkpoints, store_path, as_json, pins.unpin, pinned=False)


def _mark(
    checkpoints: tuple[str, ...],
    store_path: Path,
    as_json: bool,
    change: Callable[[RunView, CheckpointInfo], bool],
    *,
    pinned: bool,
) -> None:
    store = Store.open(store_path, missing_ok=True)
    found = [find_put_away(store, text) for text in checkpoints]  # all are found before the first is changed
    answers = []
    for view, info in found:
        changed = change(view, info)
        answers.append(
            {"run": view.name, "checkpoint": pins.place_of(view, info), "pinned": pinned, "changed": changed}
        )
        if not as_json:
            word = ("Pinned" if pinned else "Unpinned") if changed else ("Was pinned" if pinned else "Was not pinned")
            click.echo(clean(f"{word}: {view.name}:{pins.place_of(view, info)}"))
    if as_json:
        print_json({"checkpoints": answers})
