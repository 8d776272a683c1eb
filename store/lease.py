"""One writer a run: the lease a trainer holds on `lease.lock`.

The kernel frees the lock the moment the holder dies, so on one machine it alone decides. Another machine's lock
may not reach us (NFS without locks, a volume mounted twice): there the heartbeat in status.json decides, watched
by our own clock, since the clocks of two machines never agree. The lease file is opened nowhere else and never
removed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptop.host.process import ProcessIdentity, current_process, is_alive
from ckptop.store.errors import DiskError, Held, StoreError
from ckptop.store.files import open_to_change, open_to_read, read_json
from ckptop.store.layout import RunPaths
from ckptop.store.locks import is_locked, lock_holder, try_lock
from ckptop.store.records import LIVE_PHASES, Process, Slurm, Status

OBSERVE_SECONDS = 60.0
"""How long the heartbeat of another host must stand still before its lease passes on."""

_LOOK_SECONDS = 1.0
"""Heartbeats are written once a second."""

_held: set[str] = set()
"""Leases of this process: opening one a second time and closing it would drop the first."""
_held_lock = threading.Lock()


@dataclass(slots=True)
class Lease:
    """The right to write a run; ends with `release` or with the process, however it dies."""

    path: Path
    _key: str
    _descriptor: int
    _pid: int

    @classmethod
    def acquire(
        cls,
        paths: RunPaths,
        *,
        steal: bool = False,
        observe_seconds: float = OBSERVE_SECONDS,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> Lease:
        """Take the lease of the run at `paths`, whose directory exists.

        Args:
            paths: The run.
            steal: Do not observe the heartbeat of a holder whose lock does not reach us.
            observe_seconds: How long that heartbeat must stand still.
            say: Told once, before a long observation, what is being waited for.
            clock: Monotonic seconds.
            wait: Waits that many seconds.

        Raises:
            Held: Another process has it, or beats on; nothing was changed.
            DiskError: The file cannot be opened or locked.
        """
        key = os.path.realpath(paths.lease)
        with _held_lock:
            if key in _held:
                raise Held(f"run {paths.root.name} is held by this very process; finish it first")
            lease = cls._lock(paths, key)
            _held.add(key)
        try:
            if not steal:
                _Observation(paths, observe_seconds, say, clock, wait or threading.Event().wait).require_free()
        except BaseException:
            lease.release()
            raise
        return lease

    @classmethod
    def _lock(cls, paths: RunPaths, key: str) -> Lease:
        try:
            descriptor = open_to_change(paths.lease, os.O_RDWR)
        except DiskError:
            raise
        except OSError as error:
            raise DiskError(error.errno, f"{paths.lease} cannot be opened: {error.strerror}") from error
        locked, holder = False, None
        try:
            locked = try_lock(descriptor, paths.lease)
            holder = None if locked else lock_holder(descriptor)
        finally:
            if not locked:
                os.close(descriptor)
        if not locked:
            raise _held_by(paths, read_status(paths), holder)
        return cls(paths.lease, key, descriptor, os.getpid())

    def release(self) -> None:
        """Give the lease back; does nothing a second time, or in a forked child."""
        if self._descriptor < 0 or self._pid != os.getpid():
            return
        with _held_lock:
            os.close(self._descriptor)
            self._descriptor = -1
            _held.discard(self._key)


@dataclass(slots=True)
class _Observation:
    """Whether a run whose lock we got is truly free."""

    paths: RunPaths
    seconds: float
    say: Callable[[str], None] | None
    clock: Callable[[], float]
    wait: Callable[[float], object]

    def require_free(self) -> None:
        """Return if the last holder is gone.

        Raises:
            Held: Its heartbeat moves.
        """
        status = read_status(self.paths)
        if status is None or is_free(status, slurm_of_environment(os.environ)):
            return
        if self.say is not None:
            name, who = self.paths.root.name, _who(status.process)
            self.say(
                f"run {name} was last written by {who}; "
                f"watching its heartbeat for {self.seconds:g} s before taking over"
            )
        deadline = self.clock() + self.seconds
        while (left_seconds := deadline - self.clock()) > 0:
            self.wait(min(_LOOK_SECONDS, left_seconds))
            latest = read_status(self.paths)
            if latest is None or latest == status:
                continue
            if latest.phase in LIVE_PHASES:
                raise _held_by(self.paths, latest)
            return


def is_held(paths: RunPaths) -> bool:
    """Whether a process of this host, this one included, holds the lease; nothing is taken."""
    with _held_lock:  # to close a second descriptor of a lease of ours would drop it
        if os.path.realpath(paths.lease) in _held:
            return True
        try:
            with open_to_read(paths.lease) as file:
                return is_locked(file.fileno())
        except (StoreError, OSError):
            return False


def is_free(status: Status, slurm: Slurm | None) -> bool:
    """Whether a run with this status, whose lock we hold, can be taken without observing its heartbeat."""
    if status.phase not in LIVE_PHASES:
        return True
    theirs = status.process.slurm
    if slurm and theirs and slurm.job_id == theirs.job_id and slurm.restart_count > theirs.restart_count:
        return True
    holder, ours = _identity(status.process), current_process()
    if (holder.pid, holder.start_ticks, holder.boot_id) == (ours.pid, ours.start_ticks, ours.boot_id):
        return True
    if is_alive(holder) is not False:
        return False
    # A heartbeat of this boot under another boot id: a second machine (or clone) of the same name.
    return holder.boot_id == ours.boot_id or status.heartbeat < _boot_time()


def slurm_of_environment(env: Mapping[str, str]) -> Slurm | None:
    """The Slurm job that `env` describes; None outside of one."""
    job_id, restarts = env.get("SLURM_JOB_ID", ""), env.get("SLURM_RESTART_COUNT", "")
    return Slurm(job_id=job_id, restart_count=int(restarts) if restarts.isdecimal() else 0) if job_id else None


def _held_by(paths: RunPaths, status: Status | None, holder: int | None = None) -> Held:
    name = paths.root.name
    who = _who(status.process) if status is not None and status.phase in LIVE_PHASES else "another process"
    # A holder that has just begun has not replaced the status of the attempt before it; the kernel knows its pid.
    if holder is not None and (who == "another process" or _is_older(status, holder)):
        who = f"pid {holder}, which has just begun"
    return Held(f"run {name} is held by {who}; stop it with `ckptop stop {name}`")


def _is_older(status: Status | None, holder: int) -> bool:
    """Whether a status is of another process of this host than the one that holds the lock."""
    return status is not None and status.process.host == current_process().host and status.process.pid != holder


def _who(process: Process) -> str:
    return f"pid {process.pid} of {process.user} on {process.host}"


def taken_over(process: Process) -> str:
    """Who held a run that somebody else holds now, and why it no longer does: for the line that says so."""
    holder, ours = _identity(process), current_process()
    if holder.host != ours.host:
        why = "from which the run has passed on"
    else:
        why = "before this machine was started again" if holder.boot_id != ours.boot_id else "which is gone"
    return f"{_who(process)}, {why}"


def _identity(process: Process) -> ProcessIdentity:
    return ProcessIdentity(process.pid, process.start_ticks, process.boot_id, process.host, process.user)


def read_status(paths: RunPaths) -> Status | None:
    """The status, or None where there is none to believe."""
    try:
        return read_json(paths.status, Status)
    except (StoreError, OSError):
        return None


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _forget_leases_in_child() -> None:
    """A forked child inherits no lock."""
    global _held_lock
    _held_lock = threading.Lock()
    _held.clear()


os.register_at_fork(after_in_child=_forget_leases_in_child)
