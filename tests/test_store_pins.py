"""Pins: a person's mark is in the old manifest or in the new one, whole, and no rule deletes what bears it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from power_cut import RecordingFileSystem, die_before_reopening, each_cut
from tiny_model import HASTY, OPERATIONS, assert_whole, clone, find, keys_of, make_run, manager_of, tiny_model

from ckptop.store.actions import delete_checkpoints, plan_prune
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged, NotFound, StoreError
from ckptop.store.events import current_actor, read_events
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.pins import pin, unpin
from ckptop.store.retention import Policy
from ckptop.store.views import read_run, read_standalone

Change = Callable[..., bool]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pins") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def unmarked(info: CheckpointInfo) -> object:
    """The manifest but for the mark."""
    assert info.manifest is not None
    return msgspec.structs.replace(info.manifest, pinned=None)


def test_a_pinned_checkpoint_is_kept_until_it_is_unpinned(root: Path) -> None:
    view, info = read_run(root), find(root, "training", 2)
    strict = [Policy(keep_last=1)]
    assert info.key in plan_prune(view, strict).deleted_keys

    assert pin(view, info, HASTY)

    assert info.key not in plan_prune(read_run(root), strict).deleted_keys
    with pytest.raises(StoreError, match="is pinned; `ckptop unpin` first"):
        delete_checkpoints(view, [find(root, "training", 2)])
    assert unpin(view, info, HASTY)
    assert info.key in plan_prune(read_run(root), strict).deleted_keys


def test_a_pin_says_who_and_when_and_changes_nothing_else(root: Path) -> None:
    before = find(root, "training", 3)
    bytes_before = before.path.read_bytes()

    pin(read_run(root), before)

    after = find(root, "training", 3)
    assert after.manifest is not None
    assert after.manifest.pinned is not None
    assert after.manifest.pinned.actor == current_actor()
    assert unmarked(after) == unmarked(before)
    assert after.path.read_bytes() == bytes_before
    assert after.inode == before.inode
    told = read_events(RunPaths(root).events)[-1]
    assert (told.event, told.step, told.details["checkpoint"]) == ("pinned", 300, before.key)
    unpin(read_run(root), before)
    assert read_events(RunPaths(root).events)[-1].event == "unpinned"


def test_the_other_name_of_the_same_bytes_has_a_mark_of_its_own(root: Path) -> None:
    milestone, training = find(root, "milestone", 2), find(root, "training", 2)
    assert milestone.inode == training.inode

    pin(read_run(root), milestone, HASTY)

    assert find(root, "milestone", 2).pinned
    assert not find(root, "training", 2).pinned


def test_a_second_pin_changes_and_tells_nothing(root: Path) -> None:
    info = find(root, "training", 1)
    before = manifest_path(info.path).read_bytes()

    assert not pin(read_run(root), info)
    assert not unpin(read_run(root), find(root, "training", 2))

    assert manifest_path(info.path).read_bytes() == before
    assert not RunPaths(root).events.exists()


@pytest.mark.parametrize("change", [pin, unpin])
@pytest.mark.parametrize("content", [b"", b'{"schema":1,"id"', b"[]"])
def test_a_damaged_manifest_is_refused_and_left_alone(root: Path, change: Change, content: bytes) -> None:
    info = find(root, "training", 2)
    manifest_path(info.path).write_bytes(content)

    with pytest.raises(Damaged, match="nothing was changed"):
        change(read_run(root), info)

    assert manifest_path(info.path).read_bytes() == content


def test_a_manifest_that_names_another_file_is_not_followed(root: Path) -> None:
    info, other = find(root, "training", 2), find(root, "training", 3)
    manifest_path(info.path).write_bytes(manifest_path(other.path).read_bytes())

    with pytest.raises(Damaged, match="names another file"):
        pin(read_run(root), info)

    assert not find(root, "training", 3).pinned


def test_one_that_went_meanwhile_is_not_found(root: Path) -> None:
    view, info = read_run(root), find(root, "training", 2)
    delete_checkpoints(view, [info], HASTY)

    with pytest.raises(NotFound, match="is gone; nothing was changed"):
        pin(view, info)

    assert not manifest_path(info.path).exists()


@pytest.mark.parametrize("name", ["training", ".staging", "."])
def test_nothing_is_changed_through_a_link_out_of_the_store(root: Path, tmp_path: Path, name: str) -> None:
    directory = root / "checkpoints" / name
    outside = tmp_path / "outside"
    os.rename(directory, outside)
    directory.symlink_to(outside)
    info = find(root, "training", 2)

    with pytest.raises(StoreError, match="is a symbolic link"):
        pin(read_run(root), info)

    assert not find(root, "training", 2).pinned


def test_a_checkpoint_of_a_stand_alone_set_is_pinned_without_events(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, fs=HASTY)
    manager.save_training_checkpoint(tiny_model(), None, 1, 1, {})
    view = read_standalone(tmp_path)

    pin(view, view.checkpoints[0])

    assert read_standalone(tmp_path).checkpoints[0].pinned
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.parametrize(("change", "epoch"), [(pin, 2), (unpin, 1)])
def test_a_power_cut_at_any_call_leaves_the_old_manifest_or_the_new(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, epoch: int
) -> None:
    before = keys_of(base / "mine")
    old = find(base / "mine", "training", epoch)

    for fs in each_cut():
        root = clone(base, tmp_path / "cut") / "mine"
        with monkeypatch.context() as dead:
            die_before_reopening(dead)
            is_cut = fs.dies(lambda: change(read_run(root), find(root, "training", epoch), fs))  # noqa: B023 - called at once
        assert is_cut or find(root, "training", epoch).pinned is not old.pinned
        assert unmarked(find(root, "training", epoch)) == unmarked(old)
        assert_whole(root, OPERATIONS["promote"], before)
        shutil.rmtree(root.parent)


def test_a_pin_is_durable_before_it_is_named_and_its_name_before_it_is_told(root: Path) -> None:
    fs = RecordingFileSystem()
    info = find(root, "training", 2)

    pin(read_run(root), info, fs)

    names = [call.name for call in fs.calls]
    assert names == ["mkdir", "create", "write", "fsync", "close", "rename", "fsync_dir"]
    assert [call.path for call in fs.calls[-2:]] == [manifest_path(info.path), info.path.parent]


def test_a_trainer_saves_on_while_its_run_is_pinned(root: Path) -> None:
    """Retention of the very next save keeps what was pinned a moment ago."""
    pin(read_run(root), find(root, "training", 2), HASTY)

    manager = manager_of(root, HASTY, keep=1)
    manager.save_training_checkpoint(tiny_model(), None, 7, 700, {"val/accuracy": 0.1})

    assert find(root, "training", 2).pinned
