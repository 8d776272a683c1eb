"""In what two checkpoints, releases or runs differ, name by name; which is better is nobody's business here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.facts import release_config, typed
from ckptop.store.files import read_json
from ckptop.store.find import find_put_away, find_release, is_release, release_at
from ckptop.store.flatten import flatten
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import Manifest, to_number
from ckptop.store.registry import ReleaseLine, release_path
from ckptop.store.store import Store
from ckptop.store.views import RunView

Facts = Mapping[str, Any]
"""Names to values."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things that are compared."""

    label: str
    """As a person types it."""
    sections: Mapping[str, Facts | None]
    """`config`, `metrics`, …; None where nothing is known of one, which is no difference."""
    path: Path | None = None
    """The file whose tensors are compared; None for a run."""


@dataclass(frozen=True, slots=True)
class Change:
    """A name whose values differ."""

    name: str
    values: Mapping[str, Any]
    """`a` and `b`; one that does not have the name is absent."""


def changes(a: Facts, b: Facts) -> list[Change]:
    """The names whose values differ, or that only one of the two has; in their order. NaN is equal to NaN."""
    found = []
    for name in dict.fromkeys([*a, *b]):
        values = {side: facts[name] for side, facts in (("a", a), ("b", b)) if name in facts}
        if len(values) < 2 or not _same(values["a"], values["b"]):
            found.append(Change(name, values))
    return found


def _same(a: object, b: object) -> bool:
    """Whether two recorded values are one: 1 is 1.0, but no True."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def file_side(store: Store, text: str) -> Side:
    """A checkpoint, a release, or any other `.pt` by its path.

    Raises:
        NotFound: There is none.
        UsageError: The words mean several.
    """
    released = (store, find_release(store, text)) if is_release(text) else release_at(Path(text))
    if released is not None:
        return _release_side(*released)
    try:
        view, info = find_put_away(store, text)
    except NotFound:
        path = Path(text).expanduser().resolve()
        if not path.is_file():
            raise
        manifest = None
        with suppress(StoreError, OSError):
            manifest = read_json(manifest_path(path), Manifest)
        return Side(text, _of_manifest(manifest), path)
    return Side(f"{view.name}:{info.key}", _of_manifest(info.manifest), info.path)


def _of_manifest(manifest: Manifest | None) -> dict[str, Facts | None]:
    if manifest is None:
        return {"place": None, "config": None, "metrics": None, "environment": None}
    return {
        "place": {"epoch": manifest.epoch, "step": manifest.global_step},
        "config": flatten(manifest.config),
        "metrics": _numbers(manifest.metrics | manifest.evaluated),
        "environment": flatten(manifest.environment),
    }


def _release_side(store: Store, release: ReleaseLine) -> Side:
    config = release_config(store.paths, release)
    sections: dict[str, Facts | None] = {
        "place": {"epoch": release.epoch, "step": release.global_step},
        "config": flatten(config.config) if config is not None else None,
        "metrics": _numbers(release.metrics),
        "environment": None,
    }
    return Side(f"{release.model}@{release.version}", sections, release_path(store.paths, release))


def run_side(view: RunView) -> Side:
    """A run: how it was started, its configuration, and its best and final metrics."""
    record, best, latest = view.record, view.best, view.latest
    run: dict[str, Any] | None = None
    if record is not None:
        run = {
            "task": record.task,
            "command": typed(record.command) if record.command is not None else None,
            "seed": record.seed,
            "metric": record.metric.name if record.metric is not None else None,
            "data": record.data.hash if record.data is not None else None,
            "git": record.git_commit,
            "parent": f"{record.parent.run}:{record.parent.checkpoint}" if record.parent is not None else None,
        }
    return Side(view.name, {
        "run": run,
        "config": flatten(record.config) if record is not None else _of(latest, "config"),
        "metrics": {**{f"best {name}": value for name, value in (_of(best, "metrics") or {}).items()}, **view.result},
        "environment": _of(latest, "environment"),
    })  # fmt: skip


def _of(info: CheckpointInfo | None, section: str) -> Facts | None:
    return _of_manifest(info.manifest)[section] if info is not None else None


def _numbers(metrics: Mapping[str, float | str]) -> dict[str, float]:
    return {name: to_number(value) for name, value in metrics.items()}
