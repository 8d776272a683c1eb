"""The releases of a store as rows, and as pages about one of them; every string clean. Read by a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_bytes, format_cell, format_count
from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.flatten import flatten
from ckptop.store.layout import StorePaths, release_config_path
from ckptop.store.manifest import to_number
from ckptop.store.records import Actor
from ckptop.store.registry import (
    AliasLine,
    Registry,
    RegistryLine,
    ReleaseLine,
    read_history,
    read_registry,
    release_path,
)
from ckptop.store.release_cards import ReleaseConfig, card_path
from ckptop.store.releases import main_metric, release_problem

TEXT_LIMIT = 300

Fact = tuple[str, str]
"""A label and what it says; an empty label goes on with the one before, and empty text is a title."""


class ReleaseRow(msgspec.Struct, frozen=True, eq=False):
    """One version of one model."""

    release: ReleaseLine
    key: str
    model: str
    version: str
    mark: str
    """`latest`, `yanked`, `bad`, or nothing."""
    metric: str
    """Short name of the metric it is shown by."""
    value: float | None
    origin: str
    by: str
    problem: str | None = None
    """Why it cannot be used."""


class RegistryRows(msgspec.Struct, frozen=True, eq=False):
    """All releases, models by name and of each the highest version first."""

    rows: tuple[ReleaseRow, ...] = ()
    problem: str | None = None
    """What cannot be read, for a person."""


class RegistryLook:
    """The registry of one store after another look; used by one thread."""

    def __init__(self) -> None:
        self._stamp: object = None
        self._found = RegistryRows()

    def look(self, paths: StorePaths) -> RegistryRows:
        """The releases now; the same object where neither the registry nor a file beside it has changed."""
        stamp = paths.root, _stamp(paths.registry), _stamp(paths.production)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._found = _rows(paths, read_registry(paths))
            except (StoreError, OSError, ValueError) as error:
                self._found = RegistryRows(problem=clean(f"The registry cannot be read: {error}", TEXT_LIMIT))
        return self._found


def _stamp(path: Any) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def _rows(paths: StorePaths, registry: Registry) -> RegistryRows:
    rows = []
    for model in registry.models:
        newest_first = list(reversed(registry.of(model)))
        metric = main_metric(paths, newest_first[0])
        rows += [_row(paths, registry, release, metric) for release in newest_first]
    bad = f"{registry.bad_lines:,} lines of the registry are torn or were changed and count for nothing"
    return RegistryRows(tuple(rows), bad if registry.bad_lines else None)


def _row(paths: StorePaths, registry: Registry, release: ReleaseLine, metric: str | None) -> ReleaseRow:
    yanked = registry.yanks.get((release.model, release.version))
    problem = release_problem(paths, release)
    is_latest = registry.latest(release.model) == release.version
    mark = "yanked" if yanked is not None else "bad" if problem is not None else "latest" if is_latest else ""
    reason = yanked.reason if yanked is not None else problem
    value = release.metrics.get(metric) if metric is not None else None
    epoch = f"epoch {format_count(release.epoch)}" if release.epoch else ""
    return ReleaseRow(
        release=release,
        key=f"{release.model}@{release.version}",
        model=clean(release.model, TEXT_LIMIT),
        version=clean(release.version, 40),
        mark=mark,
        metric=clean((metric or "metric").removeprefix("val/"), 40),
        value=to_number(value) if value is not None else None,
        origin=clean(" ".join(part for part in (release.run, epoch) if part) or MISSING, TEXT_LIMIT),
        by=clean(release.actor.user, 40),
        problem=clean(reason, TEXT_LIMIT) if reason else None,
    )


# Pages.


def card_facts(paths: StorePaths, release: ReleaseLine) -> list[Fact]:
    """All that is known of a release: where it came from, what it can, how it was trained, what a person said of it."""
    facts: list[Fact] = [
        ("file", str(release_path(paths, release))),
        ("size", format_bytes(release.size_bytes)),
        ("sha256", release.sha256),
        ("released", f"{when(release.time)} by {who(release.actor)}"),
        ("from", " ".join(part for part in (release.run, release.checkpoint) if part) or MISSING),
        ("trained", f"epoch {format_count(release.epoch)}, step {format_count(release.global_step)}"),
    ]
    facts += _section("metrics", {name: format_cell(to_number(value)) for name, value in release.metrics.items()})
    try:
        config = read_json(release_config_path(release_path(paths, release)), ReleaseConfig)
    except (StoreError, OSError) as error:
        return _clean([*facts, ("", ""), ("problem", str(error))])
    facts += _section("card", {name: plain_value(value) for name, value in flatten(config.card).items()})
    facts += _section("config", {name: plain_value(value) for name, value in flatten(config.config).items()})
    path = card_path(paths, release)
    facts += [("", ""), ("card file", str(path) if path is not None else "somebody took it away")]
    return _clean(facts)


def _section(title: str, values: Mapping[str, str]) -> list[Fact]:
    return [("", ""), (title, ""), *values.items()] if values else []


def _clean(facts: Sequence[Fact]) -> list[Fact]:
    return [(clean(label, 60), clean(text, 2000)) for label, text in facts]


def history_facts(paths: StorePaths, model: str) -> list[Fact]:
    """What was done to the releases of a model, oldest first: when, what, by whom."""
    lines = read_history(paths, model)
    return _clean([
        (when(line.time), _done(line))
        for line, after in zip(lines, [*lines[1:], None], strict=True)
        if not _is_of_release(line, after)
    ])  # fmt: skip


def _is_of_release(line: RegistryLine, after: RegistryLine | None) -> bool:
    """Whether a line says what its release, which follows, says too."""
    return isinstance(line, AliasLine) and isinstance(after, ReleaseLine) and line.version == after.version


def _done(line: RegistryLine) -> str:
    by = f", by {who(line.actor)}"
    if isinstance(line, ReleaseLine):
        origin = f" from {line.run} {line.checkpoint}" if line.run else ""
        return f"released {line.version} as latest{origin}{by}"
    if isinstance(line, AliasLine):
        return f"{line.alias} is {line.version}{by}"
    return f"yanked {line.version}{f': {line.reason}' if line.reason else ''}{by}"


def who(actor: Actor) -> str:
    """`ada@host`."""
    return f"{actor.user}@{actor.host}"


def when(seconds: float) -> str:
    """`2026-11-28 12:41`; whatever a file says, no exception."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return MISSING


def plain_value(value: object) -> str:
    """A configured value as it is typed."""
    if isinstance(value, str):
        return value or '""'
    return MISSING if value is None else msgspec.json.encode(value).decode()
