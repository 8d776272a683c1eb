"""A file that holds a trained model: a live checkpoint, a release, or a `.pt` that somebody carried off.

Only what is live in a run can be written to; of the others the bytes and what stands beside them are all there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.files import read_json
from ckptop.store.find import find_checkpoint, find_release, is_release
from ckptop.store.layout import manifest_path, release_config_path
from ckptop.store.manifest import Manifest
from ckptop.store.names import is_run_name
from ckptop.store.registry import ReleaseLine, release_path
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.store import Store
from ckptop.store.trust import require_own
from ckptop.store.views import RunView, read_run

_OWN_TASK = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""MODULE:CLASS on a recorded command line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A `.pt` and what is known of it without reading it."""

    label: str
    """As a person types it: `digits:training/<file>`, `digits@1.2.0`, or the path."""
    path: Path
    config: Mapping[str, Any] | None
    """What it was trained with; None where only the file itself says."""
    task: str | None
    """What trained it, a name or MODULE:CLASS; None where nothing beside it says."""
    epoch: int | None = None
    step: int | None = None
    view: RunView | None = None
    """The run it is live in; None for a release and for a file that stands alone."""
    info: CheckpointInfo | None = None
    """The live checkpoint; None with `view`."""
    sha256: str | None = None
    """Of a release, as the registry has it."""


def find_model(store: Store, text: str) -> ModelFile:
    """The model file a person named.

    Args:
        store: Where runs and releases are looked up.
        text: A checkpoint as `find_checkpoint` takes it, `MODEL@VERSION`, or the path of any file.

    Raises:
        NotFound: There is none.
        UsageError: The words mean several checkpoints, or nothing.
        Damaged: What stands beside the file is unreadable.
    """
    if is_release(text):
        return _released(store, find_release(store, text))
    try:
        return live_model(*find_checkpoint(store, text))
    except NotFound:
        path = Path(text).expanduser()
        if not path.is_file():
            raise
        return _beside(path.resolve(), text)  # a link such as latest.pt: the record stands beside what it points to


def find_models(store: Store, text: str) -> list[ModelFile]:
    """The same, but a run by its name or directory means all its live checkpoints, oldest first."""
    view = _run_named(store, text)
    if view is None:
        return [find_model(store, text)]
    if not view.checkpoints:
        raise NotFound(f"{view.name} has no checkpoint yet; the first comes with its first save")
    return [live_model(view, info) for info in view.checkpoints]


def live_model(view: RunView, info: CheckpointInfo) -> ModelFile:
    """A live checkpoint as a model file; that its manifest is unreadable is said by whoever verifies it."""
    manifest = info.manifest
    config = manifest.config if manifest is not None else None
    return ModelFile(
        label=f"{view.name}:{info.key}", path=info.path, config=config, task=_typed_task(view) or task_in(config),
        epoch=info.epoch, step=info.step, view=view, info=info,
    )  # fmt: skip


def task_in(config: Mapping[str, Any] | None) -> str | None:
    """The task's name in the configuration that a checkpoint of `ckptop train` holds."""
    task = config.get("task") if config is not None else None
    return task if isinstance(task, str) else None


def _run_named(store: Store, text: str) -> RunView | None:
    if is_run_name(text) and not Path(text).is_file() and text in store.run_names():
        return store.run(text)
    path = Path(text).expanduser()
    return read_run(path.resolve()) if (path / "run.json").is_file() else None


def _typed_task(view: RunView) -> str | None:
    """MODULE:CLASS as it was typed: code to run, and so taken only from files that nobody but this user can write."""
    record = view.record
    argv = record.command.argv if record is not None and record.command is not None else []
    words = argv[argv.index("train") + 1 :] if "train" in argv else []
    typed = next((word for word in words if _OWN_TASK.fullmatch(word)), None)
    if typed is not None:
        with suppress(StoreError, OSError):
            require_own(view.paths)
            return typed
    return None


def _released(store: Store, release: ReleaseLine) -> ModelFile:
    """A release; its run, if it is still there, knows where its task's code is."""
    path, typed, config = release_path(store.paths, release), None, None
    with suppress(NotFound):
        view = store.run(release.run)
        typed = _typed_task(view) if view.record is not None and view.record.id == release.run_id else None
    with suppress(NotFound):
        config = read_json(release_config_path(path), ReleaseConfig).config
    return ModelFile(
        label=f"{release.model}@{release.version}", path=path, config=config, task=typed or task_in(config),
        epoch=release.epoch, step=release.global_step, sha256=release.sha256,
    )  # fmt: skip


def _beside(path: Path, label: str) -> ModelFile:
    """A file outside of every run, described by the record beside it, if there is one."""
    kinds: tuple[tuple[Path, type[Manifest] | type[ReleaseConfig]], ...] = (
        (manifest_path(path), Manifest), (release_config_path(path), ReleaseConfig),
    )  # fmt: skip
    for record, kind in kinds:
        with suppress(NotFound):
            kept = read_json(record, kind)
            return ModelFile(
                label=label, path=path, config=kept.config, task=task_in(kept.config), epoch=kept.epoch,
                step=kept.global_step,
            )  # fmt: skip
    return ModelFile(label=label, path=path, config=None, task=None)
