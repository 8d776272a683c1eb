"""events.jsonl as rows of a timeline, every string clean; read from its end, whatever its size."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ckptop.host.terminal import clean
from ckptop.store.events import Event, EventLog
from ckptop.store.notice_text import text_of
from ckptop.store.notices import Notice

MOST_EVENTS = 5000
"""The newest are shown."""
TEXT_LIMIT = 500

SAYS_WHO = frozenset({"control", "alert"})
"""Their texts name who, or nobody did them."""


class EventRow(msgspec.Struct, frozen=True, eq=False):
    """One thing that happened."""

    key: int
    """Its place in the file, counted from what was read first."""
    time: float
    event: str
    step: int | None
    text: str


class Timeline:
    """The events of one run after another, as far as they were read; used by one thread."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._log = EventLog(Path())
        self._generation = 0
        self._count = 0
        self._rows: tuple[EventRow, ...] = ()

    def look(self, path: Path) -> tuple[EventRow, ...]:
        """The events of `path`, oldest first; the same object where nothing is new."""
        if path != self._path:
            self._path, self._log, self._rows = path, EventLog(path), ()
            events = self._log.begin()
        else:
            events = []
        events += self._log.poll()
        if self._log.tail.generation != self._generation:
            self._generation, self._rows = self._log.tail.generation, ()
        if events:
            new = tuple(_row(self._count + place, event) for place, event in enumerate(events))
            self._count += len(events)
            self._rows = (*self._rows, *new)[-MOST_EVENTS:]
        return self._rows


def _row(key: int, event: Event) -> EventRow:
    notice = Notice(event.time, "", event.event, None, None, event.details)
    # Whatever a trainer does bears its attempt; the rest a person did.
    is_by_person = event.attempt is None and event.event not in SAYS_WHO
    who = f", by {event.actor.user}" if is_by_person and event.actor is not None else ""
    return EventRow(key, event.time, event.event, event.step, clean(text_of(notice) + who, TEXT_LIMIT))


def moment(seconds: float, now: float) -> str:
    """`12:41:07` of today, else `11-28 12:41`; whatever a file says, no exception."""
    try:
        then, today = time.localtime(seconds), time.localtime(now)
    except (ValueError, OverflowError, OSError):
        return "—"
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%m-%d %H:%M", then)
