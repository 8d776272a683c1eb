"""What a person does to checkpoints: re-checked when it happens, told, undoable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from power_cut import HastyFileSystem
from store_fixture import live_process
from tiny_model import HASTY, clone, find, keys_of, make_run, manager_of, save, tiny_model

from ckptop.store.actions import delete_checkpoints, plan_prune, prune, restore_checkpoints
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.cleanup import live_start
from ckptop.store.errors import StoreError
from ckptop.store.events import read_events
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import Manifest, encode
from ckptop.store.records import Attempt, RunRecord, Status
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.trash import list_trash
from ckptop.store.views import read_run, read_standalone


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("actions") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def start_from(root: Path, epoch: int, phase: str) -> None:
    """A second attempt that began at a checkpoint of `epoch`."""
    record = read_json(root / "run.json", RunRecord)
    attempt = Attempt(attempt=2, from_step=500, from_checkpoint=find(root, "training", epoch).key, time=2.0)
    (root / "run.json").write_bytes(encode(msgspec.structs.replace(record, attempts=[*record.attempts, attempt])))
    status = Status(phase=phase, heartbeat=1.0, process=live_process())  # type: ignore[arg-type]  # a plain str
    (root / "status.json").write_bytes(encode(status))


def test_a_prune_does_what_its_plan_said_and_can_be_undone(root: Path) -> None:
    view = read_run(root)
    before = keys_of(root)
    said = plan_prune(view, [Policy(keep_last=1)])

    done, entries = prune(view, [Policy(keep_last=1)])

    assert done.deleted_keys == said.deleted_keys == {entry.home for entry in entries}
    assert {info.epoch for info in read_run(root).checkpoints if info.tier == "training"} == {1, 3, 5}
    told = read_events(RunPaths(root).events)[-1]
    assert (told.event, told.details["freed_bytes"]) == ("pruned", done.deleted_bytes)
    restore_checkpoints(view, entries)
    assert [sorted(keys) for keys in keys_of(root)] == [sorted(keys) for keys in before]


def test_a_checkpoint_saved_since_the_plan_is_not_lost(root: Path) -> None:
    stale = read_run(root)
    save(manager_of(root, HASTY), 6, 0.2)

    prune(stale, [Policy(keep_last=1)])

    assert {info.epoch for info in read_run(root).checkpoints if info.tier == "training"} == {1, 3, 6}


def test_nothing_to_prune_tells_nothing(root: Path) -> None:
    done, entries = prune(read_run(root), [Policy(keep_last=9)])

    assert (done.deleted, entries) == ((), [])
    assert not RunPaths(root).events.exists()


def test_what_a_live_attempt_began_from_is_kept_until_it_ends(root: Path) -> None:
    start_from(root, 2, "running")
    with pytest.raises(StoreError, match="the running attempt of mine began here; stop it first"):
        delete_checkpoints(read_run(root), [find(root, "training", 2)])
    assert find(root, "training", 2).key not in plan_prune(read_run(root), [Policy(keep_last=1)]).deleted_keys

    start_from(root, 2, "finished")

    assert len(delete_checkpoints(read_run(root), [find(root, "training", 2)])) == 1


def test_what_a_fork_began_from_is_not_deleted(root: Path) -> None:
    path = manifest_path(find(root, "training", 2).path)
    path.write_bytes(encode(msgspec.structs.replace(read_json(path, Manifest), forks=["child"])))
    (root.parent / "child").mkdir()
    (root.parent / "child" / "run.json").write_bytes(b"{}")

    with pytest.raises(StoreError, match="child began here; delete that run first"):
        delete_checkpoints(read_run(root), [find(root, "training", 2)])


def test_no_status_protects_as_a_live_one_does(root: Path) -> None:
    start_from(root, 2, "running")
    record = read_json(root / "run.json", RunRecord)

    assert live_start(record, None) == {find(root, "training", 2).key}
    assert live_start(None) == frozenset()


def test_deleting_the_best_milestone_moves_its_link(root: Path) -> None:
    milestones = RunPaths(root).checkpoints.milestone

    delete_checkpoints(read_run(root), [find(root, "milestone", 2)])

    assert not os.path.lexists(milestones / "best_accuracy.pt")
    assert (milestones / "best_loss.pt").exists()


def test_a_stand_alone_set_is_acted_on_without_events(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, fs=HASTY)
    for epoch in (1, 2):
        manager.save_training_checkpoint(tiny_model(), None, epoch, epoch, {})
    view = read_standalone(tmp_path)

    entries = delete_checkpoints(view, [view.checkpoints[0]])
    restore_checkpoints(view, entries)

    assert len(manager.list_checkpoints()["training"]) == 2
    assert list_trash(manager.paths) == []
    assert not (tmp_path / "events.jsonl").exists()


def test_a_plan_shown_before_a_resume_does_not_delete_where_it_began(tmp_path: Path) -> None:
    """The run is read again under the lock: what happened while the dialog was open counts."""
    with Run.create(tmp_path, name="mine", task="toy") as run:
        for step in range(1, 6):
            run.checkpoints.max_training_checkpoints = 0
            run.checkpoints.save_training_checkpoint(tiny_model(), None, step, step, {})
    shown = read_run(tmp_path / "mine")
    resumed = Run.create(tmp_path, name="mine", task="toy", resume="step=3")
    resumed.begin()

    prune(shown, [Policy(keep_last=0)])
    with pytest.raises(StoreError, match="the running attempt of mine began here"):
        delete_checkpoints(shown, [info for info in shown.checkpoints if info.step == 3])

    kept = {info.step for info in read_run(tmp_path / "mine").checkpoints}
    resumed.finish("finished", code=0)
    assert kept == {3}


def test_nothing_is_changed_through_a_linked_directory(tmp_path: Path) -> None:
    """A stranger's store may hold links that lead out of it."""
    with Run.create(tmp_path / "runs", name="mine", task="toy") as run:
        run.checkpoints.save_training_checkpoint(tiny_model(), None, 1, 1, {})
    outside = tmp_path / "outside"
    outside.mkdir()
    (run.root / "checkpoints" / ".trash").symlink_to(outside)
    view = read_run(run.root)

    with pytest.raises(StoreError, match="symbolic link"):
        delete_checkpoints(view, view.checkpoints)

    assert list(outside.iterdir()) == []
    assert view.checkpoints[0].exists()


def test_what_was_abandoned_since_the_look_is_not_deleted(root: Path) -> None:
    """By a going-back that is not complete yet: whoever opens the run moves it to `.discarded/` with the rest."""
    seen = read_run(root)
    info = find(root, "training", 5)
    start_from(root, 3, "stopped")
    record = read_json(root / "run.json", RunRecord)
    back = msgspec.structs.replace(record.attempts[-1], from_step=300)
    (root / "run.json").write_bytes(encode(msgspec.structs.replace(record, attempts=[*record.attempts[:-1], back])))

    assert delete_checkpoints(seen, [info], HASTY) == []

    assert info.path.exists()


class FullDisk(HastyFileSystem):
    """No block is left: no file can be made, while names still can."""

    def create(self, path: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_full_disk_lets_a_person_delete_to_make_room(root: Path) -> None:
    """The move to the trash, and back, writes no bytes."""
    info, before = find(root, "training", 4), keys_of(root)

    entries = delete_checkpoints(read_run(root), [info], FullDisk())

    assert [entry.info.manifest for entry in entries] == [info.manifest]
    assert not manifest_path(info.path).exists()
    restore_checkpoints(read_run(root), entries, FullDisk())
    assert keys_of(root) == before


def test_a_move_that_was_cut_off_between_two_names_of_a_manifest_is_made_again(root: Path) -> None:
    info = find(root, "training", 4)
    (entry,) = delete_checkpoints(read_run(root), [info], HASTY)
    manifest_path(info.path).hardlink_to(manifest_path(entry.info.path))

    restore_checkpoints(read_run(root), [entry], HASTY)

    assert os.listdir(root / "checkpoints" / ".staging") == []
    assert find(root, "training", 4).manifest == info.manifest
