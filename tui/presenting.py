"""From what the store read to what panes show: the rows of both lists, all strings cleaned."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ckptop.host.terminal import clean
from ckptop.host.units import distinct_decimals
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import TIERS, to_number
from ckptop.store.registry import ReleaseLine
from ckptop.store.views import RunView
from ckptop.tui.model import CheckpointRow, CheckpointTableModel, RunRow, Verdict

TEXT_LIMIT = 300
"""Characters of any one string out of a file."""

MOST_METRIC_COLUMNS = 6

LARGEST_NUMBER = 1e300
"""Of a configuration; a stranger's whole number may be larger than any float."""


class Sums(NamedTuple):
    """What the checkpoints of a run come to."""

    best: CheckpointInfo | None
    size_bytes: int
    """What they hold, each inode once."""
    pinned: bool
    """Whether one of them is."""


def sums_of(view: RunView) -> Sums:
    """Sum up the checkpoints of a run."""
    return Sums(view.best, view.size_bytes, any(info.pinned for info in view.checkpoints))


def run_row(view: RunView, sums: Sums, trend: tuple[float, ...], problem: str | None, why: str | None) -> RunRow:
    """The line of a run; `problem` goes before the view's own, and `why` is what ended it or makes it ill."""
    record, status, best = view.record, view.status, sums.best
    said = problem or view.problem
    pid = status.process.pid if status is not None and status.process.host == os.uname().nodename else None
    return RunRow(
        name=view.name,
        label=clean(view.name, TEXT_LIMIT),
        state=view.state,
        problem=clean(said, TEXT_LIMIT) if said is not None else None,
        why=clean(why, TEXT_LIMIT) if why is not None else None,
        parent=record.parent.run if record is not None and record.parent is not None else None,
        step=status.step if status is not None else 0,
        total_steps=status.total_steps if status is not None else None,
        progress=view.progress,
        eta_seconds=view.eta_seconds,
        best=best.metric(view.metric.name) if best is not None and view.metric is not None else None,
        metric=clean(view.metric.name, TEXT_LIMIT) if view.metric is not None else None,
        lower_is_better=view.metric is not None and view.metric.mode == "min",
        task=clean(record.task, TEXT_LIMIT) if record is not None else "",
        sweep=clean(record.sweep, TEXT_LIMIT) if record is not None and record.sweep else None,
        epoch=status.epoch if status is not None else 0,
        values=_values(view),
        pinned=sums.pinned,
        checkpoints=len(view.checkpoints),
        size_bytes=sums.size_bytes,
        trend=trend,
        created=record.created if record is not None else 0.0,
        root=str(view.root.absolute()),
        pid=pid,
    )


def _values(view: RunView) -> dict[str, float]:
    """Numbers of a run to filter by."""
    config = view.record.config if view.record is not None else {}
    values = {
        name: float(value)
        for name, value in config.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
    }
    newest = view.checkpoints[-1].manifest if view.checkpoints else None
    if newest is not None:
        values |= {name: to_number(value) for name, value in newest.metrics.items()} | newest.evaluated
    return values


def unreadable_row(name: str, error: Exception) -> RunRow:
    """The line of a run that could not even be looked at."""
    said = clean(str(error) or type(error).__name__, TEXT_LIMIT)
    return RunRow(name=name, label=clean(name, TEXT_LIMIT), state="unreadable", problem=said)


def table_model(
    view: RunView,
    best: CheckpointInfo | None,
    verdicts: Mapping[str, Verdict],
    releases: Sequence[ReleaseLine],
    production: Path,
) -> CheckpointTableModel:
    """The table of a run's checkpoints and of the releases made from them, newest first.

    Args:
        view: The run.
        best: Its best checkpoint.
        verdicts: What verification found, by checkpoint key.
        releases: Those made from this run.
        production: The store's directory of releases.
    """
    names = _metric_columns(view)
    latest = view.latest
    best_key = best.key if best is not None else None
    latest_key = latest.key if latest is not None else None
    rows = [_row(info, names, best_key, latest_key, verdicts.get(info.key)) for info in reversed(view.checkpoints)]
    decimals = tuple(_decimals([row.values[place] for row in rows]) for place in range(len(names)))
    if releases:
        rows += [_release_row(release, names, production) for release in releases]
        rows.sort(key=lambda row: (row.epoch, row.step, row.time), reverse=True)
    best_column = names.index(view.metric.name) if view.metric is not None and view.metric.name in names else None
    return CheckpointTableModel(
        rows=tuple(rows),
        columns=tuple(_column_title(name, names) for name in names),
        decimals=decimals,
        best_column=best_column,
        size_bytes=view.size_bytes + sum(release.size_bytes for release in releases),
        tiers=_tiers(rows),
        trash_count=view.trash_count,
    )


def _tiers(rows: Sequence[CheckpointRow]) -> tuple[tuple[str, int, int], ...]:
    found = []
    for tier in TIERS:
        infos = [row.info for row in rows if row.tier == tier]
        if infos:
            # A release is known by its registry alone, and no two of them share bytes.
            sizes = {(info.inode, info.name if tier == "production" else ""): info.size_bytes for info in infos}
            found.append((tier, len(infos), sum(sizes.values())))
    return tuple(found)


def _row(
    info: CheckpointInfo,
    names: Sequence[str],
    best_key: str | None,
    latest_key: str | None,
    verdict: Verdict | None,
) -> CheckpointRow:
    problem, key = (verdict.problem if verdict is not None else None) or info.problem, info.key
    if problem is None and info.manifest is not None and info.manifest.size_bytes != info.size_bytes:
        problem = f"{info.size_bytes:,} bytes on disk, {info.manifest.size_bytes:,} in its manifest"
    if problem is not None:
        mark = "bad"
    elif key == best_key:
        mark = "best"
    elif info.pinned:
        mark = "pin"
    else:
        mark = "latest" if key == latest_key else ""
    return CheckpointRow(
        info=info,
        key=key,
        tier=info.tier,
        mark=mark,
        epoch=info.epoch,
        step=info.step,
        values=tuple([info.metric(name) for name in names]),
        size_bytes=info.size_bytes,
        time=info.time,
        problem=clean(short_problem(problem, info), TEXT_LIMIT) if problem is not None else None,
        verified=verdict.time if verdict is not None and problem is None else None,
    )


def short_problem(problem: str, info: CheckpointInfo) -> str:
    """What is wrong with a checkpoint, without the file names that its row tells already."""
    without = problem.removeprefix(f"{info.name}: ").removeprefix(f"{info.name} ")
    return without.replace(manifest_path(info.path).name, "its manifest")


def _release_row(release: ReleaseLine, names: Sequence[str], production: Path) -> CheckpointRow:
    name = Path(release.file).name
    info = CheckpointInfo(production, name, "production", None, None, (0, 0), release.size_bytes, release.time)
    return CheckpointRow(
        info=info,
        key=info.key,
        tier="production",
        mark=clean(f"v{release.version}", 12),
        epoch=release.epoch,
        step=release.global_step,
        values=tuple(to_number(release.metrics[name]) if name in release.metrics else None for name in names),
        size_bytes=release.size_bytes,
        time=release.time,
    )


def _metric_columns(view: RunView) -> list[str]:
    """Metrics most checkpoints have: the run's own first, then losses, then the rest by name."""
    counts: Counter[str] = Counter()
    for info in view.checkpoints:
        if info.manifest is not None:
            counts.update(info.manifest.metrics.keys())
    own = view.metric.name if view.metric is not None else ""
    ranked = sorted(counts, key=lambda name: (name != own, "loss" not in name, "train" in name, name))
    return ranked[:MOST_METRIC_COLUMNS]


def _column_title(name: str, names: Sequence[str]) -> str:
    short = name.removeprefix("val/")
    clashes = sum(other.removeprefix("val/") == short for other in names) > 1
    return clean(name if clashes else short, TEXT_LIMIT)


def _decimals(column: Sequence[float | None]) -> int:
    """Enough to tell the best from its runner-up, whichever end is best."""
    values = sorted({value for value in column if value is not None and math.isfinite(value)})
    if len(values) < 2:
        return distinct_decimals(None, None)
    return max(distinct_decimals(values[-1], values[-2]), distinct_decimals(values[0], values[1]))
