"""Everything known of one checkpoint, one run or one release, gathered from all over the store; nothing is changed.

What cannot be read is left out rather than fatal: these are facts for somebody who looks, perhaps because something is
broken.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo, best_of
from ckptop.store.errors import StoreError
from ckptop.store.events import EventLog
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths, StorePaths, release_config_path
from ckptop.store.manifest import Tier
from ckptop.store.names import is_run_name
from ckptop.store.records import Attempt, Command
from ckptop.store.registry import Registry, ReleaseLine, read_registry, release_path
from ckptop.store.release_cards import ReleaseConfig
from ckptop.store.trash import TrashEntry, list_discarded, list_quarantine, list_trash
from ckptop.store.views import RunView


@dataclass(frozen=True, slots=True)
class SaveFacts:
    """What saving it took, as the run's events say."""

    blocked_seconds: float
    """How long the loop stood still."""
    durable_seconds: float
    """Until it survived a power cut."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What is known of a checkpoint beyond its manifest."""

    same_bytes: tuple[str, ...]
    """Other names of its bytes within the run's set, `milestone/<file>`, put-away ones as `.trash/…`."""
    other_names: int
    """Further names of its bytes that stand elsewhere."""
    best_so_far: CheckpointInfo | None
    """The best by the run's metric of those kept up to this one."""
    attempt: Attempt | None
    """The attempt that saved it."""
    save: SaveFacts | None
    """None where no event tells: of a milestone, of a set without a run, and where the log is gone."""
    releases: tuple[ReleaseLine, ...]
    """Made from it, or from another name of its bytes."""
    registry: Registry


def checkpoint_facts(view: RunView, info: CheckpointInfo) -> CheckpointFacts:
    """Gather what the rest of the store says of a checkpoint."""
    live = [other.key for other in view.checkpoints if other.inode == info.inode and other.key != info.key]
    away = [entry for entry in put_away(view) if entry.info.inode == info.inode]
    root = view.checkpoint_paths.root
    same = (*live, *(str(entry.info.path.relative_to(root)) for entry in away))
    attempts = view.record.attempts if view.record is not None else ()
    registry = registry_of(view)
    keys = {info.key, *live, *(entry.home for entry in away)}
    return CheckpointFacts(
        same_bytes=same,
        other_names=max(0, info.link_count - 1 - len(same)),
        best_so_far=_best_so_far(view, info),
        attempt=next((attempt for attempt in attempts if attempt.attempt == info.attempt), None),
        save=_save_of(view, info),
        releases=tuple(release for release in releases_of(view, registry) if release.checkpoint in keys),
        registry=registry,
    )


def _save_of(view: RunView, info: CheckpointInfo) -> SaveFacts | None:
    """By the newest event of its name: one that was deleted may have had the same."""
    if view.record is None:
        return None
    with suppress(OSError, StoreError):
        for event in reversed(EventLog(RunPaths(view.root).events, ("saved",)).poll()):
            if event.details.get("checkpoint") == info.key and event.attempt in (None, info.attempt):
                durable = event.details.get("seconds")
                blocked = event.details.get("blocked_seconds", durable)
                if isinstance(durable, int | float) and isinstance(blocked, int | float):
                    return SaveFacts(float(blocked), float(durable))
    return None


def _best_so_far(view: RunView, info: CheckpointInfo) -> CheckpointInfo | None:
    if view.metric is None:
        return None
    place = (info.epoch, info.step)
    until = [other for other in view.checkpoints if (other.epoch, other.step or info.step) <= place]
    return best_of(until, view.metric.name, view.metric.mode)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a tier holds, or what was put away."""

    count: int
    size_bytes: int
    """Each inode once."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run beyond its records."""

    tiers: Mapping[Tier, Kept]
    put_away: Mapping[str, Kept]
    """By kind: deleted, abandoned, damaged; those there are."""
    forks: tuple[str, ...]
    """Runs that began from its checkpoints, those that were deleted since included."""
    releases: tuple[ReleaseLine, ...]
    registry: Registry


def run_facts(view: RunView) -> RunFacts:
    """Gather what a run's directory and the rest of the store say of it."""
    tiers: dict[Tier, list[CheckpointInfo]] = {"training": [], "milestone": []}
    for info in view.checkpoints:
        tiers[info.tier].append(info)
    away: dict[str, list[CheckpointInfo]] = {}
    for entry in put_away(view):
        away.setdefault(entry.kind, []).append(entry.info)
    forks = [fork for info in view.checkpoints if info.manifest for fork in info.manifest.forks]
    registry = registry_of(view)
    return RunFacts(
        tiers={tier: _kept(infos) for tier, infos in tiers.items()},
        put_away={kind: _kept(infos) for kind, infos in away.items()},
        forks=tuple(dict.fromkeys(forks)),
        releases=tuple(releases_of(view, registry)),
        registry=registry,
    )


def _kept(infos: Iterable[CheckpointInfo]) -> Kept:
    infos = list(infos)
    return Kept(len(infos), sum({info.inode: info.size_bytes for info in infos}.values()))


def put_away(view: RunView) -> list[TrashEntry]:
    """Checkpoints of a run that were deleted, abandoned or found damaged; none where it cannot be read."""
    found: list[TrashEntry] = []
    for listed in (list_trash, list_discarded, list_quarantine):
        with suppress(OSError):
            found += listed(view.checkpoint_paths)
    return found


def store_of(view: RunView) -> StorePaths:
    """The store a run belongs to; a stand-alone set is its own."""
    return StorePaths(view.root if view.is_standalone else view.root.parent)


def registry_of(view: RunView) -> Registry:
    """The registry of a run's store; an empty one where it cannot be read."""
    try:
        return read_registry(store_of(view))
    except OSError:
        return Registry((), {}, 0)


def releases_of(view: RunView, registry: Registry) -> list[ReleaseLine]:
    """Releases made from a run, oldest first; those of an earlier run of its name are not."""
    if view.is_standalone:
        return list(registry.releases)
    made = [release for release in registry.releases if release.run == view.name]
    return [release for release in made if view.record is None or release.run_id == view.record.id]


def is_there(view: RunView, run: str) -> bool:
    """Whether a run of that name, a fork or a parent, stands in the same store."""
    return is_run_name(run) and RunPaths(store_of(view).root / run).record.exists()


def release_config(paths: StorePaths, release: ReleaseLine) -> ReleaseConfig | None:
    """What stands beside a release, its configuration and card; None where it is gone, damaged or of another."""
    with suppress(StoreError, OSError):
        config = read_json(release_config_path(release_path(paths, release)), ReleaseConfig)
        return config if config.sha256 == release.sha256 else None
    return None


def typed(command: Command) -> str:
    """A recorded command as a person types it, in its working directory and environment."""
    if command.argv[:2] == ["-m", "ckptop.cli"]:
        return shlex.join(["ckptop", *command.argv[2:]])
    return shlex.join([Path(command.python).name, *command.argv])
