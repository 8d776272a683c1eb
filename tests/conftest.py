"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Signals mean what they mean in a fresh terminal, whoever started us.

    Under nohup SIGHUP is ignored, in the background of a script SIGINT is, and a supervisor may block some: all of
    that passes through exec to the trainers that the tests start and signal.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
