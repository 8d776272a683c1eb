"""What a viewer judges of a run's curves by itself: NaN, spikes, a plateau, a metric behind its best, a slow pace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, format_value
from ckptop.store.breaks import Break, find_breaks
from ckptop.store.columns import picked
from ckptop.tui.alert_rows import TEXT_LIMIT, AlertRow

if TYPE_CHECKING:
    from ckptop.store.columns import Columns
    from ckptop.store.metric_log import MetricLog
    from ckptop.store.records import Metric
    from ckptop.store.views import RunHead

NEWEST = 2000
"""Values of a loss among which a spike is looked for: 10 ms."""
DEGRADED_SHARE = 0.05
"""A metric this much worse than its best has degraded; as a trainer of ours judges it."""
LEAST_VALUES = 5
"""Of the metric, before anything is said of it."""
STALE_VALUES, STALE_SHARE = 15, 0.5
"""So many values, and this share of all, without a better one are a plateau."""

_KINDS = {"not-finite": "nan", "jump": "spike", "slow": "slow"}


def judge_curves(log: MetricLog, head: RunHead) -> list[AlertRow]:
    """What is wrong with the curves of a run that trains, as far as its log was read."""
    rows = [_of_break(found, log, head) for found in find_breaks(log, NEWEST) if _matters(found, head.metric)]
    metric = head.metric
    if metric is not None and metric.name in log.names:
        rows += _of_metric(log.series(metric.name), metric, head)
    return rows


def _matters(found: Break, metric: Metric | None) -> bool:
    """Whether a break is worth an alert: of a metric that is nobody's goal, NaN may be its usual value."""
    if found.kind != "not-finite":
        return True
    last = found.metric.rpartition("/")[2]
    return "loss" in last or "grad" in last or (metric is not None and found.metric == metric.name)


def _of_break(found: Break, log: MetricLog, head: RunHead) -> AlertRow:
    name, value, usual = clean(found.metric, 60), format_value(found.value), format_value(found.usual)
    at = format_count(found.step)
    match found.kind:
        case "not-finite":
            said = f"{name} is {value} since step {at}" if found.lasts else f"{name} was {value} at step {at}"
        case "jump":
            said = f"{name} jumped to {value} at step {at}, usual {usual}" + (", and stays high" if found.lasts else "")
        case _:
            said = f"{name} is {value} since step {at}, usual {usual}"
    return _row(_KINDS[found.kind], said, found.step, found.metric, _time_at(log, found.metric, found.step), head)


def _time_at(log: MetricLog, metric: str, step: int) -> float:
    """When a metric was logged at a step, or the newest line was where that is not known."""
    names = [metric] if metric in log.names else log.names
    for columns in map(log.series, names):
        times = columns.time[(columns.step >= step) & np.isfinite(columns.time)]
        if times.size:
            return float(times[0])
    return 0.0


def _of_metric(columns: Columns, metric: Metric, head: RunHead) -> Iterator[AlertRow]:
    kept = ~columns.abandoned & np.isfinite(columns.value)
    step, time, value = picked(kept, columns.step, columns.time, columns.value)
    if value.size < LEAST_VALUES:
        return
    sign = 1.0 if metric.mode == "max" else -1.0
    place = int(np.argmax(sign * value))
    best, since, name = float(value[place]), value.size - 1 - place, clean(metric.name, 60)
    at, moment = int(step[place]), float(time[-1]) if np.isfinite(time[-1]) else 0.0
    newest = float(np.median(value[-3:]))
    lost = sign * (best - newest) / abs(best) if best else 0.0
    where = f"{format_value(best)} at step {format_count(at)}"
    if lost > DEGRADED_SHARE and since >= 3:
        said = f"{name} is {format_value(newest)}, {lost:.0%} below its best, {where}".replace("%", " %")
        yield _row("degraded", said, at, metric.name, moment, head)
    if since >= max(STALE_VALUES, STALE_SHARE * value.size):
        said = f"{name} has not improved in {since:,} evaluations: {where}"
        yield _row("plateau", said, at, metric.name, moment, head)


def _row(kind: str, message: str, step: int, metric: str, moment: float, head: RunHead) -> AlertRow:
    attempt = head.status.attempt if head.status is not None else None
    key = f"{head.name}:{attempt}:{kind}:{metric}:{step}"
    label = clean(head.name, TEXT_LIMIT)
    return AlertRow(key, moment, kind, head.name, label, clean(message, TEXT_LIMIT), step, metric, True)
