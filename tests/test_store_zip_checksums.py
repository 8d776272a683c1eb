"""A large checkpoint is a zip as any other: every tool reads it, and torch alone could have written it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ckptop.store import tensors
from ckptop.store.fs import FileSystem
from ckptop.store.hashing import xxh3_128_of
from ckptop.store.tensors import Written, read_state, write_state
from ckptop.store.zip_checksums import UnknownStream, ZipChecksums


@pytest.fixture(autouse=True)
def directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of any size are written as large ones are."""
    monkeypatch.setattr(tensors, "DIRECT_FROM_BYTES", 0)


def state_of(*sizes: int) -> dict[str, Any]:
    torch.manual_seed(0)
    return {"epoch": 1, "model_state_dict": {f"w{place}": torch.randn(size) for place, size in enumerate(sizes)}}


def is_same(path: Path, state: dict[str, Any]) -> bool:
    weights = read_state(path)["model_state_dict"]
    return all(torch.equal(weights[name], value) for name, value in state["model_state_dict"].items())


@pytest.mark.parametrize(
    "sizes", [(), (0,), (5,), (0, 7, 0), (700_000, 3, 2_000_000)], ids=lambda sizes: "+".join(map(str, sizes)) or "none"
)
def test_every_checksum_is_right(sizes: tuple[int, ...], tmp_path: Path) -> None:
    state = state_of(*sizes)

    written = write_state(tmp_path / "a.pt", state)

    assert zipfile.ZipFile(written.path).testzip() is None
    assert is_same(written.path, state)
    assert (written.size_bytes, written.xxh3_128) == (written.path.stat().st_size, xxh3_128_of(written.path))


def test_tensors_can_be_mapped_and_begin_on_a_block(tmp_path: Path) -> None:
    state = state_of(5_000, 3, 80_000)

    path = write_state(tmp_path / "a.pt", state).path

    mapped = torch.load(path, mmap=True, weights_only=True)["model_state_dict"]
    assert all(torch.equal(mapped[name], value) for name, value in state["model_state_dict"].items())
    reader = torch._C.PyTorchFileReader(str(path))
    assert {reader.get_record_offset(f"data/{place}") % 4096 for place in range(3)} == {0}  # type: ignore[attr-defined]  # torch has no type of it


def test_the_settings_of_torch_are_as_before(tmp_path: Path) -> None:
    write_state(tmp_path / "a.pt", state_of(5))

    torch.save(state_of(5), plain := io.BytesIO())
    assert torch.serialization.get_crc32_options()
    assert zipfile.ZipFile(plain).testzip() is None


def test_a_torch_that_writes_in_other_pieces_does_it_all_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = torch.save, []

    def in_one_piece(state: Any, file: Any) -> None:
        calls.append(torch.serialization.get_crc32_options())
        save(state, whole := io.BytesIO())
        file.write(whole.getbuffer())

    monkeypatch.setattr(torch, "save", in_one_piece)
    state = state_of(700_000)

    written = write_state(tmp_path / "a.pt", state)

    assert calls == [False, True]
    assert zipfile.ZipFile(written.path).testzip() is None
    assert is_same(written.path, state)


def test_a_torch_without_the_setting_does_it_all_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_direct_settings", lambda: None)

    written = write_state(tmp_path / "a.pt", state_of(700_000))

    assert zipfile.ZipFile(written.path).testzip() is None


def test_a_disk_that_fills_up_leaves_no_file(tmp_path: Path) -> None:
    class Full(FileSystem):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_state(tmp_path / "a.pt", state_of(700_000), Full())

    assert os.listdir(tmp_path) == []


NAME, BODY = b"archive/data/0", b"12345678"


def header(*, flags: int = 8, name: bytes = NAME) -> bytes:
    return b"PK\x03\x04" + struct.pack("<HH18xHH", 0, flags, len(name), 0)


def descriptor(size_bytes: int = len(BODY)) -> bytes:
    return b"PK\x07\x08" + struct.pack("<III", 0, size_bytes, size_bytes)


def entry(name: bytes = NAME, signature: bytes = b"PK\x01\x02") -> bytes:
    return signature + bytes(24) + struct.pack("<HHH12x", len(name), 0, 0) + name


GOOD = (header(), NAME, BODY, descriptor())


def passed(*pieces: bytes) -> list[bytes]:
    checksums, found = ZipChecksums(), []
    for piece in pieces:
        found.append(bytes(checksums.corrected(memoryview(piece))))
        checksums.update(memoryview(piece))
    checksums.finish()
    return found


def test_the_checksum_of_a_record_stands_behind_it_and_in_the_directory() -> None:
    found = passed(*GOOD, entry())

    expected = struct.pack("<I", zlib.crc32(BODY))
    assert found[:3] == list(GOOD[:3])
    assert found[3][4:8] == found[4][16:20] == expected


def test_a_descriptor_with_long_sizes_is_known() -> None:
    long = b"PK\x07\x08" + struct.pack("<IQQ", 0, len(BODY), len(BODY))

    assert passed(*GOOD[:3], long, entry())[3][4:8] == struct.pack("<I", zlib.crc32(BODY))


@pytest.mark.parametrize(
    "pieces",
    [
        (b"PK\x03\x05" + header()[4:],),
        (header() + NAME,),
        (header(name=b""),),
        (header(), NAME + b"x"),
        (*GOOD[:3], descriptor(7)),
        (*GOOD[:3], BODY),
        (*GOOD[:3], b"PK\x07\x09" + descriptor()[4:]),
        GOOD,
        (*GOOD, entry() + entry()),
        (*GOOD, *GOOD, entry()),
        (*GOOD, *GOOD, entry() + entry(signature=b"PK\x01\x03")),
    ],
    ids=[
        "another signature", "header and name at once", "no name", "a longer name", "other sizes", "no descriptor",
        "another descriptor", "no directory", "more entries", "fewer entries", "no entry",
    ],
)  # fmt: skip
def test_pieces_that_are_not_known_are_refused(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(UnknownStream):
        passed(*pieces)


@pytest.mark.slow
def test_a_tensor_of_more_than_4_gib_is_whole(tmp_path: Path) -> None:
    state = {"model_state_dict": {"big": torch.ones(1_100_000_000), "after": torch.arange(1000)}}

    written: Written = write_state(tmp_path / "a.pt", state)

    assert zipfile.ZipFile(written.path).testzip() is None
    assert is_same(written.path, state)
    written.path.unlink()
