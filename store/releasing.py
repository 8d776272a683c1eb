"""A release is made: its file, what stands beside it, its card, its line in the registry, and then the links.

The registry's line, durable, is the release; before it nothing counts. Writing the file needs torch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ckptop.store.errors import Damaged, StoreError, UsageError
from ckptop.store.events import current_actor
from ckptop.store.files import refuse_links, write_durably
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.hashing import sha256_of
from ckptop.store.layout import STAGING, UNREGISTERED, StorePaths, release_config_path
from ckptop.store.links import point
from ckptop.store.manifest import Manifest, encode
from ckptop.store.names import Version, production_name
from ckptop.store.registry import ReleaseLine, append_release, production_lock, read_registry
from ckptop.store.release_cards import ReleaseConfig, card_path, card_paths, card_text
from ckptop.store.staging import remove_stale, removed_on_error, staged_name

__all__ = ["ReleaseConfig", "card_path", "card_text", "check_model_name", "release_state"]

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_model_name(model: str) -> None:
    """Raise UsageError unless the name can stand in a file name."""
    if not _MODEL_NAME.fullmatch(model):
        raise UsageError(f"{model!r} cannot name a model: use letters, digits, '.', '_' and '-'")


def release_state(
    store: StorePaths,
    state: dict[str, Any],
    manifest: Manifest,
    *,
    checkpoint: str = "",
    model: str,
    version: Version,
    card: Mapping[str, Any] | None,
    alone: bool = False,
    fs: FileSystem = LOCAL,
) -> ReleaseLine:
    """Write and register a release of `state`.

    Args:
        store: Where it is released.
        state: What the file holds.
        manifest: What is known of where it came from; its metrics and configuration are the release's.
        checkpoint: `training/<file>` that it came from; empty for a model that came from none.
        model: Names the release.
        version: Never released before.
        card: What a person says of it.
        alone: Whether the store is a stand-alone manager's, whose one model has its cards beside no other's.
        fs: The seam.

    Raises:
        StoreError: The model has that version already.
        UsageError: The model's name cannot name a file.
        Damaged: A line that cannot be read may release a file of that name.
        OSError: The disk refused; nothing was released.
    """
    from ckptop.store.tensors import write_state

    check_model_name(model)
    staging = store.production / STAGING
    refuse_links(store.production, staging, store.metadata, store.model_cards)
    for directory in (store.production, staging, store.model_cards):
        fs.mkdir(directory)
    remove_stale(staging, fs)
    final = store.production / production_name(model, version)
    staged = staging / staged_name(final.name)
    with removed_on_error(staged, fs):
        written = write_state(staged, state, fs)
        release = ReleaseLine(
            time=time.time(), model=model, version=str(version), file=final.name, sha256=sha256_of(staged),
            size_bytes=written.size_bytes, run=manifest.run, run_id=manifest.run_id,
            checkpoint=checkpoint, epoch=manifest.epoch, global_step=manifest.global_step,
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
    return release


def _require_unreleased(store: StorePaths, release: ReleaseLine, fs: FileSystem) -> None:
    """Refuse a version that is released; a file of that name without a line is put aside.

    It is a release that was cut off, or one whose registry is gone: nobody can tell, so it is not deleted.
    """
    registry = read_registry(store)
    if any(line.version == release.version for line in registry.of(release.model)):
        raise StoreError(f"{release.model} {release.version} is released already; a release is never changed")
    leftover = store.production / release.file
    if leftover.exists() and registry.bad_lines:
        raise Damaged(
            f"{leftover} exists and {registry.bad_lines} lines of {store.registry} are unreadable: one may release it; "
            "release another version, or restore the registry"
        )
    if leftover.exists():
        aside = store.production / UNREGISTERED
        fs.mkdir(aside)
        fs.rename(leftover, aside / f"{time.time_ns()}-{leftover.name}")
        fs.fsync_dir(aside)


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
    of_model, of_only_model = card_paths(store, release)
    path = of_only_model if alone and not others else of_model
    fs.mkdir(path.parent)
    write_durably(path, card_text(release, card or {}), fs, staging=staging)
