"""Signals of a trainer: stop after the step, save and go on, or end at once. docs/headless.md has the table.

SIGHUP is ignored: a trainer outlives its terminal. Ending at once tears nothing, since what is being written stands in
staging until it is whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from ckptop.store.alerting import drain_alerts
from ckptop.store.run import Run
from ckptop.trainer.grace import LAST_WORDS_SECONDS, Grace

EXIT_AT_ONCE = 128 + signal.SIGINT
"""Of a second Ctrl-C."""


class StopSignals:
    """From the first attempt on SIGINT and SIGTERM ask for a stop; after the block they mean what they did before.

    SIGUSR1 asks for a save and SIGHUP for nothing from the beginning: neither may end a trainer that still loads.
    Python allows handlers in the main thread only: anywhere else this does nothing.
    """

    def __init__(self, grace_seconds: float | None = None) -> None:
        """`grace_seconds` is how long a signal leaves the trainer to end; None is as long as it takes."""
        self._grace_seconds = grace_seconds
        self._grace: Grace | None = None
        self._run: Run | None = None
        self._asked: str | None = None
        self._deadline: float | None = None
        self._interrupts = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._install({signal.SIGUSR1: self._save, signal.SIGHUP: signal.SIG_IGN})
        return self

    def ask(self, run: Run) -> None:
        """Ask this attempt from now on; a stop that came between two attempts is passed on to it."""
        self._run = run
        if self._asked is not None:
            self.stop(self._asked)
        if self._grace_seconds is not None and self._grace is None:
            self._grace = Grace(self._grace_seconds, self._give_up)
        if signal.SIGTERM not in self._before:
            self._install({signal.SIGINT: self._handle, signal.SIGTERM: self._handle})

    def stop(self, reason: str, seconds_left: float | None = None) -> None:
        """Ask this attempt, or the next, to stop; from any thread, or within a signal handler."""
        self._asked = self._asked or reason
        if seconds_left is not None and self._deadline is None:
            self._deadline = time.monotonic() + seconds_left
        if self._run is not None:
            left = self._deadline - time.monotonic() if self._deadline is not None else None
            self._run.request_stop(self._asked, seconds_left=left)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        if self._grace is not None:
            self._grace.close()

    def _install(self, handlers: dict[signal.Signals, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before |= {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                os._exit(EXIT_AT_ONCE)
        if self._grace is not None:
            self._grace.begin()
        self.stop(signal.Signals(signum).name, self._grace_seconds)
        # Not through sys.stderr, whose buffer may be in use by the very code this interrupts.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this step; Ctrl-C again ends at once, without saving.\n")

    def _save(self, signum: int, _frame: FrameType | None) -> None:
        if self._run is not None:
            self._run.inbox.ask_for_save(signal.Signals(signum).name)

    def _give_up(self) -> None:
        assert self._run is not None  # noqa: S101 - a grace begins with a run
        self._run.give_up(f"not done within {self._grace_seconds:g} s of {self._asked}: this step is not saved")
        drain_alerts(LAST_WORDS_SECONDS)
