"""What a checkpoint file holds: built from live objects, and put back into them.

Names carry no prefix of a wrapper, so that a file saved under DDP or `torch.compile` loads without them.
"""

from __future__ import annotations

import datetime
import os
import platform
import socket
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ckptop.store.errors import UsageError
from ckptop.store.manifest import as_float

FORMAT_VERSION = 1
"""`version` in every checkpoint file."""

State = dict[str, Any]
"""The content of a checkpoint file, by its keys."""


def build_state(
    checkpoint_type: str,
    model: torch.nn.Module,
    *,
    epoch: int,
    global_step: int,
    metrics: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    git_commit: str | None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> State:
    """The content of a checkpoint file; a part that was not given has no key.

    Raises:
        UsageError: `extra` repeats one of the file's own keys.
    """
    state: State = {
        "version": FORMAT_VERSION,
        "checkpoint_type": checkpoint_type,
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "git_commit": git_commit,
        "model_state_dict": unwrap(model).state_dict(),
        "epoch": epoch,
        "global_step": global_step,
        "metrics": {name: as_float(value) for name, value in (metrics or {}).items()},
        "config": plain(config or {}),
        "metadata": environment(model) | plain(metadata or {}),
    }
    parts = _parts(optimizer, scheduler, scaler)
    state.update({key: part.state_dict() for key, part in parts.items() if part is not None})
    for key, value in (extra or {}).items():
        if key in state:
            raise UsageError(f"extra may not hold {key!r}: the checkpoint has that key already")
        state[key] = value
    return state


def apply_state(
    state: State,
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
) -> None:
    """Put a loaded checkpoint into live objects; warns for a part the file does not have.

    Raises:
        RuntimeError: Names or shapes differ; the message names the first ones. `model` is unchanged.
    """
    check_same_shapes(state.get("model_state_dict", {}), unwrap(model).state_dict(), path)
    unwrap(model).load_state_dict(state["model_state_dict"])
    for key, part in _parts(optimizer, scheduler, scaler).items():
        if part is None:
            continue
        if key in state:
            part.load_state_dict(state[key])
        else:
            warnings.warn(f"{path.name} holds no {key}; it starts fresh", UserWarning, stacklevel=3)


def _parts(optimizer: Any, scheduler: Any, scaler: Any) -> dict[str, Any]:
    return {
        "optimizer_state_dict": optimizer,
        "scheduler_state_dict": scheduler,
        "scaler_state_dict": scaler,
    }


def check_same_shapes(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Compare parameter names and shapes.

    Raises:
        RuntimeError: They differ; the first three differences are named.
    """
    differences = [f"{name} is missing in the checkpoint" for name in wanted if name not in saved]
    differences += [f"{name} is not in the model" for name in saved if name not in wanted]
    differences += [
        f"{name} is {tuple(saved[name].shape)} in the checkpoint, {tuple(tensor.shape)} in the model"
        for name, tensor in wanted.items()
        if name in saved and getattr(saved[name], "shape", None) != getattr(tensor, "shape", None)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise RuntimeError(f"{path.name} is of another model: {'; '.join(differences[:3])}{more}")


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside `torch.compile` and DistributedDataParallel, whose names carry no prefix."""
    while True:
        if isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
            inner = model.module
        else:
            inner = getattr(model, "_orig_mod", None)
        if not isinstance(inner, torch.nn.Module):
            return model
        model = inner


def environment(model: torch.nn.Module | None = None) -> dict[str, Any]:
    """What the numbers depend on besides code and data."""
    parameter = next(iter(model.parameters()), None) if model is not None else None
    return {
        "pytorch_version": str(torch.__version__),
        "python_version": platform.python_version(),
        "hostname": socket.gethostname(),
        "device": str(parameter.device) if parameter is not None else "cpu",
        "cuda_version": torch.version.cuda,
        "threads": torch.get_num_threads(),
    }


def plain(value: Any) -> Any:
    """`value` with everything that is not JSON made into it: configurations hold paths and NumPy scalars."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):  # of subclasses, such as NumPy's and enumerations, the value: torch would pickle them
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return "".join(value).encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value))
    item = getattr(value, "item", None)
    with suppress(TypeError, ValueError, RuntimeError):  # arrays and tensors of several values
        return plain(item()) if callable(item) else str(value)
    return str(value)
