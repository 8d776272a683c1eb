"""A run as a reader sees it, whatever is in its files, and a store that anybody may look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from store_fixture import RunPlan, build_run, build_store, live_process
from tiny_model import HASTY, manager_of, save

from ckptop.store.errors import NotFound, UsageError
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Status
from ckptop.store.store import Store
from ckptop.store.views import read_run, read_standalone

PLAN = RunPlan(name="mine", epochs=4, total_epochs=8, checkpoints=3, steps_per_epoch=10)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return build_run(tmp_path, PLAN)


def test_a_view_says_what_the_files_say(paths: RunPaths) -> None:
    view = read_run(paths.root)

    assert (view.name, view.state, view.problem, view.trash_count) == ("mine", "running", None, 0)
    assert [(info.tier, info.epoch) for info in view.checkpoints] == [
        ("milestone", 1), ("training", 2), ("training", 3), ("training", 4),
    ]  # fmt: skip
    assert (view.latest and view.latest.epoch, view.best and view.best.epoch) == (4, 1)
    assert view.best_value == view.best.metric("val/accuracy") if view.best else None
    assert view.progress == 0.5
    assert view.eta_seconds == pytest.approx(40 * 0.045)
    assert view.latest is not None
    assert view.latest.label == "training 4"


def test_bytes_of_linked_checkpoints_count_once(tmp_path: Path) -> None:
    paths = build_run(tmp_path, RunPlan(name="mine", epochs=3, checkpoints=3, milestones=(2,), size_bytes=1000))

    assert read_run(paths.root).size_bytes == 3000


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda paths: paths.record.unlink(), "run.json does not exist"),
        (lambda paths: os.truncate(paths.record, 20), "run.json is truncated"),
        (lambda paths: paths.record.write_bytes(b"\x00" * 50), "run.json does not hold what it should"),
        (lambda paths: os.truncate(paths.status, 10), "status.json is truncated"),
        (lambda paths: (paths.record.unlink(), paths.record.mkdir()), "run.json cannot be read: Is a directory"),
    ],
    ids=["missing", "torn", "zeros", "torn-status", "directory"],
)
def test_what_cannot_be_read_is_said_in_one_line(
    paths: RunPaths, spoil: Callable[[RunPaths], object], words: str
) -> None:
    spoil(paths)

    view = read_run(paths.root)

    assert view.problem is not None
    assert words in view.problem
    assert "\n" not in view.problem
    assert view.state == "unreadable"
    assert len(view.checkpoints) == 4, "the checkpoints are shown all the same"


def test_a_run_that_has_not_reported_yet_is_unknown_not_unreadable(paths: RunPaths) -> None:
    paths.status.unlink()

    view = read_run(paths.root)

    assert (view.state, view.problem) == ("unknown", None)


def test_progress_and_pace_are_none_where_nothing_says(paths: RunPaths) -> None:
    status = msgspec.json.decode(paths.status.read_bytes(), type=Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, total_steps=None, step_seconds=None)))

    view = read_run(paths.root)

    assert (view.progress, view.eta_seconds) == (None, None)


def test_links_torn_writes_and_strangers_files_are_no_checkpoints(paths: RunPaths) -> None:
    training = paths.checkpoints.training
    (training / "latest.pt").symlink_to("checkpoint_epoch_0004_step_00000040.pt")
    (training / "dangling.pt").symlink_to("nowhere.pt")
    (training / ".hidden.pt").write_bytes(b"")
    (training / "notes.txt").write_bytes(b"")
    (training / "folder.pt").mkdir()
    os.mkfifo(training / "pipe.pt")

    assert len(read_run(paths.root).checkpoints) == 4


def test_a_checkpoint_without_a_manifest_is_listed_with_its_problem(paths: RunPaths) -> None:
    (paths.checkpoints.training / "checkpoint_epoch_0009_step_00000090.pt").write_bytes(b"x")

    view = read_run(paths.root)

    assert view.checkpoints[-1].problem == (
        "checkpoint_epoch_0009_step_00000090.pt: checkpoint_epoch_0009_step_00000090.json does not exist"
    )
    assert (view.checkpoints[-1].epoch, view.checkpoints[-1].step) == (9, 90)
    assert view.latest is not None
    assert view.latest.epoch == 4, "incomplete files count for nothing"


def test_a_store_lists_its_runs_and_nothing_else(tmp_path: Path) -> None:
    build_store(tmp_path, [RunPlan(name=name, epochs=1) for name in ("b", "a")])
    for name in ("production", "metadata", "sweeps", "no-record", ".hidden"):
        (tmp_path / name).mkdir()
        if name != "no-record":
            (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "linked").symlink_to("a")

    store = Store.open(tmp_path)

    assert store.run_names() == ["a", "b"]
    assert [view.name for view in store.runs()] == ["a", "b"]
    with pytest.raises(NotFound, match=r"no run 'linked' in .*; there: a, b"):
        store.run("linked")
    with pytest.raises(NotFound):
        store.run("../outside")


def test_a_run_deleted_while_we_list_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_store(tmp_path, [RunPlan(name="a", epochs=1)])
    monkeypatch.setattr(Store, "run_names", lambda _: ["a", "gone"])

    assert [view.name for view in Store.open(tmp_path).runs()] == ["a"]


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UsageError, match="is a file"):
        Store.open(tmp_path / "file")
    with pytest.raises(NotFound, match="ckptop train"):
        Store.open(tmp_path / "none")
    assert Store.open(tmp_path / "none", missing_ok=True).runs() == []


def test_looking_changes_nothing(paths: RunPaths) -> None:
    """Watching a read-only store works: nothing is written, not even a lock."""
    before = {path: path.lstat().st_mtime_ns for path in paths.root.rglob("*")}

    read_run(paths.root)
    Store.open(paths.root.parent).runs()

    assert {path: path.lstat().st_mtime_ns for path in paths.root.rglob("*")} == before


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path)
    assert (store.writable, store.problem) == (True, None)

    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)

    assert not store.writable
    assert store.problem == f"{tmp_path} is read-only: looking works, actions are off."


def test_a_stand_alone_set_is_one_run(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "x", HASTY)
    save(manager, 1, 0.5)

    view = read_standalone(manager.checkpoint_dir)

    assert (view.name, view.state, len(view.checkpoints)) == ("checkpoints", "unknown", 1)
    assert Store.open(manager.checkpoint_dir).is_standalone


def test_an_abandoned_checkpoint_is_hidden_before_it_is_moved(tmp_path: Path) -> None:
    plan = RunPlan(name="mine", epochs=6, checkpoints=6, steps_per_epoch=10)
    paths = build_run(tmp_path, plan)
    record = msgspec.json.decode(paths.record.read_bytes())
    record["attempts"].append({"attempt": 2, "from_step": 30, "time": 1.0})
    paths.record.write_bytes(msgspec.json.encode(record))

    view = read_run(paths.root)

    assert [info.step for info in view.checkpoints if info.tier == "training"] == [10, 20, 30]


def test_the_process_named_is_this_one() -> None:
    """Guards the fixture: a live run would otherwise be shown as crashed, and the tests above as right."""
    assert live_process().pid == os.getpid()
