"""A file that holds a trained model: a live checkpoint, a release, or a `.pt` that somebody carried off.

Only what is live in a run can be written to; of the others the bytes and what stands beside them are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.files import read_json
from ckptop.store.find import find_checkpoint, find_release, is_release
from ckptop.store.layout import manifest_path, release_config_path
from ckptop.store.manifest import Manifest
from ckptop.store.promote import ReleaseConfig
from ckptop.store.registry import release_path
from ckptop.store.store import Store
from ckptop.store.views import RunView


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A `.pt` and what is known of it without reading it."""

    label: str
    """As a person types it: `digits:training/<file>`, `digits@1.2.0`, or the path."""
    path: Path
    config: Mapping[str, Any] | None
    """What it was trained with; None where only the file itself says."""
    epoch: int | None = None
    step: int | None = None
    view: RunView | None = None
    """The run it is live in; None for a release and for a file that stands alone."""
    info: CheckpointInfo | None = None
    """The live checkpoint; None with `view`."""


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
        release = find_release(store, text)
        return _file(release_path(store.paths, release), f"{release.model}@{release.version}")
    try:
        return live_model(*find_checkpoint(store, text))
    except NotFound:
        path = Path(text).expanduser()
        if not path.is_file():
            raise
        return _file(path, text)


def live_model(view: RunView, info: CheckpointInfo) -> ModelFile:
    """A live checkpoint as a model file.

    Raises:
        Damaged: Its manifest is unreadable.
    """
    if info.manifest is None:
        raise Damaged(f"{info.problem}; `ckptop verify {view.name}` tells more")
    return ModelFile(
        label=f"{view.name}:{info.key}", path=info.path, config=info.manifest.config, epoch=info.epoch,
        step=info.step, view=view, info=info,
    )  # fmt: skip


def _file(path: Path, label: str) -> ModelFile:
    """A file outside of every run, described by the record beside it, if there is one."""
    record = _beside(path)
    if record is None:
        return ModelFile(label=label, path=path, config=None)
    return ModelFile(label=label, path=path, config=record.config, epoch=record.epoch, step=record.global_step)


def _beside(path: Path) -> Manifest | ReleaseConfig | None:
    with suppress(NotFound):
        return read_json(manifest_path(path), Manifest)
    with suppress(NotFound):
        return read_json(release_config_path(path), ReleaseConfig)
    return None
