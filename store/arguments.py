"""What people pass to a `CheckpointManager`, checked at the border: nothing is written that no reader could read."""

from __future__ import annotations

import argparse
import dataclasses
import operator
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args

from ckptop.store.errors import UsageError
from ckptop.store.manifest import TIERS, Tier

WhenBusy = Literal["wait", "skip"]
"""What a training checkpoint does that comes due while one is on its way."""

_LARGEST = 2**53


def count(name: str, value: object) -> int:
    """A whole number from 0, of any kind: NumPy's, a 0-d tensor, a float without a fraction.

    Raises:
        UsageError: It is none; the message names it.
    """
    try:
        whole = operator.index(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]  # tried
    except (TypeError, ValueError, RuntimeError):
        if not isinstance(value, float) or not value.is_integer():
            raise UsageError(f"{name} is {value!r}, which is no whole number") from None
        whole = int(value)
    if not 0 <= whole <= _LARGEST:
        raise UsageError(f"{name} is {whole}; it is counted from 0")
    return whole


def limit(name: str, value: int | None) -> int | None:
    """How many to keep: a count, or None for all.

    Raises:
        UsageError: It is neither.
    """
    return None if value is None else count(name, value)


def when_busy(value: WhenBusy) -> WhenBusy:
    """What to do with a save that comes due while one is on its way.

    Raises:
        UsageError: It is none of the two.
    """
    if value not in get_args(WhenBusy):
        raise UsageError(f"when_busy={value!r}; use wait or skip")
    return value


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """Names to values: a mapping, or what argparse, dataclasses and configuration libraries make; None is empty.

    Raises:
        UsageError: It is none of these.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    to_dict = getattr(value, "to_dict", None)
    made = to_dict() if callable(to_dict) else None
    if isinstance(made, Mapping):
        return made
    raise UsageError(f"{name} is a {type(value).__name__}; pass a mapping, a Namespace or a dataclass")


def tier(value: object) -> Tier:
    """The name of a tier.

    Raises:
        UsageError: There is no such tier.
    """
    for name in TIERS:
        if value == name:
            return name
    raise UsageError(f"there is no tier {value!r}; use {', '.join(TIERS)}")
