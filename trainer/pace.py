"""How long a step takes: from the moment at which the one before it was done to that at which it is.

On a GPU the call that takes a step only queues it. It is known to be done when its values have been read, which is
later, and may be of several steps at once: these share the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter


class Pace:
    """Seconds a step and samples a second, of the steps that were done last."""

    def __init__(self) -> None:
        self.step_seconds: float | None = None
        """None until a step is done."""
        self.samples_per_second = 0.0
        self._since = perf_counter()

    def restart(self) -> None:
        """What was until now belongs to no step; all are done."""
        self._since = perf_counter()

    def lap(self, steps: int, samples: int) -> None:
        """So many steps more are done now."""
        if not steps:
            return
        now = perf_counter()
        seconds = max(now - self._since, 1e-9)  # a clock may stand still
        self.step_seconds, self.samples_per_second = seconds / steps, samples / seconds
        self._since = now

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What happens within the block belongs to no step."""
        before, spent = self._since, perf_counter() - self._since
        try:
            yield
        finally:
            is_same_lap = self._since == before
            self._since = perf_counter() - (spent if is_same_lap else 0.0)
