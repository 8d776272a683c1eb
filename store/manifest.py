"""A checkpoint's manifest: everything listing, ranking and verifying need, without torch."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from ckptop.store.records import SCHEMA, Actor, Count, Mode, Record, Sealed, Time
from ckptop.store.seal import seal

Tier = Literal["training", "milestone", "production"]
TIERS: tuple[Tier, ...] = ("training", "milestone", "production")

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Ranking(Record, frozen=True, kw_only=True):
    """The metric a milestone was made for."""

    name: str
    mode: Mode


class Pin(Record, frozen=True, kw_only=True):
    """A person's mark: never deleted."""

    time: Time
    actor: Actor


class LogMark(Record, frozen=True, kw_only=True):
    """The beginning of an append-only log as it was when a checkpoint was saved."""

    size_bytes: Count
    xxh3_128: str


class Manifest(Sealed, frozen=True, kw_only=True, gc=False):
    """`<checkpoint>.json`, in place before the `.pt` is renamed to its committed name.

    Metric values are numbers, or the strings "NaN", "Infinity", "-Infinity".
    """

    schema: int = SCHEMA
    id: str
    file: str
    """The `.pt`'s own name, no directory."""
    tier: Tier
    run: str
    run_id: str
    model_name: str
    attempt: Count
    epoch: Count
    """From 1."""
    global_step: Count
    """Optimizer steps done."""
    time: Time
    metrics: dict[str, float | str] = {}
    evaluations: dict[str, float | str] = {}
    """What `ckptop eval` found later, named `eval/<data>/<metric>`: values as those of `metrics`. A string that is
    no number is a fact of the evaluation: `eval/<data>/data_hash` says which data it was."""
    ranking: Ranking | None = None
    """What a milestone was made for; of a training checkpoint of a stand-alone set, what best means there."""
    config: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    git_commit: str | None = None
    size_bytes: Count
    xxh3_128: str
    """Hex of the whole file."""
    pinned: Pin | None = None
    promoted: Actor | None = None
    """Who made a milestone of it by hand; automatic retention keeps it."""
    forks: list[str] = []
    """Runs that began from this checkpoint; it is kept for them."""
    logs: dict[str, LogMark] = {}
    """`metrics.jsonl` and `system.jsonl` of the run as they were when this was saved."""

    def metric(self, name: str) -> float | None:
        """The value of `name`, NaN included, or None where neither the training nor an evaluation recorded it."""
        value = self.metrics.get(name)
        if value is not None:
            return value if type(value) is float else to_number(value)
        value = self.evaluations.get(name)
        return to_number(value) if value is not None and is_number(value) else None

    @property
    def evaluated(self) -> dict[str, float]:
        """The numbers of `evaluations`, NaN included, without the facts beside them."""
        return {name: to_number(value) for name, value in self.evaluations.items() if is_number(value)}


class TensorEntry(Record, frozen=True, kw_only=True):
    """One tensor of a checkpoint file."""

    name: str
    """Dotted path in the file: `model_state_dict.fc1.weight`."""
    dtype: str
    """`float32`, `bfloat16`, …"""
    shape: list[Count]
    strides: list[Count]
    """In elements."""
    offset: Count | None
    """Bytes from the start of the file to the first element; None where the record is compressed."""
    storage: str
    """Record key in the file; equal keys share memory."""
    size_bytes: Count
    """Bytes of the elements addressed, shared or not."""


class TensorIndex(Sealed, frozen=True, kw_only=True):
    """`<checkpoint>.tensors.json`: apart, so that listing stays quick."""

    schema: int = SCHEMA
    file: str
    tensors: list[TensorEntry]


def is_number(value: float | str) -> bool:
    """Whether a stored value is a number, non-finite ones included; other strings are none."""
    return not isinstance(value, str) or value in _NON_FINITE


def to_number(value: float | str) -> float:
    """A stored number as a float, never failing: unknown strings are NaN, integers too large are infinite."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, math.nan)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def to_stored(value: float) -> float | str:
    """A float as JSON can hold it: non-finite values become strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def stored_metrics(metrics: dict[str, Any] | None) -> dict[str, float | str]:
    """Metrics of any number type (tensors and NumPy scalars too) as JSON can hold them."""
    return {name: to_stored(as_float(value)) for name, value in (metrics or {}).items()}


def as_float(value: Any) -> float:
    """Any number as a float, 0-d tensors included, also those that still know how they were computed.

    Raises:
        TypeError, ValueError, RuntimeError: It is not one number.
    """
    detach = getattr(value, "detach", None)  # torch warns of the float() of a tensor that requires a gradient
    return float(detach() if callable(detach) else value)


def encode(record: msgspec.Struct) -> bytes:
    """A record as readable, sealed JSON with a final newline."""
    return seal(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
