"""Files that `torch.save` did not write, or not so: each is one clear line, and nothing in them is run."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_model import tiny_model

from ckptop.store.errors import Damaged
from ckptop.store.loading import load_checkpoint
from ckptop.store.state_comparison import holds_same
from ckptop.store.tensor_index import index_tensors
from ckptop.store.tensors import read_state

STATE = {"model_state_dict": tiny_model(1).state_dict(), "epoch": 1, "metrics": {"val/loss": 0.5}}


def saved(*, as_zip: bool, compressed: bool = False) -> bytes:
    """A checkpoint as torch writes it, or wrote it before 1.6."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=as_zip)
    if not compressed:
        return buffer.getvalue()
    deflated = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    return deflated.getvalue()


FORMS = {
    "zip": saved(as_zip=True), "old": saved(as_zip=False), "deflated": saved(as_zip=True, compressed=True),
}  # fmt: skip


def cut_short(data: bytes) -> Iterator[bytes]:
    """At sixty places, the first and the last bytes among them."""
    return (data[:at] for at in sorted({0, 1, 2, len(data) - 1, *range(3, len(data), len(data) // 60)}))


def changed(data: bytes) -> Iterator[bytes]:
    """With one to eight bytes that are others, the same ones each time."""
    chance = random.Random(5)  # noqa: S311 - to be the same each time
    for _ in range(400):
        other = bytearray(data)
        for at in chance.sample(range(len(data)), chance.choice((1, 1, 2, 8))):
            other[at] = chance.randrange(256)
        yield bytes(other)


def refusal_of(path: Path, read: Callable[[Path], object]) -> str:
    """What is said where it is refused, in one line that names the file; empty where it is read."""
    try:
        read(path)
    except Damaged as error:
        said = str(error)
    else:
        return ""
    assert said.startswith(f"{path} ")
    assert said.isprintable()
    assert "weights_only" not in said, "torch's advice is to load a hostile file all the same"
    return said


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_anywhere_is_damaged_in_one_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.pt"

    for data in cut_short(FORMS[form]):
        path.write_bytes(data)
        is_old_padding = form == "old" and data == FORMS[form][:-1]
        assert refusal_of(path, read_state) or is_old_padding, len(data)
        assert refusal_of(path, index_tensors), len(data)
        assert not holds_same(path, STATE)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_bytes_changed_anywhere_is_read_or_refused_in_one_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.pt"
    refused = 0

    for data in changed(FORMS[form]):
        path.write_bytes(data)
        refused += refusal_of(path, read_state) != ""
        refusal_of(path, index_tensors)
        assert holds_same(path, STATE) in (True, False)

    assert refused > 20


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old"])
def test_a_hostile_pickle_of_either_form_is_not_executed(tmp_path: Path, as_zip: bool) -> None:
    path, canary = tmp_path / "x.pt", tmp_path / "canary"
    torch.save({"model_state_dict": Hostile(canary)}, path, _use_new_zipfile_serialization=as_zip)

    with pytest.raises(Damaged, match=r"posix\.system.*Load another") as refused:
        load_checkpoint(path, tiny_model())
    refusal_of(path, index_tensors)
    assert not holds_same(path, {"model_state_dict": {}})

    assert str(refused.value).isprintable()
    assert "weights_only" not in str(refused.value)
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists(), "the pickle bites"


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"not a checkpoint\n", b'{"epoch": 1}', b"PK\x03\x04 torn", b"\x80", bytes(4096)],
    ids=["empty", "zero", "text", "JSON", "torn zip", "torn pickle", "zeros"],
)  # fmt: skip
def test_what_never_was_a_checkpoint_is_damaged_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(data)

    with pytest.raises(Damaged, match="Load another") as refused:
        load_checkpoint(path, tiny_model())

    assert str(refused.value).isprintable()
    assert refusal_of(path, index_tensors)
