"""Committed checkpoints that something else than ckptop removed, told from what a cut-off save or deletion leaves.

Each is a manifest without its `.pt`: a save puts the manifest first, and a deletion may be cut off before it is told.
So only what no rule of ours deletes is certain: one that is pinned, that a fork began from or that was promoted, the
newest and the best. Marks that a new manifest takes over from another, evaluations say, prove nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, in_lineage, latest_of, read_checkpoints
from ckptop.store.cleanup import forks_that_live
from ckptop.store.errors import StoreError
from ckptop.store.events import Event, read_events
from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, manifest_path
from ckptop.store.manifest import TIERS, Manifest
from ckptop.store.trash import list_discarded, list_quarantine, list_trash
from ckptop.store.views import RunView

_TIERS = TIERS[:2]
_COMMITTED = {"saved": "checkpoint", "milestone": "checkpoint", "promoted": "to", "restored": "checkpoints"}
"""Events that say that a checkpoint stands, and the field that names it."""


def vanished(view: RunView) -> frozenset[str]:
    """Keys of the run's checkpoints that were committed and are gone, though nothing of ckptop deleted them.

    What is not certain is left out. A run may be trained meanwhile.
    """
    left = list(_left_over(view.checkpoint_paths))
    problems: list[str] = []
    standing = _standing(view, problems) if left else []
    if not left or problems:
        return frozenset()
    ids = {info.manifest.id for info in standing if info.manifest is not None}  # a move was cut off: it is elsewhere
    attempts = view.record.attempts if view.record is not None else ()
    left = [info for info in left if _id(info) not in ids and in_lineage(info.attempt, info.step, attempts)]
    gone = {info.key for info in left if info.pinned}
    if view.record is not None:
        gone |= {info.key for info in left if forks_that_live(view.root.parent, [info])}
        gone |= _told(view, left, standing)
    # A save or a move that was under way at the first look is done.
    return frozenset(info.key for info in left if info.key in gone and _is_still_left(info))


def _left_over(paths: CheckpointPaths) -> Iterator[CheckpointInfo]:
    """What the manifests without a `.pt` describe."""
    for tier in _TIERS:
        try:
            names = {entry.name for entry in os.scandir(paths.tier(tier))}
        except OSError:
            continue
        for name in sorted(names):
            path = paths.tier(tier) / f"{name.removesuffix('.json')}.pt"
            if not name.endswith(".json") or name.endswith(".tensors.json") or path.name in names:
                continue
            try:
                manifest = read_json(manifest_path(path), Manifest)
            except (StoreError, OSError):
                continue
            if manifest.file == path.name:
                yield CheckpointInfo(
                    path.parent, path.name, tier, manifest, None, (0, 0), manifest.size_bytes, manifest.time
                )


def _standing(view: RunView, problems: list[str]) -> list[CheckpointInfo]:
    """All there is by now, put away or not."""
    paths = view.checkpoint_paths
    attempts = view.record.attempts if view.record is not None else ()
    put_away = (*list_trash(paths), *list_discarded(paths), *list_quarantine(paths))
    return [*read_checkpoints(paths, attempts, problems=problems), *(entry.info for entry in put_away)]


def _told(view: RunView, left: Sequence[CheckpointInfo], standing: Sequence[CheckpointInfo]) -> set[str]:
    """Keys of those that the events know to have been committed, and that are protected from every rule."""
    try:
        events = read_events(view.paths.events)
    except (StoreError, OSError):
        return set()
    since = _last_told(events)
    committed = [info for info in left if since.get(info.key, -1.0) >= info.time]
    gone = {info.key for info in committed if info.manifest is not None and info.manifest.promoted is not None}
    known = [*standing, *committed]
    homes = [view.checkpoint_paths.tier(tier) for tier in _TIERS]
    last_saved = next((event for event in reversed(events) if event.event == "saved"), None)
    newest = latest_of([info for info in known if info.path.parent in homes])
    if newest in committed and last_saved is not None and newest.key in _named(last_saved, "checkpoint"):
        gone.add(newest.key)
    best = best_of(known, view.metric.name, view.metric.mode) if view.metric is not None else None
    if best in committed and not _forgotten(events, since[best.key], {info.key for info in known}):
        gone.add(best.key)
    return gone


def _last_told(events: Sequence[Event]) -> dict[str, float]:
    """When each checkpoint that was not deleted since was last said to stand."""
    since: dict[str, float] = {}
    for event in events:
        if event.event in ("deleted", "pruned"):
            for key in _named(event, "checkpoints"):
                since.pop(key, None)
        elif event.event in _COMMITTED:
            since |= dict.fromkeys(_named(event, _COMMITTED[event.event]), event.time)
    return since


def _forgotten(events: Sequence[Event], since: float, known: set[str]) -> bool:
    """Whether a person deleted one since then that is nowhere any more: it may have been better."""
    deleted = (event for event in events if event.event == "deleted" and event.time >= since)
    return any(key not in known for event in deleted for key in _named(event, "checkpoints"))


def _named(event: Event, field: str) -> list[str]:
    value: Any = event.details.get(field)
    return [key for key in (value if isinstance(value, list) else [value]) if isinstance(key, str)]


def _id(info: CheckpointInfo) -> str:
    return info.manifest.id if info.manifest is not None else ""


def _is_still_left(info: CheckpointInfo) -> bool:
    return not info.exists() and manifest_path(info.path).exists()
