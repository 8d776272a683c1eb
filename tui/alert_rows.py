"""Alerts of a whole store as a viewer tells them: what the runs' events say, and what their records do.

Pure: an event or a view goes in, rows come out; each has a key that is the same for every viewer and every session, so
that what somebody has dismissed stays dismissed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ckptop.host.terminal import clean
from ckptop.host.units import format_bytes, format_bytes_pair, format_duration, format_percent
from ckptop.store.alerts import kind_of, make_alert
from ckptop.store.ending import how_it_ended
from ckptop.store.notices import Notice
from ckptop.tui.messages import Place
from ckptop.tui.model import Hardware

if TYPE_CHECKING:
    from ckptop.store.events import Event
    from ckptop.store.views import RunHead, RunView

GOOD_NEWS = frozenset({"best", "end"})
"""Kinds that are told to whoever is not looking, and are nothing to be alarmed about."""

GRAVE = frozenset({"nan", "failed", "crash"})
"""Kinds in the colour of errors; the others are warnings."""

IN_CHART = frozenset({"nan", "spike", "plateau", "degraded", "slow"})
"""Kinds whose cause is seen in a chart; that of any other run's alert is in its log."""

TEXT_LIMIT = 300
_SAME_STEPS = 100
"""Two alerts of one kind and run so near are one."""

GPU_FULL, HOST_FULL = 0.97, 0.95
"""Shares of memory from which it is near full."""
SOON_SECONDS = 6 * 3600.0
LOW_BYTES = 512 << 20
"""A disk that is full so soon, or has so little left, is filling."""


class AlertRow(msgspec.Struct, frozen=True, eq=False):
    """One thing that went wrong; its strings are clean."""

    key: str
    time: float
    """Seconds since the epoch, as the run tells it."""
    kind: str
    """One of `store.alerts.KINDS`, or `spike`, `plateau`, `slow`, `memory`."""
    run: str
    """Directory name; empty for the machine."""
    label: str
    message: str
    step: int | None = None
    metric: str | None = None
    judged: bool = False
    """Whether a viewer says so by itself, of the run's curves."""
    found: float = 0.0
    """When this viewer came to know of it, of what happened while it looked; else 0."""
    is_new: bool = False
    """Whether nobody has seen it yet."""

    @property
    def place(self) -> Place:
        """Where its cause is to be seen."""
        if not self.run:
            return "hardware"
        return "chart" if self.kind in IN_CHART else "log"

    @property
    def tone(self) -> str:
        """Colour token."""
        return "error" if self.kind in GRAVE else "warning"


class Alerts(msgspec.Struct, frozen=True, eq=False):
    """What there is to be alarmed about, newest first."""

    rows: tuple[AlertRow, ...] = ()
    is_complete: bool = False
    """False until the events of every run were read once."""

    @property
    def new(self) -> int:
        """How many nobody has seen yet."""
        return sum(row.is_new for row in self.rows)


def row_of_event(event: Event, head: RunHead) -> AlertRow | None:
    """The alert that an event of a run is; None for none."""
    return _row(Notice(event.time, head.name, event.event, event.step, None, event.details), event.attempt, head)


def row_of_state(view: RunView) -> AlertRow | None:
    """The alert that a run's state is; None where it is well, or an event says the same."""
    status = view.status
    if status is None or view.state not in ("crashed", "stalled", "failed", "unknown"):
        return None
    moment = status.last_step_time if view.state == "stalled" else None
    details = {"state": view.state, "why": how_it_ended(status, view.state)}
    notice = Notice(moment or status.heartbeat, view.name, "state", status.step, None, details)
    return _row(notice, status.attempt, view)


def _row(notice: Notice, attempt: int | None, head: RunHead) -> AlertRow | None:
    kind = kind_of(notice)
    if kind is None or kind in GOOD_NEWS:
        return None
    alert = make_alert(kind, notice, head)
    metric = head.metric.name if kind == "degraded" and head.metric is not None else None
    return AlertRow(
        key=f"{head.name}:{attempt}:{kind}:{notice.step}",
        time=notice.time,
        kind=kind,
        run=head.name,
        label=clean(head.name, TEXT_LIMIT),
        message=clean(alert.message.partition("; to go back:")[0], TEXT_LIMIT),
        step=notice.step,
        metric=metric,
    )


def rows_of_machine(hardware: Hardware, now: float) -> list[AlertRow]:
    """What is wrong with the machine at this moment; keys name what is full."""
    rows = []
    host, disk = hardware.host, hardware.disk
    used, total = host.memory_used_bytes, host.memory_total_bytes
    if total and used >= HOST_FULL * total:
        rows.append(_of_machine("memory", "host", f"memory is {_share(used, total)}", now))
    for gpu in hardware.gpus:
        used, total = gpu.memory_used_bytes or 0, gpu.memory_total_bytes or 0
        if total and used >= GPU_FULL * total:
            rows.append(_of_machine("memory", gpu.uuid, f"GPU {gpu.index} memory is {_share(used, total)}", now))
    soon = hardware.full_in_seconds
    if disk is not None and (disk.free_bytes < LOW_BYTES or (soon is not None and soon < SOON_SECONDS)):
        message = f"the disk is filling: {format_bytes(disk.free_bytes)} free"
        if soon is not None:
            rate = format_bytes(hardware.fill_bytes_per_second)
            message = f"the disk is full in {format_duration(soon)} at {rate}/s: {format_bytes(disk.free_bytes)} free"
        rows.append(_of_machine("disk", "store", message, now))
    return rows


def _of_machine(kind: str, what: str, message: str, now: float) -> AlertRow:
    return AlertRow(f":{kind}:{what}", now, kind, "", "this machine", clean(message, TEXT_LIMIT))


def _share(used: int, total: int) -> str:
    return f"{format_percent(used / total)} full, {format_bytes_pair(used, total)}"


def is_known(row: AlertRow, known: Iterable[AlertRow]) -> bool:
    """Whether an alert of this kind and run, of the same step or nearly, is among those known."""
    return any(other.key == row.key or _is_same(other, row) for other in known)


def _is_same(known: AlertRow, row: AlertRow) -> bool:
    if (known.run, known.kind) != (row.run, row.kind) or not (known.judged or row.judged):
        return False
    if known.step is None or row.step is None:
        return False
    if known.metric != row.metric and None not in (known.metric, row.metric):
        return False
    # A trainer tells where it fell behind, a viewer which best it fell behind of.
    return abs(known.step - row.step) <= _SAME_STEPS or (row.kind == "degraded" and known.step >= row.step)
