"""Whether a loaded state fits the live objects: told before the first of them is changed.

The scheduler and the scaler are asked by loading theirs ahead of the weights: torch has no way to only ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptop.store.errors import Damaged
from ckptop.store.state_dicts import State, check_same_shapes, unwrap

if TYPE_CHECKING:
    import torch

_MISFITS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)


def fitting_state(
    state: State,
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
) -> State:
    """What of `state` these objects can load, without the empty state of a scaler that was off when it was saved.

    Raises:
        Damaged: It holds something else where tensors or an optimizer's state should be.
        RuntimeError: It is of another model, optimizer or scheduler; model and optimizer are unchanged.
    """
    _require_weights(state, path, model)
    if optimizer is not None and "optimizer_state_dict" in state:
        _require_groups(state["optimizer_state_dict"], path, optimizer)
    if not state.get("scaler_state_dict", True) and (scaler is None or scaler.is_enabled()):
        state = {key: value for key, value in state.items() if key != "scaler_state_dict"}
    for name, part in (("scheduler", scheduler), ("scaler", scaler)):
        if part is not None and f"{name}_state_dict" in state:
            _ask(name, part, state[f"{name}_state_dict"], path)
    return state


def _require_weights(state: State, path: Path, model: torch.nn.Module) -> None:
    saved, wanted = state.get("model_state_dict", {}), unwrap(model).state_dict()
    if not isinstance(saved, Mapping):
        raise Damaged(f"{path}: model_state_dict is a {type(saved).__name__}, not weights by name")
    for name, tensor in wanted.items():
        if hasattr(tensor, "shape") and not hasattr(saved.get(name, tensor), "shape"):
            raise Damaged(f"{path}: {name} of its model_state_dict is a {type(saved[name]).__name__}, not a tensor")
    check_same_shapes(saved, wanted, path)


def _require_groups(saved: object, path: Path, optimizer: torch.optim.Optimizer) -> None:
    if not isinstance(saved, Mapping):
        raise Damaged(f"{path}: optimizer_state_dict is a {type(saved).__name__}, not the state of an optimizer")
    groups = saved.get("param_groups")
    if getattr(optimizer, "_optimizer_load_state_dict_pre_hooks", None) or not hasattr(optimizer, "param_groups"):
        return  # it makes of the state what it needs, or is none of torch's
    try:
        there, here = _sizes(groups), _sizes(optimizer.param_groups)
    except _MISFITS:
        raise Damaged(f"{path}: optimizer_state_dict holds no parameter groups") from None
    if there != here:
        raise RuntimeError(
            f"{path.name} is of another optimizer: parameters by group are {_joined(there)} in the checkpoint, "
            f"{_joined(here)} here"
        )


def _sizes(groups: Any) -> list[int]:
    return [len(group["params"]) for group in groups]


def _joined(sizes: Sequence[int]) -> str:
    return " + ".join(str(size) for size in sizes)


def _ask(name: str, part: Any, saved: object, path: Path) -> None:
    try:
        part.load_state_dict(saved)
    except _MISFITS as error:
        raise RuntimeError(f"{path.name} is of another {name}: {type(error).__name__}: {error}") from error
