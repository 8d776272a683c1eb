"""At most one save on its way to the disk, in a thread beside the loop.

What it meets is raised where the loop next looks (`check`, `wait`), never lost and never at exit. The thread is no
daemon: a process that ends, however it comes to that, waits for it first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], object]

_NICER = 5
"""Than the loop the writer is: where every core is busy the loop goes first."""


class InFlight:
    """Runs jobs one after the other; to be used from one thread, the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._is_running = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a save is on its way."""
        return self._is_running

    def start(self, job: Job) -> None:
        """Run `job` beside the caller; waits for the one before, and raises what that met."""
        self.wait()
        self._jobs.append(job)
        self._is_running = True
        self._thread = threading.Thread(target=self._run, name="ckptop-save")
        self._thread.start()

    def then(self, job: Job) -> bool:
        """Run `job` after the one on its way, if that goes well; False if none is on its way any more."""
        with self._lock:
            if self._is_running:
                self._jobs.append(job)
            return self._is_running

    def check(self) -> None:
        """Raise what the last one met, once; costs nothing while there is nothing."""
        if self._error is not None and not self._is_running:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until nothing is on its way, then `check`."""
        self.join()
        self.check()

    def join(self) -> None:
        """Wait until nothing is on its way; what it met is still to be raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        _yield_to_the_loop()
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - of whatever kind, it is the loop that must hear of it
                with self._lock:
                    self._error = error
                    self._jobs.clear()
                    self._is_running = False
                return


def _yield_to_the_loop() -> None:
    """Let this thread, and those it starts, take no core from the loop; a courtesy that no system needs to grant."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
    with contextlib.suppress(OSError, AttributeError):
        # Woken by the disk a hundred times a save, a batch thread waits for its turn.
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
