"""The elements of the tensors in a `.pt`, in the order of their indices, whatever their strides and deflated or not.

No torch, and nothing in the file runs.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from ckptop.store.errors import Damaged
from ckptop.store.hashing import CHUNK_BYTES
from ckptop.store.manifest import TensorEntry
from ckptop.store.tensor_index import PlacedTensor


class TensorBytes:
    """A `.pt` opened to read its tensors; a context manager.

    Raises:
        Damaged: It is no zip.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        try:
            self._archive = zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            self._file.close()
            raise Damaged(f"{path} is no checkpoint written by torch.save: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._archive.close()
        self._file.close()

    def of(self, placed: PlacedTensor) -> Iterator[bytes]:
        """The elements' bytes in chunks of `CHUNK_BYTES`, the last one shorter.

        Raises:
            Damaged: The file ends before they do, or its strides lead out of it.
        """
        if not placed.entry.size_bytes:
            return
        if placed.entry.offset is not None and _is_contiguous(placed.entry):
            yield from self._read(placed.entry.offset, placed.entry.size_bytes)
            return
        gathered = self._gather(placed)
        for start in range(0, len(gathered), CHUNK_BYTES):
            yield gathered[start : start + CHUNK_BYTES]

    def _read(self, start: int, size_bytes: int) -> Iterator[bytes]:
        for offset in range(start, start + size_bytes, CHUNK_BYTES):
            self._file.seek(offset)
            wanted = min(CHUNK_BYTES, start + size_bytes - offset)
            chunk = self._file.read(wanted)
            if len(chunk) < wanted:
                raise Damaged(f"{self._path} ends before its tensors do; `ckptop verify` tells whether it changed")
            yield chunk

    def _gather(self, placed: PlacedTensor) -> bytes:
        """Of a transposed or a deflated tensor: its whole storage is in memory meanwhile."""
        import numpy as np  # 70 ms that no other command needs

        entry = placed.entry
        count = 1
        for extent in entry.shape:
            count *= extent
        item_bytes = entry.size_bytes // count
        try:
            storage = self._storage(placed)
            strides = (*(stride * item_bytes for stride in entry.strides), 1)
            view = np.ndarray((*entry.shape, item_bytes), np.uint8, storage, placed.start, strides)
            return view.tobytes()
        except (ValueError, TypeError, OverflowError, MemoryError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise Damaged(f"{self._path}: {entry.name} cannot be read: {error}") from None

    def _storage(self, placed: PlacedTensor) -> bytes:
        """A storage's bytes; of a stored one without asking for its CRC, which not every writer makes."""
        info = self._archive.getinfo(placed.record)
        if placed.entry.offset is None:
            return self._archive.read(info)
        self._file.seek(placed.entry.offset - placed.start)
        return self._file.read(info.file_size)


def _is_contiguous(entry: TensorEntry) -> bool:
    expected = 1
    for extent, stride in zip(reversed(entry.shape), reversed(entry.strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
