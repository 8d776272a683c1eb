"""Which tensors of two `.pt` files differ: in name, dtype, shape or bytes. No torch, and nothing in the files runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.manifest import TensorEntry
from ckptop.store.tensor_bytes import TensorBytes
from ckptop.store.tensor_index import PlacedTensor, place_tensors


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """What two files hold of tensors, by name; in the order of the first file."""

    equal: int
    """How many are the same, bit for bit."""
    only_in_a: tuple[TensorEntry, ...] = ()
    only_in_b: tuple[TensorEntry, ...] = ()
    described: tuple[tuple[TensorEntry, TensorEntry], ...] = ()
    """Those of one name whose dtype or shape differs."""
    elements: tuple[TensorEntry, ...] = ()
    """Those of one name, dtype and shape whose elements differ: another NaN or another zero is a difference."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_in_a or self.only_in_b or self.described or self.elements)


def compare_tensors(a: Path, b: Path, progress: Callable[[int], None] | None = None) -> TensorDifference:
    """Compare two files written by `torch.save`, deflated or not; `progress` is called with the bytes compared.

    Raises:
        Damaged: One is not such a file, or ends before its tensors do.
        OSError: One cannot be read.
    """
    in_a, in_b = ({placed.entry.name: placed for placed in place_tensors(path)} for path in (a, b))
    common = [name for name in in_a if name in in_b]
    alike = [name for name in common if _described(in_a[name]) == _described(in_b[name])]
    same_file = a.samefile(b)
    with ExitStack() as stack:
        one, other = (stack.enter_context(TensorBytes(path)) for path in (a, b))
        elements = []
        for name in alike:
            if not same_file and not _equal(one.of(in_a[name]), other.of(in_b[name])):
                elements.append(in_a[name].entry)
            if progress is not None:
                progress(in_a[name].entry.size_bytes)
    return TensorDifference(
        equal=len(alike) - len(elements),
        only_in_a=tuple(placed.entry for name, placed in in_a.items() if name not in in_b),
        only_in_b=tuple(placed.entry for name, placed in in_b.items() if name not in in_a),
        described=tuple((in_a[name].entry, in_b[name].entry) for name in common if name not in set(alike)),
        elements=tuple(elements),
    )


def _described(placed: PlacedTensor) -> tuple[str, list[int]]:
    return placed.entry.dtype, placed.entry.shape


def _equal(one: Iterable[bytes], other: Iterable[bytes]) -> bool:
    """Whether two streams of the same chunking are equal; the first difference ends it."""
    return all(left == right for left, right in zip(one, other, strict=True))
