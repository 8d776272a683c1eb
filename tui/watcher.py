"""Something looked at again and again by a thread, while somebody looks at what it finds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Watcher(Generic[S, T]):
    """Calls `look` with a subject now and then; `run` is the thread's, the rest may be called from any thread."""

    def __init__(self, look: Callable[[S], T], seconds: float) -> None:
        """Nothing is looked at before `run`.

        Args:
            look: Called in the thread; returns the very same object while there is nothing new, and raises nothing.
            seconds: Between two looks.
        """
        self._look, self._seconds = look, seconds
        self._condition = threading.Condition()
        self._subject: S | None = None
        self._is_new = self._is_stopped = False

    def ask(self, subject: S | None) -> None:
        """From now on look at this, at once; None lets the thread rest."""
        with self._condition:
            self._subject, self._is_new = subject, True
            self._condition.notify()

    def stop(self) -> None:
        """Let `run` return soon."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def run(self, post: Callable[[S, T], None]) -> None:
        """Look and post what is new, until `stop`."""
        posted: tuple[S, T] | None = None
        while True:
            with self._condition:
                if not self._is_new and not self._is_stopped:
                    self._condition.wait(self._seconds if self._subject is not None else None)
                if self._is_stopped:
                    return
                self._is_new, subject = False, self._subject
            if subject is None:
                posted = None
                continue
            found = self._look(subject)
            if posted is None or posted[0] != subject or posted[1] is not found:
                posted = subject, found
                post(subject, found)
