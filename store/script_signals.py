"""SIGTERM and Ctrl-C of a script that looks at `Run.should_stop`: they ask for a stop after the step.

Only Python's defaults are replaced: a script, or a library it uses, that handles a signal itself goes on doing so.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_DEFAULTS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class ScriptSignals:
    """From now on SIGTERM and the first SIGINT call `request_stop` with their name; `close` takes that back.

    Python allows handlers in the main thread only: anywhere else this does nothing.
    """

    def __init__(self, request_stop: Callable[[str], None]) -> None:
        self._request_stop = request_stop
        self._taken: dict[signal.Signals, Any] = {}
        self.is_closed = False
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, default in _DEFAULTS.items():
            if _is_free(signal.getsignal(signum), default):
                signal.signal(signum, self._handle)
                self._taken[signum] = default

    def retake(self) -> None:
        """Put our handlers over those that a library has put over ours."""
        if threading.current_thread() is threading.main_thread():
            for signum in self._taken:
                signal.signal(signum, self._handle)

    def close(self) -> None:
        """Give the signals their defaults back, where nobody has taken them since."""
        self.is_closed = True
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, before in self._taken.items():
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, before)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        name = signal.Signals(signum)
        if self.is_closed or name is signal.SIGINT:
            signal.signal(signum, self._taken[name])  # a second Ctrl-C interrupts at once
        if self.is_closed:
            os.kill(os.getpid(), signum)
        else:
            self._request_stop(name.name)


def _is_free(handler: Any, default: Any) -> bool:
    """Whether nobody handles the signal; one of ours that is closed may have been put back by a library."""
    before = getattr(handler, "__self__", None)
    return bool(handler == default) or (isinstance(before, ScriptSignals) and before.is_closed)
