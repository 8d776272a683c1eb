"""Where curves broke: told where they did, and not where they are merely noisy."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from ckptop.store.breaks import Break, find_breaks
from ckptop.store.metric_log import MetricLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def breaks_of(path: Path, values: Iterable[float], name: str = "train/loss", pace: float = 0.1) -> list[Break]:
    with path.open("a") as file:
        for step, value in enumerate(values, 1):
            spelled: float | str = value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity"
            file.write(json.dumps({"step": step, "time": step * pace, name: spelled}) + "\n")
    return read(path)


def read(path: Path) -> list[Break]:
    log = MetricLog(path)
    log.poll()
    return find_breaks(log)


def noisy(count: int, seed: int = 0) -> list[float]:
    chance = random.Random(seed)  # noqa: S311  no secret
    return [2 * math.exp(-step / 100) + 0.1 + 0.05 * chance.random() for step in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_falling_and_noisy_loss_has_no_break(seed: int, path: Path) -> None:
    assert breaks_of(path, noisy(600, seed)) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_loss_near_zero_that_is_ten_times_the_usual_now_and_then_has_no_break(seed: int, path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311  no secret
    values = [0.001 * math.exp(chance.gauss(0, 1)) for _ in range(600)]

    assert breaks_of(path, values) == []
    assert [one.kind for one in breaks_of(path, [*values, 5.0, *values])] == ["jump"]


def test_the_first_nan_is_told_with_what_was_before(path: Path) -> None:
    values = noisy(300)

    found = breaks_of(path, [*values[:200], math.nan, math.nan])

    assert [(one.kind, one.step, one.usual, one.lasts) for one in found] == [("not-finite", 201, values[199], True)]
    assert math.isnan(found[0].value)


def test_an_infinity_that_passed_has_not_lasted(path: Path) -> None:
    found = breaks_of(path, [1.0, math.inf, 1.0, 1.0])

    assert [(one.step, one.value, one.lasts) for one in found] == [(2, math.inf, False)]


def test_a_nan_from_the_first_step_had_nothing_before(path: Path) -> None:
    assert breaks_of(path, [math.nan])[0].usual is None


def test_a_spike_that_came_back_is_told_where_it_was_worst(path: Path) -> None:
    values = noisy(400)
    values[300:303] = [3.0, 9.0, 2.0]

    found = breaks_of(path, values)

    assert [(one.kind, one.step, one.value, one.lasts) for one in found] == [("jump", 302, 9.0, False)]
    assert found[0].usual == pytest.approx(0.2, abs=0.1)


def test_a_loss_that_climbs_away_is_told_where_it_left(path: Path) -> None:
    found = breaks_of(path, [*noisy(300), *(1.0 + 0.5 * step for step in range(30))])

    assert [(one.kind, one.step, one.lasts) for one in found] == [("jump", 301, True)]


def test_a_metric_that_is_no_loss_may_jump(path: Path) -> None:
    assert breaks_of(path, [*[0.1] * 100, 5.0], name="val/accuracy") == []


def test_few_values_of_an_epoch_can_jump_too(path: Path) -> None:
    found = breaks_of(path, [1.0, 0.9, 0.85, 0.8, 0.78, 0.77, 0.76, 0.75, 0.74, 4.0], name="val/loss")

    assert [(one.step, one.value) for one in found] == [(10, 4.0)]


def test_a_pace_that_dropped_is_told_from_the_times_of_the_lines(path: Path) -> None:
    with path.open("w") as file:
        moment = 0.0
        for step in range(1, 201):
            moment += 0.1 if step <= 180 else 1.0
            file.write(json.dumps({"step": step, "time": moment, "lr": 1.0}) + "\n")

    found = read(path)

    assert [(one.kind, one.metric, one.step) for one in found] == [("slow", "steps_per_second", 181)]
    assert found[0].value == pytest.approx(1.0)
    assert found[0].usual == pytest.approx(10.0)


def test_a_pace_that_is_logged_is_taken(path: Path) -> None:
    found = breaks_of(path, [*[100.0] * 100, *[20.0] * 10], name="samples_per_second")

    assert [(one.kind, one.metric, one.step) for one in found] == [("slow", "samples_per_second", 101)]


def test_an_abandoned_nan_does_not_count(path: Path) -> None:
    breaks_of(path, [1.0, 1.0, math.nan])
    with path.open("a") as file:
        file.write('{"attempt":2,"from_step":2,"time":1}\n{"step":3,"time":2,"train/loss":1.0}\n')

    assert read(path) == []


def test_an_empty_log_has_no_break(path: Path) -> None:
    path.touch()

    assert read(path) == []


def test_a_jump_before_the_newest_values_is_not_looked_for(path: Path) -> None:
    values = noisy(600)
    values[300] = 9.0
    breaks_of(path, values)
    log = MetricLog(path)
    log.poll()

    assert [one.kind for one in find_breaks(log)] == ["jump"]
    assert find_breaks(log, 200) == []
