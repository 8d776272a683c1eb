"""`ckptop stop`: ask a trainer to stop after its step; it saves first. With --now it is killed."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.process import is_alive, send_signal
from ckptop.host.units import format_count
from ckptop.store.control import send_request
from ckptop.store.deaths import record_death
from ckptop.store.errors import EXIT_NO, StoreError
from ckptop.store.events import append_event, current_actor
from ckptop.store.reachable import may_answer
from ckptop.store.records import Exit, Process
from ckptop.store.state import identity_of
from ckptop.store.store import Store
from ckptop.store.trust import require_own
from ckptop.store.views import RunView, read_run

PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_DEATH_SECONDS = 30.0
"""A killed process may have to give back a lot of memory first."""


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(0), metavar="SECONDS",
              help=f"How long to wait (default: {PATIENCE_SECONDS:g}; with --now 0).")  # fmt: skip
@click.option("--now", is_flag=True, help="Kill it, after the timeout if one is given; what was not saved is lost.")
@store_option
@json_option
@click.pass_context
def stop(
    ctx: click.Context, /, run: str, timeout_seconds: float | None, now: bool, store_path: Path, as_json: bool
) -> None:
    """Stop a trainer after the step it is in; it saves a checkpoint. Exit 1 if it was not running.

    `--now` kills it at once; `--now --timeout 60` asks first and kills what has not stopped after a minute.
    """
    view = Store.open(store_path).run(run)
    if not may_answer(view):
        _answer(as_json, view, f"{run} is {view.state}; there is nothing to stop.")
        ctx.exit(EXIT_NO)
    if timeout_seconds is None:
        timeout_seconds = 0.0 if now else PATIENCE_SECONDS
    if now:
        _require_killable(view)
    ended = None
    if timeout_seconds:
        _ask(view)
        ended = _wait(view, timeout_seconds)
    if ended is None and now:
        ended = _kill(view)
    if ended is None:
        raise StoreError(
            f"{run} was asked to stop and has not after {timeout_seconds:g} s; its step may be long. "
            f"`ckptop stop {run} --now` kills it, and loses what is not saved"
        )
    step = ended.status.step if ended.status else 0
    _answer(as_json, ended, f"{run} {ended.state} at step {format_count(step)}. `ckptop resume {run}` goes on.")


def _process(view: RunView) -> Process:
    assert view.status is not None  # noqa: S101 - live runs have one
    return view.status.process


def _ask(view: RunView) -> None:
    """By signal on this machine, by a request in the store for another's."""
    if view.status is None:
        send_request(view.paths, "stop")
        return
    try:
        require_own(view.paths)  # a stranger's status.json may name any process of ours
        send_signal(identity_of(_process(view)), signal.SIGTERM)
    except (StoreError, ValueError, PermissionError):
        send_request(view.paths, "stop")


def _require_killable(view: RunView) -> None:
    """Refuse what could not be killed before anything is asked of it."""
    if view.status is None:
        raise StoreError(f"{view.name} cannot be killed, only asked by `ckptop stop {view.name}`: {view.problem}")
    process = view.status.process
    require_own(view.paths)
    if is_alive(identity_of(process)) is None:
        raise StoreError(
            f"{view.name} runs on {process.host} as {process.user}: it cannot be killed from here, only asked by "
            f"`ckptop stop {view.name}`"
        )


def _kill(view: RunView) -> RunView:
    """Kill that very process and write down that a person did: the run is stopped then, and not crashed."""
    process, step = _process(view), view.status.step if view.status else 0
    by = f"killed by {current_actor().user} with `ckptop stop --now`"
    with contextlib.suppress(OSError):  # first, so that whoever restarts crashed trainers knows when it dies
        append_event(view.paths, "control", step=step, action="stop", args={"now": True}, ok=True, message=by)
    send_signal(identity_of(process), signal.SIGKILL)
    deadline, pause = time.monotonic() + _DEATH_SECONDS, threading.Event()
    while is_alive(identity_of(process)):
        if time.monotonic() > deadline:
            raise StoreError(f"{view.name} (pid {process.pid}) was killed and is still there: it waits for a disk")
        pause.wait(_LOOK_SECONDS)
    record_death(view.paths, process, Exit(signal=signal.SIGKILL, error=by), "stopped")
    return read_run(view.root)


def _wait(view: RunView, timeout_seconds: float) -> RunView | None:
    deadline = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        now = read_run(view.root)
        if not may_answer(now):
            return now
        pause.wait(_LOOK_SECONDS)
    return None


def _answer(as_json: bool, view: RunView, line: str) -> None:
    if as_json:
        print_json({"run": view.name, "state": view.state, "step": view.status.step if view.status else None})
    else:
        click.echo(line)
