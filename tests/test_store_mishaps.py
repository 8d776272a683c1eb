"""What happens to stores in real life: directories removed underneath, clocks set back, disks without links."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from power_cut import HastyFileSystem
from tiny_model import METRIC, find, make_run, manager_of, save, tiny_model

from ckptop.store.actions import delete_checkpoints, prune, restore_checkpoints
from ckptop.store.events import read_events
from ckptop.store.layout import RunPaths, StorePaths
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.taking_up import take_up
from ckptop.store.trash import list_trash
from ckptop.store.verify import verify_run
from ckptop.store.verify_releases import verify_releases
from ckptop.store.views import read_run

# A directory removed underneath


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "store", name="mine", task="t", metric=("val/loss", "min"))
    step(made, 1)
    return made


def step(run: Run, epoch: int) -> Path:
    run.log(epoch, {"train/loss": 1 / epoch}, epoch=epoch)
    return Path(run.checkpoints.save_training_checkpoint(tiny_model(), None, epoch, epoch, {"val/loss": 1 / epoch}))


@pytest.mark.parametrize("name", ["", "training", "milestone", ".staging"])
def test_a_set_whose_directories_were_removed_takes_the_next_save(run: Run, name: str) -> None:
    shutil.rmtree(run.paths.checkpoints.root / name)

    step(run, 2)
    assert run.checkpoints.save_milestone_checkpoint(tiny_model(), 0.1, "val/loss", 2, step=2) is not None

    run.finish("finished", code=0)
    view = read_run(run.root)
    assert view.latest is not None
    assert view.latest.epoch == 2
    assert verify_run(view).findings == ()


def test_a_run_that_was_removed_while_it_trains_is_made_again_with_all_that_was_logged(run: Run) -> None:
    run.log(1, {"val/loss": 0.5})
    shutil.rmtree(run.root)
    run.log(2, {"train/loss": 0.25})

    step(run, 3)

    run.finish("finished", code=0)
    view = read_run(run.root)
    assert view.record == run.record
    assert view.state == "finished"
    assert [info.epoch for info in view.checkpoints] == [3]
    lines = [json.loads(line) for line in (run.root / "metrics.jsonl").read_bytes().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [1, 1, 2, 3]
    assert verify_run(view).damaged == 0
    alerts = [event.details["message"] for event in read_events(view.paths.events) if event.event == "alert"]
    assert alerts == [f"{run.root} was removed while it was trained; it was made again"]


# A clock that goes backwards


def test_a_clock_set_back_changes_neither_order_nor_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    manager = manager_of(root, HastyFileSystem(), keep=2)
    now = time.time()
    for epoch, moment in enumerate((now, now - 86_400, now - 2 * 86_400, now + 5, now - 9), start=1):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        save(manager, epoch, 0.5 - epoch / 100)

    kept = [info.epoch for info in manager.list_checkpoints("training")["training"]]
    assert kept == [1, 4, 5], "the best, and the last two by epoch and step"
    assert os.readlink(manager.training_dir / "latest.pt") == "checkpoint_epoch_0005_step_00000500.pt"


def test_deletions_under_a_clock_set_back_stay_apart_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_run(tmp_path / "store")
    frozen = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: frozen)

    for _ in range(2):
        entries = delete_checkpoints(read_run(root), [find(root, "training", 2), find(root, "training", 4)])
        assert len({entry.directory for entry in entries}) == 2
        restore_checkpoints(read_run(root), entries)
    monkeypatch.setattr(time, "time_ns", lambda: frozen - 10**15)
    delete_checkpoints(read_run(root), [find(root, "training", 2)])

    assert len(list_trash(RunPaths(root).checkpoints)) == 3
    assert verify_run(read_run(root)).damaged == 0


# A file system without links, as exFAT and some network shares


class NoLinks(HastyFileSystem):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def symlink(self, text: str, path: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


def stand_in(path: Path) -> str:
    name: str = json.loads(path.read_bytes())["file"]
    return name


def test_without_links_everything_works_by_copies_and_stand_ins(tmp_path: Path) -> None:
    fs = NoLinks()
    root = make_run(tmp_path / "store")
    for path in root.rglob("*.pt"):
        if path.is_symlink():
            path.unlink()
    manager = manager_of(root, fs)
    training, milestone = manager.training_dir, manager.milestone_dir

    newest = save(manager, 7, 0.95)
    copied = manager.save_milestone_checkpoint(tiny_model(), 0.95, METRIC.name, 7, step=700)
    assert copied is not None
    assert stand_in(training / "latest.json") == newest.name
    assert stand_in(milestone / "best_accuracy.json") == Path(copied).name

    view = read_run(root)
    entries = delete_checkpoints(view, [info for info in view.checkpoints if info.epoch == 7], fs)
    assert stand_in(training / "latest.json") == find(root, "training", 5).name
    assert stand_in(milestone / "best_accuracy.json") == find(root, "milestone", 2).name
    restore_checkpoints(read_run(root), entries, fs)
    assert stand_in(training / "latest.json") == newest.name
    promote_to_milestone(read_run(root), find(root, "training", 4), fs=fs)
    prune(read_run(root), [Policy(keep_last=1)], fs)
    release = promote_to_production(
        StorePaths(root.parent),
        read_run(root),
        find(root, "training", 7),
        model="tiny",
        version=Version(1, 0, 0),
        fs=fs,
    )
    child = RunPaths(root.parent / "child")
    child.checkpoints.staging.mkdir(parents=True)
    record = read_run(root).record
    assert record is not None
    _record, start = take_up(child, record, None, "mine:latest", fs=fs)

    assert start.from_step == 700
    assert stand_in(root.parent / "production" / "latest.json") == release.file
    assert verify_run(read_run(root)).findings == ()
    assert verify_releases(StorePaths(root.parent)).findings == ()
    assert not [path for path in root.parent.rglob("*") if path.is_symlink()]


def test_a_stand_in_without_a_meaning_goes(tmp_path: Path) -> None:
    fs = NoLinks()
    root = make_run(tmp_path / "store")
    (root / "checkpoints" / "milestone" / "best_loss.pt").unlink()
    manager_of(root, fs).save_milestone_checkpoint(tiny_model(), 0.2, "val/loss", 8)
    name = root / "checkpoints" / "milestone" / "best_loss.json"
    assert name.exists()

    view = read_run(root)
    delete_checkpoints(view, [info for info in view.checkpoints if "loss" in info.name], fs)

    assert not name.exists()
    kept = [info for info in read_run(root).checkpoints if info.tier == "milestone"]
    assert kept
    assert all(info.problem is None for info in kept)


# A milestone whose caller says no step


def test_a_milestone_of_an_unsaid_step_is_left_behind_by_going_back(tmp_path: Path) -> None:
    with Run.create(tmp_path, name="mine", task="t", metric=("val/loss", "min")) as run:
        for epoch in (1, 2):
            step(run, 10 * epoch)
        run.log(25, {"train/loss": 0.1})
        made = run.checkpoints.save_milestone_checkpoint(tiny_model(), 0.01, "val/loss", 20)
        assert made is not None
        assert read_run(run.root).checkpoints[-1].step == 25
    with Run.create(tmp_path, name="mine", task="t", resume="step=10") as run:
        run.begin()

    assert [info.step for info in read_run(run.root).checkpoints] == [10]


def test_a_script_s_milestone_takes_the_step_of_its_newest_save(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    manager = manager_of(root, HastyFileSystem())
    save(manager, 3, 0.5)

    made = manager.save_milestone_checkpoint(torch.nn.Linear(1, 1), 0.9, "accuracy", 3)

    assert made is not None
    assert find(root, "milestone", 3).step == 300
