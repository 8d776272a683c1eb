"""What holds for every test."""

from __future__ import annotations

import signal
import threading

_DEFAULTS = dict.fromkeys(
    (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2), signal.SIG_DFL
)


def pytest_runtest_setup() -> None:
    """Signals mean what they mean in a fresh terminal and none is blocked, whoever started us and whatever ran before.

    Under nohup SIGHUP is ignored, in the background of a script SIGINT is; both pass through exec to the trainers that
    the tests start and signal. And a library may have put back, at its end, a handler that is long out of use.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if threading.current_thread() is threading.main_thread():
        for number, meaning in _DEFAULTS.items():
            signal.signal(number, meaning)
        signal.signal(signal.SIGINT, signal.default_int_handler)
