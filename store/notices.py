"""What happens in a store, as a stream of notices: events, states, epochs, runs that come and go.

States change without a file changing (a process dies, a step hangs, another host falls silent), so whoever follows
asks every second or so. Another host's heartbeat is judged by how long it stood still under our own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptop.store.ending import LIVE_STATES, how_it_ended
from ckptop.store.epochs import Epoch, EpochTail
from ckptop.store.errors import StoreError
from ckptop.store.events import EventLog
from ckptop.store.layout import RunPaths
from ckptop.store.records import Actor, Status
from ckptop.store.state import State, derive_state
from ckptop.store.store import Store
from ckptop.store.views import RunHead, read_head

_TOLD_BY_EVENTS = frozenset({"stopped", "finished", "failed"})
_FRESH_SECONDS = 60.0
"""A run that is this young when it appears is told from its beginning; an older one was moved here."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened; strings may hold anything that a file can."""

    time: float
    """Seconds since the epoch."""
    run: str
    kind: str
    """`state`, `epoch`, `gone`, or the name of an event."""
    step: int | None = None
    epoch: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    is_news: bool = True
    """False where it tells how things stood when they were first seen, or are read anew."""


class RunNotices:
    """What happens to one run."""

    def __init__(self, root: Path, *, from_now: bool) -> None:
        """What is there already counts as told if `from_now`."""
        self._root = root
        self.head = read_head(root)
        paths = RunPaths(root)
        self._events = EventLog(paths.events)
        self._epochs = EpochTail(paths.metrics, self.head.metric.name if self.head.metric is not None else None)
        self._beat: tuple[float, float] | None = None
        self._last_event: str | None = None
        self.state: State = self._judge(self.head)
        if from_now:
            self._events.tail.skip_to_end()
            self._epochs.tail.skip_to_end()

    @property
    def is_live(self) -> bool:
        """Whether its state may change without a file changing."""
        return self.state in LIVE_STATES or self.state == "unknown"

    @property
    def is_removed(self) -> bool:
        """Whether the directory is no run any more."""
        try:
            return not RunPaths(self._root).record.exists()
        except OSError:  # closed to us: unreadable
            return False

    def look(self) -> Iterator[Notice]:
        """What happened since the last look."""
        self.head = read_head(self._root)
        name, generation = self.head.name, self._events.tail.generation
        found = [self._of_epoch(name, epoch) for epoch in self._epochs.poll()]
        events = self._events.poll()
        is_news = self._events.tail.generation == generation  # else the file was replaced, and is read anew
        for event in events:
            self._last_event = event.event
            details = {**_who(event.actor), **event.details}
            found.append(Notice(event.time, name, event.event, event.step, None, details, is_news))
        yield from sorted(found, key=lambda notice: notice.time)
        state = self._judge(self.head)
        if state != self.state:
            before, self.state = self.state, state
            if state not in LIVE_STATES:
                yield from (self._of_epoch(name, epoch) for epoch in self._epochs.end())
            if not self._is_told(before):
                yield self.as_state(is_news=True)

    def as_state(self, *, is_news: bool = False) -> Notice:
        """Its state, as a notice of now."""
        status = self.head.status
        details = {"state": self.state, "why": how_it_ended(status, self.state) or self.head.problem}
        step, epoch = (status.step, status.epoch) if status is not None else (None, None)
        return Notice(time.time(), self.head.name, "state", step, epoch, details, is_news)

    def _of_epoch(self, name: str, epoch: Epoch) -> Notice:
        total = self.head.status.total_epochs if self.head.status is not None else None
        details = {"total_epochs": total, "metrics": epoch.values}
        return Notice(epoch.time or time.time(), name, "epoch", epoch.step, epoch.epoch, details)

    def _is_told(self, before: State) -> bool:
        """Whether an event says what the new state does."""
        if self.state in _TOLD_BY_EVENTS:
            return self._last_event == self.state
        return self.state == "starting" or (self.state == "running" and before not in ("stalled", "paused", "unknown"))

    def _judge(self, head: RunHead) -> State:
        if head.status is None or head.state == "unreadable":
            return head.state
        return derive_state(head.status, heartbeat_age_seconds=self._heartbeat_age(head.status))

    def _heartbeat_age(self, status: Status) -> float:
        """How long it has stood still: at first by its own clock, then by ours."""
        now = time.monotonic()
        if self._beat is None:
            self._beat = status.heartbeat, now - max(0.0, time.time() - status.heartbeat)
        elif self._beat[0] != status.heartbeat:
            self._beat = status.heartbeat, now
        return now - self._beat[1]


class StoreNotices:
    """What happens to the runs of a store, which may appear later, vanish, and hold anything."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        """The store."""
        self._clock = clock
        self._runs: dict[str, RunNotices] = {}

    def live(self) -> list[str]:
        """The runs whose process is there, as of the last look."""
        return [name for name, run in self._runs.items() if run.state in LIVE_STATES]

    def head(self, name: str) -> RunHead:
        """A run's records, as of the last look at it."""
        run = self._runs.get(name)
        return run.head if run is not None else read_head(self.root / name)

    def begin(self) -> Iterator[Notice]:
        """Take note of what is there; the states of live runs are told."""
        for name in self._names():
            run = self._runs[name] = RunNotices(self.root / name, from_now=True)
            if run.state in LIVE_STATES:
                yield run.as_state()

    def look(self, changed: Collection[str] = ()) -> Iterator[Notice]:
        """What happened to the runs named in `changed` (the empty name: to the list of runs), and to live ones."""
        if "" in changed or not self._runs.keys() >= set(changed):
            yield from self._list_anew()
        for name, run in list(self._runs.items()):
            if name not in changed and not run.is_live:
                continue
            if run.is_removed:  # its directory may still be there, being emptied
                yield self._gone(name)
            else:
                yield from run.look()

    def _list_anew(self) -> Iterator[Notice]:
        names = self._names()
        for name in self._runs.keys() - names:
            yield self._gone(name)
        for name in sorted(names - self._runs.keys()):
            record = read_head(self.root / name).record
            is_new = record is not None and record.created > self._clock() - _FRESH_SECONDS
            run = self._runs[name] = RunNotices(self.root / name, from_now=not is_new)
            if not is_new or run.state == "unreadable":
                yield run.as_state()
            else:
                before = run.state
                yield from run.look()
                if before == run.state == "crashed":  # it began and died between two looks
                    yield run.as_state(is_news=True)

    def _gone(self, name: str) -> Notice:
        del self._runs[name]
        return Notice(self._clock(), name, "gone")

    def _names(self) -> set[str]:
        with suppress(StoreError, OSError, ValueError):  # not there yet, or closed to us for now
            store = Store.open(self.root, missing_ok=True)
            return set() if store.is_standalone else set(store.run_names())
        return set()


def _who(actor: Actor | None) -> dict[str, Any]:
    return {"actor": actor} if actor is not None else {}
