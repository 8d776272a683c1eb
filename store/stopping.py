"""Whether a run was asked to stop, by whom, and how long whoever asked will wait."""

from __future__ import annotations

import time

from ckptop.store.script_signals import ScriptSignals


class Stopping:
    """What `Run.should_stop` tells; asked from the loop, told from signal handlers and other threads."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it was asked; None while nobody did."""
        self.was_seen = False
        """Whether the loop has been told so."""
        self._deadline: float | None = None
        self._signals: ScriptSignals | None = None

    def request(self, reason: str, *, seconds_left: float | None = None) -> None:
        """Ask for a stop after this step; the first reason and the first deadline hold. Safe in a signal handler."""
        self.reason = self.reason or reason
        if seconds_left is not None and self._deadline is None:
            self._deadline = time.monotonic() + seconds_left

    def look(self) -> bool:
        """Whether to stop; the first look takes SIGTERM and Ctrl-C, where the script leaves them to us."""
        if self._signals is None:
            self._signals = ScriptSignals(self.request)
        self.was_seen = self.reason is not None
        return self.was_seen

    @property
    def seconds_left(self) -> float | None:
        """How long whoever asked will wait, never below 0; None where nobody said."""
        return max(0.0, self._deadline - time.monotonic()) if self._deadline is not None else None

    def retake_signals(self) -> None:
        """Take the signals back from a library that has put its handlers over ours."""
        if self._signals is not None:
            self._signals.retake()

    def close(self) -> None:
        """Give the signals back."""
        if self._signals is not None:
            self._signals.close()
