"""The grace that a signal leaves: what is not done by then is given up, before somebody sends SIGKILL.

A disk that hangs holds the trainer's thread within the kernel, where no signal handler of Python runs. So a thread
waits beside it from the beginning; a pipe tells it when the time begins, which is all that is safe in a handler.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

from ckptop.store.errors import EXIT_STOPPED

LAST_WORDS_SECONDS = 2.0
"""For writing down that it was given up; the disk that hung may hang here too."""


class Grace:
    """Ends the process, with the exit code of a stop, some seconds after `begin` unless it was closed before."""

    def __init__(self, seconds: float, last_words: Callable[[], object]) -> None:
        """`last_words` is called before the end; the process does not wait for it for long."""
        self._seconds, self._last_words = seconds, last_words
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="ckptop-grace", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The time runs from now on; safe in a signal handler, and a second call changes nothing."""
        with contextlib.suppress(OSError):
            os.write(self._write, b"!")

    def close(self) -> None:
        """All is done: nothing will be ended."""
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _watch(self) -> None:
        if not os.read(self._read, 1):
            return
        deadline = time.monotonic() + self._seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._read], [], [], left)[0] and not os.read(self._read, 1):
                return
        speaker = threading.Thread(target=self._last_words, daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS_SECONDS)
        os._exit(EXIT_STOPPED)
