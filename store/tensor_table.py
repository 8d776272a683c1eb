"""What a checkpoint's tensors amount to: how many, how large, and of what. No torch, and nothing in the file runs.

Two names of the same bytes (tied weights) are two tensors but count their elements once, as they do in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.commit import read_index
from ckptop.store.errors import Damaged
from ckptop.store.manifest import TensorEntry, TensorIndex
from ckptop.store.tensor_index import index_tensors

_SUFFIX = "_state_dict"
_MOST_DIMENSIONS = 64
"""As torch; the product of a stranger's million extents would take hours."""


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """The tensors of one part of a checkpoint."""

    name: str
    """`model`, `optimizer`, `rng`, …: the first word of the names, without `_state_dict`."""
    tensors: int
    elements: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorTable:
    """The tensors of a checkpoint, in all and by group."""

    entries: tuple[TensorEntry, ...]
    """In the order of the file."""
    groups: tuple[TensorGroup, ...]
    """In the order of the file."""
    total: TensorGroup

    def largest(self, count: int) -> list[TensorEntry]:
        """The largest by bytes, largest first; of equal ones those that come first in the file."""
        return sorted(self.entries, key=lambda entry: -entry.size_bytes)[:count]


def read_tensor_table(checkpoint: Path) -> TensorTable:
    """The tensors of a `.pt`: from the index beside it, else from the file itself.

    Raises:
        Damaged: There is no index to be read, and the file is not one that torch.save wrote.
        OSError: It cannot be opened.
    """
    index = read_index(checkpoint)
    if index is None:
        if not checkpoint.is_file():
            raise Damaged(f"{checkpoint} is not a regular file; it was left alone")
        index = index_tensors(checkpoint)
    return tensor_table(index)


def tensor_table(index: TensorIndex) -> TensorTable:
    """Sum up an index."""
    members: dict[str, list[TensorEntry]] = {}
    for entry in index.tensors:
        members.setdefault(entry.name.partition(".")[0].removesuffix(_SUFFIX), []).append(entry)
    groups = tuple(_group(name, entries) for name, entries in members.items())
    return TensorTable(tuple(index.tensors), groups, _group("total", index.tensors))


def elements_of(entry: TensorEntry) -> int:
    """How many numbers a tensor holds; 1 for a scalar, 0 for what cannot be one of torch's."""
    return math.prod(entry.shape) if len(entry.shape) <= _MOST_DIMENSIONS else 0


def _group(name: str, entries: Iterable[TensorEntry]) -> TensorGroup:
    entries = list(entries)
    once = {_place(entry, number): entry for number, entry in enumerate(entries)}.values()
    return TensorGroup(
        name, len(entries), sum(elements_of(entry) for entry in once), sum(entry.size_bytes for entry in once)
    )


def _place(entry: TensorEntry, number: int) -> tuple[object, ...]:
    """Equal for two names of the same bytes; where a compressed file tells no offset, no two are taken to be that."""
    if entry.offset is None:
        return (number,)
    return entry.storage, entry.offset, tuple(entry.shape), tuple(entry.strides)
