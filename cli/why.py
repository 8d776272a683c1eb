"""`ckptop why`: the post-mortem of a run on one page, and of a running one what it does now."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.termui import progressbar

from ckptop.cli.common import default_store, json_option, print_json, store_option
from ckptop.cli.ps import describe_head
from ckptop.cli.show_parts import Value, age, moment, print_facts
from ckptop.cli.states import is_ascii_only, state_cell
from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes, format_count, format_duration, format_percent, format_value
from ckptop.store.events import Event
from ckptop.store.postmortem import PostMortem, post_mortem, store_words, work_bytes
from ckptop.store.store import Store
from ckptop.store.views import RunView

if TYPE_CHECKING:
    from ckptop.store.breaks import Break

_LINE_CHARACTERS = 200
_SHOWN_BREAKS = 5


@click.command()
@click.argument("run", metavar="RUN")
@store_option
@json_option
def why(run: str, store_path: Path, as_json: bool) -> None:
    """Print what ended a run, where its curves broke, what is saved, and the command to go on with.

    The newest checkpoint is hashed, so that what is said of it holds. Nothing is changed.
    """
    store = Store.open(store_path)
    view = store.run(run)
    where = store_words(store_path, default_store())
    hidden = as_json or not sys.stderr.isatty()
    with progressbar(length=work_bytes(view), label="reading", file=sys.stderr, hidden=hidden) as bar:
        found = post_mortem(view, where, bar.update)
    if as_json:
        print_json(_describe(found))
    else:
        _print(found)


def _print(found: PostMortem) -> None:
    view = found.view
    click.echo(clean(f"{view.name}: {state_cell(view.state, ascii_only=is_ascii_only())}"))
    print_facts("", {
        "problem": view.problem,
        "ended": _ended(found),
        "process": _process(view) if view.state not in ("finished", "stopped") else None,
        "progress": _progress(found),
        "last step": _last_step(view) if found.is_live else None,
    })  # fmt: skip
    _print_lines("last lines of its log", found.log_lines)
    _print_lines("traceback", found.traceback)
    _print_lines("curves", [*map(_said_of, found.breaks[-_SHOWN_BREAKS:]), *_looked_at(found)])
    _print_lines("alerts", [f"{_clock(one.time)}  {_message(one)}" for one in found.alerts])
    print_facts("saved", _saved(found))
    _print_lines("next", [line for line in (found.command and f"$ {found.command}", found.note) if line])


def _ended(found: PostMortem) -> list[str]:
    status = found.view.status
    if found.ended is None:
        return [moment(status.heartbeat)] if status is not None and found.view.state == "finished" else []
    exit_ = status.exit if status is not None else None
    code = f"exit code {exit_.code}, " if exit_ is not None and exit_.code is not None else ""
    when = moment(status.heartbeat) if status is not None else ""
    return [found.ended, f"{code}{when}"]


def _process(view: RunView) -> str | None:
    if view.status is None:
        return None
    process = view.status.process
    return f"pid {process.pid} of {process.user}@{process.host}, heartbeat {age(view.status.heartbeat)} ago"


def _progress(found: PostMortem) -> str | None:
    view, status = found.view, found.view.status
    if status is None:
        return None
    epoch, share = status.epoch, view.progress
    if status.total_steps and found.last_step > status.step:  # a heartbeat is seconds old; the step is of the log
        share = min(1.0, found.last_step / status.total_steps)
        epoch = max(epoch, math.ceil(share * (status.total_epochs or 0)))
    epochs = f"epoch {epoch}" + (f" of {status.total_epochs}" if status.total_epochs else "")
    steps = f"step {format_count(found.last_step)}" + (f" of {status.total_steps:,}" if status.total_steps else "")
    done = f", {format_percent(share)}" if share is not None else ""
    left = f", {format_duration(view.eta_seconds)} left" if view.eta_seconds is not None else ""
    return f"attempt {status.attempt}, {epochs}, {steps}{done}{left}"


def _last_step(view: RunView) -> str | None:
    status = view.status
    if status is None or status.last_step_time is None:
        return None
    pace = f", {format_duration(status.step_seconds)} a step" if (status.step_seconds or 0) >= 1 else ""
    return f"{age(status.last_step_time)} ago{pace}"


def _said_of(one: Break) -> str:
    at, value = f"step {format_count(one.step)}" + " or before" * one.may_be_earlier, format_value(one.value)
    usual = f"{format_value(one.usual)} before" if one.usual is not None else "from the first"
    if one.kind == "slow":
        return f"{one.metric} fell to {value} since {at}, {usual}"
    if one.kind == "not-finite":
        return f"{one.metric} is {value} {'since' if one.lasts else 'at'} {at}, {usual}"
    return f"{one.metric} jumped to {value} at {at}, {usual}" + ("; it has not come back" if one.lasts else "")


def _looked_at(found: PostMortem) -> list[str]:
    """That something may have been missed, where the log is too long to be read whole."""
    if found.looked_at_bytes >= found.log_bytes:
        return []
    looked, size = format_bytes(found.looked_at_bytes), format_bytes(found.log_bytes)
    return [f"looked at {looked} of {size}: the end, pieces of what is before, and around the breaks among them"]


def _saved(found: PostMortem) -> dict[str, Value]:
    view, start = found.view, found.start
    behind = found.lost_steps
    cost = f", about {format_duration(found.lost_seconds)}" if behind and found.lost_seconds is not None else ""
    since = f"{format_count(behind)} steps{cost}"
    if found.is_live:
        latest = view.latest
        newest = f"{latest.key}, step {format_count(latest.step)}, {age(latest.time)} ago" if latest else "none yet"
        return {"newest": newest, "since then": since}
    if start is None:
        return {"newest": found.start_problem or "none"}
    if start.from_checkpoint is None:
        return {"newest": "none: a resume begins again", "lost": since}
    size = f", {format_bytes(start.manifest.size_bytes)}" if start.manifest is not None else ""
    newest = f"{start.key}, step {format_count(start.from_step)}{size}; verified"
    return {"newest": newest, "skipped": start.notes, "lost": since}


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
        click.echo("\n".join(f"  {clean(line.expandtabs(), _LINE_CHARACTERS)}" for line in lines))


def _message(event: Event) -> str:
    return str(event.details.get("message", ""))


def _clock(seconds: float) -> str:
    try:
        when = datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):  # a file's own time may be anything
        return "--:--"
    return when.strftime("%H:%M" if time.time() - seconds < 86_400 else "%m-%d %H:%M")


def _describe(found: PostMortem) -> dict[str, Any]:
    start, latest = found.start, found.view.latest
    return {
        **describe_head(found.view),
        "ended": found.ended,
        "last_step": found.last_step,
        "log": found.log_lines,
        "traceback": found.traceback,
        "breaks": [asdict(one) for one in found.breaks],
        "log_bytes": found.log_bytes,
        "looked_at_bytes": found.looked_at_bytes,
        "alerts": [{"time": one.time, "step": one.step, "message": _message(one)} for one in found.alerts],
        "checkpoint": start.key if start is not None else latest.key if found.is_live and latest is not None else None,
        "verified": start is not None and start.from_checkpoint is not None,
        "checkpoint_step": found.saved_step,
        "skipped": start.notes if start is not None else [],
        "checkpoint_problem": found.start_problem,
        "lost_steps": found.lost_steps,
        "lost_seconds": found.lost_seconds,
        "command": found.command,
        "note": found.note,
    }
