"""Deletion that can be undone, until it is purged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from power_cut import CutFileSystem, PowerCut, RecordingFileSystem
from tiny_model import HASTY, OPERATIONS, clone, find, keys_of, make_run, pin

from ckptop.store.actions import delete_checkpoints, restore_checkpoints
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.events import read_events
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.room import purge_for
from ckptop.store.trash import delete, list_discarded, list_trash, purge, quarantine, restore
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trash") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


@pytest.fixture
def paths(root: Path) -> CheckpointPaths:
    return RunPaths(root).checkpoints


def test_what_was_deleted_is_listed_newest_first_and_whole(root: Path, paths: CheckpointPaths) -> None:
    delete(paths, [find(root, "training", 2)])

    listed = list_trash(paths)

    assert [entry.info.epoch for entry in listed] == [2, 1, 6]
    assert listed[0].home == "training/checkpoint_epoch_0002_step_00000200.pt"
    assert all(verify_checkpoint(entry.info) is None for entry in listed)
    assert all(abs(entry.deleted - listed[0].deleted) < 3600 for entry in listed)


def test_a_restored_checkpoint_is_as_it_was(root: Path, paths: CheckpointPaths) -> None:
    wanted = find(root, "training", 2)
    files = {path.name: path.read_bytes() for path in paths.training.glob(f"{wanted.path.stem}*")}
    before = keys_of(root)

    entries = delete(paths, [wanted])
    assert not list(paths.training.glob(f"{wanted.path.stem}*"))
    restore(paths, entries)

    assert not entries[0].directory.exists()
    assert {path.name: path.read_bytes() for path in paths.training.glob(f"{wanted.path.stem}*")} == files
    assert [sorted(keys) for keys in keys_of(root)] == [sorted(keys) for keys in before]


def test_a_name_that_is_taken_again_is_not_overwritten(root: Path, paths: CheckpointPaths) -> None:
    entries = delete(paths, [find(root, "training", 2)])
    taken = paths.training / entries[0].info.name
    taken.write_bytes(b"another")

    with pytest.raises(StoreError, match="exists; move it away"):
        restore(paths, entries)

    assert taken.read_bytes() == b"another"
    assert entries[0].info.path.exists()


def test_what_was_purged_cannot_be_restored(root: Path, paths: CheckpointPaths) -> None:
    entries = delete(paths, [find(root, "training", 2)])
    purge(paths)

    with pytest.raises(NotFound, match="no longer in the trash"):
        restore(paths, entries)


def test_one_that_is_gone_already_is_passed_over(root: Path, paths: CheckpointPaths) -> None:
    gone, there = find(root, "training", 2), find(root, "training", 4)
    os.unlink(gone.path)

    entries = delete(paths, [gone, there])

    assert [entry.info.epoch for entry in entries] == [4]


def test_a_purge_frees_an_inode_once_and_only_where_nothing_else_holds_it(root: Path, paths: CheckpointPaths) -> None:
    purge(paths)
    linked, alone = find(root, "milestone", 2), find(root, "training", 4)
    delete(paths, [linked, alone])

    freed = purge(paths)
    delete(paths, [find(root, "training", 2)])
    later = purge(paths)

    assert freed == alone.size_bytes, "the milestone's bytes are held by its training checkpoint"
    assert later == linked.size_bytes


def test_both_names_of_one_inode_free_it_once(root: Path, paths: CheckpointPaths) -> None:
    purge(paths)
    linked = find(root, "milestone", 2)
    delete(paths, [linked, find(root, "training", 2)])

    assert purge(paths) == linked.size_bytes
    assert list_trash(paths) == []


def test_what_was_pinned_is_never_purged_not_even_a_moment_ago(root: Path, paths: CheckpointPaths) -> None:
    """Nor counted by a full disk as room that it made, which it would then try to make for ever."""
    entries = list_trash(paths)
    kept = next(entry for entry in entries if entry.info.epoch == 6)

    pin(kept.info)

    purge(paths, entries)
    assert [entry.info.key for entry in list_trash(paths)] == [kept.info.key]
    assert purge_for(None, paths, None, HASTY) == (0, 0)
    assert kept.info.path.exists()


def test_only_chosen_entries_are_purged(root: Path, paths: CheckpointPaths) -> None:
    first, second = list_trash(paths)

    purge(paths, [first])

    assert [entry.directory for entry in list_trash(paths)] == [second.directory]


def test_what_a_cut_off_deletion_left_is_not_counted_and_goes_with_the_purge(
    root: Path, paths: CheckpointPaths
) -> None:
    before = read_run(root).trash_count
    fs = CutFileSystem(6)
    with pytest.raises(PowerCut):
        delete(paths, [find(root, "training", 2)], fs)
    fs.lose_power()
    assert len(os.listdir(paths.trash)) == before + 1

    assert read_run(root).trash_count == before
    purge(paths)

    assert os.listdir(paths.trash) == []


def test_leftovers_that_a_purge_removed_do_not_come_back(paths: CheckpointPaths) -> None:
    purge(paths)
    left = paths.trash / "1763683200000000000-training-checkpoint_epoch_0002_step_00000200"
    left.mkdir()
    (left / "checkpoint_epoch_0002_step_00000200.json").write_bytes(b"{}")
    fs = CutFileSystem(1_000_000)

    fs.dies(lambda: purge(paths, fs=fs))

    assert os.listdir(paths.trash) == []


def test_one_purged_of_several_in_a_directory_does_not_come_back(root: Path, paths: CheckpointPaths) -> None:
    OPERATIONS["going-back"].act(root, HASTY)
    gone, stays = list_discarded(paths)
    assert gone.directory == stays.directory
    fs = CutFileSystem(1_000_000)

    fs.dies(lambda: purge(paths, [gone], fs))

    assert [entry.info.key for entry in list_discarded(paths)] == [stays.info.key]


def test_whoever_moves_into_or_out_of_the_trash_takes_the_lock(root: Path, paths: CheckpointPaths) -> None:
    fs = RecordingFileSystem()

    restore(paths, delete(paths, [find(root, "training", 2)], fs), fs)
    assert quarantine(paths, find(root, "training", 4), fs) is not None


def test_a_strangers_files_in_the_trash_are_left_alone(paths: CheckpointPaths) -> None:
    (paths.trash / "notes").mkdir()
    (paths.trash / "notes" / "x.txt").write_bytes(b"")

    purge(paths)

    assert os.listdir(paths.trash) == ["notes"]


def test_what_is_protected_is_not_deleted_by_hand(root: Path) -> None:
    pin(find(root, "training", 4))

    with pytest.raises(StoreError, match="is pinned"):
        delete_checkpoints(read_run(root), [find(root, "training", 2), find(root, "training", 4)])

    assert find(root, "training", 2).exists()


def test_a_deletion_and_its_undoing_are_told_and_linked(root: Path, paths: CheckpointPaths) -> None:
    newest = find(root, "training", 5)

    entries = delete_checkpoints(read_run(root), [newest])
    link_meanwhile = os.readlink(paths.training / "latest.pt")
    restore_checkpoints(read_run(root), entries)

    assert link_meanwhile == find(root, "training", 4).name
    assert os.readlink(paths.training / "latest.pt") == newest.name
    told = read_events(RunPaths(root).events)
    assert [(event.event, event.details["checkpoints"]) for event in told] == [
        ("deleted", [newest.key]), ("restored", [newest.key]),
    ]  # fmt: skip
