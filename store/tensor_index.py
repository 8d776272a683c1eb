"""What tensors a `.pt` file holds, read without torch and without running anything in it.

The pickle inside is walked by an unpickler that knows the few functions `torch.save` uses and
replaces every other name by an inert stand-in: a hostile file can at most describe itself wrongly.
"""

from __future__ import annotations

import errno
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any, NamedTuple

from ckptop.host.terminal import clean
from ckptop.store.errors import Damaged
from ckptop.store.manifest import TensorEntry, TensorIndex

MAX_PICKLE_BYTES = 512 * 1024 * 1024
"""The structure alone, no tensor data; a larger one is refused rather than loaded."""

MAX_SHARED_VALUES = 1_000_000
"""Lists that hold one another twice unfold to a billion values in a hundred bytes."""

_ITEM_BYTES = {
    "float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4,
    "uint32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "uint8": 1, "int8": 1, "bool": 1,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}  # fmt: skip
_STORAGE_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}  # fmt: skip


class _Name(NamedTuple):
    """A dtype or storage class, by name only."""

    name: str


class _Storage(NamedTuple):
    dtype: str
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Stands for any object this module does not know; takes everything, does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def __call__(self, *_args: object, **_kwargs: object) -> _Inert:
        return self

    def append(self, _item: object) -> None:
        """What APPENDS calls."""

    def extend(self, _items: object) -> None:
        """What APPENDS calls."""

    def add(self, _item: object) -> None:
        """What ADDITEMS calls."""


def _rebuild_v2(storage: Any, offset: int, shape: Any, strides: Any, *_rest: object) -> object:
    if not isinstance(storage, _Storage):
        return _Inert()
    return _Tensor(storage, storage.dtype, offset, tuple(shape), tuple(strides))


def _rebuild_v3(storage: Any, offset: int, shape: Any, strides: Any, *rest: Any) -> object:
    _requires_grad, _hooks, dtype, *_more = rest
    if not isinstance(storage, _Storage) or not isinstance(dtype, _Name):
        return _Inert()
    return _Tensor(storage, dtype.name, offset, tuple(shape), tuple(strides))


def _first(value: object, *_rest: object) -> object:
    return value


class _Reader(pickle.Unpickler):
    """Builds containers and tensor descriptions; everything else becomes inert."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils":
            known = {"_rebuild_tensor_v2": _rebuild_v2, "_rebuild_tensor_v3": _rebuild_v3,
                     "_rebuild_parameter": _first, "_rebuild_parameter_with_state": _first}  # fmt: skip
            return known.get(name, _Inert)
        if module == "torch" and name == "Size":
            return _first
        if module == "torch" and (name in _STORAGE_DTYPES or name in _ITEM_BYTES):
            return _Name(name)
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        _kind, storage_class, key, *_rest = pid
        name = storage_class.name if isinstance(storage_class, _Name) else ""
        return _Storage(_STORAGE_DTYPES.get(name, "uint8"), str(key))


def index_tensors(path: Path) -> TensorIndex:
    """Describe the tensors of a `.pt` written by `torch.save` (zip format, since torch 1.6).

    Raises:
        Damaged: It is not such a file, or its structure cannot be read.
        OSError: It cannot be opened.
    """
    return TensorIndex(file=path.name, tensors=[placed.entry for placed in place_tensors(path)])


class PlacedTensor(NamedTuple):
    """A tensor, and where its elements are, compressed or not."""

    entry: TensorEntry
    record: str
    """Name of its storage in the zip."""
    start: int
    """Bytes from the start of the storage to the first element."""


def place_tensors(path: Path) -> list[PlacedTensor]:
    """The tensors of a `.pt` and where their elements are; errors as `index_tensors`."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            pickled = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
            if pickled is None or pickled.file_size > MAX_PICKLE_BYTES:
                raise Damaged(f"{path} is not a checkpoint written by torch.save")
            tree = _Reader(io.BytesIO(archive.read(pickled))).load()
            prefix = pickled.filename.removesuffix("data.pkl") + "data/"
            offsets = _record_offsets(file, archive, prefix)
        return [
            PlacedTensor(
                _entry(name, tensor, offsets), prefix + tensor.storage.key, tensor.offset * _item_bytes(tensor)
            )
            for name, tensor in _walk(tree, "", _Walked())
        ]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, pickle.UnpicklingError, EOFError, struct.error,
            RuntimeError, MemoryError) as error:  # fmt: skip
        said = clean(str(error)) or type(error).__name__
        raise Damaged(
            f"{path} cannot be read as a checkpoint: {said}; `ckptop verify` tells whether it changed"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Damaged(f"{path} cannot be read as a checkpoint: its directory points outside of it") from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        # A pickle is a program; one that was not written by torch.save fails in any of these ways.
        raise Damaged(f"{path} does not hold what torch.save writes: {clean(str(error))}") from None


def _record_offsets(file: Any, archive: zipfile.ZipFile, prefix: str) -> dict[str, int | None]:
    """Byte offset of each storage's data, past its local header; None where it is compressed."""
    offsets: dict[str, int | None] = {}
    for info in archive.infolist():
        if not info.filename.startswith(prefix):
            continue
        key = info.filename.removeprefix(prefix)
        if info.compress_type != zipfile.ZIP_STORED:
            offsets[key] = None
            continue
        file.seek(info.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
        offsets[key] = info.header_offset + 30 + name_bytes + extra_bytes
    return offsets


class _Walked:
    """The containers walked so far; one that is met again counts against a limit."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._again = 0

    def enter(self, node: Sized) -> None:
        if id(node) in self._ids:
            self._again += len(node) + 1
            if self._again > MAX_SHARED_VALUES:
                raise ValueError(f"more than {MAX_SHARED_VALUES:,} values are held twice")
        self._ids.add(id(node))


def _walk(node: object, path: str, walked: _Walked) -> Iterator[tuple[str, _Tensor]]:
    if isinstance(node, dict | list | tuple):
        walked.enter(node)
    if isinstance(node, _Tensor):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, f"{path}.{key}" if path else str(key), walked)
    elif isinstance(node, list | tuple) and not isinstance(node, _Storage | _Name):
        for position, value in enumerate(node):
            yield from _walk(value, f"{path}.{position}" if path else str(position), walked)


def _item_bytes(tensor: _Tensor) -> int:
    return _ITEM_BYTES.get(tensor.dtype, 1)


def _entry(name: str, tensor: _Tensor, offsets: dict[str, int | None]) -> TensorEntry:
    item_bytes = _item_bytes(tensor)
    start = offsets[tensor.storage.key]
    return TensorEntry(
        name=name,
        dtype=tensor.dtype,
        shape=[int(extent) for extent in tensor.shape],
        strides=[int(stride) for stride in tensor.strides],
        offset=None if start is None else start + tensor.offset * item_bytes,
        storage=tensor.storage.key,
        size_bytes=math.prod(tensor.shape) * item_bytes,
    )
