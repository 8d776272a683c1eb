"""Alerts on their way out: a bounded queue and one daemon thread, so that nobody ever waits for an endpoint.

What is not sent (too soon after another of its kind, or the queue is full) is counted and told with the next of its
kind. That an endpoint does not answer is said once, until it has answered again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from ckptop.store.alert_channels import Channel, NotDelivered, post, run_command
from ckptop.store.alert_settings import AlertSettings
from ckptop.store.alerts import Alert

QUEUE_LENGTH = 32
DRAIN_SECONDS = 5.0
"""What the end of a process waits for the last alerts, at most."""
TICK_SECONDS = 5.0
"""Between two calls of `on_tick`."""
RETRY_SECONDS = 2.0
"""Before the second try, which is the last."""

_TICK = -1
"""Among the channels: the look at the run."""


class Outbox:
    """Delivers alerts, one after the other, to whom the settings name."""

    def __init__(
        self, settings: AlertSettings, say: Callable[[str], object], on_tick: Callable[[], object] = lambda: None
    ) -> None:
        """`say` is told in a line what does not arrive; `on_tick` is called now and then; both on the thread."""
        self._settings, self._say, self._on_tick = settings, say, on_tick
        self._channels: list[Channel] = []
        if settings.command:
            self._channels.append(partial(run_command, settings.command))
        if settings.webhook is not None:
            self._channels.append(partial(post, settings.webhook))
        self._down: set[int] = set()
        self._queue: deque[Alert] = deque()
        self._sent_at: dict[tuple[str, str], float] = {}
        self._missed: Counter[tuple[str, str]] = Counter()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptop-alerts", daemon=True)
        self._thread.start()

    def wants(self, kind: str) -> bool:
        """Whether alerts of a kind are to be told at all."""
        return kind in self._settings.kinds

    def put(self, alert: Alert) -> None:
        """Send an alert soon; never waits, from any thread."""
        if not self.wants(alert.kind):
            return
        key, now = (alert.run, alert.kind), time.monotonic()
        with self._changed:
            if now - self._sent_at.get(key, -float("inf")) < self._settings.interval_seconds:
                self._missed[key] += 1
                return
            self._sent_at[key] = now
            if len(self._queue) == QUEUE_LENGTH:
                oldest = self._queue.popleft()
                self._missed[oldest.run, oldest.kind] += 1
            self._queue.append(alert)
            self._changed.notify()

    def close_soon(self) -> None:
        """Send what is in the queue, then end; returns at once."""
        with self._changed:
            self._closing.set()
            self._changed.notify()

    def close(self, seconds: float = DRAIN_SECONDS) -> bool:
        """The same, and wait for it; False if that took longer than `seconds` and something was left."""
        self.close_soon()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._tell(f"the last alerts were not delivered within {seconds:g} s of the end")
        return not self._thread.is_alive()

    def _run(self) -> None:
        next_tick = time.monotonic() + TICK_SECONDS
        while True:
            with self._changed:
                while not (self._queue or self._closing.is_set() or (left := next_tick - time.monotonic()) <= 0):
                    self._changed.wait(left)
                alert = self._taken() if self._queue else None
            if alert is not None:
                self._deliver(alert)
            elif self._closing.is_set():
                return
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = time.monotonic() + TICK_SECONDS

    def _tick(self) -> None:
        try:
            self._on_tick()
        except Exception as error:  # noqa: BLE001 - the thread's boundary: alerts of other things go on
            self._warn(_TICK, f"looking at the run failed ({type(error).__name__})")

    def _taken(self) -> Alert:
        """The oldest alert, with what was missed of its kind before it."""
        alert = self._queue.popleft()
        return replace(alert, missed=self._missed.pop((alert.run, alert.kind), 0))

    def _deliver(self, alert: Alert) -> None:
        arrived = [self._tried(number, channel, alert) for number, channel in enumerate(self._channels)]
        if not any(arrived):
            with self._changed:
                self._missed[alert.run, alert.kind] += 1 + alert.missed

    def _tried(self, number: int, channel: Channel, alert: Alert) -> bool:
        try:
            try:
                channel(alert)
            except NotDelivered as error:
                if not error.may_pass or self._closing.wait(RETRY_SECONDS):
                    raise
                channel(alert)
        except NotDelivered as error:
            self._warn(number, str(error))
        except Exception as error:  # noqa: BLE001 - the thread's boundary; the error's own words may quote a secret
            self._warn(number, type(error).__name__)
        else:
            self._down.discard(number)
            return True
        return False

    def _warn(self, what: int, why: str) -> None:
        if what not in self._down:
            self._down.add(what)
            self._tell(f"an alert was not delivered: {why}")

    def _tell(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a terminal or a disk that is gone
            self._say(line)
