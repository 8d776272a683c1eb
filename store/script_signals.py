"""SIGTERM and Ctrl-C of a script that looks at `Run.should_stop`: they ask for a stop after the step.

Only Python's defaults are replaced: a script, or a library it uses, that handles a signal itself goes on doing so.
"""

from __future__ import annotations

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
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, default in _DEFAULTS.items():
            if signal.getsignal(signum) == default:
                self._taken[signum] = signal.signal(signum, self._handle)

    def close(self) -> None:
        """Give the signals their defaults back, where nobody has taken them since."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, before in self._taken.items():
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, before)
        self._taken.clear()

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        name = signal.Signals(signum)
        if name is signal.SIGINT:
            signal.signal(signum, self._taken[name])  # a second Ctrl-C interrupts at once
        self._request_stop(name.name)
