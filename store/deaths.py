"""How a process ended that could not say so itself: written into its status by whoever saw it.

Only of that very process, once it is gone, and under the lease: a trainer that has taken the run up meanwhile owns
the status.
"""

from __future__ import annotations

import threading
import time

import msgspec

from ckptop.host.process import is_alive
from ckptop.store.errors import Held, StoreError
from ckptop.store.files import read_json, write_durably
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
from ckptop.store.manifest import encode
from ckptop.store.records import LIVE_PHASES, Exit, Phase, Process, Status
from ckptop.store.state import identity_of

_EXIT_SECONDS = 2.0
_LOOK_SECONDS = 0.02


def record_death(paths: RunPaths, process: Process, exit_: Exit, phase: Phase | None = None) -> bool:
    """Write how `process` ended into the status it left behind; False if that is no longer its own.

    Args:
        paths: The run.
        process: The process that is gone.
        exit_: How.
        phase: What the run is from now on; by default the phase stays, and the run is shown as crashed.

    Raises:
        OSError: The disk refused; the status is as it was.
    """
    lease = _lease(paths)
    if lease is None:
        return False
    try:
        status = read_json(paths.status, Status)
        if _same(status.process, process) and status.phase in LIVE_PHASES and is_alive(identity_of(process)) is False:
            ended = msgspec.structs.replace(status, exit=exit_, phase=phase or status.phase)
            write_durably(paths.status, encode(ended))
            return True
    except StoreError:  # no status to believe
        return False
    finally:
        lease.release()
    return False


def _lease(paths: RunPaths) -> Lease | None:
    """The lease of a process that is gone; None if somebody else has it.

    A process counts as gone when its first thread is; the others may hold the lock for some milliseconds more.
    """
    deadline, pause = time.monotonic() + _EXIT_SECONDS, threading.Event()
    while True:
        try:
            return Lease.acquire(paths, steal=True)  # no heartbeat to observe: it is known to be gone
        except Held:
            if time.monotonic() > deadline:
                return None
        pause.wait(_LOOK_SECONDS)


def _same(one: Process, other: Process) -> bool:
    return (one.pid, one.start_ticks, one.boot_id) == (other.pid, other.start_ticks, other.boot_id)
