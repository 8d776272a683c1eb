"""Why a run stands where it stands, from all its files; nothing is changed, and what cannot be read is left out.

Of a run that is not live the newest checkpoint is hashed, because what matters is where a resume would go on.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.store.attempts import AttemptLine
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.ending import LIVE_STATES, how_it_ended
from ckptop.store.errors import CkptopError, StoreError
from ckptop.store.events import Event, last_event, parse_event
from ckptop.store.layout import RunPaths
from ckptop.store.lines import reversed_lines
from ckptop.store.log_tail import last_lines
from ckptop.store.resume import Start, choose_start
from ckptop.store.trust import require_own
from ckptop.store.views import RunView

if TYPE_CHECKING:
    from ckptop.store.breaks import Break
    from ckptop.store.sampled_log import Curves

LOG_LINES = 10
TRACEBACK_LINES = 8
ALERTS = 3

_LOOK_BACK_BYTES = 1 << 20
_AFTER_TRACEBACK = 5
"""Lines that may follow a traceback's last frame: the error, and what a shell says of it."""

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


@dataclass(frozen=True, slots=True)
class PostMortem:
    """What is known; every string may hold anything that a file can."""

    view: RunView
    ended: str | None
    """What ended it, in a line; None for a live run."""
    traceback: tuple[str, ...]
    """Its last lines, oldest first; empty where the log ends otherwise."""
    log_lines: tuple[str, ...]
    """The last lines before that."""
    breaks: tuple[Break, ...]
    log_bytes: int
    """Size of the log of metrics."""
    looked_at_bytes: int
    """How much of it was looked at for the breaks: its end, and pieces of what is before, where it is very long."""
    alerts: tuple[Event, ...]
    """The newest of this attempt, oldest first."""
    start: Start | None
    """Where a resume would go on; None where nothing verifies, or for a live run."""
    start_problem: str | None
    last_step: int
    """The last step that is known to have been done."""
    command: str | None
    """What to type next."""
    note: str | None
    """What to know of it."""

    @property
    def is_live(self) -> bool:
        """Whether its process is there."""
        return self.view.state in LIVE_STATES

    @property
    def saved_step(self) -> int:
        """The step a resume would go on from; of a live run that of its newest checkpoint, unverified."""
        if self.start is not None:
            return self.start.from_step
        return self.view.latest.step if self.is_live and self.view.latest is not None else 0

    @property
    def lost_steps(self) -> int:
        """Steps done since then."""
        return max(0, self.last_step - self.saved_step)

    @property
    def lost_seconds(self) -> float | None:
        """About how long they took; None where no pace is known."""
        status = self.view.status
        return self.lost_steps * status.step_seconds if status is not None and status.step_seconds else None


def post_mortem(view: RunView, where: Sequence[str] = (), progress: Progress | None = None) -> PostMortem:
    """Gather everything.

    Args:
        view: The run.
        where: Words that a command needs to find its store: `--store DIR`.
        progress: Called with bytes read; `work_bytes` says how many there will be.
    """
    is_live = view.state in LIVE_STATES
    curves = _curves(view, progress)
    log_lines, traceback = _log(view.paths, looks_for_traceback=view.state in ("failed", "crashed"))
    start, start_problem = (None, None) if is_live else _start(view, progress)
    step = view.status.step if view.status is not None else 0
    command, note = _next(view, curves.breaks, where)
    return PostMortem(
        view=view,
        ended=_ended(view),
        traceback=_recorded_traceback(view) or traceback,
        log_lines=log_lines,
        breaks=curves.breaks,
        log_bytes=curves.size_bytes,
        looked_at_bytes=curves.read_bytes,
        alerts=_alerts(view),
        start=start,
        start_problem=start_problem,
        last_step=max(step, curves.last_step),
        command=command,
        note=note,
    )


def work_bytes(view: RunView) -> int:
    """About how many bytes `post_mortem` reads."""
    from ckptop.store.sampled_log import bytes_to_read

    newest: CheckpointInfo | None = None if view.state in LIVE_STATES else view.latest
    hashed_bytes = newest.size_bytes if newest is not None else 0
    with suppress(OSError):
        return bytes_to_read(view.paths.metrics.stat().st_size) + hashed_bytes
    return hashed_bytes


def _ended(view: RunView) -> str | None:
    forced = how_it_ended(view.status, view.state)
    if forced is not None or view.state != "stopped":
        return forced or view.problem
    event = None
    with suppress(StoreError, OSError):
        event = last_event(view.paths.events, ("stopped",))
    is_this = event is not None and view.status is not None and event.attempt == view.status.attempt
    reason = event.details.get("reason") if event is not None and is_this else None
    return f"asked to stop: {reason}" if isinstance(reason, str) else "asked to stop"


def _curves(view: RunView, progress: Progress | None) -> Curves:
    from ckptop.store.sampled_log import read_curves  # NumPy takes 0.1 s to import

    began = view.record.attempts if view.record is not None else []
    attempts = [AttemptLine(one.attempt, one.from_step, one.time) for one in began]
    return read_curves(view.paths.metrics, attempts, progress or (lambda _bytes: None))


def _log(paths: RunPaths, *, looks_for_traceback: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The last lines of train.log, and of the traceback it ends with."""
    lines = last_lines(paths.log, _LOOK_BACK_BYTES)
    begin = _traceback_start(lines) if looks_for_traceback else len(lines)
    return tuple(lines[:begin][-LOG_LINES:]), tuple(lines[begin:][-TRACEBACK_LINES:])


def _traceback_start(lines: Sequence[str]) -> int:
    """Where the traceback that ends the log begins; one of an earlier attempt does not end it."""
    last_frame = next((place for place in range(len(lines) - 1, -1, -1) if lines[place].startswith("  ")), -1)
    if last_frame < 0 or len(lines) - 1 - last_frame > _AFTER_TRACEBACK:
        return len(lines)
    for place in range(last_frame, -1, -1):
        if lines[place].startswith("Traceback (most recent call last)"):
            return place
    return len(lines)


def _recorded_traceback(view: RunView) -> tuple[str, ...]:
    """That of the `failed` event of this attempt; a script's own output may have gone elsewhere."""
    if view.state != "failed" or view.status is None:
        return ()
    event = None
    with suppress(StoreError, OSError):
        event = last_event(view.paths.events, ("failed",))
    lines = event.details.get("traceback") if event is not None and event.attempt == view.status.attempt else None
    return tuple(map(str, lines[-TRACEBACK_LINES:])) if isinstance(lines, list) else ()


def _alerts(view: RunView) -> tuple[Event, ...]:
    attempt = view.status.attempt if view.status is not None else None
    found: list[Event] = []
    with suppress(StoreError, OSError):
        for line in reversed_lines(view.paths.events, limit_bytes=_LOOK_BACK_BYTES):
            event = parse_event(line) if b'"alert"' in line else None
            if event is not None and event.event == "alert" and event.attempt in (attempt, None):
                found.append(event)
                if len(found) == ALERTS:
                    break
    return tuple(reversed(found))


def _start(view: RunView, progress: Progress | None) -> tuple[Start | None, str | None]:
    try:
        return choose_start(view, "auto", progress), None
    except (CkptopError, OSError) as error:
        return None, str(error)


def _next(view: RunView, breaks: Sequence[Break], where: Sequence[str]) -> tuple[str | None, str | None]:
    """The command to go on with, and what to know of it."""
    name, state = view.name, view.state
    if state == "paused":
        return _line("ctl", name, "continue", *where), None
    if state == "stalled":
        return _line("stop", name, *where), "it has taken no step for long; stop it, then resume"
    if state in LIVE_STATES:
        return _line("logs", name, "-f", *where), None
    if view.record is None:
        return None, view.problem
    if state == "finished":
        return None, "it is complete; `ckptop resume` with --epochs N trains on"
    if view.record.command is None:
        return None, "it recorded no command; start its script again with resume"
    settings, note = _settings(view, breaks)
    with suppress(OSError):
        if view.root.stat().st_uid != os.geteuid():
            return _line("resume", name, *where), "it belongs to another user, who may resume it"
    try:
        require_own(view.paths)
    except (StoreError, OSError) as error:
        note = str(error)
    return _line("resume", name, *settings, *where), note


def _settings(view: RunView, breaks: Sequence[Break]) -> tuple[list[str], str | None]:
    """What to change so that the same does not happen again: a resume is exact, and so is its NaN."""
    diverged = [one for one in breaks if one.kind == "not-finite" and "loss" in one.metric and one.lasts]
    rate = view.record.config.get("lr") if view.record is not None else None
    if view.state != "failed" or not diverged or not isinstance(rate, int | float) or isinstance(rate, bool):
        return [], None
    return ["--set", f"lr={rate / 2:g}"], "resumed as it was it would diverge again at the same step: halve the rate"


def _line(*words: str) -> str:
    return shlex.join(["ckptop", *words])


def store_words(store: Path, default: Path) -> list[str]:
    """`--store DIR`, where commands would look elsewhere without it."""
    with suppress(OSError):
        if store.resolve() == default.resolve():
            return []
    return ["--store", os.fspath(store)]
