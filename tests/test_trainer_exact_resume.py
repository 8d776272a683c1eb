"""N steps straight are k steps, a resume and N-k steps, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trainer_runs import (
    Killed,
    assert_same_training,
    at_step,
    kill,
    logged,
    newest_state,
    run_training,
)

from ckptop.store.run import Run

CASES = {
    "digits": ("digits", {}),
    "digits-2-workers-accumulated-bf16": ("digits", {"workers": "2", "accumulate": "3", "precision": "bf16"}),
    "digits-fp16": ("digits", {"precision": "fp16", "accumulate": "2"}),
    "diabetes-2-workers": ("diabetes", {"workers": "2"}),
    "diabetes-accumulated-bf16": ("diabetes", {"accumulate": "4", "precision": "bf16"}),
    "diabetes-sgd-step": ("diabetes", {"optimizer": "sgd", "scheduler": "step", "decay_every_epochs": "1"}),
}


def stop(run: Run) -> None:
    run.request_stop("the test")


@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_within_an_epoch_and_resumed_is_bitwise_the_uninterrupted_run(tmp_path: Path, case: str) -> None:
    task, settings = CASES[case]
    assert run_training(tmp_path, task, name="straight", **settings) == 0
    steps = newest_state(tmp_path / "straight")["global_step"]

    with at_step(steps // 4 + 1, stop):
        assert run_training(tmp_path, task, name="halved", **settings) == 3
    assert newest_state(tmp_path / "halved")["loader"]["batch_in_epoch"] > 0
    torch.rand(3)  # whatever else happened to the generators in between

    assert run_training(tmp_path, task, name="halved", resume="auto") == 0
    assert_same_training(tmp_path / "straight", tmp_path / "halved")


def test_a_run_resumed_at_the_end_of_an_epoch_is_bitwise_the_uninterrupted_run(tmp_path: Path) -> None:
    run_training(tmp_path, name="straight")
    per_epoch = newest_state(tmp_path / "straight")["global_step"] // 3

    with at_step(per_epoch, stop):
        assert run_training(tmp_path, name="halved") == 3
    assert (
        newest_state(tmp_path / "halved")["loader"] | {"epoch": 2, "batch_in_epoch": 0}
        == (newest_state(tmp_path / "halved")["loader"])
    )

    assert run_training(tmp_path, name="halved", resume="auto") == 0
    assert_same_training(tmp_path / "straight", tmp_path / "halved")


def test_a_run_that_died_goes_back_to_its_checkpoint_and_is_bitwise_the_uninterrupted_run(tmp_path: Path) -> None:
    """What it had logged past the checkpoint is abandoned and written anew with the same bits."""
    run_training(tmp_path, "digits", name="straight", save_every_steps="5")

    with at_step(13, kill), pytest.raises(Killed):
        run_training(tmp_path, "digits", name="died", save_every_steps="5")
    assert newest_state(tmp_path / "died")["global_step"] == 10
    assert max(step for step, _ in logged(tmp_path / "died")) == 13

    assert run_training(tmp_path, "digits", name="died", resume="latest") == 0
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
