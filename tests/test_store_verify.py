"""Verification: what is on disk is what was written, or it is said, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_model import clone, find, make_run

from ckptop.store import verify as module
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.verify import total_bytes, verify_checkpoint, verify_run
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def test_a_whole_run_has_no_findings_and_every_byte_was_read_once(root: Path) -> None:
    view = read_run(root)
    read: list[int] = []

    report = verify_run(view, read.append)

    assert (report.checked, report.damaged, report.findings) == (9, 0, ())
    assert sum(read) == report.checked_bytes == total_bytes([view]), "a linked milestone is not read twice"


@pytest.mark.parametrize("offset", [0, 40, -1])
def test_one_changed_byte_is_found_under_both_names(root: Path, offset: int) -> None:
    path = find(root, "training", 2).path
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    with path.open("r+b") as file:  # in place: the milestone is the same inode
        file.write(data)

    report = verify_run(read_run(root))

    assert [finding.key for finding in report.findings] == [
        find(root, "training", 2).key, find(root, "milestone", 2).key,
    ]  # fmt: skip
    assert report.damaged == 2
    assert all("bytes differ from its manifest" in finding.message for finding in report.findings)
    assert all("ckptop delete" in finding.advice for finding in report.findings)


def test_a_missing_manifest_is_severe(root: Path) -> None:
    manifest_path(find(root, "training", 4).path).unlink()

    (finding,) = verify_run(read_run(root)).findings

    assert finding.severe
    assert "does not exist" in finding.message


def test_one_deleted_meanwhile_is_no_damage(root: Path) -> None:
    info = find(root, "training", 4)
    info.path.unlink()

    finding = verify_checkpoint(info)

    assert finding is not None
    assert not finding.severe
    assert finding.message == f"{info.name} was deleted meanwhile"


def test_one_that_cannot_be_read_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "xxh3_128_of", refuse)

    finding = verify_checkpoint(find(root, "training", 4))

    assert finding is not None
    assert (finding.severe, finding.message[-18:]) == (True, "Input/output error")


def test_leftovers_are_told_and_are_no_damage(root: Path) -> None:
    training = RunPaths(root).checkpoints.training
    find(root, "training", 5).path.unlink()
    (training / "gone.pt").symlink_to("nowhere")

    report = verify_run(read_run(root))

    assert report.damaged == 0
    assert sorted(finding.message.split(" ", 1)[1] for finding in report.findings) == [
        "has no checkpoint: a cut-off save or deletion", "has no checkpoint: a cut-off save or deletion",
        "links to nothing", "links to nothing",
    ]  # fmt: skip


def test_an_unreadable_record_is_a_finding(root: Path) -> None:
    os.truncate(root / "run.json", 10)

    finding = verify_run(read_run(root)).findings[0]

    assert (finding.key, finding.message) == ("mine", "mine: run.json is truncated")
