"""The state of a run as this viewer tells it: a heartbeat from elsewhere is timed by the viewer's own clock.

The clocks of two machines may be hours apart, so what counts is how long a heartbeat has stood still before our
eyes. Only until it was seen to move once is the difference of the clocks all there is to go by.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ckptop.store.records import Status
from ckptop.store.state import State, derive_state


@dataclass(frozen=True, slots=True)
class _Beat:
    """A heartbeat, and since when it has stood still."""

    value: float
    since: float
    """By our own monotonic clock, in seconds."""


class Heartbeats:
    """Heartbeats by run; used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._beats: dict[str, _Beat] = {}

    def state_of(self, name: str, status: Status) -> State:
        """The state of a run whose records can be read, now."""
        if status.process.host == os.uname().nodename:
            return derive_state(status, heartbeat_age_seconds=self._age_seconds(name, status.heartbeat))
        age = self._age_seconds(name, status.heartbeat)
        # By the clock of the run's machine it is `age` past its last heartbeat, whatever our own clock says.
        return derive_state(status, now=status.heartbeat + age, heartbeat_age_seconds=age)

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is known of these runs."""
        for name in names:
            self._beats.pop(name, None)

    def _age_seconds(self, name: str, heartbeat: float) -> float:
        now, known = self._monotonic(), self._beats.get(name)
        if known is None:
            known = _Beat(heartbeat, now - max(0.0, self._clock() - heartbeat))
        elif known.value != heartbeat:
            known = _Beat(heartbeat, now)
        self._beats[name] = known
        return now - known.since
