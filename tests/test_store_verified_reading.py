"""A checkpoint is hashed once to be chosen and read, and never read where its bytes are others."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from tiny_model import find, make_run, tiny_model

from ckptop.store import verified_reading, verify
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged
from ckptop.store.hashing import xxh3_128_of
from ckptop.store.loading import load_checkpoint
from ckptop.store.verified_once import verify_to_read
from ckptop.store.verified_reading import read_verified


@pytest.fixture
def newest(tmp_path: Path) -> CheckpointInfo:
    return find(make_run(tmp_path / "store"), "training", 5)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is hashed from here on."""
    paths: list[Path] = []

    def watched(path: Path, *arguments: object) -> str:
        paths.append(path)
        return xxh3_128_of(path)

    for module in (verify, verified_reading):
        monkeypatch.setattr(module, "xxh3_128_of", watched)
    return paths


def flip_a_byte(path: Path, at: int = 300) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_was_verified_to_be_chosen_is_not_hashed_again(newest: CheckpointInfo, hashed: list[Path]) -> None:
    assert verify_to_read(newest) is None

    load_checkpoint(newest.path, tiny_model())

    assert hashed == [newest.path]


def test_but_whatever_is_read_after_that_is(newest: CheckpointInfo, hashed: list[Path]) -> None:
    verify_to_read(newest)
    read_verified(newest.path)

    read_verified(newest.path)

    assert hashed == [newest.path] * 2


def test_a_byte_that_changes_between_choice_and_reading_is_seen(newest: CheckpointInfo) -> None:
    assert verify_to_read(newest) is None

    flip_a_byte(newest.path)

    with pytest.raises(Damaged, match="bytes differ"):
        read_verified(newest.path)


def test_a_changed_byte_that_torch_notices_is_said_as_such(newest: CheckpointInfo) -> None:
    flip_a_byte(newest.path, 0)

    with pytest.raises(Damaged, match="bytes differ from its manifest"):
        read_verified(newest.path)


def test_a_changed_weight_that_torch_does_not_notice_is_never_read(newest: CheckpointInfo) -> None:
    weights = struct.pack("<2f", newest.epoch, newest.epoch)  # as `tiny_model` makes them
    flip_a_byte(newest.path, newest.path.read_bytes().index(weights))
    assert torch.load(newest.path, weights_only=True)["model_state_dict"]["weight"][0, 0] != newest.epoch

    with pytest.raises(Damaged, match="bytes differ from its manifest"):
        read_verified(newest.path)
