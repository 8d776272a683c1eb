"""The epochs of a run, told off its metric log as they end, each with the values that were logged for it.

A line with validation is the end of its epoch for every loop that validates. Of a loop that does not, an epoch's end is
only seen when the next one begins, or the run ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from ckptop.store.manifest import to_number
from ckptop.store.tail import LineTail

_NOT_METRICS = frozenset({"step", "epoch", "time"})
_MAX_METRICS = 1000
_MAX_STEP = 2**53


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch, or a validation within one."""

    epoch: int
    """From 1; 0 where the loop counts none."""
    step: int
    time: float
    """Seconds since the epoch of Unix; 0 where the line has none."""
    values: Mapping[str, float]


class EpochTail:
    """Follows the metric log of one run; made once, and asked when it may have grown."""

    def __init__(self, path: Path, metric: str | None) -> None:
        """`metric` says what best means in the run, and so that a line with it is a validation."""
        self.tail = LineTail(path)
        self._metric = metric
        self._pending: Epoch | None = None
        """The epoch under way, with the newest value of each metric; None once it was told."""
        self._told: int | None = None
        """The epoch that was validated: what else is logged of it, as a test, is no epoch of its own."""

    def poll(self) -> Iterator[Epoch]:
        """The epochs that ended since the last call."""
        while lines := self.tail.poll():
            for line in lines.splitlines():
                found = _epoch_of(line)
                if found is not None:
                    yield from self._take(found)

    def end(self) -> Iterator[Epoch]:
        """The epoch under way, of a run that has ended."""
        pending, self._pending = self._pending, None
        if pending is not None:
            yield pending

    def _take(self, found: Epoch) -> Iterator[Epoch]:
        if self._pending is not None and found.epoch != self._pending.epoch:
            yield from self.end()
        if any(name.startswith("val/") or name == self._metric for name in found.values):
            self._pending, self._told = None, found.epoch
            yield found
        elif found.epoch not in (0, self._told):
            before = self._pending.values if self._pending is not None else {}
            values = {**before, **found.values} if len(before) < _MAX_METRICS else found.values
            self._pending = Epoch(found.epoch, found.step, found.time, values)


def _epoch_of(line: bytes) -> Epoch | None:
    """What a metric line says; None for any other line."""
    try:
        fields: dict[str, Any] = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    step, epoch = fields.get("step"), fields.get("epoch", 0)
    if not _is_count(step) or not _is_count(epoch):
        return None
    time = fields.get("time")
    moment = float(time) if isinstance(time, int | float) and abs(time) < 1e11 else 0.0
    values = {
        name: to_number(value)
        for name, value in fields.items()
        if name not in _NOT_METRICS and isinstance(value, int | float | str)
    }
    return Epoch(epoch, step, moment, values)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_STEP


_decoder = msgspec.json.Decoder(dict[str, Any])
