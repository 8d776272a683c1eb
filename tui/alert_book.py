"""All alerts of a store, gathered as it is looked at; used by the reader's thread.

Of a run whose files did not change nothing is read again. Events are read within a budget, so that a store of a
thousand runs is on screen before its alerts are complete; curves are judged now and then, and only of runs that train.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ckptop.store.events import EventLog
from ckptop.store.layout import RunPaths
from ckptop.tui.alert_memory import Remembered, memory_path, read_memory, write_memory
from ckptop.tui.alert_rows import AlertRow, Alerts, is_known, row_of_event, row_of_state, rows_of_machine
from ckptop.tui.model import LIVE_STATES, Hardware

if TYPE_CHECKING:
    from ckptop.store.metric_log import MetricLog
    from ckptop.store.views import RunView

READ_BYTES = 256 * 1024
"""Of one run's events that are looked through, from the end."""
BUDGET_SECONDS = 0.02
"""Spent on events in one look; the rest comes with the next."""
JUDGE_SECONDS = 5.0
"""Between two looks at the curves of one run, and before the first: they are to be on screen before."""
MOST_ALERTS = 500
"""The newest are listed."""
ILL_EVENTS = ("alert", "failed")
"""Of all events these may be alerts."""
RECENT_SECONDS = 24 * 3600.0
"""Before the list was ever looked at, only what is younger than this is new."""

Views = Mapping[str, "RunView | Exception"]


class AlertBook:
    """The alerts of one store, from one look to the next."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root, self._clock = root, clock
        self._opened = clock()
        self._path = memory_path(root)
        self._memory: Remembered | None = None
        self._rows: dict[str, AlertRow] = {}
        self._logs: dict[str, EventLog] = {}
        self._unread: set[str] = set()
        self._judged: dict[str, tuple[float, object]] = {}
        self._full: frozenset[str] = frozenset()
        self._hardware: Hardware | None = None
        self._shown = Alerts()
        self._is_stale = False

    @property
    def is_behind(self) -> bool:
        """Whether events are still to be read."""
        return bool(self._unread)

    def remember(self, change: Callable[[Remembered, Alerts], Remembered]) -> None:
        """Let a person's deed change what is remembered."""
        self._memory = change(self._known(), self._shown)
        write_memory(self._path, self._memory)
        self._is_stale = True

    def update(
        self,
        views: Views,
        changed: Iterable[str],
        logs: Mapping[str, MetricLog],
        hardware: Hardware | None,
    ) -> Alerts:
        """The alerts now; the same object as before where nothing has changed.

        Args:
            views: All runs as they were read.
            changed: Names of those of which something changed.
            logs: The metric logs that are followed, by run.
            hardware: The machine, where it was looked at.
        """
        now = self._clock()
        was_complete = self._shown.is_complete
        self._forget(views)
        self._unread = ((self._unread | set(changed)) & views.keys()) | (views.keys() - self._logs.keys())
        self._read_events(views, now)
        for name in set(changed) & views.keys():
            self._note_state(views[name], now)
        for name, log in logs.items():
            self._judge(views.get(name), log, now)
        self._look_at_machine(hardware, now)
        is_complete = was_complete or not (self._unread or (not views and not self._root.is_dir()))
        if is_complete and (self._is_stale or not was_complete):  # until then no list, instead of one that grows
            self._is_stale = False
            self._shown = self._listed()
        return self._shown

    def _forget(self, views: Views) -> None:
        """Let go of what concerns runs that are gone."""
        for name in self._logs.keys() - views.keys():
            del self._logs[name]
            self._judged.pop(name, None)
        gone = [key for key, row in self._rows.items() if row.run and row.run not in views]
        for key in gone:
            del self._rows[key]
            self._is_stale = True

    def _add(self, row: AlertRow | None, now: float, *, is_news: bool = True) -> None:
        if row is None or is_known(row, [known for known in self._rows.values() if known.run == row.run]):
            return
        # What was there before we looked first is as old as it says it is.
        self._rows[row.key] = replace(row, found=now if is_news and self._shown.is_complete else 0.0)
        self._is_stale = True
        if len(self._rows) > 2 * MOST_ALERTS:
            newest = sorted(self._rows.values(), key=_moment)[-MOST_ALERTS:]
            self._rows = {row.key: row for row in newest}

    # Where they come from.

    def _read_events(self, views: Views, now: float) -> None:
        until = time.monotonic() + BUDGET_SECONDS
        while self._unread:
            name = self._unread.pop()
            self._read_run(name, views[name], now)
            if time.monotonic() >= until:
                return

    def _read_run(self, name: str, view: RunView | Exception, now: float) -> None:
        """What was added to the events of one run; of one that cannot be read, once it can."""
        is_first = name not in self._logs
        if is_first:
            root = self._root / name if isinstance(view, Exception) else view.root
            self._logs[name] = EventLog(RunPaths(root).events, ILL_EVENTS)
        if isinstance(view, Exception):
            return
        log, since = self._logs[name], self._opened if is_first else 0.0
        for event in [*(log.begin(READ_BYTES) if is_first else ()), *log.poll()]:
            with suppress(Exception):  # a viewer outlives every corrupt file
                self._add(row_of_event(event, view), now, is_news=event.time >= since)
        self._note_state(view, now)

    def _note_state(self, view: RunView | Exception, now: float) -> None:
        if not isinstance(view, Exception) and view.name not in self._unread:  # its events say it better
            self._add(row_of_state(view), now)

    def _judge(self, view: RunView | Exception | None, log: MetricLog, now: float) -> None:
        if view is None or isinstance(view, Exception) or view.state not in LIVE_STATES or log.is_behind:
            return
        version = log.generation, sum(log.version(name) for name in log.names)
        moment, judged = self._judged.setdefault(view.name, (time.monotonic(), None))
        if judged == version or time.monotonic() - moment < JUDGE_SECONDS:
            return
        from ckptop.tui.alert_curves import judge_curves

        self._judged[view.name] = time.monotonic(), version
        for row in judge_curves(log, view):
            self._add(row, now, is_news=judged is not None)

    def _look_at_machine(self, hardware: Hardware | None, now: float) -> None:
        if hardware is None or hardware is self._hardware:
            return
        is_news, self._hardware = self._hardware is not None, hardware
        rows = rows_of_machine(hardware, now)
        for row in rows:
            if row.key not in self._full:  # it was well in between: another alert
                self._add(replace(row, key=f"{row.key}:{now:.0f}"), now, is_news=is_news)
        self._full = frozenset(row.key for row in rows)

    # What is shown.

    def _known(self) -> Remembered:
        if self._memory is None:
            self._memory = read_memory(self._path)
            if self._memory.seen is None:
                self._memory = replace(self._memory, seen=self._clock() - RECENT_SECONDS)
        return self._memory

    def _listed(self) -> Alerts:
        memory = self._known()
        dismissed, seen = frozenset(memory.dismissed), memory.seen or 0.0
        rows = sorted((row for row in self._rows.values() if row.key not in dismissed), key=_moment, reverse=True)
        return Alerts(tuple(replace(row, is_new=_moment(row) > seen) for row in rows[:MOST_ALERTS]), is_complete=True)


def _moment(row: AlertRow) -> float:
    """When somebody could know of it first."""
    return max(row.time, row.found)


def seen(remembered: Remembered, alerts: Alerts) -> Remembered:
    """The list was looked at: nothing on it is new any more."""
    newest = max((_moment(row) for row in alerts.rows), default=0.0)
    return replace(remembered, seen=max(remembered.seen or 0.0, newest))
