"""Signals of a trainer: the first asks it to stop after its step, a second Ctrl-C ends it at once.

SIGHUP is ignored: a trainer outlives its terminal. Ending at once tears nothing, since what is being
written stands in staging until it is whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_EXIT_ON_SECOND = 128 + signal.SIGINT


class StopSignals:
    """From the first attempt on SIGINT and SIGTERM ask for a stop; after the block they mean what they did before.

    Python allows handlers in the main thread only: anywhere else this does nothing.
    """

    def __init__(self) -> None:
        self._request_stop: Callable[[str], None] | None = None
        self._asked: str | None = None
        self._interrupts = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def ask(self, request_stop: Callable[[str], None]) -> None:
        """Ask this attempt to stop from now on; a signal that came between two attempts is passed on to it.

        `request_stop` gets the signal's name, within a signal handler.
        """
        self._request_stop = request_stop
        if self._asked is not None:
            request_stop(self._asked)
        if not self._before and threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._handle)
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                os._exit(_EXIT_ON_SECOND)
        self._asked = signal.Signals(signum).name
        if self._request_stop is not None:
            self._request_stop(self._asked)
        # Not through sys.stderr, whose buffer may be in use by the very code this interrupts.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this step; Ctrl-C again ends at once, without saving.\n")
