"""What of all that happens to a run somebody should hear who is not looking, and what to type then.

Pure: a notice and the run's records go in, an alert comes out, the same whether the trainer noticed it or a watch.
Whatever calls itself an alert in a run's events is one, if only a `warning`: none is dropped because its kind is new.
"""

from __future__ import annotations

import math
import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, format_value
from ckptop.store.manifest import to_number
from ckptop.store.notices import Notice
from ckptop.store.records import RunRecord
from ckptop.store.views import RunHead

KINDS = {
    "nan": "a loss or a gradient is no number",
    "failed": "the training ended by another error of its own",
    "crash": "its process is gone, or its host is silent",
    "stall": "no step for long, though its process is there",
    "disk": "the disk is filling, or refused a save",
    "best": "a better milestone was saved",
    "degraded": "the metric fell behind the best",
    "end": "it is finished, or was stopped",
    "warning": "anything else that a run's events call an alert",
}
"""Every kind of alert, and when it is told."""

LONGEST_MESSAGE = 1000
_RESULTS = 4

_NO_NUMBER = re.compile(r"\b(nan|inf|infinity|infinite)\b|not finite|nonfinite|non-finite", re.IGNORECASE)
"""In the error of a failed run, ours or that of somebody's own script."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell; its strings are clean."""

    time: float
    """Seconds since the epoch."""
    kind: str
    """One of `KINDS`."""
    run: str
    store: str
    host: str
    """Where the run trains."""
    message: str
    """What happened and why, in a line."""
    next: str
    """What to type."""
    step: int | None = None
    missed: int = 0
    """Alerts of this kind and run that nobody was sent since the last one that went out."""

    @property
    def text(self) -> str:
        """All of it for a person, in two lines."""
        more = f" ({self.missed} more of this kind were not sent)" if self.missed else ""
        return f"{self.run}: {self.message}{more}\n$ {self.next}"

    def fields(self) -> dict[str, Any]:
        """The alert as JSON tells it; `text` last."""
        names = ("time", "kind", "run", "store", "host", "step", "message", "next", "missed")
        return {**{name: getattr(self, name) for name in names}, "text": self.text}


def kind_of(notice: Notice) -> str | None:
    """The kind of alert that a notice is worth; None for none."""
    told = notice.details
    match notice.kind:
        case "alert":
            kind = told.get("kind")
            return kind if isinstance(kind, str) and kind in KINDS else "warning"
        case "milestone":
            return "best"
        case "failed":
            return _kind_of_failure(told.get("error"))
        case "finished" | "stopped":
            return None if told.get("goes_on") is True else "end"
        case "state":
            return _kind_of_state(told)
    return None


def make_alert(kind: str, notice: Notice, head: RunHead) -> Alert:
    """The alert of `kind`, as `kind_of` says, that a notice of a run is."""
    host = head.status.process.host if head.status is not None else socket.gethostname()
    said = (head.name, str(head.root.parent.absolute()), host, _message(notice), _next(kind, notice, head))
    run, store, host, message, next_ = (clean(text, LONGEST_MESSAGE) for text in said)
    return Alert(notice.time, kind, run, store, host, message, next_, notice.step)


def _kind_of_failure(error: object) -> str:
    return "nan" if isinstance(error, str) and _NO_NUMBER.search(error) else "failed"


def _kind_of_state(told: Mapping[str, Any]) -> str | None:
    match told.get("state"):
        case "crashed" | "unknown":
            return "crash"
        case "stalled":
            return "stall"
        case "failed":  # its event could not be written
            return _kind_of_failure(told.get("why"))
        case "finished" | "stopped":
            return "end"
    return None


def _message(notice: Notice) -> str:
    told, at = notice.details, f" at step {format_count(notice.step)}" if notice.step is not None else ""
    match notice.kind:
        case "alert":
            return str(told.get("message", ""))
        case "milestone":
            return f"better {told.get('metric', 'metric')}: {format_value(_number(told.get('value')))}{at}"
        case "finished":
            return f"finished{at}{_results(told.get('metrics'))}"
    what = str(told.get("state") if notice.kind == "state" else notice.kind)
    why = next((told[key] for key in ("error", "why", "reason") if isinstance(told.get(key), str)), None)
    if what == "stalled":
        why = "no step for long, though its process is there"
    if what == "unknown":
        what, why = "not heard of", "its host is silent"
    return f"{what}{at}" + (f": {why}" if why else "")


def _results(metrics: object) -> str:
    """The test part's first; then those of the best checkpoint."""
    if not isinstance(metrics, Mapping):
        return ""
    order = {"test": 0, "val": 1}
    names = sorted(map(str, metrics), key=lambda name: (order.get(name.partition("/")[0], 2), name))[:_RESULTS]
    said = ", ".join(f"{name} {format_value(_number(metrics[name]))}" for name in names)
    return f": {said}" if said else ""


def _number(value: object) -> float | None:
    return to_number(value) if isinstance(value, int | float | str) else None


def _next(kind: str, notice: Notice, head: RunHead) -> str:
    """The exact command; it finds its store from anywhere on the machines that share it."""
    name, told = head.name, notice.details
    where = ("--store", str(head.root.parent.absolute()))
    if told.get("goes_on") is True:
        return _line("logs", name, "-f", *where)
    match kind:
        case "nan":
            return _line("resume", name, *_half_the_rate(head.record), *where)
        case "crash" if told.get("state") != "unknown":
            return _line("resume", name, *where)
        case "end" if "stopped" in (notice.kind, told.get("state")):
            return _line("resume", name, *where)
        case "end":
            return _line("ls", name, *where)
        case "best":
            return _line("show", f"{name}:best={told.get('metric', '')}".removesuffix("="), *where)
        case "stall":
            stop = _line("stop", name, "--now", "--timeout", "60", *where)
            return f"{stop} && {_line('resume', name, *where)}"
        case "degraded":
            return f"{_line('stop', name, *where)} && {_line('resume', name, '--from', 'best', *where)}"
        case "disk":
            return f"{_line('prune', name, '--keep-last', '1', *where)} && {_line('trash', name, '--empty', *where)}"
    return _line("why", name, *where)


def _half_the_rate(record: RunRecord | None) -> tuple[str, ...]:
    """A resume is exact, and so would be its NaN."""
    rate = record.config.get("lr") if record is not None else None
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not math.isfinite(rate):
        return ()
    return ("--set", f"lr={rate / 2:g}")


def _line(*words: str) -> str:
    return shlex.join(["ckptop", *words])
