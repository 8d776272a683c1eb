"""What a checkpoint scored after its training: numbers in its manifest, so that everything that ranks can rank by them.

They stand in a field of their own. `metrics` is what the checkpoint's file says too; an evaluation is added later, by
anybody who may write the store, and said again when it is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now, metric_mode
from ckptop.store.commit import change_manifest
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.events import append_event
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, to_stored
from ckptop.store.records import DataSource, Mode
from ckptop.store.views import RunView

PREFIX = "eval/"
"""What the name of every evaluation begins with."""
DATA_HASH = "data_hash"
"""Beside the metrics of an evaluation: the hash of the data it was made on."""
PARTS = ("train", "val", "test")
"""Names of a task's own data; a file may not take one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def evaluation_name(text: str, metrics: Iterable[str] = ()) -> str:
    """Return `text` if it can name the data of an evaluation.

    Args:
        text: The name.
        metrics: What will stand behind it: whether lower is better is read off whole names, so `loss` can name no data.

    Raises:
        UsageError: It is a part's, holds other characters than letters, digits, dots, dashes and underscores, or
            would change what better means.
    """
    if text in PARTS:
        raise UsageError(f"{text!r} means the task's own {text} part; choose another name with --as NAME")
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot name data: use letters, digits, '.', '_' and '-', at most 64, beginning with a letter "
            "or digit (--as NAME)"
        )
    for metric in metrics:
        if metric_mode(f"{PREFIX}{text}/{metric}") != metric_mode(metric):
            raise UsageError(f"{text!r} reads like a loss, and {metric} is none; choose another name with --as NAME")
    return text


def name_of_file(path: Path) -> str:
    """What the evaluation on a file is called where nobody says: its stem, or its whole name where that is a part's."""
    text = path.name if path.stem in PARTS else path.stem
    return _NOT_IN_NAMES.sub("_", text).strip("._-")[:64] or "data"


def evaluations_of(manifest: Manifest) -> list[str]:
    """Names of the data a checkpoint was evaluated on, in the order in which they came."""
    return list(dict.fromkeys(_data_of(key) for key in manifest.evaluations))


def mode_of(view: RunView, metric: str) -> Mode:
    """Whether lower or higher is better: as the run says of its metric, on other data too; else by the name's words."""
    own = view.metric
    if own is not None and (
        metric == own.name or (metric.startswith(PREFIX) and metric.rpartition("/")[2] == own.name.rpartition("/")[2])
    ):
        return own.mode
    return metric_mode(metric)


def made_on_other_data(view: RunView, name: str, data_hash: str) -> list[CheckpointInfo]:
    """The live checkpoints whose evaluation `name` was made on other data: ranking them by it would mean nothing."""
    key = f"{PREFIX}{name}/{DATA_HASH}"
    known = [(info, info.manifest.evaluations.get(key)) for info in view.checkpoints if info.manifest is not None]
    return [info for info, made_on in known if made_on is not None and made_on != data_hash]


def record_evaluation(
    view: RunView,
    info: CheckpointInfo,
    name: str,
    values: Mapping[str, float],
    data: DataSource,
    fs: FileSystem = LOCAL,
) -> Manifest:
    """Write what a checkpoint scored into its manifest, durably, in place of what it scored on that data before.

    Args:
        view: The run.
        info: A live checkpoint of it, as it was when its bytes were read.
        name: Of the data; the metrics become `eval/<name>/<metric>`.
        values: Metric to value, NaN included, without the prefix.
        data: Where the data came from; its hash stands beside the values.
        fs: The seam.

    Raises:
        NotFound: The checkpoint is gone, or another has its name; nothing was changed.
        Damaged: Its manifest is unreadable; it was left alone.
        StoreError: A directory of the run is a symbolic link.
        OSError: The disk refused, or is read-only; the manifest is the old one or the new, whole.
    """
    paths = view.checkpoint_paths
    refuse_links(view.root, paths.root, paths.training, paths.milestone, paths.staging)
    new = {f"{PREFIX}{name}/{metric}": to_stored(float(value)) for metric, value in values.items()}
    with FileLock(paths.lock):
        before = _manifest_now(info)
        others = {key: value for key, value in before.evaluations.items() if _data_of(key) != name}
        evaluations = others | new | {f"{PREFIX}{name}/{DATA_HASH}": data.hash}
        manifest = change_manifest(fs, paths, info.path, evaluations=evaluations)
        if view.record is not None:
            with suppress(OSError):  # what is written is written, told or not
                append_event(view.paths, "evaluated", step=info.step, checkpoint=info.key, data=data, metrics=new)
    return manifest


def _data_of(key: str) -> str:
    """The name of the data in `eval/<name>/<metric>`."""
    return key.removeprefix(PREFIX).partition("/")[0]


def _manifest_now(info: CheckpointInfo) -> Manifest:
    """The manifest of the very checkpoint that was scored: another may have been committed under its name."""
    found = as_it_is_now(info)
    if found is None:
        raise NotFound(f"{info.key} is gone; its evaluation was not written")
    if found.manifest is None:
        raise Damaged(f"{found.problem}; its evaluation was not written")
    return found.manifest
