"""Verification: what is on disk is what was written, or it is said, with what to do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tiny_model import HASTY, OPERATIONS, clone, find, make_run

from ckptop.cli.main import run
from ckptop.store import verify as module
from ckptop.store.actions import delete_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.commit import change_manifest
from ckptop.store.events import append_event
from ckptop.store.files import read_json
from ckptop.store.fs import LOCAL
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import encode
from ckptop.store.pins import unpin
from ckptop.store.promote import promote_to_milestone
from ckptop.store.records import Attempt, RunRecord
from ckptop.store.run_trash import delete_run
from ckptop.store.store import Store
from ckptop.store.trash import list_discarded, list_trash, purge, quarantine
from ckptop.store.verify import total_bytes, verify_checkpoint, verify_run
from ckptop.store.verify_store import store_bytes, verify_store
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
    name = "checkpoint_epoch_0005_step_00000500"
    assert sorted(finding.message for finding in report.findings) == [
        f"mine: training/{name}.json has no checkpoint: a cut-off save or deletion",
        f"mine: training/{name}.tensors.json has no checkpoint: a cut-off save or deletion",
        "mine: training/gone.pt links to nothing", "mine: training/latest.pt links to nothing",
    ]  # fmt: skip
    assert f"remove {training / name}.json" in [finding.advice for finding in report.findings]


# Committed, and gone


def gone(root: Path) -> list[str]:
    """Keys of the findings that are damage, each of which says that the checkpoint is gone."""
    severe = [finding for finding in verify_run(read_run(root)).findings if finding.severe]
    for finding in severe:
        assert finding.message == (f"mine: {finding.key} is gone: it was committed, and nothing of ckptop deleted it")
        manifest = manifest_path(RunPaths(root).checkpoints.root / finding.key)
        assert finding.advice == f"restore it from a backup, or remove {manifest}"
    return [finding.key for finding in severe]


def tell(root: Path, event: str, *infos: CheckpointInfo) -> None:
    keys = [info.key for info in infos]
    if event in ("saved", "milestone"):
        append_event(RunPaths(root), event, checkpoint=keys[0])
    else:
        append_event(RunPaths(root), event, checkpoints=keys)


def test_the_newest_that_was_saved_and_is_gone_is_damage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = find(root, "training", 5)
    tell(root, "saved", newest)
    newest.path.unlink()

    assert gone(root) == [newest.key]
    assert run(["verify", str(root)]) == 12
    assert "cut-off" not in capsys.readouterr().out, "its tensor index is no leftover either"


def test_the_best_that_was_saved_and_is_gone_is_damage(root: Path) -> None:
    best = find(root, "training", 3)
    for epoch in range(1, 6):
        tell(root, "saved", find(root, "training", epoch))
    best.path.unlink()

    assert gone(root) == [best.key]


def test_a_pinned_one_that_is_gone_is_damage_without_any_event(root: Path) -> None:
    pinned = find(root, "training", 1)
    pinned.path.unlink()

    assert gone(root) == [pinned.key]


def test_one_that_a_living_fork_began_from_and_that_is_gone_is_damage(root: Path) -> None:
    parent, paths = find(root, "training", 2), RunPaths(root).checkpoints
    change_manifest(LOCAL, paths, parent.path, forks=["child"])
    parent.path.unlink()
    assert gone(root) == [], "the fork was deleted, and a rule may have taken its parent"
    clone(root, root.parent / "child")

    assert gone(root) == [parent.key]


def test_a_promoted_one_that_is_gone_is_damage_once_its_promotion_was_told(root: Path) -> None:
    made = promote_to_milestone(read_run(root), find(root, "training", 4))
    made.path.unlink()
    assert gone(root) == [made.key]

    RunPaths(root).events.unlink()  # as where the promotion was cut off before its commit

    assert gone(root) == []


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_retention_that_was_cut_off_is_no_damage(root: Path, epoch: int) -> None:
    for number in range(1, 6):
        tell(root, "saved", find(root, "training", number))
    find(root, "training", epoch).path.unlink()

    assert gone(root) == []


def test_a_save_that_was_cut_off_is_no_damage(root: Path) -> None:
    tell(root, "saved", find(root, "training", 4))
    find(root, "training", 5).path.unlink()

    assert gone(root) == []


def test_a_save_under_the_name_of_an_older_one_that_was_cut_off_is_no_damage(root: Path) -> None:
    newest, paths = find(root, "training", 5), RunPaths(root).checkpoints
    tell(root, "saved", newest)
    change_manifest(LOCAL, paths, newest.path, time=time.time() + 1)
    newest.path.unlink()

    assert gone(root) == []


@pytest.mark.parametrize("event", ["deleted", "pruned"])
def test_one_that_was_deleted_is_no_damage_wherever_the_deletion_was_cut_off(root: Path, event: str) -> None:
    newest = find(root, "training", 5)
    tell(root, "saved", newest)
    tell(root, event, newest)
    newest.path.unlink()

    assert gone(root) == []


def test_a_move_that_was_cut_off_is_no_damage(root: Path) -> None:
    """The manifest is left, pinned as it was; the checkpoint is in quarantine."""
    pinned = find(root, "training", 1)
    text = manifest_path(pinned.path).read_bytes()
    quarantine(RunPaths(root).checkpoints, pinned)
    manifest_path(pinned.path).write_bytes(text)

    assert gone(root) == []


def test_an_abandoned_one_is_no_damage(root: Path) -> None:
    newest = find(root, "training", 5)
    tell(root, "saved", newest)
    record = read_json(RunPaths(root).record, RunRecord)
    attempts = [*record.attempts, Attempt(attempt=2, from_step=newest.step - 1, time=time.time())]
    RunPaths(root).record.write_bytes(encode(msgspec.structs.replace(record, attempts=attempts)))
    newest.path.unlink()

    assert gone(root) == []


def test_an_older_one_is_not_taken_for_the_newest_or_best_once_those_were_deleted(root: Path) -> None:
    """A retention was cut off; then a person deleted what it had spared the rest for, and emptied the trash."""
    left, others = find(root, "training", 4), [find(root, "training", 3), find(root, "training", 5)]
    others += [find(root, "milestone", 2), find(root, "milestone", 3), find(root, "training", 2)]
    for info in (left, *others):
        tell(root, "saved", info)
    left.path.unlink()
    unpin(read_run(root), find(root, "training", 1))
    entries = delete_checkpoints(read_run(root), [*others, find(root, "training", 1)])
    purge(RunPaths(root).checkpoints)

    assert len(entries) == 6
    assert gone(root) == []


def test_an_unreadable_record_is_a_finding(root: Path) -> None:
    os.truncate(root / "run.json", 10)

    finding = verify_run(read_run(root)).findings[0]

    assert (finding.key, finding.message) == ("mine", "mine: run.json is truncated")


# What was put away


def flip(path: Path, place: int = 300) -> None:
    """Change one byte in place."""
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_a_changed_byte_of_an_abandoned_checkpoint_is_found(root: Path) -> None:
    OPERATIONS["going-back"].act(root, HASTY)
    entry = list_discarded(RunPaths(root).checkpoints)[0]
    assert verify_run(read_run(root)).findings == ()
    flip(entry.info.path)

    report = verify_run(read_run(root))

    (finding,) = report.findings
    assert report.damaged == 1
    assert finding.key == f".discarded/2/training/{entry.info.name}", "not the name of a live one"
    assert finding.message == f"{finding.key}: bytes differ from its manifest"
    assert finding.advice.startswith("`ckptop trash --empty --all` removes it")


def test_a_changed_byte_in_the_trash_says_how_to_be_rid_of_it(root: Path) -> None:
    entry = next(entry for entry in list_trash(RunPaths(root).checkpoints) if entry.info.tier == "training")
    flip(entry.info.path)

    (finding,) = verify_run(read_run(root)).findings

    assert finding.severe
    assert finding.message.startswith(".trash/")
    assert finding.advice.startswith("`ckptop trash --empty` removes it")


def test_damage_in_quarantine_is_expected_and_no_failure(root: Path) -> None:
    info = find(root, "training", 4)
    entry = quarantine(RunPaths(root).checkpoints, info)
    assert entry is not None
    assert verify_run(read_run(root)).findings == ()
    flip(entry.info.path)

    report = verify_run(read_run(root))

    (finding,) = report.findings
    assert (report.damaged, finding.severe) == (0, False)
    assert (
        finding.message == f".quarantine/{entry.directory.name}/{info.name} is damaged, which is why it was put there"
    )
    assert "`ckptop trash --empty --all`" in finding.advice


def test_whole_runs_in_the_trash_are_verified_with_the_store(root: Path) -> None:
    store = Store(root.parent)
    clone(root, store.root / "other")
    unpin(store.run("other"), store.run("other").checkpoints[0])
    gone = delete_run(store.paths, store.run("other"))
    read: list[int] = []

    whole = verify_store(store, read.append)

    assert (whole.damaged, whole.checked) == (0, 18)
    assert sum(read) == whole.checked_bytes == store_bytes(store)
    flip(next(path for path in gone.directory.rglob("checkpoint*.pt") if not path.is_symlink()))
    finding = next(finding for finding in verify_store(store).findings if finding.severe)
    assert finding.message.startswith("other in the trash: ")
    assert finding.advice == f"`ckptop trash --empty` removes all of it, or look at {gone.directory}"
    os.truncate(gone.directory / "run.json", 10)
    assert "other in the trash" in [finding.key for finding in verify_store(store).findings]


def test_the_command_reads_the_trash_of_the_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    OPERATIONS["going-back"].act(root, HASTY)
    flip(list_discarded(RunPaths(root).checkpoints)[0].info.path)

    assert run(["verify", str(root.parent)]) == 12

    assert ".discarded/2/training/" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["{root}", "{store}", "{root}/checkpoints/training/{name}"])
def test_a_bar_shows_how_far_on_a_terminal(
    root: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = what.format(root=root, store=root.parent, name=find(root, "training", 4).name)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    assert run(["verify", text]) == 0

    told = capsys.readouterr()
    assert "verifying" in told.err
    assert "verifying" not in told.out
