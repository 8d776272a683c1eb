"""N steps straight are k steps, a resume and N-k steps, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from trainer_runs import (
    SMALL,
    Killed,
    assert_same_training,
    at_step,
    kill,
    logged,
    newest_state,
    run_training,
)

from ckptop.store.run import Run
from ckptop.trainer.loader import EpochLoader

SETTINGS = {
    "fp32": {"precision": "fp32", "workers": "0"},
    "fp32-2-workers": {"workers": "2"},
    "accumulated-bf16": {"accumulate": "3", "precision": "bf16"},
    "accumulated-fp16": {"accumulate": "2", "precision": "fp16"},
    "sgd-step": {"optimizer": "sgd", "scheduler": "step", "decay_every_epochs": "1"},
    # A min_delta that nothing reaches: the rate falls after every epoch, and the third is the last.
    "plateau-early-stop": {
        "epochs": "5", "scheduler": "plateau", "plateau_epochs": "1", "patience_epochs": "2", "min_delta": "1000",
    },
}  # fmt: skip
CASES = [(task, case) for task in SMALL for case in SETTINGS]


def stop(run: Run) -> None:
    run.request_stop("the test")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The uninterrupted run of a case, trained once."""
    store = tmp_path_factory.mktemp("straight")

    def root_of(task: str, case: str) -> Path:
        name = f"{task}-{case}"
        if not (store / name).exists():
            assert run_training(store, task, name=name, **SETTINGS[case]) == 0
        return store / name

    return root_of


def steps_of_an_epoch(root: Path) -> int:
    return min(step for step, name in logged(root) if name == "val/loss")


@pytest.mark.parametrize(("task", "case"), CASES)
def test_a_run_stopped_within_an_epoch_and_resumed_is_bitwise_the_uninterrupted_run(
    tmp_path: Path, straight: Callable[[str, str], Path], task: str, case: str
) -> None:
    root = straight(task, case)

    with at_step(steps_of_an_epoch(root) + 3, stop):
        assert run_training(tmp_path, task, name="halved", **SETTINGS[case]) == 3
    assert newest_state(tmp_path / "halved")["loader"]["batch_in_epoch"] > 0
    torch.rand(3)  # whatever else happened to the generators in between

    assert run_training(tmp_path, task, name="halved", resume="auto") == 0
    assert_same_training(root, tmp_path / "halved")


@pytest.mark.parametrize(("task", "case"), CASES)
def test_a_run_resumed_at_the_end_of_an_epoch_is_bitwise_the_uninterrupted_run(
    tmp_path: Path, straight: Callable[[str, str], Path], task: str, case: str
) -> None:
    root = straight(task, case)

    with at_step(steps_of_an_epoch(root), stop):
        assert run_training(tmp_path, task, name="halved", **SETTINGS[case]) == 3
    loader = newest_state(tmp_path / "halved")["loader"]
    assert (loader["epoch"], loader["batch_in_epoch"]) == (2, 0)

    assert run_training(tmp_path, task, name="halved", resume="auto") == 0
    assert_same_training(root, tmp_path / "halved")


@pytest.mark.parametrize("task", SMALL)
def test_an_early_stopped_run_killed_before_its_end_was_written_ends_the_same(
    tmp_path: Path, straight: Callable[[str, str], Path], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last checkpoint says that patience is out: nothing more is trained, and the result is judged."""
    case = "plateau-early-stop"
    with monkeypatch.context() as patch:
        patch.setattr("ckptop.trainer.train.judge", lambda run, *rest: kill(run))
        with pytest.raises(Killed):
            run_training(tmp_path, task, name="died", **SETTINGS[case])

    assert run_training(tmp_path, task, name="died", resume="auto") == 0
    loop = newest_state(tmp_path / "died")["loop"]
    assert (loop["trend"]["stale_epochs"], loop["trend"]["reductions"]) == (2, 2)
    assert_same_training(straight(task, case), tmp_path / "died")


@pytest.mark.parametrize("task", SMALL)
def test_a_run_that_died_goes_back_to_its_checkpoint_and_is_bitwise_the_uninterrupted_run(
    tmp_path: Path, task: str
) -> None:
    """What it had logged past the checkpoint is abandoned and written anew with the same bits."""
    run_training(tmp_path, task, name="straight", save_every_steps="5")

    with at_step(13, kill), pytest.raises(Killed):
        run_training(tmp_path, task, name="died", save_every_steps="5")
    assert newest_state(tmp_path / "died")["global_step"] == 10
    assert max(step for step, _ in logged(tmp_path / "died")) == 13

    assert run_training(tmp_path, task, name="died", resume="latest") == 0
    assert_same_training(tmp_path / "straight", tmp_path / "died")


def test_a_run_may_die_and_stop_several_times_and_stays_exact(tmp_path: Path) -> None:
    run_training(tmp_path, name="straight", save_every_steps="4")

    with at_step(2, kill), pytest.raises(Killed):  # before anything was saved
        run_training(tmp_path, name="torn", save_every_steps="4")
    with at_step(9, stop):
        assert run_training(tmp_path, name="torn", resume="auto") == 3
    with at_step(22, kill), pytest.raises(Killed):
        run_training(tmp_path, name="torn", resume="auto")
    assert run_training(tmp_path, name="torn", resume="auto") == 0

    assert_same_training(tmp_path / "straight", tmp_path / "torn")


def test_going_back_to_the_best_checkpoint_repeats_the_run_from_there(tmp_path: Path) -> None:
    """A milestone holds everything a training checkpoint does."""
    run_training(tmp_path, name="straight", keep_milestones="1")
    run_training(tmp_path, name="again", keep_milestones="1")

    assert run_training(tmp_path, name="again", resume="best") == 0
    assert_same_training(tmp_path / "straight", tmp_path / "again")


def test_the_number_of_workers_changes_no_bit(tmp_path: Path) -> None:
    run_training(tmp_path, "digits", name="alone", epochs="1")
    run_training(tmp_path, "digits", name="helped", epochs="1", workers="2")

    assert_same_training(tmp_path / "alone", tmp_path / "helped")


def test_the_thread_count_of_the_checkpoint_comes_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with at_step(3, stop):
            run_training(tmp_path, name="run", threads="none")
        torch.set_num_threads(1)

        run_training(tmp_path, name="run", resume="auto")
        assert torch.get_num_threads() == 2
        assert newest_state(tmp_path / "run")["rng"]["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_what_an_iterator_draws_while_it_is_made_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's DataLoader does for the seed of its workers: the random state comes back after that."""
    original = EpochLoader.epoch

    def epoch(loader: EpochLoader, *position: int) -> Iterator[tuple[torch.Tensor, ...]]:
        torch.rand(1), random.random(), np.random.rand()  # noqa: S311 - drawn to be missing
        return original(loader, *position)

    monkeypatch.setattr(EpochLoader, "epoch", epoch)
    run_training(tmp_path, name="straight")
    with at_step(20, stop):
        assert run_training(tmp_path, name="halved") == 3

    assert run_training(tmp_path, name="halved", resume="auto") == 0
    assert_same_training(tmp_path / "straight", tmp_path / "halved")
