"""TensorBoard's record format, many records at a time.

A record is its length, a checksum of that, its bytes and a checksum of those. The checksums are CRC-32C, which in
Python costs 30 µs an event and holds the interpreter lock meanwhile: here all records of a length go through NumPy
together, a byte position at a time.
"""

from __future__ import annotations

import functools
import struct
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), bits reversed."""
_MASK_DELTA = 0xA282EAD8
_ALL_ONES = 0xFFFFFFFF


def encode_records(records: Sequence[bytes]) -> bytes:
    """The records as a file holds them, in order."""
    checksums = masked_checksums(records)
    return b"".join(
        _header(len(record)) + record + struct.pack("<I", checksum)
        for record, checksum in zip(records, checksums, strict=True)
    )


def masked_checksums(records: Sequence[bytes]) -> list[int]:
    """The masked CRC-32C of each record."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        by_length[len(record)].append(place)
    checksums = [0] * len(records)
    for length, places in by_length.items():
        data = np.frombuffer(b"".join(records[place] for place in places), dtype=np.uint8)
        for place, checksum in zip(places, _checksums(data.reshape(len(places), length)), strict=True):
            checksums[place] = checksum
    return checksums


def _checksums(rows: npt.NDArray[np.uint8]) -> list[int]:
    """(records, bytes) to a masked checksum each."""
    table = _table()
    crc = np.full(len(rows), _ALL_ONES, dtype=np.uint32)
    for column in rows.T:
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc ^= np.uint32(_ALL_ONES)
    rotated = (crc >> 15) | (crc << 17)
    return [(int(value) + _MASK_DELTA) & _ALL_ONES for value in rotated]


@functools.cache
def _table() -> npt.NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


@functools.lru_cache(maxsize=1024)
def _header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_checksums([packed])[0])
