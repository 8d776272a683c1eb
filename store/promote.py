"""Promotion: a training checkpoint becomes a milestone (a link), or a release (a real, stripped copy).

Making a release needs torch; the dashboard runs `ckptop promote --json` for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now, read_checkpoints, scan_tier
from ckptop.store.commit import commit, link_or_copy, read_index
from ckptop.store.errors import Damaged, NotFound, StoreError, UsageError
from ckptop.store.evaluations import mode_of
from ckptop.store.events import append_event, current_actor
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths, StorePaths
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, Ranking
from ckptop.store.names import Version, milestone_name
from ckptop.store.registry import ReleaseLine
from ckptop.store.releasing import check_model_name, release_state
from ckptop.store.staging import removed_on_error
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import RunView

_KEPT_IN_RELEASE = (
    "version", "timestamp", "git_commit", "model_state_dict", "epoch", "global_step", "metrics", "config", "metadata",
)  # fmt: skip


def promote_to_milestone(
    view: RunView, info: CheckpointInfo, metric: str | None = None, fs: FileSystem = LOCAL
) -> CheckpointInfo:
    """Make a milestone of a training checkpoint: a link, no bytes copied; kept by every default policy.

    Args:
        view: The run.
        info: A training checkpoint of it.
        metric: The metric to name it after; the run's by default.
        fs: The seam.

    Raises:
        UsageError: It is a milestone already, or no metric is known.
        NotFound: It is gone, or did not record the metric.
        Damaged: Its manifest is unreadable or its bytes differ from it.
    """
    refuse_links(view.root, view.checkpoint_paths.root, view.checkpoint_paths.milestone, view.checkpoint_paths.staging)
    if info.tier != "training":
        raise UsageError(f"{info.key} is a {info.tier} already")
    manifest = _verified(info)
    ranking = _ranking(view, metric)
    value = info.metric(ranking.name)
    if value is None:
        raise NotFound(f"{info.key} recorded no {ranking.name}; it recorded {', '.join(manifest.metrics) or 'nothing'}")
    paths = view.checkpoint_paths
    new = msgspec.structs.replace(
        manifest,
        id=secrets.token_hex(8),
        tier="milestone",
        ranking=ranking,
        pinned=None,
        forks=[],
        promoted=current_actor(),
    )
    with FileLock(paths.lock):
        if as_it_is_now(info) is None:
            raise NotFound(f"{info.key} is gone; nothing was promoted")
        index = read_index(info.path)
        _refuse_second(paths, manifest, ranking)
        fs.mkdir(paths.milestone)
        staged = link_or_copy(fs, paths, info.path)
        with removed_on_error(staged, fs):
            final = commit(
                fs, paths, staged, paths.milestone,
                lambda copy: milestone_name(ranking.name, value, info.epoch, copy), new, index,
            )  # fmt: skip
        attempts = view.record.attempts if view.record else ()
        live = read_checkpoints(paths, attempts)
        with suppress(OSError):  # it is made; the next change moves the links
            refresh_links(fs, paths, live)
    _tell(view, info, to=f"milestone/{final.name}")
    return next(item for item in live if item.path == final)


def _refuse_second(paths: CheckpointPaths, manifest: Manifest, ranking: Ranking) -> None:
    for made in scan_tier(paths.milestone, "milestone"):
        if made.manifest and (made.manifest.xxh3_128, made.manifest.ranking) == (manifest.xxh3_128, ranking):
            raise StoreError(f"{made.key} is this very checkpoint already; nothing was promoted")


def _ranking(view: RunView, metric: str | None) -> Ranking:
    if metric is not None and (view.metric is None or metric != view.metric.name):
        return Ranking(name=metric, mode=mode_of(view, metric))
    if view.metric is None:
        raise UsageError(f"{view.name} names no metric; say which with --metric")
    return Ranking(name=view.metric.name, mode=view.metric.mode)


def _verified(info: CheckpointInfo) -> Manifest:
    finding = verify_checkpoint(info)
    if finding is not None or info.manifest is None:
        if as_it_is_now(info) is None:
            raise NotFound(f"{info.key} is gone; nothing was promoted")
        raise Damaged(f"{finding.message if finding else info.key}; nothing was promoted")
    return info.manifest


def _tell(view: RunView, info: CheckpointInfo, **details: Any) -> None:
    if view.record is not None:
        with suppress(OSError):  # what was promoted is promoted, told or not
            append_event(view.paths, "promoted", step=info.step, checkpoint=info.key, **details)


def promote_to_production(
    store: StorePaths,
    view: RunView,
    info: CheckpointInfo,
    *,
    model: str,
    version: Version,
    card: Mapping[str, Any] | None = None,
    fs: FileSystem = LOCAL,
) -> ReleaseLine:
    """Release a checkpoint: weights, config, metrics and card only, a real copy with a sha256.

    The registry's line, durable, is the release; before it nothing counts, after it `latest` is moved.

    Raises:
        StoreError: The model has that version already.
        UsageError: The model's name cannot name a file.
        NotFound: It is gone; nothing was released.
        Damaged: The checkpoint's bytes differ from its manifest; nothing was released.
        OSError: The disk refused; nothing was released.
    """
    from ckptop.store.state_dicts import plain
    from ckptop.store.tensors import read_state

    check_model_name(model)
    manifest = _verified(info)
    state = read_state(info.path)
    if as_it_is_now(info) is None:  # what was read may be what took its name
        raise NotFound(f"{info.key} is gone; nothing was released")
    released = {key: state[key] for key in _KEPT_IN_RELEASE if key in state}
    released |= {"checkpoint_type": "production", "model_card": plain(card or {})}
    release = release_state(
        store, released, manifest, checkpoint=info.key, model=model, version=version, card=card, fs=fs
    )
    _tell(view, info, to=f"production/{release.file}", model=model, version=release.version)
    return release
