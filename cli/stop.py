"""`ckptop stop`: ask a trainer to stop after its step; it saves first."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.process import send_signal
from ckptop.host.units import format_count
from ckptop.store.control import send_request
from ckptop.store.errors import EXIT_NO, StoreError
from ckptop.store.records import LIVE_PHASES
from ckptop.store.state import identity_of
from ckptop.store.store import Store
from ckptop.store.trust import require_own
from ckptop.store.views import RunView, read_run

_LOOK_SECONDS = 0.1


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--timeout", "timeout_seconds", type=float, default=60.0, show_default=True, help="Seconds to wait.")
@store_option
@json_option
@click.pass_context
def stop(ctx: click.Context, run: str, timeout_seconds: float, store_path: Path, as_json: bool) -> None:
    """Stop a trainer after the step it is in; it saves a checkpoint. Exit 1 if it was not running."""
    view = Store.open(store_path).run(run)
    if not _is_live(view):
        _answer(as_json, view, f"{run} is {view.state}; there is nothing to stop.")
        ctx.exit(EXIT_NO)
    _ask(view)
    ended = _wait(view, timeout_seconds)
    if ended is None:
        raise StoreError(f"{run} was asked to stop and has not after {timeout_seconds:g} s; its step may be long")
    step = ended.status.step if ended.status else 0
    _answer(as_json, ended, f"{run} {ended.state} at step {format_count(step)}. `ckptop resume {run}` goes on.")


def _is_live(view: RunView) -> bool:
    return view.status is not None and view.status.phase in LIVE_PHASES and view.state != "crashed"


def _ask(view: RunView) -> None:
    """By signal on this machine, by a request in the store for another's."""
    assert view.status is not None  # noqa: S101 - live runs have one
    try:
        require_own(view.paths)  # a stranger's status.json may name any process of ours
        send_signal(identity_of(view.status.process), signal.SIGTERM)
    except (StoreError, ValueError, PermissionError):
        send_request(view.paths, "stop")


def _wait(view: RunView, timeout_seconds: float) -> RunView | None:
    deadline = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        now = read_run(view.root)
        if not _is_live(now):
            return now
        pause.wait(_LOOK_SECONDS)
    return None


def _answer(as_json: bool, view: RunView, line: str) -> None:
    if as_json:
        print_json({"run": view.name, "state": view.state, "step": view.status.step if view.status else None})
    else:
        click.echo(line)
