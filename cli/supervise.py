"""Beside a trainer in the background: writes down what ended it, and with `--auto-resume N` starts it again.

A small process of its own, without torch or click.

The trainer has a session of its own: the supervisor may die, even by SIGKILL, and takes nothing along, and a terminal's
Ctrl-C reaches the supervisor alone, which passes it on once. Two supervisors of one run cannot both have a trainer: the
second's is refused by the lease, and that is no crash.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ckptop.host.oom import killed_for_memory, read_oom_counts
from ckptop.store.alerting import alert_of_run
from ckptop.store.deaths import record_death
from ckptop.store.ending import OF_MEMORY, signal_name
from ckptop.store.errors import EXIT_STOPPED, StoreError
from ckptop.store.events import append_event, last_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.records import Exit, RunRecord, Status
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.views import read_run

FIRST_WAIT_SECONDS = 1.0
WAIT_FACTOR = 4.0
LONGEST_WAIT_SECONDS = 300.0
"""Five restarts then outlast a file server that is away for five minutes."""

_UNEXPECTED = 1
"""Python's exit code of an error nobody expected; every error of ours has a code of its own."""
_WISHES = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""To die of one of these is what somebody wanted."""
_AT_ONCE = 128 + signal.SIGINT


class Supervisor:
    """Keeps one run trained until it ends, crashes too often, or is asked to stop."""

    def __init__(self, paths: RunPaths, argv: Sequence[str], restarts: int, environ: Mapping[str, str]) -> None:
        """`argv` starts the trainer; `restarts` is how many crashes in a row, without a checkpoint between, it gets."""
        self._paths, self._argv, self._restarts = paths, list(argv), restarts
        self._environ = dict(environ)
        self._asked: list[int] = []
        """Signals that asked for a stop, in order."""
        self._wake_read, self._wake_write = os.pipe()
        self._pidfd: int | None = None
        self._held = False
        """Whether the last trainer held the run."""

    def run(self) -> int:
        """Train; returns the exit code of the last trainer, 128 and the signal where one killed it."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGUSR1, self._pass_on)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        alert_of_run(self._paths, self._environ, trains=False)
        crashes, wait_seconds = 0, FIRST_WAIT_SECONDS
        while True:
            began, newest, attempts = time.time(), self._newest(), self._attempts()
            existed = self._paths.record.exists()
            code = self._train_once()
            if not self._is_crash(code, began):
                return EXIT_STOPPED if code < 0 else code
            if self._newest() != newest:
                crashes, wait_seconds = 0, FIRST_WAIT_SECONDS
            crashes += 1
            how = f"crashed ({signal_name(-code) if code < 0 else f'exit code {code}'})"
            if crashes > self._restarts:
                self._tell_of_the_end(how, code)
                return 128 - code if code < 0 else code
            self._tell(f"{how}; starting it again in {wait_seconds:g} s ({crashes} of {self._restarts})", goes_on=True)
            if not self._wait(wait_seconds):
                return EXIT_STOPPED
            wait_seconds = min(LONGEST_WAIT_SECONDS, wait_seconds * WAIT_FACTOR)
            self._go_on_from_the_newest(existed=existed, has_begun=self._attempts() > attempts)

    def _train_once(self) -> int:
        """Start the trainer and wait for its end; how a signal ended it is written into its status."""
        counts = read_oom_counts()
        child = subprocess.Popen(self._argv, env=self._environ, start_new_session=True)
        self._pidfd = os.pidfd_open(child.pid)
        if self._asked:  # before there was anybody to pass it on to
            self._send(signal.SIGTERM)
        code = child.wait()
        os.close(self._pidfd)
        self._pidfd = None
        self._held = False
        with contextlib.suppress(OSError, StoreError):
            process = read_json(self._paths.status, Status).process
            self._held = process.pid == child.pid
            if self._held and code < 0:
                of_memory = code == -signal.SIGKILL and killed_for_memory(child.pid, counts)
                why = OF_MEMORY if of_memory else ""
                record_death(self._paths, process, Exit(signal=-code, error=f"killed by {signal_name(-code)}{why}"))
        return code

    def _is_crash(self, code: int, began: float) -> bool:
        """Whether it is worth another try: not what ended by itself, or what somebody wanted to end."""
        # An error before it held the run is one of its beginning, as an import, or of a run that another holds.
        is_crash = code < 0 or (code == _UNEXPECTED and self._held)
        if self._asked or not is_crash or -code in _WISHES:
            return False
        with contextlib.suppress(OSError, StoreError):
            told = last_event(self._paths.events, ("control",))
            asked = told is not None and told.time >= began and told.details.get("ok") is True
            if told is not None and asked and told.details.get("action") == "stop":
                return False
        return True

    def _go_on_from_the_newest(self, *, existed: bool, has_begun: bool) -> None:
        """What the command line and a resume's `--set` say was done with the first step; unless there was none."""
        if has_begun or (not existed and self._paths.record.exists()):
            request = ResumeRequest(store=str(self._paths.root.parent), run=self._paths.root.name, checkpoint="auto")
            self._environ[RESUME_VARIABLE] = encode_request(request)

    def _newest(self) -> tuple[int, int] | None:
        latest = read_run(self._paths.root).latest
        return (latest.epoch, latest.step) if latest is not None else None

    def _attempts(self) -> int:
        with contextlib.suppress(OSError, StoreError):
            return len(read_json(self._paths.record, RunRecord).attempts)
        return 0

    def _tell_of_the_end(self, how: str, code: int) -> None:
        if self._restarts:
            self._tell(f"{how}; not started again: {self._restarts} restarts brought no new checkpoint", goes_on=False)
        elif code < 0:  # an error of its own it has told itself
            self._tell(how, goes_on=False)

    def _tell(self, what: str, *, goes_on: bool) -> None:
        with contextlib.suppress(OSError):
            print(f"ckptop: {self._paths.root.name} {what}", file=sys.stderr, flush=True)
        if self._paths.record.exists():
            with contextlib.suppress(OSError, StoreError):
                append_event(self._paths, "alert", kind="crash", message=what, goes_on=goes_on)

    # Signals

    def _wait(self, seconds: float) -> bool:
        """Wait that long; False as soon as somebody asks for a stop."""
        deadline = time.monotonic() + seconds
        while not self._asked and (left := deadline - time.monotonic()) > 0:
            if select.select([self._wake_read], [], [], left)[0]:
                os.read(self._wake_read, 1)
        return not self._asked

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        # Always as SIGTERM: of a group that was signalled as a whole, the trainer has its own SIGINT already, and
        # a second one would end it without a save.
        self._asked.append(signum)
        os.write(self._wake_write, b"!")
        if self._asked.count(signal.SIGINT) > 1:
            self._send(signal.SIGKILL)
            os._exit(_AT_ONCE)
        self._send(signal.SIGTERM)

    def _pass_on(self, signum: int, _frame: FrameType | None) -> None:
        self._send(signum)

    def _send(self, signum: int) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signum)


def supervised_argv(paths: RunPaths, argv: Sequence[str], restarts: int) -> list[str]:
    """Arguments of an interpreter that supervise the trainer started by `argv`."""
    return ["-m", "ckptop.cli.supervise", str(paths.root), str(restarts), *argv]


def main() -> int:
    """`python -m ckptop.cli.supervise RUN_DIRECTORY RESTARTS COMMAND …`."""
    root, restarts, *argv = sys.argv[1:]
    return Supervisor(RunPaths(Path(root)), argv, int(restarts), os.environ).run()


if __name__ == "__main__":
    sys.exit(main())
