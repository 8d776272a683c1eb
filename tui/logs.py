"""The metric logs a dashboard follows: the selected run's for its charts, those on screen for their trends.

NumPy comes with the first log, after the first paint. The log of a run that has ended is let go once its trend
is known: a hundred finished runs of a million steps would not fit in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.store.layout import RunPaths

if TYPE_CHECKING:  # NumPy takes 0.1 s to import
    from ckptop.store.metric_cache import MetricCache
    from ckptop.store.metric_log import MetricLog
    from ckptop.store.views import RunView
    from ckptop.tui.curves import Curves

READ_SECONDS = 1.0
"""Spent on a log in one look, after which what was read is shown: drawing a part of it takes time from reading."""
PIECE_BYTES = 4 * 1024 * 1024
"""So often it is looked up whether a person wants something else by now."""

LONG_BYTES = 1024 * 1024
"""A log longer than this takes longer to read than the screen need stand still for."""

TREND_POINTS = 16
"""Two a cell of the list's last column."""

Identity = tuple[int, int]
"""Size and modification time of a log."""


class RunLogs:
    """Logs by run; used by one thread."""

    def __init__(self, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Nothing is read yet; `is_hurried` tells whether a person waits for something else."""
        self._is_hurried = is_hurried
        self._cache: MetricCache | None = None
        self._open: dict[str, MetricLog] = {}
        self._trends: dict[str, tuple[Identity, tuple[float, ...]]] = {}
        self._curves: dict[str, tuple[tuple[object, ...], Curves]] = {}

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is known of these runs."""
        for name in names:
            self._open.pop(name, None)
            self._trends.pop(name, None)

    def keep_open(self, names: set[str]) -> None:
        """Let go of every log but these."""
        for name in set(self._open) - names:
            del self._open[name]
        for name in set(self._curves) - names:
            del self._curves[name]

    def let_go(self, name: str) -> None:
        """Forget the values of a log; its trend stays known."""
        log = self._open.pop(name, None)
        if log is not None and self._cache is not None:
            self._cache.keep(log)

    @property
    def followed(self) -> Mapping[str, MetricLog]:
        """The logs that are open, by run."""
        return self._open

    def open_log(self, name: str) -> MetricLog | None:
        """The log of a run as far as it was read; None where there is none."""
        return self._open.get(name)

    def is_long(self, name: str, root: Path) -> bool:
        """Whether the log of a run is still to be read, and not at once."""
        return name not in self._open and _identity(root)[0] > LONG_BYTES

    def _follow(self, name: str, root: Path) -> MetricLog:
        if self._cache is None:
            from ckptop.store.metric_cache import MetricCache

            self._cache = MetricCache()
        log = self._open.get(name)
        if log is None or log.path.parent != root:
            log = self._open[name] = self._cache.open(RunPaths(root).metrics)
        until = time.monotonic() + READ_SECONDS
        log.poll(PIECE_BYTES)
        while log.is_behind and time.monotonic() < until and not self._is_hurried():
            log.poll(PIECE_BYTES)
        return log

    def keep(self) -> None:
        """Keep what was read of long logs for another time."""
        if self._cache is not None:
            for log in self._open.values():
                self._cache.keep(log)

    def is_trend_known(self, name: str, root: Path) -> bool:
        """Whether the trend of a run is that of its log as it is now."""
        known = self._trends.get(name)
        return known is not None and known[0] == _identity(root)

    def trend(self, name: str) -> tuple[float, ...]:
        """The trend as known last, oldest first; empty where there is none."""
        known = self._trends.get(name)
        return known[1] if known is not None else ()

    def update(self, name: str, root: Path, metric: str | None) -> MetricLog:
        """Read the log of a run on, for at most `READ_SECONDS`; the trend is known once that was all."""
        identity = _identity(root)
        log = self._follow(name, root)
        trend = trend_of(log, metric) if identity != (-1, -1) else ()
        if trend == self.trend(name):
            trend = self.trend(name)  # the same object: nothing to repaint
        self._trends[name] = (-2, -2) if log.is_behind else identity, trend
        return log

    def give_up(self, name: str, root: Path) -> None:
        """Call the log as it is now read, without a trend."""
        self._open.pop(name, None)
        self._trends[name] = _identity(root), ()

    def curves(self, name: str, log: MetricLog, metric: str | None) -> Curves:
        """The charts of a run; the same object while its log did not change."""
        import textual_plotext  # noqa: F401  0.1 s that the screen need not stand still for when it draws first

        import ckptop.tui.widgets.chart  # noqa: F401  the same
        from ckptop.tui.curves import Logged, make_curves

        version = (metric, log.generation, *((series, log.version(series)) for series in log.names))
        known, before = self._curves.get(name), None
        if known is not None:
            if known[0] == version:
                return known[1]
            if known[0][:2] == version[:2]:  # else versions of a log that was replaced could be alike
                before = known[1]
        named = {series: Logged(log.series(series), log.version(series)) for series in log.names}
        made = make_curves(name, named, metric, before)
        self._curves[name] = version, made
        return made

    def all_curves(self, views: Mapping[str, RunView | Exception | None]) -> tuple[Curves, ...]:
        """The charts of several runs, of those that were read."""
        found = []
        for name, view in views.items():
            log = self._open.get(name)
            if log is not None and view is not None and not isinstance(view, Exception):
                found.append(self.curves(name, log, view.metric.name if view.metric is not None else None))
        return tuple(found)


def _identity(root: Path) -> Identity:
    try:
        facts = RunPaths(root).metrics.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def trend_of(log: MetricLog, metric: str | None) -> tuple[float, ...]:
    """Sixteen means of a run's metric from its first step to its last; its loss where it has no metric."""
    import numpy as np

    from ckptop.store.columns import picked

    candidates = [metric, "val/loss", "train/loss", "loss"]
    name = next((name for name in candidates if name is not None and name in log.names), None)
    if name is None:
        return ()
    found = log.series(name)
    (values,) = picked(~found.abandoned & np.isfinite(found.value), found.value)
    if values.size < 2:
        return ()
    if values.size < TREND_POINTS:
        return tuple(float(value) for value in values)
    starts = np.arange(TREND_POINTS) * values.size // TREND_POINTS
    counts = np.diff(np.append(starts, values.size))
    return tuple(float(mean) for mean in np.add.reduceat(values, starts) / counts)


def last_values_of(log: MetricLog) -> dict[str, float]:
    """The newest value of each metric."""
    return {name: value for name in log.names if (value := log.last(name)) is not None}
