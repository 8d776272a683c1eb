"""Metric lines, decoded: many at once into structs, or one by one where they are odd.

A struct made for the metrics of a log decodes twice as fast as dictionaries, and what is not on a line is told from NaN
by the bits of a NaN of our own.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

OWN_FIELDS = frozenset({"step", "epoch", "time", "attempt", "from_step"})
"""What is no metric on a line."""

_ABSENT_BITS = 0x7FF8_C0FF_EE00_0001
ABSENT: float = struct.unpack("<d", struct.pack("<Q", _ABSENT_BITS))[0]
"""Stands for "not on this line" in columns of floats: a NaN whose payload no arithmetic makes."""

_MAX_STEP = 2**53
"""Beyond it neither JSON nor a column of floats tells two whole numbers apart."""
_BARE = tuple(
    (colon + value, colon + b'"' + value + b'"')
    for value in (b"NaN", b"Infinity", b"-Infinity")
    for colon in (b": ", b":")
)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class LineSchema:
    """Decodes lines that hold no metrics but these."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.made_of = len(names)
        # msgspec cannot rename a field to what JSON escapes; lines with such names are read one by one.
        plain = [name for name in names if name.isprintable() and not {'"', "\\"} & set(name)]
        self.field_of = {name: f"metric{index}" for index, name in enumerate(plain)}
        line = msgspec.defstruct(
            "Line",
            [
                ("step", Annotated[int, msgspec.Meta(ge=0, le=_MAX_STEP)]),
                ("epoch", float, 0.0),
                ("time", float, math.nan),
                ("attempt", Any, None),
                ("from_step", Any, None),
                *((field, Any, ABSENT) for field in self.field_of.values()),
            ],
            rename={field: name for name, field in self.field_of.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(line).decode_lines

    def decode(self, lines: bytes) -> list[Any] | None:
        """The lines, blank ones left out; None if one of them is anything else."""
        try:
            return self._decode(lines)
        except _UNREADABLE:
            pass
        # Python's json writes a bare NaN, which is no JSON. Where that was none, quoting it leaves no JSON either.
        quoted = lines
        for bare, in_quotes in _BARE:
            quoted = quoted.replace(bare, in_quotes)
        if quoted == lines:
            return None
        try:
            return self._decode(quoted)
        except _UNREADABLE:
            return None


def is_absent(column: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which lines do not have the metric."""
    absent: NDArray[np.bool_] = column.view(np.int64) == _ABSENT_BITS
    return absent


def to_column(get: Callable[[Any], Any], lines: Sequence[Any]) -> NDArray[np.float64]:
    """The values that `get` finds, as floats; what is no number is absent."""
    try:
        return np.fromiter(map(get, lines), np.float64, len(lines))
    except (TypeError, ValueError, OverflowError):
        return np.array([_to_number(get(line)) for line in lines], np.float64)


def _to_number(value: object) -> float:
    if value is None:  # how other writers spell NaN
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # whether it is a number is the question
    except (TypeError, ValueError, OverflowError):
        return ABSENT


def decode_line(text: bytes) -> Any:
    """One line; None if it is not JSON even in Python's sense."""
    try:
        return msgspec.json.decode(text)
    except _UNREADABLE:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None


def step_of(fields: dict[str, Any]) -> int | None:
    """The step of a line, from 0; None if it has none."""
    step = fields.get("step")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    return step if type(step) is int and 0 <= step <= _MAX_STEP else None


def to_finite(value: object, default: float) -> float:
    """`value` as a finite number, else `default`."""
    number = _to_number(value)
    return number if math.isfinite(number) else default
