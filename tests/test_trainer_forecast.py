"""What a rehearsal makes of its measurements: pure functions, every bound and every verdict."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import msgspec
import pytest

from ckptop.trainer.config import TaskOptions, TrainConfig, as_dict
from ckptop.trainer.rehearsal.forecast import (
    Check,
    HostMemory,
    Pace,
    Rules,
    Sizes,
    Verdict,
    check_disk,
    check_gpu,
    check_memory,
    check_time,
    conclude,
    most_checkpoints,
    most_saves,
    pace_text,
    total_seconds,
    typical_step_seconds,
    verdict_of,
    when,
)
from ckptop.trainer.rehearsal.records import Evaluated, GpuMemory, Measured

MIB, GIB = 2**20, 2**30
NOON = datetime(2025, 11, 21, 12, 0).timestamp()

CONFIG = TrainConfig(epochs=10, model=TaskOptions())
RULES = Rules.of(as_dict(CONFIG))
MEASURED = Measured(
    validation=Evaluated(seconds=2.0, batches=4, batch_count=4), test=Evaluated(seconds=1.0, batches=2, batch_count=4),
    peak_memory_bytes=3 * GIB, worker_count=0, worker_memory_bytes=0, gpu=None,
)  # fmt: skip
PACE = Pace(start_seconds=5.0, step_seconds=0.5, save_seconds=1.5)
SIZES = Sizes(
    checkpoint_bytes=100 * MIB, step_log_bytes=1024.0, sample_bytes=512.0, free_bytes=100 * GIB, trash_bytes=0
)


def rules(**changes: object) -> Rules:
    return msgspec.structs.replace(RULES, **changes)


def test_a_step_is_timed_from_line_to_line_of_one_epoch_without_the_first_steps() -> None:
    """The first gaps are slow, one gap holds an evaluation, and one a hiccup: none of them counts."""
    times = [(1, 0.0), (1, 9.0), (1, 18.0), (1, 18.5), (1, 19.0), (2, 79.0), (2, 79.5), (2, 83.0), (2, 83.5)]

    assert typical_step_seconds(times) == 0.5


def test_where_only_the_first_steps_follow_each_other_they_are_all_there_is_to_time() -> None:
    assert typical_step_seconds([(1, 0.0), (1, 2.0)]) == 2.0


@pytest.mark.parametrize("lines", [[], [(1, 5.0)], [(1, 5.0), (2, 9.0), (3, 12.0)]])
def test_without_two_steps_in_one_epoch_no_time_is_guessed(lines: list[tuple[int, float]]) -> None:
    assert typical_step_seconds(lines) is None
    pace = dataclasses.replace(PACE, step_seconds=typical_step_seconds(lines))
    assert total_seconds(RULES, 100, pace, MEASURED) is None
    check = check_time(RULES, 100, pace, MEASURED, NOON, None)
    assert (check.verdict, check.figure) == ("unknown", "not measured")


def test_the_total_is_start_steps_evaluations_saves_and_the_test_part_scaled_to_all_of_it() -> None:
    assert total_seconds(RULES, 100, PACE, MEASURED) == 5 + 100 * 0.5 + 10 * 2 + 10 * 1.5 + 1.0 * 4 / 2


@pytest.mark.parametrize(
    ("changes", "saves"),
    [
        ({}, 10),
        ({"save_every_epochs": 5}, 10),  # a milestone may come at any epoch's end
        ({"save_every_steps": 30}, 13),
        ({"epochs": 200}, 100),  # never more than one a step
    ],
)
def test_a_run_saves_at_each_epochs_end_and_every_so_many_steps_at_most(changes: dict[str, int], saves: int) -> None:
    assert most_saves(rules(**changes), 100) == saves


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, 3 + 1 + 3 + 1),  # the newest, the best, milestones, staging
        ({"keep_training": 1, "keep_milestones": 1}, 1 + 1 + 1 + 1),
        ({"keep_milestones": None}, 10 + 1),  # all: as many as are ever saved
        ({"keep_best": 2}, 3 + 1 + 2 + 3 + 1),
        ({"keep_every_epochs": 5}, 3 + 1 + 2 + 3 + 1),
        ({"keep_every_steps": 50, "save_every_steps": 10}, 3 + 1 + 2 + 3 + 1),
        ({"keep_spacing_minutes": 1.0, "save_every_steps": 10}, 3 + 1 + 2 + 3 + 1),
        ({"epochs": 2}, 2 + 1),
    ],
)
def test_every_rule_that_keeps_adds_to_the_files_there_may_be(changes: dict[str, object], files: int) -> None:
    assert most_checkpoints(rules(**changes), 100, total_seconds=92.0) == files


def test_disk_holds_checkpoints_step_lines_and_samples_of_the_machine() -> None:
    check = check_disk(RULES, 2**20, 10240.0, SIZES)

    assert check.verdict == "ok"
    assert check.figure == "at most 1.8 GiB of 100 GiB free"  # 800 MiB, 1 GiB and 2,048 samples of 512 B
    assert check.detail == "8 checkpoints of 100 MiB and 1.0 GiB of logs"


@pytest.mark.parametrize(
    ("free_mib", "trash_mib", "verdict", "advice"),
    [
        (1100, 0, "ok", ""),
        (900, 0, "tight", "keep fewer (--set keep_training=…, keep_milestones=…), or free some"),
        (700, 0, "no", "free 100 MiB, or keep fewer (--set"),
        (700, 99, "no", "free 100 MiB, or keep fewer (--set"),
        (700, 101, "tight", "101 MiB of trash gives way"),
    ],
)
def test_a_disk_too_small_says_how_much_to_free_and_counts_the_trash(
    free_mib: int, trash_mib: int, verdict: Verdict, advice: str
) -> None:
    sizes = dataclasses.replace(
        SIZES, free_bytes=free_mib * MIB, trash_bytes=trash_mib * MIB, step_log_bytes=0.0, sample_bytes=0.0
    )

    check = check_disk(RULES, 100, 60.0, sizes)

    assert check.verdict == verdict
    assert advice in check.advice


@pytest.mark.parametrize(("needed", "verdict"), [(0, "ok"), (80, "ok"), (80.1, "tight"), (100, "tight"), (100.1, "no")])
def test_four_fifths_are_ok_and_all_of_it_is_tight(needed: float, verdict: Verdict) -> None:
    assert verdict_of(needed, 100) == verdict


@pytest.mark.parametrize(("job_ends_after", "verdict"), [(None, "ok"), (1000.0, "ok"), (100.0, "tight"), (60.0, "no")])
def test_a_job_that_ends_before_the_run_does_is_no_place_to_leave_it(
    job_ends_after: float | None, verdict: Verdict
) -> None:
    deadline = None if job_ends_after is None else NOON + job_ends_after

    check = check_time(RULES, 100, PACE, MEASURED, NOON, deadline)  # takes 92 s

    assert check.verdict == verdict
    assert check.figure == "about 2 min, done today 12:01"
    assert check.detail == "100 steps of 500 ms, 10 evaluations of 2.00 s, up to 10 saves of 1.50 s"
    if deadline is not None:
        assert "the Slurm job ends today 12:" in check.advice


def test_an_evaluation_that_was_cut_short_says_of_how_many_batches_it_was_scaled() -> None:
    cut = msgspec.structs.replace(MEASURED, validation=Evaluated(seconds=10.0, batches=50, batch_count=4000))

    check = check_time(rules(epochs=1, patience_epochs=3), 1, PACE, cut, NOON, None)

    assert "1 evaluation of 13 min (by 50 of 4,000 batches), up to 1 save of 1.50 s" in check.detail
    assert check.figure.startswith("at most")


def test_saves_that_nobody_timed_are_said_to_be_not_measured() -> None:
    check = check_time(RULES, 100, dataclasses.replace(PACE, save_seconds=None), MEASURED, NOON, None)

    assert check.detail.endswith("10 saves not measured")


def test_memory_counts_the_workers_and_says_where_they_could_not_be_counted() -> None:
    memory = HostMemory(available_bytes=4 * GIB, total_bytes=8 * GIB)
    two = msgspec.structs.replace(MEASURED, worker_count=2, worker_memory_bytes=2 * GIB)
    untold = msgspec.structs.replace(two, worker_memory_bytes=None)

    alone, with_two, without = (check_memory(measured, memory) for measured in (MEASURED, two, untold))

    assert (alone.verdict, alone.figure) == ("ok", "peak 3.0 GiB of 4.0 GiB available")
    assert (with_two.verdict, with_two.detail) == ("no", "8.0 GiB in all, 2 worker processes counted")
    assert (without.verdict, without.detail) == ("ok", "8.0 GiB in all, 2 worker processes not counted")


def test_a_peak_that_the_kernel_does_not_tell_is_not_guessed() -> None:
    check = check_memory(msgspec.structs.replace(MEASURED, peak_memory_bytes=None), HostMemory(
        available_bytes=4 * GIB, total_bytes=8 * GIB))  # fmt: skip

    assert (check.verdict, check.figure) == ("unknown", "not measured")


def test_a_gpu_is_held_against_what_others_leave_of_it() -> None:
    gpu = GpuMemory(name="H100", peak_bytes=39 * GIB, available_bytes=40 * GIB, total_bytes=80 * GIB)

    check = check_gpu(msgspec.structs.replace(MEASURED, gpu=gpu))

    assert (check.verdict, check.figure) == ("tight", "peak 39.0 GiB of 40.0 GiB available")
    assert check.detail == "H100, 80.0 GiB in all"
    assert check_gpu(MEASURED).figure == "none used"


def test_safe_names_the_time_and_what_is_tight_or_unknown() -> None:
    time = Check(name="time", verdict="ok", figure="about 3 h, done today 02:10")
    disk = Check(name="disk", verdict="tight", figure="at most 9 GiB of 10 GiB free")
    resume = Check(name="resume", verdict="unknown", figure="not tried")

    assert conclude([time]) == (True, "safe to leave overnight: about 3 h, done today 02:10")
    assert conclude([resume, time, disk]) == (
        True, "safe to leave overnight: about 3 h, done today 02:10; tight: disk; unknown: resume",
    )  # fmt: skip


def test_one_no_is_enough_and_every_no_is_told_with_what_to_do() -> None:
    ok = Check(name="time", verdict="ok", figure="about 3 h", advice="never shown")
    disk = Check(name="disk", verdict="no", figure="at most 9 GiB of 1 GiB free", advice="free 8 GiB")
    gpu = Check(name="gpu", verdict="no", figure="peak 81 GiB of 80 GiB available", advice="halve the batch")

    assert conclude([ok, disk, gpu]) == (
        False,
        (
            "not safe: disk: at most 9 GiB of 1 GiB free; free 8 GiB | "
            "gpu: peak 81 GiB of 80 GiB available; halve the batch"
        ),
    )


def test_a_moment_on_another_day_has_its_date() -> None:
    assert when(NOON + 3600, NOON) == "today 13:00"
    assert when(NOON + 86_400, NOON) == "Sat 2025-11-22 12:00"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00123, "1.23 ms"), (0.5, "500 ms"), (1.5, "1.50 s"), (99, "99.0 s"), (150, "2 min")]
)
def test_how_long_one_of_many_takes_has_three_digits_up_to_minutes(seconds: float, text: str) -> None:
    assert pace_text(seconds) == text
