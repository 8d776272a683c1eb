"""Two trainings compared bit by bit: what their checkpoints hold, and every value they logged.

Bits and not numbers: NaN is equal to the same NaN, and 0.0 is not -0.0. Checkpoints are mapped, not read, so that two
of ten gigabytes can be compared on a machine that has hardly more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

WALL_CLOCK = frozenset({"time", "step_seconds", "samples_per_second", "epoch_seconds"})
"""What of a metric line may differ between two trainings that are the same."""

COMPARED = (
    "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "scaler_state_dict", "rng", "loader", "loop",
    "metrics", "epoch", "global_step",
)  # fmt: skip
"""What decides how a training goes on; the rest of a checkpoint says when and where it was saved."""

LOSS = "train/loss"

Logged = dict[tuple[int, str], str]
"""(step, name) to the value as it was written."""


def different_states(left: Path, right: Path) -> tuple[list[str], int]:
    """The dotted names of what differs between two checkpoint files, in their order, and how many tensors they hold."""
    one, other = _mapped(left), _mapped(right)
    pairs = [(key, one.get(key), other.get(key)) for key in COMPARED]
    differing = [name for key, here, there in pairs for name in _differences(here, there, key)]
    return differing, sum(_count_tensors(here) for _, here, _ in pairs)


def logged_values(log: Path) -> Logged:
    """Every value of a metric log that stands at its end, those of the clock aside."""
    return _values(log, attempts=True)


def values_before_kill(log: Path) -> Logged:
    """Those of the first attempt, what the second one abandoned included."""
    return _values(log, attempts=False)


def different_values(left: Logged, right: Logged) -> list[str]:
    """`train/loss at step 5` of each value that differs or that one of them lacks: by steps, the loss first."""
    keys = (key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    return [f"{name} at step {step:,}" for step, name in sorted(keys, key=lambda key: (key[0], key[1] != LOSS, key[1]))]


def _values(log: Path, *, attempts: bool) -> Logged:
    values: Logged = {}
    seen = 0
    for line in log.read_bytes().splitlines():
        fields = msgspec.json.decode(line)
        if "attempt" in fields:
            seen += 1
            if seen > 1 and not attempts:
                break
            values = {key: value for key, value in values.items() if key[0] <= fields["from_step"]}
            continue
        for name in fields.keys() - WALL_CLOCK - {"step"}:
            values[fields["step"], name] = repr(fields[name])  # Python reads and writes a float's very bits
    return values


def _mapped(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def _differences(left: Any, right: Any, where: str) -> Iterator[str]:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if not _same_bits(left, right):
            yield where
    elif isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in dict.fromkeys([*left, *right]):
            yield from _differences(left.get(key), right.get(key), f"{where}.{key}")
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        for place, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differences(one, other, f"{where}.{place}")
    elif type(left) is not type(right) or repr(left) != repr(right):
        yield where


def _same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    one, other = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right))
    return torch.equal(one, other)


def _count_tensors(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return 1
    if isinstance(value, Mapping):
        return sum(map(_count_tensors, value.values()))
    return sum(map(_count_tensors, value)) if isinstance(value, list | tuple) else 0
