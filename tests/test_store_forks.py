"""Forks: a run that begins from another's checkpoint, which is kept for it as long as the fork is there."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from power_cut import die_before_reopening, each_cut
from tiny_model import HASTY, METRIC, clone, find, make_run, manager_of, save

from ckptop.store import taking_up
from ckptop.store.actions import delete_checkpoints, plan_prune, prune
from ckptop.store.errors import Damaged, Held, NotFound, StoreError, UsageError
from ckptop.store.fs import FileSystem
from ckptop.store.going_back import write_record as original
from ckptop.store.layout import RunPaths, StorePaths, manifest_path
from ckptop.store.locks import FileLock
from ckptop.store.manifest import encode
from ckptop.store.records import RunRecord
from ckptop.store.resume import Start
from ckptop.store.resume import choose_start as choose
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.run_trash import delete_run, restore_run
from ckptop.store.taking_up import take_up
from ckptop.store.verify import verify_run
from ckptop.store.views import RunView, read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base") / "store"
    make_run(root)
    return root


@pytest.fixture
def parent(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def fork(parent: Path, name: str = "child", of: str = "mine:epoch=4", resume: str | None = None) -> Run:
    return Run.create(parent.parent, name=name, task="tiny", fork_of=of, resume=resume)


def test_a_fork_begins_with_a_link_to_the_parent_s_checkpoint(parent: Path) -> None:
    with fork(parent) as run:
        assert run.start.from_step == 400
        run.begin()

    child, origin = read_run(parent.parent / "child"), find(parent, "training", 4)
    (first,) = child.checkpoints
    assert os.path.samefile(first.path, origin.path)
    assert first.manifest is not None
    assert (first.manifest.run, first.manifest.attempt, first.manifest.forks) == ("child", 0, [])
    assert child.record is not None
    assert child.record.parent is not None
    assert (child.record.parent.run, child.record.parent.checkpoint) == ("mine", origin.key)
    assert child.record.metric == METRIC
    assert child.record.attempts[0].from_step == 400
    assert os.readlink(first.path.parent / "latest.pt") == first.name
    assert verify_run(child).findings == verify_run(read_run(parent)).findings == ()


def test_what_a_fork_began_from_is_kept_by_every_rule_and_person(parent: Path) -> None:
    fork(parent).finish("finished", code=0)

    manager_of(parent, HASTY).cleanup_old_checkpoints(keep=1)
    prune(read_run(parent), [Policy(keep_last=0)], HASTY)
    with pytest.raises(StoreError, match="child began here; delete that run first"):
        delete_checkpoints(read_run(parent), [find(parent, "training", 4)], HASTY)

    assert find(parent, "training", 4).path.exists()
    reasons = {item.info.epoch: item.reasons for item in plan_prune(read_run(parent), [Policy(keep_last=0)]).kept}
    assert "child began here" in reasons[4]


def test_no_rule_deletes_the_checkpoint_while_the_fork_is_being_made(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark protects what a run began from, and the fork is a run only with its record."""
    answers: list[str] = []

    def prune_meanwhile() -> None:
        try:
            with FileLock(RunPaths(parent).checkpoints.lock, timeout_seconds=0.05):
                prune(read_run(parent), [Policy(keep_last=1)], HASTY)
            answers.append("pruned")
        except Held:
            answers.append("had to wait")

    def write_record(paths: RunPaths, record: RunRecord, fs: FileSystem) -> None:
        other = threading.Thread(target=prune_meanwhile)
        other.start()
        other.join()
        original(paths, record, fs)

    monkeypatch.setattr(taking_up, "write_record", write_record)

    fork(parent).finish("finished", code=0)

    assert answers[0] == "had to wait"
    prune(read_run(parent), [Policy(keep_last=1)], HASTY)
    assert find(parent, "training", 4).path.exists()


def test_what_happened_to_the_checkpoint_while_it_was_verified_counts(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another fork's mark is kept; another checkpoint under its name is not forked."""

    def choose_start(view: RunView, selector: str) -> Start:
        start = choose(view, selector)
        assert start.manifest is not None
        path = manifest_path(find(parent, "training", 4).path)
        path.write_bytes(encode(msgspec.structs.replace(start.manifest, **changes.pop())))
        return start

    monkeypatch.setattr(taking_up, "choose_start", choose_start)
    changes: list[dict[str, Any]] = [{"id": "of-another"}, {"forks": ["sibling"]}]

    fork(parent).finish("finished", code=0)
    with pytest.raises(NotFound, match="another has its name; nothing was forked"):
        fork(parent, "third")

    manifest = find(parent, "training", 4).manifest
    assert manifest is not None
    assert manifest.forks == ["sibling", "child"]


def test_a_fork_that_was_deleted_protects_nothing_until_it_is_back(parent: Path) -> None:
    fork(parent).finish("finished", code=0)
    store = StorePaths(parent.parent)
    gone = delete_run(store, read_run(parent.parent / "child"), HASTY)
    key = find(parent, "training", 4).key

    assert key in plan_prune(read_run(parent), [Policy(keep_last=0)]).deleted_keys
    restore_run(store, gone, HASTY)

    assert key not in plan_prune(read_run(parent), [Policy(keep_last=0)]).deleted_keys


def test_a_fork_lives_on_without_its_parent_s_name(parent: Path) -> None:
    """Its first checkpoint is a name of its own: even rm -r of the parent costs it nothing."""
    fork(parent).finish("finished", code=0)
    for path in (parent / "checkpoints" / "training").iterdir():
        path.unlink()

    assert verify_run(read_run(parent.parent / "child")).findings == ()


def test_a_fork_goes_on_as_a_run_of_its_own(parent: Path) -> None:
    with fork(parent) as run:
        run.begin()
        save(manager_of(run.root, HASTY), 9, 0.95)

    with Run.create(parent.parent, name="child", task="tiny", fork_of="mine:epoch=4", resume="auto") as again:
        assert again.start.from_step == 900


def test_a_fork_of_a_fork_knows_its_parent(parent: Path) -> None:
    fork(parent).finish("finished", code=0)

    fork(parent, "grandchild", "child").finish("finished", code=0)

    record = read_run(parent.parent / "grandchild").record
    assert record is not None
    assert record.parent is not None
    assert record.parent.run == "child"


@pytest.mark.parametrize(
    ("of", "error", "words"),
    [
        ("nobody", NotFound, "no run 'nobody'"),
        ("mine:epoch=77", NotFound, "has not a checkpoint of epoch 77"),
        ("child", NotFound, "no run 'child'"),
    ],
)
def test_what_cannot_be_forked_is_refused_in_one_line(
    parent: Path, of: str, error: type[StoreError], words: str
) -> None:
    with pytest.raises(error, match=words):
        fork(parent, of=of)

    assert not RunPaths(parent.parent / "child").record.exists()


def test_a_name_that_is_taken_is_no_fork(parent: Path) -> None:
    fork(parent).finish("finished", code=0)

    with pytest.raises(UsageError, match="run child exists"):
        fork(parent)


def test_a_damaged_checkpoint_is_not_forked(parent: Path) -> None:
    os.truncate(find(parent, "training", 4).path, 100)

    with pytest.raises(Damaged, match="100 bytes on disk"):
        fork(parent)

    assert find(parent, "training", 4).manifest is not None


def test_a_power_cut_at_any_call_leaves_parent_and_fork_whole(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off, it is no run yet, or a whole one; and it can be begun again."""
    record = RunRecord(id="id-child", name="child", task="tiny", created=1.0)
    for fs in each_cut():
        parent = clone(base, tmp_path / "cut") / "mine"
        paths = RunPaths(parent.parent / "child")
        paths.checkpoints.staging.mkdir(parents=True)
        with monkeypatch.context() as dead:
            die_before_reopening(dead)
            is_cut = fs.dies(lambda: take_up(paths, record, None, "mine:epoch=4", fs=fs))  # noqa: B023 - called at once
        assert verify_run(read_run(parent)).damaged == 0
        assert paths.record.exists() or is_cut
        resume = "auto" if paths.record.exists() else None
        taken, start = take_up(paths, record, resume, "mine:epoch=4", fs=HASTY)
        assert (start.from_step, taken.parent is not None) == (400, True)
        (first,) = read_run(paths.root).checkpoints
        assert os.path.samefile(first.path, find(parent, "training", 4).path)
        assert os.listdir(paths.checkpoints.staging) == []
        assert os.readlink(first.path.parent / "latest.pt") == first.name
        origin = find(parent, "training", 4).manifest
        assert origin is not None
        assert origin.forks == ["child"]
        shutil.rmtree(parent.parent)
