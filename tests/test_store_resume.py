"""Where a resumed run starts: verified to the last byte, and said when it is not the newest."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from tiny_model import clone, find, live, make_run

from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.layout import manifest_path
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, choose_start, encode_request, resume_request
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def damage(path: Path) -> None:
    """Flip a bit in the middle, in place."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)


@pytest.mark.parametrize("selector", ["auto", "latest"])
def test_the_newest_that_verifies_is_taken_and_the_others_said(root: Path, selector: str) -> None:
    damage(find(root, "training", 5).path)
    manifest_path(find(root, "training", 4).path).write_bytes(b"{")

    start = choose_start(read_run(root), selector)

    assert (start.from_step, start.key) == (300, find(root, "training", 3).key)
    assert start.manifest == find(root, "training", 3).manifest
    assert [note.partition(":")[0] for note in start.notes] == [
        "checkpoint_epoch_0005_step_00000500.pt", "checkpoint_epoch_0004_step_00000400.pt",
    ]  # fmt: skip
    assert all(note.endswith("; skipped") for note in start.notes)


def test_of_one_step_the_training_checkpoint_is_taken_then_its_milestone(root: Path) -> None:
    for epoch in (3, 4, 5):
        find(root, "training", epoch).path.unlink()
    assert choose_start(read_run(root), "latest").key == find(root, "training", 2).key

    find(root, "training", 2).path.unlink()

    assert choose_start(read_run(root), "latest").key == find(root, "milestone", 2).key


def test_nothing_to_take_up_is_a_fresh_start_or_an_error(root: Path) -> None:
    for info in live(root):
        info.path.unlink()

    assert choose_start(read_run(root), "auto").from_checkpoint is None
    with pytest.raises(NotFound, match="has no checkpoint yet"):
        choose_start(read_run(root), "latest")


def test_where_none_verifies_nothing_is_begun(root: Path) -> None:
    """To start afresh would abandon what a person may still rescue."""
    for info in live(root):
        os.truncate(info.path, 10)

    with pytest.raises(Damaged, match="no checkpoint of mine verifies"):
        choose_start(read_run(root), "auto")


@pytest.mark.parametrize("selector", ["best", "epoch=3", "checkpoint_epoch_0003_step_00000300.pt"])
def test_one_that_was_asked_for_is_taken_or_refused(root: Path, selector: str) -> None:
    assert choose_start(read_run(root), selector).from_step == 300

    damage(find(root, "training", 3).path)

    with pytest.raises(Damaged, match="bytes differ from its manifest; it was not resumed"):
        choose_start(read_run(root), selector)


def test_a_request_survives_the_environment() -> None:
    request = ResumeRequest(store="/a b", run="mine", checkpoint="best", overrides={"lr": "1e-4"})

    assert resume_request({RESUME_VARIABLE: encode_request(request)}) == request
    assert resume_request({}) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"store": 3}', '{"store": "x"}'])
def test_a_request_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"{RESUME_VARIABLE} does not hold a resume request"):
        resume_request({RESUME_VARIABLE: text})


def test_a_newer_viewers_request_is_understood() -> None:
    text = msgspec.json.encode({"store": "s", "run": "r", "invented_later": 1}).decode()

    assert resume_request({RESUME_VARIABLE: text}) == ResumeRequest(store="s", run="r", checkpoint="latest")
