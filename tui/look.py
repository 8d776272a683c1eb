"""One look at the store after another, reading only what changed in between; used by one thread.

A run whose files did not change is not read again. Of a run at work, whose status changes every second, the
checkpoints are listed anew only when one of their directories changed. Every exception about one run stays
with that run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.host.terminal import clean
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.records import Metric
from ckptop.store.registry import ReleaseLine, read_registry
from ckptop.store.store import Store
from ckptop.store.views import RunView
from ckptop.tui.logs import RunLogs, last_values_of
from ckptop.tui.model import (
    LIVE_STATES,
    CheckpointTableModel,
    Elsewhere,
    Hardware,
    RunDetail,
    RunRow,
    Snapshot,
    Verdict,
)
from ckptop.tui.powers import powers_of
from ckptop.tui.presenting import Sums, run_row, sums_of, table_model, unreadable_row
from ckptop.tui.run_facts import run_facts, why_of
from ckptop.tui.run_views import RunViews
from ckptop.tui.sorting import sort_runs

if TYPE_CHECKING:
    from ckptop.tui.alert_book import AlertBook
    from ckptop.tui.alert_memory import Remembered
    from ckptop.tui.alert_rows import Alerts
    from ckptop.tui.elsewhere import ElsewhereReader
    from ckptop.tui.sampling import HardwareSampler

TREND_BUDGET_SECONDS = 0.1
"""Spent on trends in one look; the rest comes with the next, so that a key never waits for them."""


Deed = Callable[["Remembered", "Alerts"], "Remembered"]
"""Changes what is remembered of the alerts."""

_SumsKey = tuple[int, tuple[CheckpointInfo, ...], Metric | None]
"""What was summed up: the tuple is kept, so that its id is not given to another."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of a look."""

    changed: frozenset[str] = frozenset()
    """Runs that changed; the empty name is the store itself."""
    selected: str | None = None
    visible: tuple[str, ...] = ()
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    """What verification found, by run and checkpoint key."""
    overlaid: tuple[str, ...] = ()
    """Runs whose curves lie over those of the selected one."""
    deeds: tuple[Deed, ...] = ()
    """What a person did about the alerts, in its order."""

    def everything(self) -> Asked:
        """The same, with every run listed anew."""
        return replace(self, changed=self.changed | {""})


class StoreLook:
    """The state between two looks."""

    def __init__(
        self, root: Path, shown_as: str, clock: Callable[[], float] = time.time, sampler: HardwareSampler | None = None
    ) -> None:
        self.root = root
        self.is_behind = False
        """Whether something is still to be read, so that the next look should not wait."""
        self.is_hurried: Callable[[], bool] = lambda: False
        """Asked in the midst of a long log: whether a person waits for something else."""
        self.why_unwatched: Callable[[], str | None] = lambda: None
        """Asked at each look: why changes may be seen late."""
        self._shown_as = clean(shown_as)
        self._clock = clock
        self._sampler = sampler
        self._hardware: Hardware | None = None
        self._views = RunViews(Store(root))
        self._rows: dict[str, RunRow] = {}
        self._logs = RunLogs(lambda: self.is_hurried())
        self._elsewhere: ElsewhereReader | None = None
        self._log_problems: dict[str, str] = {}
        self._releases: tuple[object, tuple[ReleaseLine, ...]] = (None, ())
        self._table: tuple[tuple[object, ...], CheckpointTableModel] | None = None
        self._detail: RunDetail | None = None
        self._alerts: AlertBook | None = None
        self._selected: str | None = None
        self._sums: dict[str, tuple[_SumsKey, Sums]] = {}
        self._last: tuple[tuple[object, ...], Snapshot] | None = None

    def sample(self) -> None:
        """Look at the hardware."""
        if self._sampler is None:  # psutil takes 30 ms to import: not before the first paint
            from ckptop.tui.sampling import HardwareSampler

            self._sampler = HardwareSampler(self.root)
        live = [row for row in self._rows.values() if row.is_live]
        pids = [row.pid for row in live if row.pid is not None]
        self._hardware = self._sampler.sample(time.monotonic(), live=bool(live), pids=pids)

    def read(self, asked: Asked, *, with_logs: bool = True) -> Snapshot:
        """The store now; the same object as before where nothing that shows has changed.

        Args:
            asked: What changed and what is wanted.
            with_logs: False reads no metric log: the list and the checkpoints are on screen sooner.
        """
        now = self._clock()
        store = self._views.store
        changed = self._views.update(asked.changed)
        self._forget(changed.gone)
        self.is_behind = self._views.unread > 0
        self._update_rows(changed.read)
        selected = asked.selected if asked.selected in self._rows else self._first()
        with_alerts = with_logs  # what a person did about them must not get lost
        if with_logs and self._is_long_and_new(selected):
            with_logs, self.is_behind = False, True  # the checkpoints are shown before a long log is read
        self._selected = selected
        if with_logs:
            self._read_logs(selected, asked)
            self._update_rows(frozenset())  # trends
        self._detail = self._make_detail(selected, asked, now, with_elsewhere=with_alerts)
        others = {name: self._views.get(name) for name in asked.overlaid if name != selected}
        overlays = self._logs.all_curves(others)
        alerts = self._read_alerts(asked, changed.read) if with_alerts else None
        rows = tuple(self._rows.values())
        problem = self._views.problem or store.problem
        unread, unwatched = self._views.unread, self.why_unwatched()
        key = (
            rows, self._detail, overlays, alerts, self._hardware, problem, store.writable, unwatched, unread,
            int(now // 60),
        )  # fmt: skip
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        snapshot = Snapshot(
            now=now,
            store=self._shown_as,
            runs=rows,
            detail=self._detail,
            overlays=overlays,
            alerts=alerts,
            hardware=self._hardware,
            problem=clean(problem) if problem is not None else None,
            writable=store.writable,
            unwatched=clean(unwatched) if unwatched is not None else None,
            unread=unread,
            loaded=True,
        )
        self._last = key, snapshot
        return snapshot

    def knows(self, name: str) -> bool:
        """Whether there is a run of that name; from any thread."""
        return name in self._rows

    def _forget(self, gone: Iterable[str]) -> None:
        """Let go of what concerns runs that are gone: in a week a store has had thousands."""
        self._logs.forget(gone)
        for name in gone:
            self._sums.pop(name, None)
            self._log_problems.pop(name, None)

    # Rows.

    def _first(self) -> str | None:
        """The run on top of the list."""
        runs = sort_runs(list(self._rows.values()), 0, reverse=False)
        return runs[0].name if runs else None

    def _update_rows(self, read: frozenset[str]) -> None:
        rows = {}
        for name in self._views.names:
            old = self._rows.get(name)
            trend = self._logs.trend(name)
            problem = self._log_problems.get(name)
            if old is None or name in read or old.trend is not trend or (problem and old.problem != problem):
                rows[name] = self._row(name, trend, problem)
            else:
                rows[name] = old
        self._rows = rows

    def _row(self, name: str, trend: tuple[float, ...], problem: str | None) -> RunRow:
        view = self._views.get(name)
        if isinstance(view, Exception):
            return unreadable_row(name, view)
        if view is None:
            return unreadable_row(name, FileNotFoundError(f"{name} is gone"))
        try:
            return run_row(view, self._sums_of(view), trend, problem, why_of(view))
        except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
            return unreadable_row(name, error)

    def _sums_of(self, view: RunView) -> Sums:
        """What its checkpoints come to, summed up again only where they are others: ten thousand take 0.1 s."""
        key = (id(view.checkpoints), view.checkpoints, view.metric)
        known = self._sums.get(view.name)
        if known is None or known[0][0] != key[0] or known[0][2] != key[2]:
            known = self._sums[view.name] = key, sums_of(view)
        return known[1]

    # Logs.

    def _is_long_and_new(self, selected: str | None) -> bool:
        """Whether this is another run than before, whose log takes its time to read."""
        view = self._views.get(selected) if selected is not None and selected != self._selected else None
        return isinstance(view, RunView) and self._logs.is_long(view.name, view.root)

    def _read_logs(self, selected: str | None, asked: Asked) -> None:
        """Trends of the rows on screen, after the runs whose curves are shown, within the budget."""
        drawn = list(dict.fromkeys([*([selected] if selected else []), *asked.overlaid]))
        self._logs.keep_open({*asked.visible, *drawn})
        started = time.monotonic()
        order = drawn + [name for name in asked.visible if name not in drawn]
        for name in order:
            view = self._views.get(name)
            if view is None or isinstance(view, Exception):
                continue
            if self._logs.is_trend_known(name, view.root) and (name not in drawn or self._logs.open_log(name)):
                continue
            if name not in drawn and time.monotonic() - started > TREND_BUDGET_SECONDS:
                self.is_behind = True
                return
            try:
                log = self._logs.update(name, view.root, view.metric.name if view.metric else None)
                said = log.problem or log.first_bad
            except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
                log, said = None, f"metrics.jsonl cannot be read: {error}"
                self._logs.give_up(name, view.root)
            if log is not None and log.is_behind:
                self.is_behind = True
                continue
            if said is not None:
                self._log_problems[name] = clean(said)
            else:
                self._log_problems.pop(name, None)
            if name not in drawn and view.state not in LIVE_STATES:
                self._logs.let_go(name)

    def keep_logs(self) -> None:
        """Keep what was read of long logs for another time; best done once the screen was told."""
        if not self.is_behind:
            self._logs.keep()

    # Alerts.

    def _read_alerts(self, asked: Asked, read: frozenset[str]) -> Alerts:
        if self._alerts is None:
            from ckptop.tui.alert_book import AlertBook

            self._alerts = AlertBook(self.root, self._clock)
        for deed in asked.deeds:
            self._alerts.remember(deed)
        views = {name: view for name in self._views.names if (view := self._views.get(name)) is not None}
        named = views.keys() if "" in asked.changed else asked.changed
        alerts = self._alerts.update(views, {*named, *read}, self._logs.followed, self._hardware)
        self.is_behind = self.is_behind or self._alerts.is_behind
        return alerts

    # The selected run.

    def _make_detail(self, name: str | None, asked: Asked, now: float, *, with_elsewhere: bool) -> RunDetail | None:
        view = self._views.get(name) if name is not None else None
        if name is None or view is None:
            return None
        row, root = self._rows[name], self.root / name
        if isinstance(view, Exception):
            return self._unchanged(RunDetail(row, root, (("problem", row.problem or ""),)))
        try:
            log = self._logs.open_log(name)
            metric = view.metric.name if view.metric is not None else None
            curves = self._logs.curves(name, log, metric) if log is not None else None
            last_values = last_values_of(log) if log is not None else {}
            detail = RunDetail(
                row=row,
                root=view.root,
                facts=run_facts(view, last_values, row, now),
                table=self._table_of(view, asked),
                curves=curves,
                view=view,
                powers=powers_of(view, self._views.store.problem),
                elsewhere=self._elsewhere_of(view) if with_elsewhere else None,
            )
        except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
            row = unreadable_row(name, error)
            self._rows[name] = row
            detail = RunDetail(row, root, (("problem", row.problem or ""),))
        return self._unchanged(detail)

    def _elsewhere_of(self, view: RunView) -> Elsewhere | None:
        host = view.status.process.host if view.status is not None else os.uname().nodename
        if host == os.uname().nodename:
            return None
        if self._elsewhere is None:
            from ckptop.tui.elsewhere import ElsewhereReader

            self._elsewhere = ElsewhereReader()
        return self._elsewhere.read(view.paths.system, host)

    def _unchanged(self, new: RunDetail) -> RunDetail:
        """The detail shown already where `new` says the same."""
        old = self._detail
        if old is None or (old.row, old.facts, old.table, old.curves) != (new.row, new.facts, new.table, new.curves):
            return new
        return old if (old.powers, old.elsewhere) == (new.powers, new.elsewhere) else new

    def _table_of(self, view: RunView, asked: Asked) -> CheckpointTableModel:
        verdicts = asked.verdicts.get(view.name, {})
        releases = tuple(line for line in self._all_releases() if line.run == view.name)
        key = (view.name, view.checkpoints, view.trash_count, verdicts, releases)
        if self._table is None or self._table[0] != key:
            production = self._views.store.paths.production
            self._table = key, table_model(view, self._sums_of(view).best, verdicts, releases, production)
        return self._table[1]

    def _all_releases(self) -> tuple[ReleaseLine, ...]:
        paths = self._views.store.paths
        try:
            facts = paths.registry.stat()
            stamp: object = (facts.st_size, facts.st_mtime_ns)
            if self._releases[0] != stamp:
                self._releases = stamp, read_registry(paths).releases
        except OSError:
            self._releases = None, ()
        return self._releases[1]
