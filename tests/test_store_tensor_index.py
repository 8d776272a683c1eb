"""The tensor index: what torch would say of a file, read without torch and without running anything in it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tiny_model import HASTY, trained_pair

from ckptop.store import tensor_index
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.commit import encode_index
from ckptop.store.errors import Damaged
from ckptop.store.layout import tensors_path
from ckptop.store.manifest import TensorEntry, TensorIndex
from ckptop.store.tensor_index import index_tensors

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.float8_e4m3fn,
]  # fmt: skip


def raw_bytes(path: Path, entry: TensorEntry) -> bytes:
    assert entry.offset is not None
    with path.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size_bytes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_shape_and_bytes_are_those_that_torch_loads(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    path = tmp_path / "x.pt"
    torch.save({"pad": torch.ones(3), "inside": [{"t": tensor}]}, path)

    entry = next(entry for entry in index_tensors(path).tensors if entry.name == "inside.0.t")

    assert (entry.dtype, entry.shape, entry.strides) == (str(dtype).removeprefix("torch."), [2, 3], [3, 1])
    assert raw_bytes(path, entry) == tensor.contiguous().view(torch.uint8).numpy().tobytes()


def test_views_share_their_storage_and_say_where_they_begin(tmp_path: Path) -> None:
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    path = tmp_path / "x.pt"
    torch.save({"whole": whole, "row": whole[1], "turned": whole.T, "parameter": torch.nn.Parameter(whole)}, path)

    entries = {entry.name: entry for entry in index_tensors(path).tensors}

    assert len({entry.storage for entry in entries.values()}) == 1
    assert raw_bytes(path, entries["row"]) == whole[1].numpy().tobytes()
    assert entries["turned"].strides == [1, 4]
    assert entries["parameter"].shape == [3, 4]


def test_scalars_and_empty_tensors_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}, path)

    scalar, empty = index_tensors(path).tensors

    assert (scalar.shape, scalar.size_bytes) == ([], 4)
    assert np.frombuffer(raw_bytes(path, scalar), np.float32)[0] == 2.5
    assert (empty.shape, empty.size_bytes) == ([0, 3], 0)


def test_every_tensor_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    manager = CheckpointManager(tmp_path, fs=HASTY)
    path = Path(
        manager.save_training_checkpoint(model, optimizer, 1, 1, {}, extra={"rng": {"torch": torch.get_rng_state()}})
    )

    index = msgspec.json.decode(tensors_path(path).read_bytes(), type=TensorIndex)

    names = {entry.name for entry in index.tensors}
    assert names >= {
        "model_state_dict.weight", "model_state_dict.bias", "rng.torch",
        "optimizer_state_dict.state.0.exp_avg", "optimizer_state_dict.state.1.step",
    }  # fmt: skip
    assert index.file == path.name
    weight = next(entry for entry in index.tensors if entry.name == "model_state_dict.weight")
    assert np.frombuffer(raw_bytes(path, weight), np.float32).tolist() == model.weight.flatten().tolist()


def test_a_compressed_record_has_no_offset(tmp_path: Path) -> None:
    path = CheckpointManager(tmp_path, compress=True, fs=HASTY).save_training_checkpoint(
        trained_pair()[0], None, 1, 1, {}
    )

    assert {entry.offset for entry in index_tensors(Path(path)).tensors} == {None}


def test_the_index_is_a_line_a_tensor() -> None:
    entry = TensorEntry(name="a", dtype="bool", shape=[1], strides=[1], offset=64, storage="0", size_bytes=1)

    text = encode_index(TensorIndex(file="x.pt", tensors=[entry, entry]))

    assert text.count(b'\n  {"name":"a"') == 2
    assert msgspec.json.decode(text, type=TensorIndex).tensors == [entry, entry]


def test_a_hostile_pickle_is_not_executed(tmp_path: Path) -> None:
    """A canary file tells: by torch it appears, by the index it does not."""
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {canary}",))

    path = tmp_path / "hostile.pt"
    torch.save({"model_state_dict": {"w": torch.ones(1)}, "evil": Hostile()}, path)

    index = index_tensors(path)

    assert [entry.name for entry in index.tensors] == ["model_state_dict.w"]
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists(), "the file is harmless, and the test proves nothing"


def test_long_lists_of_plain_values_cost_nothing_of_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of samples may be a list of millions."""
    monkeypatch.setattr(tensor_index, "MAX_SHARED_VALUES", 100)
    torch.save({"order": [0] * 10_000, "w": torch.ones(1)}, tmp_path / "x.pt")

    assert [entry.name for entry in index_tensors(tmp_path / "x.pt").tensors] == ["w"]


def archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", pickled)
    return path


def bomb() -> bytes:
    """Forty lists, each holding the one before it twice: a billion leaves in a hundred bytes."""
    tree: list[Any] = []
    for _ in range(40):
        tree = [tree, tree]
    return pickle.dumps(tree)


def ring() -> bytes:
    tree: list[Any] = []
    tree.append(tree)
    return pickle.dumps(tree)


@pytest.mark.parametrize(
    "pickled",
    [
        b"", b"garbage", b"\x80\x02", bomb(), ring(), b"\x80\x04\x8c\x08builtins\x8c\x04evalQ.", b"(K\x01Q.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02tR.", b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n)R.",
    ],
    ids=["empty", "garbage", "torn", "bomb", "ring", "eval", "persistent-id", "no-storage", "no-arguments"],
)  # fmt: skip
def test_a_pickle_that_torch_did_not_write_is_refused_or_says_nothing(
    tmp_path: Path, pickled: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_index, "MAX_SHARED_VALUES", 10_000)
    path = archive(tmp_path / "x.pt", pickled)

    assert tensors_or_refusal(path) in ([], "refused")


def tensors_or_refusal(path: Path) -> object:
    try:
        return index_tensors(path).tensors
    except Damaged:
        return "refused"


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"], ids=["empty", "text", "torn"])
def test_what_is_no_archive_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)

    with pytest.raises(Damaged):
        index_tensors(path)


def test_an_archive_without_a_pickle_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other", b"")

    with pytest.raises(Damaged, match=r"not a checkpoint written by torch\.save"):
        index_tensors(path)


def test_a_tensor_without_its_record_is_damaged(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as source, zipfile.ZipFile(tmp_path / "y.pt", "w") as target:
        for info in source.infolist():
            if "/data/" not in info.filename:
                target.writestr(info.filename, source.read(info))

    with pytest.raises(Damaged):
        index_tensors(tmp_path / "y.pt")


def test_the_index_needs_no_torch(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "x.pt")
    code = (
        "import sys; from pathlib import Path; from ckptop.store.tensor_index import index_tensors;"
        "print(len(index_tensors(Path(sys.argv[1])).tensors), 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pt"], capture_output=True, text=True, check=True)

    assert done.stdout == "1 False\n"
