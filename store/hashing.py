"""Digests of whole files: xxh3-128 for every checkpoint, sha256 for releases.

Both release the GIL while they work, so a training loop beside them goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import xxhash

CHUNK_BYTES = 4 * 1024 * 1024
"""Read at once; larger gains nothing."""


def xxh3_128_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex xxh3-128 of a file; `progress` is called with the bytes of each chunk read.

    Raises:
        OSError: The file cannot be read.
    """
    return _hex_digest(xxhash.xxh3_128(), path, progress)


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of a file; `progress` is called with the bytes of each chunk read.

    Raises:
        OSError: The file cannot be read.
    """
    return _hex_digest(hashlib.sha256(), path, progress)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


def _hex_digest(digest: _Digest, path: Path, progress: Callable[[int], None] | None) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()
