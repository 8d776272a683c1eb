"""`ckptop [STORE]`: the dashboard, and what is said after it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ckptop.cli.common import default_store
from ckptop.store.errors import UsageError
from ckptop.store.records import LIVE_PHASES
from ckptop.store.store import Store


@click.command()
@click.argument("store_path", metavar="[STORE]", type=click.Path(path_type=Path), required=False)
@click.pass_context
def dashboard(ctx: click.Context, store_path: Path | None) -> None:
    """Watch a store of runs and act on them."""
    ctx.exit(open_dashboard(store_path or default_store()))


def open_dashboard(store_path: Path) -> int:
    """Open the dashboard and, after it, say which trainers go on.

    Raises:
        UsageError: The store is a file, or there is no terminal to draw on.
    """
    store = Store.open(store_path, missing_ok=True)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"the dashboard needs a terminal; `ckptop ls {store_path}` prints the runs")
    from ckptop.tui.start import run_dashboard

    code = run_dashboard(store.root, tasks=_tasks)
    say_who_goes_on(store)
    return code


def _tasks() -> list[str]:
    """Names of the registered tasks; the dashboard itself knows nothing of trainers."""
    from ckptop.trainer.registry import task_names

    return task_names()


def say_who_goes_on(store: Store) -> None:
    """After quitting: the trainers are not the dashboard's."""
    live = [head.name for head in store.heads() if head.status and head.status.phase in LIVE_PHASES
            and head.state not in ("crashed", "unknown")]  # fmt: skip
    if not live:
        return
    several = "trainers go on" if len(live) > 1 else "trainer goes on"
    where = "" if store.root == default_store() else f" --store {store.root}"
    click.echo(f"{len(live)} {several}; ckptop stop RUN{where} ends one: {', '.join(live[:5])}.")
