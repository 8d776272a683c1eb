"""Whole runs to the trash and back: by one rename, never while they are trained, never out of the store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from power_cut import HastyFileSystem, each_cut
from store_fixture import RunPlan, build_store
from tiny_model import HASTY, OPERATIONS, clone, find, make_run, pin

from ckptop.store import pins
from ckptop.store.commit import change_manifest
from ckptop.store.errors import Held, NotFound, StoreError
from ckptop.store.events import read_events
from ckptop.store.find import find_put_away
from ckptop.store.fs import FileSystem
from ckptop.store.layout import StorePaths
from ckptop.store.lease import Lease
from ckptop.store.manifest import Pin
from ckptop.store.records import Actor
from ckptop.store.run import Run
from ckptop.store.run_trash import DeletedRun, delete_run, list_deleted_runs, purge_run, restore_run
from ckptop.store.store import Store
from ckptop.store.trash import delete, quarantine
from ckptop.store.verify import verify_run
from ckptop.store.views import read_run

PIN = Pin(time=1.0, actor=Actor(user="ada", host="box", pid=1))
PLANS = (
    RunPlan(name="done", phase="finished", epochs=6, total_epochs=6, milestones=(2,)),
    RunPlan(name="live", epochs=4),
    RunPlan(name="dead", alive=False, epochs=3),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("base") / "runs", PLANS)


@pytest.fixture
def store(base: Path, tmp_path: Path) -> Store:
    return Store(clone(base, tmp_path / "runs"))


def trashed(store: Store) -> list[DeletedRun]:
    return list_deleted_runs(store.paths)


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*")
        if path.is_file() and path.name not in ("events.jsonl", "lease.lock", ".lock")
    }  # fmt: skip


def test_a_run_goes_whole_and_comes_back_whole(store: Store) -> None:
    before, size = content(store.root / "done"), store.run("done").size_bytes

    gone = delete_run(store.paths, store.run("done"))

    assert store.run_names() == ["dead", "live"]
    assert [run.name for run in trashed(store)] == ["done"]
    assert gone.size_bytes >= size
    assert restore_run(store.paths, gone).name == "done"
    assert content(store.root / "done") == before
    assert trashed(store) == []
    assert verify_run(store.run("done")).findings == ()


def test_a_crashed_run_can_go(store: Store) -> None:
    delete_run(store.paths, store.run("dead"))

    assert "dead" not in store.run_names()


def test_a_run_at_work_stays(store: Store) -> None:
    with pytest.raises(Held, match="live is running; `ckptop stop live` first"):
        delete_run(store.paths, store.run("live"))

    assert "live" in store.run_names()


def test_a_run_whose_lease_is_held_stays_whatever_its_status_says(store: Store) -> None:
    lease = Lease.acquire(store.run("done").paths)
    try:
        with pytest.raises(Held):
            delete_run(store.paths, store.run("done"))
    finally:
        lease.release()

    assert "done" in store.run_names()
    delete_run(store.paths, store.run("done"))


def test_a_run_with_a_pin_stays(store: Store) -> None:
    view = store.run("done")
    change_manifest(HASTY, view.checkpoint_paths, view.checkpoints[0].path, pinned=PIN)

    with pytest.raises(StoreError, match=r"holds pinned checkpoints .* unpin"):
        delete_run(store.paths, view)

    assert "done" in store.run_names()


@pytest.mark.parametrize("place", ["abandoned", "damaged", "deleted"])
def test_a_run_with_a_pin_on_what_was_put_away_stays_until_it_is_unpinned(tmp_path: Path, place: str) -> None:
    """Pinned, then left behind by a going back: emptying the trash must never take it with the run."""
    root = make_run(tmp_path / "runs")
    store, paths = Store(root.parent), StorePaths(root.parent)
    kept = find(root, "training", 5)
    pin(kept)
    if place == "abandoned":
        OPERATIONS["going-back"].act(root, HASTY)
    elif place == "damaged":
        quarantine(store.run("mine").checkpoint_paths, kept)
    else:
        delete(store.run("mine").checkpoint_paths, [kept])
    pins.unpin(store.run("mine"), find(root, "training", 1))

    with pytest.raises(StoreError, match=r"holds pinned checkpoints \(\.(discarded|quarantine|trash)/.* unpin"):
        delete_run(paths, store.run("mine"))
    pins.unpin(*find_put_away(store, f"mine:{kept.name}"))
    delete_run(paths, store.run("mine"))

    assert store.run_names() == []


def test_a_pin_made_while_a_run_is_deleted_is_not_lost(store: Store) -> None:
    """What is pinned is looked at under the lock that a pin takes, and not before."""
    view = store.run("done")

    class PinsFirst(HastyFileSystem):
        def mkdir(self, path: Path) -> None:
            super().mkdir(path)
            if path == store.paths.trash:
                pins.pin(view, view.checkpoints[0], HASTY)

    with pytest.raises(StoreError, match="holds pinned checkpoints"):
        delete_run(store.paths, view, PinsFirst())

    assert "done" in store.run_names()
    assert trashed(store) == []
    told = [event.event for event in read_events(view.paths.events)]
    assert "deleted" not in told


def test_a_run_with_a_fork_of_what_it_abandoned_stays(tmp_path: Path) -> None:
    root = make_run(tmp_path / "runs")
    Run.create(root.parent, name="child", task="tiny", fork_of="mine:epoch=5").finish("finished", code=0)
    pins.unpin(read_run(root), find(root, "training", 1))
    OPERATIONS["going-back"].act(root, HASTY)

    with pytest.raises(StoreError, match="child began from mine; delete that first"):
        delete_run(StorePaths(root.parent), read_run(root))


def test_a_run_with_a_fork_stays_until_that_is_gone(store: Store) -> None:
    view = store.run("done")
    change_manifest(HASTY, view.checkpoint_paths, view.checkpoints[0].path, forks=["dead", "never-was"])

    with pytest.raises(StoreError, match="dead began from done; delete that first"):
        delete_run(store.paths, view)
    delete_run(store.paths, store.run("dead"))
    delete_run(store.paths, store.run("done"))

    assert store.run_names() == ["live"]


def test_nothing_is_restored_over_a_run(store: Store) -> None:
    gone = delete_run(store.paths, store.run("done"))
    (store.root / "done").mkdir()

    with pytest.raises(StoreError, match="exists"):
        restore_run(store.paths, gone)

    assert trashed(store) == [gone]


def test_what_was_purged_is_not_found(store: Store) -> None:
    gone = delete_run(store.paths, store.run("done"))
    freed = purge_run(store.paths, gone)

    assert freed > 0
    assert trashed(store) == []
    assert os.listdir(store.paths.trash) == []
    with pytest.raises(NotFound, match="no longer in the trash"):
        restore_run(store.paths, gone)


def test_a_purge_follows_no_link(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_bytes(b"years")
    (store.root / "done" / "away").symlink_to(precious)
    shared = next((store.root / "done" / "checkpoints" / "training").glob("*.pt"))
    (tmp_path / "second-name.pt").hardlink_to(shared)
    gone = delete_run(store.paths, store.run("done"))

    purge_run(store.paths, gone)

    assert (precious / "thesis.tex").read_bytes() == b"years"
    assert (tmp_path / "second-name.pt").exists()
    assert not gone.directory.exists()


def test_bytes_with_a_name_elsewhere_are_not_counted_as_freed(store: Store, tmp_path: Path) -> None:
    training = store.root / "done" / "checkpoints" / "training"
    shared = next(path for path in training.glob("*.pt") if not path.is_symlink() and path.stat().st_nlink == 1)
    before = delete_run(store.paths, store.run("done"))
    alone = before.size_bytes

    (tmp_path / "second-name.pt").hardlink_to(next(before.directory.rglob(shared.name)))

    assert before.size_bytes == alone - (tmp_path / "second-name.pt").stat().st_size


def test_a_link_in_the_place_of_a_run_or_of_the_trash_is_refused(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    store.paths.trash.symlink_to(outside)

    with pytest.raises(StoreError, match="symbolic link"):
        delete_run(store.paths, store.run("done"))

    assert "done" in store.run_names()
    assert list(outside.iterdir()) == []


def test_names_in_the_trash_that_are_none_of_ours_are_left_alone(store: Store) -> None:
    for name in ("notes", "12-.._evil", "x-done"):
        (store.paths.trash / name).mkdir(parents=True)

    assert trashed(store) == []


@pytest.mark.parametrize("action", ["delete", "restore", "purge"])
def test_a_power_cut_at_any_call_leaves_the_run_whole_on_one_side(base: Path, tmp_path: Path, action: str) -> None:
    """Of a purge: whole, or no longer there to be restored."""
    for fs in each_cut():
        store = Store(clone(base, tmp_path / "cut"))
        before = content(store.root / "done")
        gone = None if action == "delete" else delete_run(store.paths, store.run("done"), HASTY)
        is_cut = fs.dies(lambda: act(store, action, gone, fs))  # noqa: B023 - called at once
        here = [content(store.root / "done")] if "done" in store.run_names() else []
        there = [content(run.directory) for run in trashed(store)]
        assert here + there == [before] or (action == "purge" and not here and not there)
        assert is_cut or bool(here) == (action == "restore"), "what was done is durable"
        assert is_cut or bool(there) == (action == "delete"), "what was done is durable"
        if action == "purge":
            for run in trashed(store):
                purge_run(store.paths, run)
            if os.listdir(store.paths.trash):
                purge_run(store.paths, delete_run(store.paths, store.run("dead"), HASTY))
            assert os.listdir(store.paths.trash) == [], "the next purge removes what this one left"
        shutil.rmtree(store.root)


def act(store: Store, action: str, gone: DeletedRun | None, fs: FileSystem) -> None:
    if gone is None:
        delete_run(store.paths, store.run("done"), fs)
    elif action == "restore":
        restore_run(store.paths, gone, fs)
    else:
        purge_run(store.paths, gone, fs)


def test_the_store_s_own_directories_are_no_runs(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    paths.trash.mkdir()

    assert Store(tmp_path).run_names() == []
