"""Curves of a log that is too long to be read whole: what broke is found, at its step, by reading little."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ckptop.store.attempts import AttemptLine
from ckptop.store.sampled_log import Curves, Limits, bytes_to_read, read_curves

SMALL = Limits(whole_bytes=50_000, tail_bytes=4_000, pieces=16, piece_bytes=400)
STEPS = 20_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def line(step: int, time: float | None = None, **metrics: float) -> str:
    said: dict[str, Any] = {name: value if math.isfinite(value) else "NaN" for name, value in metrics.items()}
    return json.dumps({"step": step, "time": float(step) if time is None else time} | said)


def write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{one}\n" for one in lines))


def read(path: Path, *attempts: AttemptLine) -> Curves:
    return read_curves(path, attempts, limits=SMALL)


def found_at(curves: Curves) -> list[tuple[str, str, int, bool]]:
    return [(one.kind, one.metric, one.step, one.lasts) for one in curves.breaks]


@pytest.mark.parametrize("broke", [2, 777, 10_000, 15_432, 19_950, 20_000])
def test_the_step_of_the_first_nan_is_exact_wherever_it_is(path: Path, broke: int) -> None:
    write(path, (line(step, loss=math.nan if step >= broke else 1.0) for step in range(1, STEPS + 1)))

    curves = read(path)

    assert found_at(curves) == [("not-finite", "loss", broke, True)]
    assert curves.breaks[0].usual == 1.0
    assert curves.last_step == STEPS
    assert curves.is_sampled
    assert curves.read_bytes < curves.size_bytes / 10


def test_a_loss_that_left_what_was_usual_is_told_at_its_step(path: Path) -> None:
    write(path, (line(step, loss=9.0 if step >= 7_777 else 1.0) for step in range(1, STEPS + 1)))

    assert found_at(read(path)) == [("jump", "loss", 7_777, True)]


def test_a_metric_that_is_logged_seldom_is_looked_for_between_its_values(path: Path) -> None:
    def seldom(step: int) -> dict[str, float]:
        return {"val": math.nan if step >= 7_000 else 0.5} if step % 20 == 0 else {}

    write(path, (line(step, lr=0.1, **seldom(step)) for step in range(1, STEPS + 1)))

    assert found_at(read(path)) == [("not-finite", "val", 7_000, True)]


def test_of_a_metric_too_seldom_to_be_found_it_is_said_that_it_may_have_broken_earlier(path: Path) -> None:
    def seldom(step: int) -> dict[str, float]:
        return {"val": math.nan if step >= 3_000 else 0.5} if step % 1_000 == 0 else {}

    write(path, (line(step, lr=0.1, **seldom(step)) for step in range(1, STEPS + 1)))

    assert [one.may_be_earlier for one in read(path).breaks] == [True]


def test_what_a_resume_abandoned_is_no_break_though_its_attempt_line_was_not_read(path: Path) -> None:
    first = [line(step, loss=math.nan if step > 8_000 else 1.0) for step in range(1, 10_000)]
    began = AttemptLine(2, 7_000, 50_000.0)
    second = [line(step, time=50_000.0 + step, loss=1.0) for step in range(7_001, STEPS)]
    write(path, [*first, json.dumps(began._asdict()), *second])

    curves = read(path, AttemptLine(1, 0, 0.0), began)

    assert curves.breaks == ()
    assert curves.is_sampled


def test_a_nan_of_the_second_attempt_is_told_at_its_step(path: Path) -> None:
    first = [line(step, loss=math.nan if step > 8_000 else 1.0) for step in range(1, 10_000)]
    began = AttemptLine(2, 7_000, 50_000.0)
    second = [line(step, time=50_000.0 + step, loss=math.nan if step >= 9_123 else 1.0) for step in range(7_001, STEPS)]
    write(path, [*first, json.dumps(began._asdict()), *second])

    assert found_at(read(path, AttemptLine(1, 0, 0.0), began)) == [("not-finite", "loss", 9_123, True)]


def test_a_log_that_is_short_enough_is_read_whole(path: Path) -> None:
    write(path, [line(1, loss=1.0), line(2, loss=math.nan), "no JSON", line(3, loss=1.0)])

    curves = read(path)

    assert found_at(curves) == [("not-finite", "loss", 2, False)]
    assert not curves.is_sampled
    assert bytes_to_read(curves.size_bytes) == curves.size_bytes


def test_lines_of_any_length_and_a_torn_end_are_read_once(path: Path) -> None:
    """Pieces begin within lines longer than they are."""
    wide = {f"metric{number}": 0.5 for number in range(60)}
    write(path, (line(step, loss=float(step), **wide) for step in range(1, 400)))
    with path.open("a") as file:
        file.write('{"step":400,"lo')

    curves = read(path)

    assert curves.breaks == ()
    assert curves.last_step == 399


def test_a_log_that_is_not_there_or_not_a_file_has_no_curves(tmp_path: Path, path: Path) -> None:
    (tmp_path / "folder").mkdir()

    assert read(path) == read_curves(tmp_path / "folder", ()) == Curves()
