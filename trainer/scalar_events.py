"""TensorBoard's events of scalars, put together from bytes.

Of the events of one set of names only the time, the step and the values differ. Packing these between bytes that are
kept takes a quarter of the time that protobuf's objects take, which at steps of a millisecond is close to one per cent
of the training: it is spent behind the loop, but with the interpreter lock held.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

_VALUE_BYTES = 4
"""A float32, the last field of a scalar's entry."""
_pack_time = struct.Struct("<Bd").pack
_WALL_TIME, _STEP, _SUMMARY = 0x09, b"\x10", b"\x2a"
"""Field numbers 1, 2 and 5 of an event, each with its wire type."""


class ScalarEvents:
    """Encodes events of scalars; the same bytes as protobuf's but for step 0, which it leaves out."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, ...], tuple[bytes, struct.Struct, list[bytes]]] = {}
        """By names: the summary's head, and how its entries are packed, each after its head."""

    def encode(self, wall_time: float, step: int, metrics: Mapping[str, float]) -> bytes:
        """One event.

        Args:
            wall_time: Seconds since the epoch.
            step: From 0.
            metrics: Tags and values; beyond the range of a float32 they are infinite.
        """
        names = tuple(metrics)
        if names not in self._entries:
            self._entries[names] = _entries(names)
        head, entries, heads = self._entries[names]
        fields: list[bytes | float] = [b""] * (2 * len(names))
        fields[::2], fields[1::2] = heads, metrics.values()
        try:
            packed = entries.pack(*fields)
        except OverflowError:  # too large for a float32
            return _encode_anything(wall_time, step, metrics)
        return _pack_time(_WALL_TIME, wall_time) + _STEP + _varint(step) + head + packed


def _entries(names: tuple[str, ...]) -> tuple[bytes, struct.Struct, list[bytes]]:
    made = [Summary(value=[Summary.Value(tag=name, simple_value=0.0)]).SerializeToString() for name in names]
    heads = [entry[:-_VALUE_BYTES] for entry in made]
    layout = struct.Struct("<" + "".join(f"{len(head)}sf" for head in heads))
    return _SUMMARY + _varint(layout.size), layout, heads


def _varint(number: int) -> bytes:
    """As protobuf writes whole numbers: seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _encode_anything(wall_time: float, step: int, metrics: Mapping[str, float]) -> bytes:
    values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
    encoded: bytes = Event(wall_time=wall_time, step=step, summary=Summary(value=values)).SerializeToString()
    return encoded
