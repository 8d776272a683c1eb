"""What a manager keeps after each save: its rules, whose best, and the limit of the trash."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import HASTY, tiny_model

from ckptop.store.actions import delete_checkpoints
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import UsageError
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.trash import TrashLimit, list_trash
from ckptop.store.views import read_run, read_standalone


def manager_of(tmp_path: Path, keep: int, **more: Any) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", keep, fs=HASTY, **more)


def save(manager: CheckpointManager, *losses: float) -> list[int]:
    """Save an epoch for each loss; returns the epochs that are left."""
    for epoch, loss in enumerate(losses, start=1):
        manager.save_training_checkpoint(tiny_model(epoch), None, epoch, epoch * 10, {"val/loss": loss})
    return [info.epoch for info in manager.list_checkpoints("training")["training"]]


def test_a_script_that_names_its_metric_keeps_the_best_beside_the_newest(tmp_path: Path) -> None:
    assert save(manager_of(tmp_path, 1, metric="val/loss"), 0.5, 0.1, 0.3, 0.2) == [2, 4]


def test_the_mode_may_be_said(tmp_path: Path) -> None:
    assert save(manager_of(tmp_path, 1, metric="val/loss", mode="max"), 0.5, 0.9, 0.3, 0.2) == [2, 4]


def test_without_a_metric_nothing_is_best(tmp_path: Path) -> None:
    assert save(manager_of(tmp_path, 1), 0.5, 0.1, 0.3) == [3]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (Policy(keep_every_epochs=3), [3, 6, 7]),
        (Policy(keep_every_steps=20), [2, 4, 6, 7]),
        (Policy(keep_best=2, metric="val/loss"), [1, 2, 7]),
        (Policy(keep_spacing_seconds=3600), [1, 7]),
    ],
)
def test_further_rules_keep_more(tmp_path: Path, policy: Policy, left: list[int]) -> None:
    manager = manager_of(tmp_path, 1, policies=[policy])

    assert save(manager, 0.1, 0.2, 0.9, 0.8, 0.7, 0.6, 0.5) == left


def test_what_an_attempt_began_from_outlives_its_own_saves(tmp_path: Path) -> None:
    """Until it ends: it may have to begin there again."""
    with Run.create(tmp_path, name="mine", task="t", max_training_checkpoints=1) as first:
        first.checkpoints.save_training_checkpoint(tiny_model(1), None, 1, 10, {})
    with Run.create(tmp_path, name="mine", task="t", max_training_checkpoints=1, resume="auto") as second:
        for epoch in (2, 3, 4):
            second.checkpoints.save_training_checkpoint(tiny_model(epoch), None, epoch, epoch * 10, {})

        assert [info.epoch for info in read_run(second.root).checkpoints] == [1, 4]


def test_a_manager_that_keeps_all_has_no_use_for_further_rules(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, 0, policies=[Policy(keep_last=1)])

    assert save(manager, 0.1, 0.2, 0.3) == [1, 2, 3]


def test_releases_are_never_cleaned_up(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, 1)
    manager.save_production_checkpoint(tiny_model(), "1.0.0", {}, {})

    with pytest.raises(UsageError, match="never deleted"):
        manager.cleanup_old_checkpoints("production", keep=0)

    assert len(manager.list_checkpoints("production")["production"]) == 1


def test_the_trash_is_purged_after_a_save_where_there_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manager_of(tmp_path, 0, trash_limit=TrashLimit(max_age_seconds=3600))
    save(manager, 0.1, 0.2, 0.3)
    view = read_standalone(manager.checkpoint_dir)
    now = time.time_ns()
    for place, age_seconds in enumerate((7200, 60)):
        monkeypatch.setattr(time, "time_ns", lambda ns=now - age_seconds * 10**9: ns)
        delete_checkpoints(view, [view.checkpoints[place]], HASTY)

    manager.save_training_checkpoint(tiny_model(), None, 9, 90, {})

    assert [entry.info.epoch for entry in list_trash(manager.paths)] == [2]


def test_a_metric_that_still_knows_its_gradient_is_a_number(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, 0)
    loss = tiny_model(1)(torch.ones(1, 2)).sum()

    manager.save_training_checkpoint(tiny_model(), None, 1, 10, {"val/loss": loss})
    manager.save_milestone_checkpoint(tiny_model(), loss, "val/loss", 1, step=10)

    assert [info.metric("val/loss") for info in read_standalone(manager.checkpoint_dir).checkpoints] == [2.0, 2.0]
