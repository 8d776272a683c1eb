"""What a checkpoint's tensors amount to, by group; from the index, or from the file where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ckptop.store.commit import encode_index
from ckptop.store.errors import Damaged
from ckptop.store.layout import tensors_path
from ckptop.store.manifest import TensorEntry, TensorIndex
from ckptop.store.tensor_index import index_tensors
from ckptop.store.tensor_table import elements_of, read_tensor_table, tensor_table


def entry(name: str, shape: list[int], *, storage: str = "0", offset: int | None = 0) -> TensorEntry:
    strides = [1] * len(shape)
    size_bytes = 4
    for extent in shape[:64]:
        size_bytes = min(2**53, size_bytes * extent)
    return TensorEntry(
        name=name, dtype="float32", shape=shape, strides=strides, offset=offset, storage=storage, size_bytes=size_bytes
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A model of 8 numbers with a tied weight, an optimizer of 2, and a step."""
    weight = torch.zeros(2, 3)
    path = tmp_path / "a.pt"
    state = {
        "model_state_dict": {"embed": weight, "bias": torch.zeros(2), "head": weight},
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(2, dtype=torch.float64)}}},
        "rng": {"torch": torch.zeros(10, dtype=torch.uint8)},
        "epoch": 3,
    }
    torch.save(state, path)
    return path


def test_groups_are_the_parts_of_the_file(checkpoint: Path) -> None:
    table = read_tensor_table(checkpoint)

    facts = [(group.name, group.tensors, group.elements, group.size_bytes) for group in table.groups]
    assert facts == [("model", 3, 8, 32), ("optimizer", 1, 2, 16), ("rng", 1, 10, 10)]
    assert (table.total.tensors, table.total.elements, table.total.size_bytes) == (5, 20, 58)


def test_tied_weights_are_two_tensors_of_one_size(checkpoint: Path) -> None:
    """As torch counts the parameters of a model."""
    names = [entry.name for entry in read_tensor_table(checkpoint).entries]

    assert names[:3] == ["model_state_dict.embed", "model_state_dict.bias", "model_state_dict.head"]


def test_two_parts_of_one_storage_both_count() -> None:
    index = TensorIndex(file="a.pt", tensors=[entry("m.a", [4], offset=0), entry("m.b", [4], offset=16)])

    assert tensor_table(index).total.elements == 8


def test_in_a_compressed_file_every_tensor_counts() -> None:
    """It tells no offsets, and two equal parts of one storage must not be taken for one."""
    index = TensorIndex(file="a.pt", tensors=[entry("m.a", [4], offset=None), entry("m.b", [4], offset=None)])

    assert tensor_table(index).total.elements == 8


def test_the_index_is_read_where_it_is_whole_and_the_file_where_it_is_not(checkpoint: Path) -> None:
    index = index_tensors(checkpoint)
    beside = tensors_path(checkpoint)
    beside.write_bytes(encode_index(TensorIndex(file=index.file, tensors=index.tensors[:1])))
    assert read_tensor_table(checkpoint).total.tensors == 1

    beside.write_bytes(beside.read_bytes().replace(b"float32", b"float64"))

    assert read_tensor_table(checkpoint).total.tensors == 5


def test_a_file_that_is_no_checkpoint_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"nothing of torch's")

    with pytest.raises(Damaged, match="cannot be read as a checkpoint"):
        read_tensor_table(path)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")

    with pytest.raises(Damaged, match="is not a regular file"):
        read_tensor_table(tmp_path / "a.pt")


def test_the_largest_come_first_and_equal_ones_as_in_the_file() -> None:
    sizes = {"m.a": [2], "m.b": [5], "m.c": [5], "m.d": []}
    index = TensorIndex(
        file="a.pt", tensors=[entry(name, shape, storage=name) for name, shape in sizes.items()]
    )  # fmt: skip

    assert [item.name for item in tensor_table(index).largest(3)] == ["m.b", "m.c", "m.a"]
    assert tensor_table(index).total.elements == 13


def test_a_shape_no_tensor_has_costs_no_time() -> None:
    """A stranger's index may claim a million dimensions."""
    assert elements_of(entry("m.a", [2**53] * 1_000_000)) == 0
    assert elements_of(entry("m.a", [0, 5])) == 0


def test_no_tensors_are_no_groups() -> None:
    table = tensor_table(TensorIndex(file="a.pt", tensors=[]))

    assert (table.groups, table.total.tensors, table.largest(10)) == ((), 0, [])
