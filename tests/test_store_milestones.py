"""Two that save milestones of one metric at once: whether it improved is decided again when it is committed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import HASTY, METRIC, manager_of, save, tiny_model

from ckptop.store import saving
from ckptop.store.checkpoints import CheckpointManager


def save_best(manager: CheckpointManager, value: float, epoch: int) -> str | None:
    return manager.save_milestone_checkpoint(tiny_model(epoch), value, METRIC.name, epoch, step=100 * epoch)


def values_in(manager: CheckpointManager) -> list[float | None]:
    return [info.metric(METRIC.name) for info in manager.list_checkpoints("milestone")["milestone"]]


def before_the_lock(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Let somebody else act once, when a save has seen that it improves and has not taken the lock yet."""
    describe, waiting = getattr(saving, name), [act]

    def overtaken(path: Path) -> Any:
        if waiting:
            waiting.pop()()
        return describe(path)

    monkeypatch.setattr(saving, name, overtaken)


@pytest.mark.parametrize("name", ["index_tensors", "read_index"], ids=["written", "linked"])
def test_a_milestone_that_a_better_one_overtakes_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first, second = (manager_of(tmp_path / "mine", HASTY) for _ in range(2))
    if name == "read_index":
        save(first, 1, 0.8)
    before_the_lock(monkeypatch, name, lambda: save_best(second, 0.9, 2))

    assert save_best(first, 0.8, 1) is None

    assert values_in(first) == [0.9]
    assert os.listdir(first.paths.staging) == []


@pytest.mark.parametrize("name", ["index_tensors", "read_index"], ids=["written", "linked"])
def test_a_milestone_that_overtakes_a_lesser_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first, second = (manager_of(tmp_path / "mine", HASTY) for _ in range(2))
    if name == "read_index":
        save(first, 1, 0.8)
    before_the_lock(monkeypatch, name, lambda: save_best(second, 0.7, 2))

    assert save_best(first, 0.8, 1) is not None

    assert sorted(value or 0 for value in values_in(first)) == [0.7, 0.8]


def test_the_link_means_the_best_whoever_moves_it_last(tmp_path: Path) -> None:
    second = manager_of(tmp_path / "mine", HASTY)
    made: list[str | None] = []

    def overtake(event: str, _step: int, _details: dict[str, Any]) -> None:
        if event == "milestone":  # told between the commit and the move of the link
            made.append(save_best(second, 0.9, 2))

    first = CheckpointManager(tmp_path / "mine" / "checkpoints", 0, fs=HASTY, on_event=overtake)
    assert save_best(first, 0.8, 1) is not None

    assert made[0] is not None
    assert os.readlink(first.milestone_dir / "best_accuracy.pt") == Path(made[0]).name


def test_one_that_was_deleted_before_its_link_moved_has_no_link(tmp_path: Path) -> None:
    def delete(event: str, _step: int, _details: dict[str, Any]) -> None:
        if event in ("saved", "milestone"):  # told between the commit and the move of the link
            for path in manager.paths.root.glob("*/*.pt"):
                path.unlink()

    manager = CheckpointManager(tmp_path / "checkpoints", 0, fs=HASTY, on_event=delete)

    manager.save_training_checkpoint(tiny_model(1), None, 1, 100, {})
    save_best(manager, 0.8, 1)

    assert [path for path in manager.paths.root.glob("*/*.pt") if path.is_symlink()] == []
