"""Runs, checkpoints or releases side by side: what is known of each as a column, and the rows in which they differ.

Pure but for `read_column`, which a thread calls. Names and values are cleaned here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, distinct_decimals, format_bytes, format_cell, format_count, format_value
from ckptop.store.checkpoint_info import CheckpointInfo, metric_mode
from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.flatten import flatten
from ckptop.store.layout import StorePaths, release_config_path
from ckptop.store.manifest import Manifest, to_number
from ckptop.store.records import Mode
from ckptop.store.registry import ReleaseLine, release_path
from ckptop.store.release_cards import ReleaseConfig
from ckptop.store.views import RunView, read_run
from ckptop.tui.registry_rows import plain_value, when

TEXT_LIMIT = 300
SECTIONS = ("run", "metrics", "config", "environment")
"""In the order in which they are shown."""

Section = Literal["run", "metrics", "config", "environment"]
Value = str | float
"""A text, or the value of a metric."""


class Subject(msgspec.Struct, frozen=True):
    """What a column is about: a run by its directory, or a checkpoint or release as it was read."""

    label: str
    root: Path | None = None
    info: CheckpointInfo | None = None
    run: str = ""
    """Name of the run that `info` is of."""
    release: ReleaseLine | None = None
    store: Path | None = None
    """Of the release."""


class Column(msgspec.Struct, frozen=True, eq=False):
    """What is known of one subject."""

    label: str
    values: Mapping[tuple[Section, str], Value]
    modes: Mapping[str, Mode]
    """Which end of a metric is best, where its run says so."""
    problem: str | None = None


class Cell(msgspec.Struct, frozen=True):
    """One value beside that of the baseline."""

    text: str
    difference: str = ""
    """Signed, of numbers; `≠` of texts; empty where it is the same, or the baseline's own."""
    is_best: bool = False


class Row(msgspec.Struct, frozen=True):
    """One name over all columns."""

    section: Section
    name: str
    cells: tuple[Cell, ...]
    is_equal: bool
    """Whether all say the same."""


# Reading.


def read_column(subject: Subject) -> Column:
    """What is known of a subject; never raises for what is in its files."""
    try:
        if subject.release is not None and subject.store is not None:
            return _of_release(subject, subject.release, StorePaths(subject.store))
        if subject.info is not None:
            return _of_checkpoint(subject, subject.info)
        return _of_run(subject, read_run(subject.root or Path()))
    except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
        return Column(subject.label, {}, {}, clean(str(error) or type(error).__name__, TEXT_LIMIT))


def _of_run(subject: Subject, view: RunView) -> Column:
    values: dict[tuple[Section, str], Value] = {("run", "state"): view.state}
    record, status, best = view.record, view.status, view.best
    if status is not None:
        values["run", "epoch"] = format_count(status.epoch)
        values["run", "step"] = format_count(status.step)
    if record is not None:
        values["run", "task"] = record.task
        values["run", "started"] = _moment(record.created)
        values["run", "attempts"] = format_count(len(record.attempts))
        values["run", "seed"] = str(record.seed) if record.seed is not None else MISSING
        values["run", "fork of"] = record.parent.run if record.parent is not None else MISSING
        values["environment", "git commit"] = record.git_commit or MISSING
        values["environment", "host"] = record.host or MISSING
        if record.data is not None:
            values["environment", "data"] = record.data.path
            values["environment", "data hash"] = record.data.hash
        _add(values, "config", record.config)
    shown = best or view.latest
    if shown is not None and shown.manifest is not None:
        _add_metrics(values, shown.manifest.metrics)
    for name, value in view.result.items():
        if name.startswith("test/"):
            values["metrics", clean(name, TEXT_LIMIT)] = value
    modes: dict[str, Mode] = {view.metric.name: view.metric.mode} if view.metric is not None else {}
    return Column(subject.label, _cleaned(values), modes, clean(view.problem, TEXT_LIMIT) if view.problem else None)


def _of_checkpoint(subject: Subject, info: CheckpointInfo) -> Column:
    values: dict[tuple[Section, str], Value] = {
        ("run", "run"): subject.run,
        ("run", "tier"): info.tier,
        ("run", "epoch"): format_count(info.epoch),
        ("run", "step"): format_count(info.step),
        ("run", "saved"): _moment(info.time),
        ("run", "size"): format_bytes(info.size_bytes),
    }
    manifest = info.manifest
    modes: dict[str, Mode] = {}
    if manifest is not None:
        values["run", "attempt"] = format_count(manifest.attempt)
        _add_manifest(values, manifest)
        if manifest.ranking is not None:
            modes[manifest.ranking.name] = manifest.ranking.mode
    return Column(subject.label, _cleaned(values), modes, clean(info.problem, TEXT_LIMIT) if info.problem else None)


def _of_release(subject: Subject, release: ReleaseLine, paths: StorePaths) -> Column:
    values: dict[tuple[Section, str], Value] = {
        ("run", "run"): release.run,
        ("run", "epoch"): format_count(release.epoch),
        ("run", "step"): format_count(release.global_step),
        ("run", "released"): _moment(release.time),
        ("run", "by"): release.actor.user,
        ("run", "size"): format_bytes(release.size_bytes),
    }
    _add_metrics(values, release.metrics)
    problem = None
    try:
        _add(values, "config", read_json(release_config_path(release_path(paths, release)), ReleaseConfig).config)
    except (StoreError, OSError) as error:
        problem = clean(str(error), TEXT_LIMIT)
    return Column(subject.label, _cleaned(values), {}, problem)


def _moment(seconds: float) -> str:
    """`11-28 12:41` of this year, since columns are narrow; else with the year."""
    return when(seconds).removeprefix(time.strftime("%Y-"))


def _add_manifest(values: dict[tuple[Section, str], Value], manifest: Manifest) -> None:
    _add_metrics(values, manifest.metrics)
    _add(values, "config", manifest.config)
    _add(values, "environment", manifest.environment)


def _add(values: dict[tuple[Section, str], Value], section: Section, tree: Mapping[str, object]) -> None:
    for name, value in flatten(tree).items():
        values[section, name] = plain_value(value)


def _add_metrics(values: dict[tuple[Section, str], Value], metrics: Mapping[str, float | str]) -> None:
    for name, value in metrics.items():
        values["metrics", clean(name, TEXT_LIMIT)] = to_number(value)


def _cleaned(values: Mapping[tuple[Section, str], Value]) -> dict[tuple[Section, str], Value]:
    return {
        (section, clean(name, TEXT_LIMIT)): clean(value, TEXT_LIMIT) if isinstance(value, str) else value
        for (section, name), value in values.items()
    }


# Comparing.


def compare(columns: Sequence[Column], baseline: int) -> list[Row]:
    """A row for each name that any column knows; sections in their order, names as the columns have them.

    Args:
        columns: What is compared.
        baseline: Which of them the others are told by.
    """
    names = dict.fromkeys(key for column in columns for key in column.values)
    modes = {name: mode for column in columns for name, mode in column.modes.items()}
    ordered = sorted(names, key=lambda key: SECTIONS.index(key[0]))
    return [_row(section, name, columns, baseline, modes) for section, name in ordered]


def _row(section: Section, name: str, columns: Sequence[Column], baseline: int, modes: Mapping[str, Mode]) -> Row:
    values = [column.values.get((section, name)) for column in columns]
    numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    decimals = _decimals(numbers)
    base = values[baseline] if baseline < len(values) else None
    best = None
    if section == "metrics" and len(set(numbers)) > 1:
        best = (min if modes.get(name, metric_mode(name)) == "min" else max)(numbers)
    cells = tuple(
        Cell(
            _text(value, decimals),
            "" if place == baseline else _difference(value, base, decimals),
            best is not None and value == best,
        )
        for place, value in enumerate(values)
    )
    texts = {_key(value) for value in values}
    return Row(section, name, cells, len(texts) == 1)


def _key(value: Value | None) -> str:
    """Equal for equal values, NaN included."""
    return repr(value)


def _decimals(numbers: Sequence[float]) -> int:
    ranked = sorted(set(numbers))
    if len(ranked) < 2:
        return distinct_decimals(None, None)
    return max(distinct_decimals(ranked[-1], ranked[-2]), distinct_decimals(ranked[0], ranked[1]))


def _text(value: Value | None, decimals: int) -> str:
    if value is None:
        return MISSING
    return value if isinstance(value, str) else format_cell(value, decimals)


def _difference(value: Value | None, base: Value | None, decimals: int) -> str:
    """`−0.027` of two numbers, `≠` of whatever else differs."""
    if _key(value) == _key(base):
        return ""
    if not isinstance(value, float) or not isinstance(base, float) or not math.isfinite(value - base):
        return "≠"
    difference = value - base
    size = abs(difference)
    text = f"{size:.{decimals}f}".rstrip("0") if 10**-decimals <= size < 1 else format_value(size)
    return ("+" if difference > 0 else "−") + text


def order_of(columns: Sequence[Column], key: tuple[Section, str], *, reverse: bool) -> list[int]:
    """Places of the columns sorted by one row: numbers as numbers, best first as its name says; then texts."""
    mode: Mode = next((column.modes[key[1]] for column in columns if key[1] in column.modes), metric_mode(key[1]))

    def rank(place: int) -> tuple[int, float, str]:
        value = columns[place].values.get(key)
        number = value if isinstance(value, float) else _number(value)
        if number is None or math.isnan(number):
            return 1, 0.0, str(value or "")
        return 0, -number if key[0] == "metrics" and mode == "max" else number, ""

    return sorted(range(len(columns)), key=rank, reverse=reverse)


def _number(text: Value | None) -> float | None:
    try:
        return float(str(text).replace(",", ""))
    except ValueError:
        return None


def as_text(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The rows as tab-separated lines, for a spreadsheet."""
    head = ["", *(column.label for column in columns)]
    lines = [head, *([row.name, *(cell.text for cell in row.cells)] for row in rows)]
    return "\n".join("\t".join(line) for line in lines)
