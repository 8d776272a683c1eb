"""Whether a checkpoint file holds this very state: a milestone is then a link to it and no bytes are written."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ckptop.store.tensors import UNREADABLE


def holds_same(path: Path, parts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint file holds these parts of a state, bit for bit; False too where that cannot be told."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return all(key in saved and _is_same(part, saved[key]) for key, part in parts.items())
    except (OSError, pickle.UnpicklingError, *UNREADABLE):
        return False  # damaged, deflated, deleted meanwhile, or of a kind of tensor that has no bytes to compare


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and torch.equal(*(tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in (one, other)))
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping) and one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(_is_same(*pair) for pair in zip(one, other, strict=True))
        )
    return bool(repr(one) == repr(other))  # NaN is itself
