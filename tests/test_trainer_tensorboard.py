"""TensorBoard's own reader finds what we wrote."""

from __future__ import annotations

import errno
import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from trainer_runs import at_step, logged, run_training

from ckptop.trainer.event_records import masked_checksums
from ckptop.trainer.scalar_events import ScalarEvents
from ckptop.trainer.tensorboard import EventWriter


def read(directory: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_all_values_of_every_step_are_there_after_closing(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    for step in range(1, 2_001):
        writer.log(step, {"train/loss": 1 / step, "lr": 0.5})
    writer.close()

    series = read(tmp_path)
    assert series["lr"] == [(step, 0.5) for step in range(1, 2_001)]
    assert series["train/loss"][-1][1] == pytest.approx(1 / 2_000)


def test_values_that_are_no_numbers_are_kept(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    writer.log(1, {"a": math.nan, "b": math.inf})
    writer.close()

    series = read(tmp_path)
    assert math.isnan(series["a"][0][1])
    assert series["b"] == [(1, math.inf)]


@pytest.mark.parametrize("from_step", [6, 0])
def test_a_resume_drops_what_was_abandoned(tmp_path: Path, from_step: int) -> None:
    """All of it where the first attempt died before anything was saved."""
    first = EventWriter(tmp_path, 0)
    for step in range(1, 11):
        first.log(step, {"loss": 1.0})
    first.close()
    second = EventWriter(tmp_path, from_step)
    for step in range(from_step + 1, 10):
        second.log(step, {"loss": 2.0})
    second.close()

    kept, new = range(1, from_step + 1), range(from_step + 1, 10)
    assert read(tmp_path)["loss"] == [(step, 1.0) for step in kept] + [(step, 2.0) for step in new]


def test_a_training_writes_the_same_as_its_log(tmp_path: Path) -> None:
    with at_step(20, lambda run: run.request_stop("the test")):
        run_training(tmp_path, name="run", tensorboard="true")
    run_training(tmp_path, name="run", resume="auto")

    series = read(tmp_path / "run" / "tensorboard")
    values = logged(tmp_path / "run")
    for name in ("train/loss", "lr", "grad_norm", "val/smape", "test/smape"):
        expected = [(step, float(text)) for (step, key), text in sorted(values.items()) if key == name]
        assert [step for step, _ in series[name]] == [step for step, _ in expected]
        assert [value for _, value in series[name]] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_a_full_disk_ends_the_events_and_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = EventWriter(tmp_path, 0)

    class Full:
        def write(self, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            """As it is."""

    writer._file.close()
    monkeypatch.setattr(writer, "_file", Full())
    writer.log(1, {"loss": 1.0})
    writer.close()

    assert writer.problem == "TensorBoard's event file is incomplete: No space left on device"


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_checksums_are_tensorboard_s_own(records: list[bytes]) -> None:
    assert masked_checksums(records) == [masked_crc32c(record) for record in records]


@given(
    st.floats(min_value=1.0, max_value=1e12), st.integers(1, 2**62),
    st.dictionaries(st.text(min_size=1, max_size=150), st.floats() | st.integers(-9, 9), min_size=1, max_size=6),
)  # fmt: skip
def test_events_of_scalars_have_the_bytes_of_protobuf(wall_time: float, step: int, metrics: dict[str, float]) -> None:
    """Values too large for TensorBoard's floats included, which are infinite there."""
    values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
    expected = Event(wall_time=wall_time, step=step, summary=Summary(value=values)).SerializeToString()

    assert ScalarEvents().encode(wall_time, step, metrics) == expected


def test_an_event_of_step_0_is_read_as_such(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    writer.log(0, {"loss": 1.0})
    writer.close()

    assert read(tmp_path) == {"loss": [(0, 1.0)]}


def test_what_is_queued_is_written_before_the_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptop.trainer.tensorboard._PAUSE_SECONDS", 0.01)
    writer = EventWriter(tmp_path, 0)
    (file,) = tmp_path.iterdir()
    empty_bytes = file.stat().st_size

    writer.log(1, {"loss": 1.0})
    deadline = time.monotonic() + 30
    while file.stat().st_size == empty_bytes:
        assert time.monotonic() < deadline
        os.sched_yield()

    assert read(tmp_path)["loss"] == [(1, 1.0)]
    writer.close()


def test_a_flush_writes_what_was_queued_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptop.trainer.tensorboard._PAUSE_SECONDS", 3600.0)
    writer = EventWriter(tmp_path, 0)
    try:
        writer.log(1, {"train/loss": 0.5})

        assert writer.flush().wait(30)

        assert read(tmp_path) == {"train/loss": [(1, 0.5)]}
    finally:
        writer.close()


def test_a_flush_that_the_disk_refuses_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = EventWriter(tmp_path, 0)

    def refuse(*_events: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "_write", refuse)
    writer.log(1, {"train/loss": 0.5})

    assert writer.flush().wait(30)
    assert writer.flush().wait(30)
    assert writer.problem is not None
    writer.close()
