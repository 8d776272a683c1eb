"""What is known of one run, label and text, the most important first; every string cleaned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckptop.host.terminal import clean
from ckptop.host.units import format_age, format_count, format_value
from ckptop.store.ending import how_it_ended
from ckptop.tui.model import LIVE_STATES, RunRow
from ckptop.tui.presenting import TEXT_LIMIT

if TYPE_CHECKING:
    from ckptop.store.views import RunView

NEXT_KEYS = {
    "crashed": "r resumes · Enter says why",
    "failed": "r resumes · Enter says why",
    "stalled": "W says more · x stops it",
    "paused": "x continues it",
    "stopped": "r resumes",
}
"""What a person may want of a run in a state, by its key."""


def why_of(view: RunView) -> str | None:
    """What ended a run or makes it ill, in one line that stands still with the run; None of a well one."""
    status = view.status
    if view.state == "stalled" and status is not None and status.last_step_time is not None:
        return f"no step since {_clock(status.last_step_time)}"
    if view.state == "unknown" and status is not None:
        return f"no heartbeat from {status.process.host} since {_clock(status.heartbeat)}"
    if view.state == "unknown" and view.record is not None:
        return "it has no status.json: it never began"
    return how_it_ended(status, view.state)


def run_facts(view: RunView, last_values: Mapping[str, float], row: RunRow, now: float) -> tuple[tuple[str, str], ...]:
    """Label and text of what is known of a run, what went wrong first.

    Args:
        view: The run.
        last_values: Newest logged value of each metric.
        row: Its line in the list, which tells what is wrong.
        now: Seconds since the epoch.
    """
    facts: list[tuple[str, str]] = []
    if row.problem is not None:
        facts.append(("problem", row.problem))
    if row.why is not None:
        facts.append(("error" if view.state in ("failed", "crashed") else view.state, row.why))
    if view.state in NEXT_KEYS:
        facts.append(("next", NEXT_KEYS[view.state]))
    facts += _position(view)
    facts += _values(view, last_values)
    facts += _times(view, now)
    return tuple((label, clean(text, TEXT_LIMIT)) for label, text in facts)


def _position(view: RunView) -> list[tuple[str, str]]:
    facts = []
    record, status = view.record, view.status
    if record is not None:
        parts = [record.task]
        if record.data is not None and record.data.path != record.task:
            parts.append(record.data.path)
        if record.seed is not None:
            parts.append(f"seed {record.seed}")
        facts.append(("task", " · ".join(parts)))
        if record.parent is not None:
            facts.append(("fork of", record.parent.run))
    if status is not None:
        total = f" of {format_count(status.total_epochs)}" if status.total_epochs else ""
        facts.append(("epoch", format_count(status.epoch) + total))
        total = f" of {format_count(status.total_steps)}" if status.total_steps else ""
        pace = ""
        if status.step_seconds and view.state == "running":
            rate = 1 / status.step_seconds
            pace = f" · {format_value(rate)} steps/s" if rate >= 1 else f" · {format_value(1 / rate)} s a step"
        facts.append(("step", format_count(status.step) + total + pace))
    return facts


def _values(view: RunView, last_values: Mapping[str, float]) -> list[tuple[str, str]]:
    facts = []
    config = view.record.config if view.record is not None else {}
    if view.result:
        metric = view.metric.name.removeprefix("val/") if view.metric is not None else ""
        named = [name for name in view.result if name == f"test/{metric}"] or list(view.result)[:1]
        facts.append(("result", " · ".join(f"{name} {format_value(view.result[name])}" for name in named)))
    if "lr" in last_values:
        scheduler = config.get("scheduler")
        suffix = f" · {scheduler}" if isinstance(scheduler, str) and scheduler else ""
        facts.append(("lr", format_value(last_values["lr"]) + suffix))
    for name in ("grad_norm", "train/grad_norm"):
        if name in last_values:
            facts.append(("grad norm", format_value(last_values[name])))
            break
    return facts


def _times(view: RunView, now: float) -> list[tuple[str, str]]:
    facts = []
    record, live = view.record, view.state in LIVE_STATES
    if record is not None and record.attempts:
        attempt = record.attempts[-1]
        resumed = f" · resumed at step {format_count(attempt.from_step)}" if attempt.from_step else ""
        facts.append(("attempt", format_count(attempt.attempt) + resumed))
        clock = time.strftime("%H:%M", time.localtime(attempt.time))
        facts.append(("started", f"{_ago(now - attempt.time, live=False, now=now)} · {clock}"))
    if view.checkpoints:
        facts.append(("saved", _ago(now - view.checkpoints[-1].time, live=live, now=now)))
    return facts


def _ago(seconds: float, *, live: bool, now: float) -> str:
    text = format_age(seconds, live=live, now=now)
    return text if text[:4].isdigit() and "-" in text else f"{text} ago"


def _clock(seconds: float) -> str:
    """`12:41`, with the day before it where that is not today; whatever a file says, no exception."""
    try:
        moment, today = time.localtime(seconds), time.localtime()
    except (ValueError, OverflowError, OSError):
        return "an unknown time"
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)
