"""A model's weights as a file for other tools: a `.safetensors`, made without torch, or a plain state dict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ckptop.store.errors import UsageError
from ckptop.store.files import new_file
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.staging import removed_on_error, staged_name
from ckptop.store.tensor_bytes import TensorBytes
from ckptop.store.tensor_index import PlacedTensor, place_tensors

MODEL = "model_state_dict."
"""What the names of the weights begin with in a checkpoint of ours; a stranger's state dict is taken whole."""

_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_ALIGNMENT_BYTES = 8


def export_safetensors(
    source: Path,
    target: Path,
    metadata: Mapping[str, str],
    fs: FileSystem = LOCAL,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write the weights in `source` to the new file `target`, durably; returns their names.

    Tied weights are written under each of their names. `metadata` stands in the header.

    Raises:
        UsageError: `target` exists, or a dtype has no name in the format; nothing was written.
        Damaged: `source` is no whole `.pt`; nothing was written.
        OSError: The disk refused; nothing was written.
    """
    _require_new(target)
    weights = _weights(source)
    staged = target.with_name(staged_name(target.name))
    with TensorBytes(source) as elements, removed_on_error(staged, fs):
        with new_file(staged, fs) as fd:
            fs.write_all(fd, _header(weights, metadata))
            for placed in weights.values():
                for chunk in elements.of(placed):
                    fs.write_all(fd, chunk)
                    if progress is not None:
                        progress(len(chunk))
        fs.rename(staged, target)
    fs.fsync_dir(target.parent)
    return list(weights)


def export_state_dict(source: Path, target: Path, fs: FileSystem = LOCAL) -> list[str]:
    """Write the state dict in `source`, and nothing else, to the new file `target`, durably; returns its names.

    `model.load_state_dict(torch.load(target, weights_only=True))` takes it. Imports torch; errors as above.
    """
    from ckptop.store.tensors import read_state, write_state

    _require_new(target)
    state = read_state(source)
    weights = state.get(MODEL.removesuffix("."), state)
    staged = target.with_name(staged_name(target.name))
    with removed_on_error(staged, fs):
        write_state(staged, weights, fs)
        fs.rename(staged, target)
    fs.fsync_dir(target.parent)
    return list(weights)


def _require_new(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists; name a new file, or move it away")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no directory")


def _weights(source: Path) -> dict[str, PlacedTensor]:
    """By name, the widest elements first: so each tensor begins at a multiple of its elements' size."""
    found = place_tensors(source)
    own = [placed for placed in found if placed.entry.name.startswith(MODEL)]
    weights = {placed.entry.name.removeprefix(MODEL): placed for placed in own or found}
    if not weights:
        raise UsageError(f"{source} holds no tensors")
    for name, placed in weights.items():
        if placed.entry.dtype not in _DTYPES:
            raise UsageError(f"{name} is {placed.entry.dtype}, which safetensors has no name for; export a .pt")
    return dict(sorted(weights.items(), key=lambda item: (-_item_bytes(item[1]), item[0])))


def _item_bytes(placed: PlacedTensor) -> int:
    elements = 1
    for extent in placed.entry.shape:
        elements *= extent
    return placed.entry.size_bytes // elements if elements else 0


def _header(weights: Mapping[str, PlacedTensor], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, placed in weights.items():
        entry, start = placed.entry, end
        end += entry.size_bytes
        header[name] = {"dtype": _DTYPES[entry.dtype], "shape": entry.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text
