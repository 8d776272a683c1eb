"""Promotion: a training checkpoint becomes a milestone (a link), or a release (a real, stripped copy).

Making a release needs torch; the dashboard runs `ckptop promote --json` for it.
"""

from __future__ import annotations

import operator
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now, read_checkpoints, scan_tier
from ckptop.store.commit import commit, link_or_copy, read_index
from ckptop.store.errors import Damaged, NotFound, StoreError, UsageError
from ckptop.store.evaluations import mode_of
from ckptop.store.events import append_event, current_actor
from ckptop.store.files import refuse_links, write_durably
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.hashing import sha256_of
from ckptop.store.layout import STAGING, CheckpointPaths, StorePaths, release_config_path
from ckptop.store.links import point, refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, Ranking, encode
from ckptop.store.names import Version, milestone_name, production_name
from ckptop.store.records import Sealed
from ckptop.store.registry import ReleaseLine, append_release, production_lock, read_registry
from ckptop.store.staging import remove_stale, removed_on_error, staged_name
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import RunView

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REQUIREMENT = re.compile(r"\s*(?P<metric>[^<>=!\s]+)\s*(?P<sign>>=|<=|==|>|<)\s*(?P<value>[-+.\deE]+)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_KEPT_IN_RELEASE = (
    "version", "timestamp", "git_commit", "model_state_dict", "epoch", "global_step", "metrics", "config", "metadata",
)  # fmt: skip


class ReleaseConfig(Sealed, frozen=True, kw_only=True):
    """`<model>_v1.0.0.config.json`: what a release is, beside its weights."""

    model: str
    version: str
    file: str
    sha256: str
    size_bytes: int
    config: dict[str, Any]
    metrics: dict[str, float | str]
    run: str
    checkpoint: str
    epoch: int
    global_step: int
    card: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Requirement:
    """`val/accuracy>=0.9`: what a checkpoint must reach to be promoted."""

    metric: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read a requirement.

        Raises:
            UsageError: It is not METRIC, one of >= <= == > <, and a number.
        """
        match = _REQUIREMENT.fullmatch(text)
        try:
            return cls(match["metric"], match["sign"], float(match["value"])) if match else _refuse(text)
        except ValueError:
            return _refuse(text)

    def check(self, info: CheckpointInfo) -> None:
        """Raise StoreError, with the value there is, unless the checkpoint reaches it."""
        value = info.metric(self.metric)
        if value is None:
            recorded = ", ".join([*info.manifest.metrics, *info.manifest.evaluated]) if info.manifest else "nothing"
            raise NotFound(f"{info.key} recorded no {self.metric}; it recorded {recorded}")
        if not _SIGNS[self.sign](value, self.value):
            raise RequirementNotMet(
                f"{info.key} has {self.metric} {value:.6g}, not {self.sign} {self.value:g}; nothing was promoted"
            )


class RequirementNotMet(StoreError):
    """The answer is no: the checkpoint does not reach what was required; nothing was changed."""

    exit_code = 1


def _refuse(text: str) -> Requirement:
    raise UsageError(f"{text!r} is no requirement; write it like val/accuracy>=0.9")


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
    from ckptop.store import tensors

    _check_model_name(model)
    manifest = _verified(info)
    state = tensors.read_state(info.path)
    if as_it_is_now(info) is None:  # what was read may be what took its name
        raise NotFound(f"{info.key} is gone; nothing was released")
    released = {key: state[key] for key in _KEPT_IN_RELEASE if key in state}
    released |= {"checkpoint_type": "production", "model_card": tensors.plain(card or {})}
    return release_state(store, released, manifest, view, info, model=model, version=version, card=card, fs=fs)


def _check_model_name(model: str) -> None:
    if not _MODEL_NAME.fullmatch(model):
        raise UsageError(f"{model!r} cannot name a model: use letters, digits, '.', '_' and '-'")


def release_state(
    store: StorePaths,
    state: dict[str, Any],
    manifest: Manifest,
    view: RunView | None,
    info: CheckpointInfo | None,
    *,
    model: str,
    version: Version,
    card: Mapping[str, Any] | None,
    alone: bool = False,
    fs: FileSystem = LOCAL,
) -> ReleaseLine:
    """Write and register a release of `state`; errors as `promote_to_production`.

    `view` and `info` are None for a model that came from no checkpoint; `alone` is a stand-alone manager's.
    """
    from ckptop.store import tensors

    _check_model_name(model)
    staging = store.production / STAGING
    refuse_links(store.production, staging, store.metadata, store.model_cards)
    for directory in (store.production, staging, store.model_cards):
        fs.mkdir(directory)
    remove_stale(staging, fs)
    final = store.production / production_name(model, version)
    staged = staging / staged_name(final.name)
    with removed_on_error(staged, fs):
        written = tensors.write_state(staged, state, fs)
        release = ReleaseLine(
            time=time.time(), model=model, version=str(version), file=final.name, sha256=sha256_of(staged),
            size_bytes=written.size_bytes, run=manifest.run, run_id=manifest.run_id,
            checkpoint=info.key if info is not None else "", epoch=manifest.epoch, global_step=manifest.global_step,
            metrics=manifest.metrics, actor=current_actor(),
        )  # fmt: skip
        with production_lock(store):
            _require_unreleased(store, release, fs)
            _write_config(final, release, manifest, card, staging, fs)
            _write_card(store, release, card, staging, fs, alone=alone)
            fs.rename(staged, final)
            fs.fsync_dir(store.production)
            append_release(store, release, fs)
            with suppress(OSError):  # it is released; whoever changes a release next puts the links right
                point(fs, staging, store.production / "latest.pt", final.name)
                point(fs, staging, store.production / f"{model}_latest.pt", final.name)
    if view is not None and info is not None:
        _tell(view, info, to=f"production/{final.name}", model=model, version=str(version))
    return release


def _require_unreleased(store: StorePaths, release: ReleaseLine, fs: FileSystem) -> None:
    """Refuse a version that is released; a file of that name without a line is a cut-off release and goes."""
    registry = read_registry(store)
    if any(line.version == release.version for line in registry.of(release.model)):
        raise StoreError(f"{release.model} {release.version} is released already; a release is never changed")
    leftover = store.production / release.file
    if leftover.exists() and registry.bad_lines:
        raise Damaged(
            f"{leftover} exists and {registry.bad_lines} lines of {store.registry} are unreadable: one may release it; "
            "release another version, or restore the registry"
        )
    with suppress(FileNotFoundError):
        fs.unlink(leftover)


def _write_config(
    final: Path,
    release: ReleaseLine,
    manifest: Manifest,
    card: Mapping[str, Any] | None,
    staging: Path,
    fs: FileSystem,
) -> None:
    shared = {name: getattr(release, name) for name in ReleaseConfig.__struct_fields__ if hasattr(release, name)}
    details = ReleaseConfig(**shared, config=manifest.config, card=dict(card or {}))
    write_durably(release_config_path(final), encode(details), fs, staging=staging)


def _write_card(
    store: StorePaths,
    release: ReleaseLine,
    card: Mapping[str, Any] | None,
    staging: Path,
    fs: FileSystem,
    *,
    alone: bool,
) -> None:
    others = any(line.model != release.model for line in read_registry(store).releases)
    of_model, of_only_model = _card_paths(store, release)
    path = of_only_model if alone and not others else of_model
    fs.mkdir(path.parent)
    write_durably(path, card_text(release, card or {}), fs, staging=staging)


def card_text(release: ReleaseLine, card: Mapping[str, Any]) -> bytes:
    """The model card of a release, as its file holds it: the facts, and what a person said of it."""
    text = {
        "model": release.model, "version": release.version, "file": release.file, "sha256": release.sha256,
        "released": release.time, "run": release.run, "checkpoint": release.checkpoint,
        "metrics": release.metrics,
        **card,
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n"


def card_path(store: StorePaths, release: ReleaseLine) -> Path | None:
    """Where the card of a release is; None where somebody took it away."""
    return next((path for path in _card_paths(store, release) if path.is_file()), None)


def _card_paths(store: StorePaths, release: ReleaseLine) -> tuple[Path, Path]:
    """`<model>/v1.0.0.json`, and `v1.0.0.json` for the one model of a stand-alone manager."""
    name = f"v{release.version}.json"
    return store.model_cards / release.model / name, store.model_cards / name
