"""The truth about a run's state: what its status file says, checked against the process itself."""

from __future__ import annotations

import time
from typing import Literal

from ckptop.host.process import ProcessIdentity, is_alive
from ckptop.store.records import LIVE_PHASES, Process, Status

State = Literal[
    "starting", "running", "paused", "stalled", "stopped", "finished", "failed", "crashed", "unknown",
    "unreadable",
]  # fmt: skip

STALLED_SECONDS = 30.0
"""No step for this long, and for `STALLED_STEPS` step times, is a stall."""
STALLED_STEPS = 20.0
FOREIGN_SECONDS = 60.0
"""A heartbeat of another host older than this makes its state unknown."""


def identity_of(process: Process) -> ProcessIdentity:
    """The process a status file names, as the host layer knows processes."""
    return ProcessIdentity(process.pid, process.start_ticks, process.boot_id, process.host, process.user)


def derive_state(
    status: Status | None, *, now: float | None = None, heartbeat_age_seconds: float | None = None
) -> State:
    """The state to show.

    Args:
        status: What status.json says; None where there is none yet.
        now: Seconds since the epoch; the clock's by default.
        heartbeat_age_seconds: How long the heartbeat has stood still by the observer's own clock, for a viewer
            that watched it; by default the difference of the clocks.
    """
    if status is None:
        return "unknown"
    if status.phase not in LIVE_PHASES:
        return status.phase
    now = time.time() if now is None else now
    alive = is_alive(identity_of(status.process))
    if alive is False:
        return "crashed"
    if alive is None:
        age = now - status.heartbeat if heartbeat_age_seconds is None else heartbeat_age_seconds
        if age > FOREIGN_SECONDS:
            return "unknown"
    if status.phase == "running" and status.last_step_time is not None:
        patience = max(STALLED_SECONDS, STALLED_STEPS * (status.step_seconds or 0.0))
        if _idle_seconds(status, now) > patience:
            return "stalled"
    return status.phase


def _idle_seconds(status: Status, now: float) -> float:
    """How long no step came: what the trainer counted until its heartbeat, and the heartbeat's own age.

    Two times of day alone would be wrong by whatever somebody sets the clock in between.
    """
    if status.step_age_seconds is None or status.last_step_time is None:
        return now - (status.last_step_time or now)
    return status.step_age_seconds + max(0.0, now - status.heartbeat)
