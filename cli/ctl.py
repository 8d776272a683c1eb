"""`ckptop ctl`: ask a running trainer for something through the store, from any machine, and say what it answered."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.host.terminal import clean
from ckptop.host.units import format_age, format_count
from ckptop.store.control import send_request, wait_for_answer
from ckptop.store.ending import how_it_ended
from ckptop.store.errors import EXIT_DONE, EXIT_NO, StoreError, UsageError
from ckptop.store.events import Event
from ckptop.store.reachable import may_answer
from ckptop.store.records import ControlRequest
from ckptop.store.store import Store
from ckptop.store.views import RunHead, read_head

ACTIONS = ("save", "pause", "continue", "stop", "set")
_LOOK_SECONDS = 1.0


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("action", type=click.Choice(ACTIONS), metavar="|".join(ACTIONS))
@click.argument("settings", metavar="[KEY=VALUE]…", nargs=-1)
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(0), default=60.0, show_default=True,
              help="Seconds to wait for the answer.")  # fmt: skip
@store_option
@json_option
@click.pass_context
def ctl(
    ctx: click.Context,
    run: str,
    action: str,
    settings: tuple[str, ...],
    timeout_seconds: float,
    store_path: Path,
    as_json: bool,
) -> None:
    """Ask a running trainer to save, pause, continue or stop after the step it is in, or `set lr=1e-4`.

    Exit codes: 0 it did; 1 it refused, or is not running; 10 it did not answer in time; 11 there is no such run;
    14 the request cannot be written.
    """
    args = _numbers(action, settings)
    head = Store.open(store_path).head(run)
    if not may_answer(head):
        _tell(as_json, head, action, None, False, _not_running(head))
        ctx.exit(EXIT_NO)
    request = send_request(head.paths, action, args)
    answer = _wait(head, request, timeout_seconds)
    if answer is None:
        now = read_head(head.root)
        if may_answer(now):
            _give_up(now, timeout_seconds)
        _tell(as_json, now, action, request, False, f"{_not_running(now)} before it answered")
        ctx.exit(EXIT_NO)
    ok = answer.details.get("ok") is True
    _tell(as_json, head, action, request, ok, str(answer.details.get("message", "")), answer.step)
    ctx.exit(EXIT_DONE if ok else EXIT_NO)


def _numbers(action: str, settings: Sequence[str]) -> dict[str, float | int]:
    """What `set` is to set; whole numbers stay whole.

    Raises:
        UsageError: Something is no KEY=NUMBER, or stands where nothing belongs.
    """
    if action != "set":
        if settings:
            raise UsageError(f"{action} takes no KEY=VALUE; only set does")
        return {}
    if not settings:
        raise UsageError("say what to set, such as `ckptop ctl RUN set lr=1e-4`")
    args: dict[str, float | int] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not key or not equals:
            raise UsageError(f"{setting!r} is not KEY=VALUE, such as lr=1e-4 or total_epochs=30")
        if key in args:
            raise UsageError(f"{key} is set twice")
        args[key] = _number(key, text)
    return args


def _number(key: str, text: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{key}={text}: {text!r} is no number")
    if key == "lr" and value <= 0:
        raise UsageError(f"lr={text}: a learning rate is above 0")
    if key in ("total_epochs", "epochs") and not (value >= 1 and value.is_integer()):
        raise UsageError(f"{key}={text}: epochs are a whole number from 1")
    return int(value) if key != "lr" and value.is_integer() and abs(value) < 2**53 else value


def _wait(head: RunHead, request: ControlRequest, timeout_seconds: float) -> Event | None:
    """The answer; None if it did not come in time, or the trainer ended without one."""
    deadline = time.monotonic() + timeout_seconds
    while (left := deadline - time.monotonic()) > 0:
        # Looked at first: whatever an ended trainer answered was written by then.
        goes_on = may_answer(read_head(head.root))
        answer = wait_for_answer(head.paths, request.id, min(_LOOK_SECONDS, left) if goes_on else 0.0)
        if answer is not None or not goes_on:
            return answer
    return None


def _give_up(head: RunHead, timeout_seconds: float) -> NoReturn:
    known = f"heartbeat {format_age(time.time() - head.status.heartbeat)} ago" if head.status else str(head.problem)
    raise StoreError(
        f"{head.name} is {head.state} and has not answered after {timeout_seconds:g} s ({known}); "
        "the request stays, and is obeyed after its next step"
    )


def _not_running(head: RunHead) -> str:
    why = how_it_ended(head.status, head.state) or head.problem
    step = f" at step {format_count(head.status.step)}" if head.status is not None else ""
    return f"{head.state}{step}" + (f" ({why})" if why else "")


def _tell(
    as_json: bool,
    head: RunHead,
    action: str,
    request: ControlRequest | None,
    ok: bool,
    message: str,
    step: int | None = None,
) -> None:
    if as_json:
        print_json({"run": head.name, "action": action, "args": request.args if request else {}, "ok": ok,
                    "message": message, "step": step, "id": request.id if request else None})  # fmt: skip
    elif request is None:
        click.echo(clean(f"{head.name} is not running: {message}; there is nobody to ask."))
    else:
        click.echo(clean(f"{head.name}: {message}"))
