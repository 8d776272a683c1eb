"""Loading a checkpoint file into live objects: its bytes are verified first, wherever it stands."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.fitting import fitting_state
from ckptop.store.fs import FileSystem
from ckptop.store.layout import QUARANTINE, CheckpointPaths
from ckptop.store.quarantining import put_away_damaged
from ckptop.store.random_state import restore_random_state, restore_threads
from ckptop.store.state_dicts import apply_state
from ckptop.store.verified_once import verify_to_read
from ckptop.store.verified_reading import read_verified
from ckptop.store.verify import Finding

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Restored:
    """What a run goes on from; all zero and empty where it begins."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """The epoch it was saved in, from 1."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Those it was saved with."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What `extra` said when it was saved."""


_loaded: dict[Path, tuple[Any, Any]] = {}
"""By set: what was loaded last, by functions and managers alike."""
_OWN_KEYS = frozenset({
    "version", "checkpoint_type", "timestamp", "git_commit", "epoch", "global_step", "metrics", "config", "metadata",
    "rng",
})  # fmt: skip


def restore_run(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
) -> Restored:
    """Load a checkpoint of a run into live objects, and then its random state; see `Run.restore`."""
    state = load_checkpoint(path, model, optimizer, scheduler, scaler)
    restore_random(state, path)
    extra = {key: value for key, value in state.items() if key not in _OWN_KEYS and not key.endswith("_state_dict")}
    return Restored(state["global_step"], state["epoch"], state["metrics"], extra)


def restore_random(state: Mapping[str, Any], path: Path) -> None:
    """Put the random generators where a loaded checkpoint had them, and on the same host the thread count."""
    saved = state.get("rng")
    if not (isinstance(saved, dict) and {"python", "numpy", "torch", "cuda", "threads"} <= saved.keys()):
        warnings.warn(f"{path.name} holds no random state of ours; what is drawn differs", UserWarning, stacklevel=4)
        return
    if state.get("metadata", {}).get("hostname") == socket.gethostname():
        restore_threads(saved["threads"])  # another host may have more cores, or fewer
    restore_random_state(saved)


def load_checkpoint(
    path: str | os.PathLike[str] | None,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Verify a checkpoint against its manifest, load it into live objects and return the file's content.

    Raises:
        NotFound: There is no such file (a FileNotFoundError), or `path` is the None of a set that has none yet.
        Damaged: Its bytes are not those its manifest recorded, or it is no checkpoint.
        RuntimeError: It is of another model (the first differing names are said), optimizer or scheduler. `model` and
            `optimizer` are unchanged.
    """
    if path is None:
        raise NotFound("there is no checkpoint yet: train first, or name another directory")
    path = Path(path).resolve()
    state = read_verified(path, device)
    fitting = fitting_state(state, path, model, optimizer, scheduler, scaler)
    apply_state(fitting, path, model, optimizer, scheduler, scaler)
    _loaded[path.parent.parent] = (state.get("epoch"), state.get("global_step"))
    return state


def loaded_from(root: Path) -> tuple[int, int] | None:
    """Epoch and step of what this process loaded last from the set at `root`; None if nothing was, or once told."""
    epoch, step = _loaded.pop(root.resolve(), (None, None))
    return (epoch, step) if isinstance(epoch, int) and isinstance(step, int) else None


def resume_training(
    path: str | os.PathLike[str] | None,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> dict[str, Any]:
    """Load a checkpoint to go on from; returns `epoch`, `global_step`, `metrics`, `config` and the rest.

    Raises:
        NotFound: There is no such file, or `path` is the None of a set that has none yet.
        Damaged: Its bytes differ from its manifest.
        RuntimeError: It is of another model.
    """
    state = load_checkpoint(path, model, optimizer, scheduler)
    return {key: value for key, value in state.items() if not key.endswith("_state_dict")}


def resume_latest(
    paths: CheckpointPaths,
    newest_first: Sequence[CheckpointInfo],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    scheduler: Any,
    scaler: Any,
    fs: FileSystem,
) -> dict[str, Any] | None:
    """Load the first of these that verifies; see `CheckpointManager.resume_latest`."""
    passed_over: list[tuple[CheckpointInfo, Finding]] = []
    for info in newest_first:
        finding = verify_to_read(info)
        if finding is None:
            state = load_checkpoint(info.path, model, optimizer, scheduler, scaler)
            damaged = [item for item, found in passed_over if found.bytes_differ]
            _warn(passed_over, put_away_damaged(paths, damaged, fs=fs))
            return {key: value for key, value in state.items() if not key.endswith("_state_dict")}
        passed_over.append((info, finding))
    if passed_over:
        _warn(passed_over, [])
        messages = "; ".join(finding.message for _info, finding in passed_over)
        raise Damaged(f"no checkpoint of {paths.root} verifies: {messages}")
    return None


def _warn(passed_over: Sequence[tuple[CheckpointInfo, Finding]], moved: Collection[str]) -> None:
    for info, finding in passed_over:
        where = f" and was moved to {QUARANTINE}/" if info.key in moved else ""
        warnings.warn(f"{finding.message}; it was passed over{where}", UserWarning, stacklevel=4)
