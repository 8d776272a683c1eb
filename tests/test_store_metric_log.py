"""metrics.jsonl, reading: every value of every line, through resumes, damage, foreign writers and replacement."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptop.store import columns, metric_log
from ckptop.store.attempts import AttemptLine, attempt_lines, last_attempt_line
from ckptop.store.metric_lines import LineSchema, to_column
from ckptop.store.metric_log import MetricLog
from ckptop.store.metric_writer import MetricWriter

GOLDEN = Path(__file__).parent / "golden" / "metric_lines.jsonl"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def append(path: Path, *lines: object) -> None:
    with path.open("ab") as file:
        for line in lines:
            file.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")


def read(path: Path) -> MetricLog:
    log = MetricLog(path)
    log.poll()
    return log


def values(log: MetricLog, name: str) -> list[float]:
    return [float(value) for value in log.series(name).value]


def steps(log: MetricLog, name: str) -> list[int]:
    return [int(step) for step in log.series(name).step]


def test_the_documented_lines_are_read(path: Path) -> None:
    log = read(GOLDEN)

    loss = log.series("train/loss")
    assert log.names == ["train/loss", "lr", "up", "down", "seen", "done", "größe"]
    assert loss.step.tolist() == [120, 121, 121]
    assert loss.epoch.tolist() == [1, 0, 1]
    assert loss.time.tolist() == [1763683200.25, 1763683200.5, 1763683300.5]
    assert loss.abandoned.tolist() == [False, True, False]
    assert np.array_equal(loss.value, [0.482, math.nan, 1e-7], equal_nan=True)
    assert [log.last("up"), log.last("lr"), log.last("größe")] == [None, 0.001, 0.0]
    assert values(log, "up") == [math.inf]
    assert log.attempts == ((2, 120, 1763683300.0),)
    assert log.bad_lines == 0


def test_only_what_was_appended_is_read(path: Path) -> None:
    log = MetricLog(path)
    nothing = log.poll()
    append(path, {"step": 1, "loss": 0.5})
    first = log.poll()
    before = log.series("loss")
    append(path, {"step": 2, "loss": 0.25})
    second = log.poll()

    assert (nothing, first, second, log.poll()) == (False, True, True, False)
    assert values(log, "loss") == [0.5, 0.25]
    assert before.value.tolist() == [0.5], "what was handed out stays as it was"


def test_appended_lines_cost_what_they_weigh(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the log weighs: neither is it read again, nor are the columns made anew."""
    append(path, *({"step": step, "loss": 0.5} for step in range(20_000)))
    log = read(path)
    append(path, {"step": 20_000, "loss": 0.5})
    log.poll()  # makes room for more than comes next
    before, pread, read_bytes = log.series("loss").value, os.pread, []

    def weigh(descriptor: int, size_bytes: int, offset: int) -> bytes:
        data = pread(descriptor, size_bytes, offset)
        read_bytes.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", weigh)
    append(path, {"step": 20_001, "loss": 0.25})

    assert log.poll()
    assert path.stat().st_size > 500_000
    assert sum(read_bytes) < 500
    assert values(log, "loss")[-2:] == [0.5, 0.25]
    assert np.shares_memory(before, log.series("loss").value)


def test_a_version_rises_for_the_metrics_that_changed_only(path: Path) -> None:
    append(path, {"step": 1, "a": 1, "b": 1}, {"step": 1, "c": 1})
    log = read(path)
    before = [log.version(name) for name in "abcd"]
    append(path, {"step": 2, "a": 1, "b": 1})
    log.poll()

    after = [log.version(name) for name in "abcd"]

    assert [new > old for new, old in zip(after, before, strict=True)] == [True, True, False, False]
    assert after[3] == 0


def test_metrics_of_one_line_share_their_steps(path: Path) -> None:
    append(path, *({"step": step, "epoch": 1, "a": step, "b": -step} for step in range(100)))
    log = read(path)

    assert np.shares_memory(log.series("a").step, log.series("b").step)
    assert not log.series("a").value.flags.writeable


def test_a_metric_on_lines_of_several_kinds_keeps_the_order_of_lines(path: Path) -> None:
    lines: list[dict[str, float]] = []
    for step in range(200):
        lines.append({"step": step, "lr": step, "train/loss": 1})
        if step % 7 == 0:
            lines.append({"step": step, "lr": -step, "val/loss": 2})
    append(path, *lines)
    log = read(path)

    assert values(log, "lr") == [line["lr"] for line in lines]
    assert steps(log, "val/loss") == list(range(0, 200, 7))
    assert log.series("lr") is log.series("lr"), "merging is done once"


def test_an_attempt_abandons_earlier_lines_past_its_step(path: Path) -> None:
    append(path, *({"step": step, "loss": 1} for step in (1, 2, 3, 4)))
    log = read(path)
    before = log.series("loss")
    append(path, {"attempt": 2, "from_step": 2, "time": 5.0})
    log.poll()
    gone_back = (log.last_step, log.last("loss"))
    append(path, {"step": 3, "loss": 7}, {"step": 4, "loss": 8}, {"attempt": 3, "from_step": 3, "time": 6.0})
    log.poll()

    assert gone_back == (2, 1.0)
    assert before.abandoned.tolist() == [False] * 4
    assert log.series("loss").abandoned.tolist() == [False, False, True, True, False, True]
    assert (log.last_step, log.last("loss")) == (3, 7.0)
    assert log.attempts == (AttemptLine(2, 2, 5.0), AttemptLine(3, 3, 6.0))


def test_going_back_to_nothing_leaves_no_last_value(path: Path) -> None:
    append(path, {"step": 1, "loss": 1}, {"attempt": 2, "from_step": 0, "time": 5.0})
    log = read(path)

    assert (log.last_step, log.last("loss"), log.last("unknown")) == (None, None, None)


def test_going_back_changes_versions_only_where_lines_are_abandoned(path: Path) -> None:
    append(path, {"step": 1, "early": 1}, {"step": 9, "late": 1})
    log = read(path)
    before = (log.version("early"), log.version("late"))
    append(path, {"attempt": 2, "from_step": 5, "time": 5.0})
    log.poll()

    assert log.version("early") == before[0]
    assert log.version("late") > before[1]


def test_a_bad_line_is_skipped_counted_and_named(path: Path) -> None:
    good = [{"step": step, "loss": step} for step in range(1, 1204)]
    append(
        path, *good, b"}{", {"step": 1205, "loss": 1205}, b"[1]", b"\xff\xfe", {"loss": 3}, {"step": -1}, b"[" * 9999
    )
    log = read(path)

    assert log.first_bad == "metrics.jsonl line 1,204 is not JSON; skipped."
    assert log.bad_lines == 6
    assert steps(log, "loss") == [*range(1, 1204), 1205]


def test_a_line_without_a_step_says_so(path: Path) -> None:
    append(path, {"step": 1, "loss": 1}, {"loss": 2})

    assert read(path).first_bad == "metrics.jsonl line 2 has no step; skipped."


@pytest.mark.parametrize("dense", [False, True])
def test_a_step_that_no_float_can_tell_from_the_next_is_none(path: Path, dense: bool) -> None:
    append(path, *({"step": step, "loss": 1} for step in range(100 if dense else 1)))
    append(path, {"step": 2**53, "loss": 2}, {"step": 2**53 + 1, "loss": 3})
    log = read(path)

    assert log.last_step == 2**53
    assert log.bad_lines == 1


def test_blank_lines_are_nothing(path: Path) -> None:
    append(path, {"step": 1, "a": 1}, b"", {"step": 2, "a": 1}, b"  ", b"nonsense")
    log = read(path)

    assert log.bad_lines == 1
    assert log.first_bad == "metrics.jsonl line 5 is not JSON; skipped."


def test_a_torn_last_line_is_waited_for(path: Path) -> None:
    append(path, {"step": 1, "a": 1})
    with path.open("ab") as file:
        file.write(b'{"step":2,')
    log = read(path)
    before = steps(log, "a")
    append(path, b'"a":2}')
    log.poll()

    assert before == [1]
    assert values(log, "a") == [1, 2]
    assert log.bad_lines == 0


def test_a_line_over_a_megabyte_is_bad_and_takes_no_memory(path: Path) -> None:
    append(path, {"step": 1, "a": 1}, {"step": 2, "a": 2, "note": "x" * 3_000_000}, {"step": 3, "a": 3})
    log = read(path)

    assert values(log, "a") == [1, 3]
    assert log.bad_lines == 1


@pytest.mark.parametrize("dense", [True, False], ids=["every-line", "one-line"])
def test_the_bare_nan_of_foreign_writers_is_a_number(path: Path, dense: bool) -> None:
    written = [math.nan if dense or step == 50 else step / 2 for step in range(100)]
    append(
        path, *({"step": step, "loss": value, "up": math.inf, "down": -math.inf} for step, value in enumerate(written))
    )
    log = read(path)

    assert b"NaN" in path.read_bytes()
    assert np.array_equal(log.series("loss").value, written, equal_nan=True)
    assert set(values(log, "up")) == {math.inf}
    assert log.bad_lines == 0


def test_a_bare_nan_does_not_make_reading_slow() -> None:
    """Lines that hold it are decoded at once, not one by one."""
    found = LineSchema(("loss",)).decode(b'{"step": 1, "loss": NaN}\n{"step": 2, "loss":-Infinity}\n')

    assert found is not None
    assert to_column(lambda line: line.metric0, found).tolist()[1] == -math.inf
    assert LineSchema(("loss",)).decode(b'{"step": 1, "loss": NaNs}\n') is None


def test_foreign_values_are_taken_where_they_are_numbers(path: Path) -> None:
    odd = {
        "step": 7.0,
        "epoch": 0.4,
        "time": "now",
        "a": True,
        "b": None,
        "c": "train",
        "d": [1],
        "e": 2**70,
        "f": {"g": 1},
    }
    append(path, *[odd] * 100)
    log = read(path)

    assert log.names == ["a", "b", "e"]
    assert steps(log, "a") == [7] * 100
    assert log.series("a").epoch.tolist() == [0] * 100
    assert np.isnan(log.series("b").value).all()
    assert np.isnan(log.series("b").time).all()
    assert log.last("e") == 2.0**70
    assert log.bad_lines == 0


def test_a_nan_is_a_value_and_not_an_absence(path: Path) -> None:
    append(path, {"step": 1, "a": "NaN", "b": 1}, {"step": 2, "b": 1}, {"step": 3, "a": 1, "b": 1})
    log = read(path)

    assert steps(log, "a") == [1, 3]
    assert math.isnan(values(log, "a")[0])


def test_odd_names_are_metrics_too(path: Path) -> None:
    names = ['say "hi"', "back\\slash", "größe", "metric0", "a:NaN,b", "\u2028", "x y", "step_"]
    append(path, *({"step": step, **dict.fromkeys(names, 1.0)} for step in range(100)))
    log = read(path)

    assert sorted(log.names) == sorted(names)
    assert all(len(log.series(name).step) == 100 for name in names)


@pytest.mark.parametrize("replaced", [True, False], ids=["new-inode", "cut"])
def test_a_replaced_log_is_read_anew(path: Path, replaced: bool) -> None:
    append(path, {"step": 1, "old": 1}, {"step": 2, "old": 1}, {"attempt": 2, "from_step": 2, "time": 1.0}, b"bad")
    log = read(path)
    version = log.version("old")
    if replaced:
        path.unlink()
    else:
        path.write_bytes(b"")
    append(path, {"step": 5, "new": 1})

    changed = log.poll()

    assert changed
    assert log.generation == 1
    assert log.names == ["new"]
    assert log.attempts == ()
    assert (log.bad_lines, log.first_bad) == (0, None)
    assert log.version("old") > version
    assert steps(log, "old") == []


def test_a_log_cut_to_nothing_is_empty(path: Path) -> None:
    append(path, {"step": 1, "old": 1})
    log = read(path)
    path.write_bytes(b"")

    assert log.poll()
    assert log.names == []
    assert not log.poll()


def test_a_log_that_vanishes_keeps_what_was_read(path: Path) -> None:
    append(path, {"step": 1, "a": 1})
    log = read(path)
    path.unlink()

    assert not log.poll()
    assert values(log, "a") == [1]
    assert log.problem == "metrics.jsonl is gone; what was read of it stays"


def test_reading_can_stop_in_between(path: Path) -> None:
    append(path, *({"step": step, "a": 1, "filler": "x" * 200} for step in range(20_000)))
    log = MetricLog(path)

    log.poll(limit_bytes=1)
    part, is_behind = len(log.series("a").step), log.is_behind
    log.poll()

    assert 0 < part < 20_000
    assert is_behind
    assert len(log.series("a").step) == 20_000
    assert not log.is_behind


def test_many_metrics_and_combinations_stay_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_FRAMES", 10)
    monkeypatch.setattr(metric_log, "MAX_NAMES", 300)
    lines = [{"step": step, f"m{step % 400}": step, f"n{step % 7}": -step} for step in range(2000)]
    append(path, *lines)
    log = read(path)

    assert len(log.names) <= 300
    assert values(log, "n3") == [-step for step in range(3, 2000, 7)]
    assert values(log, "m5") == [5, 405, 805, 1205, 1605]
    assert log.bad_lines == 0


metric_values = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**60), 2**60)
written_lines = st.lists(
    st.tuples(st.integers(0, 50), st.dictionaries(st.sampled_from(["a", "b", "c/d", "é"]), metric_values))
    | st.integers(0, 50)
)
"""A step and its metrics, or the step an attempt begins from."""


@settings(max_examples=60, deadline=None)
@given(written_lines, st.lists(st.integers(0, 3), max_size=40))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any], polls: list[int]
) -> None:
    """Any mixture of lines and attempts, read in any portions, equals a plain list of rows."""
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    writer, log = MetricWriter(path), MetricLog(path)
    rows: list[list[Any]] = []
    for index, line in enumerate(lines):
        if isinstance(line, int):
            writer.attempt(index, line)
            for row in rows:
                row[3] = row[3] or row[0] > line
        else:
            writer.log(line[0], line[1])
            rows.extend([line[0], name, float(value), False] for name, value in line[1].items())
        if index in polls:
            log.poll()
    log.poll()
    writer.close()

    for name in ("a", "b", "c/d", "é"):
        expected = [row for row in rows if row[1] == name]
        series = log.series(name)
        assert series.step.tolist() == [row[0] for row in expected]
        assert np.array_equal(series.value, [row[2] for row in expected], equal_nan=True)
        assert series.abandoned.tolist() == [row[3] for row in expected]
    assert log.bad_lines == 0


def test_attempt_lines_are_found_without_reading_the_rest(path: Path) -> None:
    append(path, {"attempt": 1, "from_step": 0, "time": 1.0}, b"not json", {"step": 1, "note": '{"attempt":'})
    append(path, {"attempt": 2, "from_step": 1, "time": 2.0}, b'{"attempt":', b'{"attempt":"3","from_step":1}')
    append(path, {"attempt": 4, "from_step": 1}, {"attempt": 5, "step": 3, "from_step": 1})

    found = attempt_lines(path)

    assert found[:2] == [AttemptLine(1, 0, 1.0), AttemptLine(2, 1, 2.0)]
    assert [line.attempt for line in found] == [1, 2, 4]
    assert last_attempt_line(path) == found[-1] or math.isnan(found[-1].time)
    assert [line.attempt for line in read(path).attempts] == [1, 2, 4]


def test_a_missing_log_has_no_attempts(path: Path) -> None:
    assert attempt_lines(path) == []
    assert last_attempt_line(path) is None


def test_lines_read_apart_and_together_stay_in_their_order(tmp_path: Path) -> None:
    """A line with a new metric is read on its own, the next one at once: both count from the same first line."""
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    for line in ('{"step":0,"b":0}', '{"step":0,"b":0,"c":0}', '{"step":0,"b":1}'):
        with path.open("a") as file:
            file.write(line + "\n")
        log.poll()

    assert log.series("b").value.tolist() == [0.0, 0.0, 1.0]
