"""How a run's last attempt ended, in a few words, from what its records say.

A trainer that ends by itself writes its exit into status.json. One that was killed could not, so of a crash the
records may know no more than that the process is gone; whatever else is recorded of it goes first.
"""

from __future__ import annotations

import signal

from ckptop.host.oom import OomCounts, killed_for_memory
from ckptop.host.process import current_process
from ckptop.store.records import Status
from ckptop.store.state import State

ILL_STATES = frozenset({"stalled", "crashed", "failed", "unknown", "unreadable"})
"""States that want a person."""
LIVE_STATES = frozenset({"starting", "running", "paused", "stalled"})
"""States in which a process is there."""
OF_MEMORY = ": the kernel's out-of-memory killer took it"
"""Behind how a process ended."""


def how_it_ended(status: Status | None, state: State) -> str | None:
    """What ended a failed or crashed run, in one line that may hold anything, or one stopped by force; else None."""
    if status is None or state not in ("failed", "crashed", "stopped"):
        return None
    exit_ = status.exit
    if exit_ is not None and exit_.error:
        return exit_.error
    if state == "stopped":
        return None
    if exit_ is not None and exit_.signal is not None:
        return f"killed by {signal_name(exit_.signal)}"
    if exit_ is not None and exit_.code is not None:
        return f"exit code {exit_.code}"
    if state == "failed":
        return "it did not say why"
    if status.process.boot_id != current_process().boot_id:
        return "its machine was restarted"
    return f"its process is gone{OF_MEMORY if _died_for_memory(status) else ''}"


def _died_for_memory(status: Status) -> bool:
    """Whether the kernel's counts or log say that it killed a process of this boot for want of memory."""
    kills = status.kernel_kills
    if kills is None:
        return False
    before = OomCounts(kills.group, kills.group_kills, kills.machine_kills)
    return killed_for_memory(status.process.pid, before) is True


def signal_name(number: int) -> str:
    """`SIGKILL`; the bare number where it is none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
