"""A record that notices a changed byte: its last field is the hash of every byte before that field.

JSON with one digit flipped is still JSON, and a metric that reads 0.95 instead of 0.85 would decide what retention
deletes. So manifests, tensor indexes, releases and registry lines carry a seal, and are not believed without it.
The seal finds accidents; it is no signature.
"""

from __future__ import annotations

import re
from typing import Literal

import xxhash

SealState = Literal["whole", "broken", "missing"]

_SEAL = re.compile(rb',\s*"checksum":"([0-9a-f]{16})"\s*\}\s*\Z')
_LONGEST_SEAL_BYTES = 64
_USUAL = b',\n  "checksum":"'
_USUAL_END = b'"\n}\n'
_HEX_BYTES = 16
_USUAL_BYTES = len(_USUAL) + _HEX_BYTES + len(_USUAL_END)
"""As `seal` ends an indented object: ten thousand of these are told whole in 1 ms, where the pattern takes 10."""


def seal(data: bytes) -> bytes:
    """`data`, a JSON object of at least one field, with its checksum (xxh3-64, hex) as the last field.

    Indented JSON stays indented; the form of the final newline stays too.
    """
    body = data.rstrip()
    newline = data[len(body) :]
    body = body.removesuffix(b"}").rstrip()
    before, after = (b",\n  ", b"\n}") if data.startswith(b"{\n") else (b",", b"}")
    return b'%b%b"checksum":"%b"%b%b' % (body, before, _digest(body), after, newline)


def check_seal(data: bytes) -> SealState:
    """Whether the bytes of a sealed JSON object are those that were sealed."""
    if data.endswith(_USUAL_END) and data.startswith(_USUAL, -_USUAL_BYTES):
        body = memoryview(data)[:-_USUAL_BYTES]
        if xxhash.xxh3_64_hexdigest(body).encode() == data[-_HEX_BYTES - len(_USUAL_END) : -len(_USUAL_END)]:
            return "whole"
    found = _SEAL.search(data, max(0, len(data) - _LONGEST_SEAL_BYTES))
    if found is None:
        return "missing"
    return "whole" if _digest(data[: found.start()]) == found[1] else "broken"


def _digest(body: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(body).encode()
