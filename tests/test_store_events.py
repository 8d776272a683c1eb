"""events.jsonl: exact bytes, whole lines under a lock, readers that outlive what is damaged."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ckptop.store.errors import Held
from ckptop.store.events import (
    Event,
    EventLog,
    append_event,
    current_actor,
    last_event,
    parse_event,
    read_events,
)
from ckptop.store.layout import RunPaths
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Pin
from ckptop.store.records import Actor

GOLDEN = Path(__file__).parent / "golden" / "event_lines.jsonl"
ADA = Actor(user="ada", host="box1", pid=4711)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def golden_appends(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1763683200.25, 1763683260.5, 1763683261.0])
    monkeypatch.setattr("ckptop.store.events.time.time", lambda: next(times))
    append_event(paths, "started", actor=ADA, attempt=1, step=0)
    file = "checkpoint_epoch_0001_step_00000300.pt"
    append_event(paths, "saved", actor=ADA, attempt=1, step=300, file=file, size_bytes=102400)
    metrics = {"test/accuracy": 0.875, "test/loss": math.nan, "worst": (math.inf, -math.inf)}
    append_event(paths, "finished", actor=ADA, metrics=metrics)


def test_lines_are_exactly_the_documented_bytes(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    golden_appends(paths, monkeypatch)

    assert paths.events.read_bytes() == GOLDEN.read_bytes()


def test_what_was_appended_is_read_back(paths: RunPaths) -> None:
    told = append_event(paths, "saved", attempt=2, step=30, file="a.pt")

    assert read_events(paths.events) == [told]
    assert told.actor == current_actor()
    assert told.actor is not None
    assert told.actor.pid == os.getpid()


def test_any_value_can_be_a_detail() -> None:
    class Tensor:
        def __float__(self) -> float:
            return 0.5

    details: dict[str, Any] = {
        "path": Path("/a"),
        "value": Tensor(),
        "name": "\udcff",
        "pin": Pin(time=math.nan, actor=ADA),
        "time": "is the event's own",
    }

    event = parse_event(Event(1.0, "alert", details=details).to_line())

    assert event is not None
    assert event.time == 1.0
    assert event.details["path"] == "/a"
    assert event.details["value"] == 0.5
    assert event.details["name"] == "?"
    assert event.details["pin"]["actor"]["user"] == "ada"


def test_a_torn_line_is_ended_before_the_next_event(paths: RunPaths) -> None:
    paths.events.write_bytes(b'{"time":1,"event":"sav')

    append_event(paths, "stopped", actor=ADA)

    log = EventLog(paths.events)
    assert [event.event for event in log.poll()] == ["stopped"]
    assert log.bad_lines == 1


def test_bad_lines_are_skipped_and_counted(paths: RunPaths) -> None:
    good = b'{"time":1,"event":"saved","step":3,"actor":"not one","attempt":"nor this"}\n'
    paths.events.write_bytes(b"\n\xff\n[]\n" + good + b'{"time":"x","event":"saved"}\n' + b"[" * 9999 + b"\n{")
    log = EventLog(paths.events)

    events = log.poll()

    assert events == [Event(1.0, "saved", None, 3, None, {})]
    assert log.bad_lines == 4


def test_a_log_hands_over_only_what_is_new(paths: RunPaths) -> None:
    log = EventLog(paths.events)
    append_event(paths, "saved")
    log.poll()

    append_event(paths, "stopped")

    assert [event.event for event in log.poll()] == ["stopped"]
    assert log.poll() == []


def test_no_event_is_written_while_another_holds_the_lock(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptop.store.events.FileLock", lambda path: FileLock(path, timeout_seconds=0.02))
    paths.checkpoints.root.mkdir()
    refused = threading.Event()

    def append() -> None:
        with pytest.raises(Held):
            append_event(paths, "saved")
        refused.set()

    with FileLock(paths.checkpoints.lock):
        thread = threading.Thread(target=append)
        thread.start()
        thread.join()

    assert refused.is_set()
    assert not paths.events.exists()


def test_whoever_holds_the_lock_can_tell_of_it(paths: RunPaths) -> None:
    paths.checkpoints.root.mkdir()

    with FileLock(paths.checkpoints.lock):
        append_event(paths, "deleted")

    assert [event.event for event in read_events(paths.events)] == ["deleted"]


def test_many_threads_append_whole_lines(paths: RunPaths) -> None:
    def append(number: int) -> None:
        for step in range(20):
            append_event(paths, "saved", step=step, number=number, padding="x" * 500)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    log = EventLog(paths.events)
    assert len(log.poll()) == 80
    assert log.bad_lines == 0


def test_the_last_event_of_a_kind_is_found_from_the_end(paths: RunPaths) -> None:
    append_event(paths, "finished", metrics={"a": 1})
    append_event(paths, "finished", metrics={"a": 2})
    append_event(paths, "alert", message='"finished"', filler="x" * 200_000)
    with paths.events.open("ab") as file:
        file.write(b'{"time":9,"event":"finished"')

    event = last_event(paths.events, ("finished", "failed"))

    assert event is not None
    assert event.details == {"metrics": {"a": 2}}
    assert last_event(paths.events, ("pruned",)) is None


def test_the_last_event_is_not_searched_for_beyond_the_limit(paths: RunPaths) -> None:
    append_event(paths, "finished")
    append_event(paths, "alert", filler="x" * 5000)

    assert last_event(paths.events, ("finished",), limit_bytes=4000) is None
    assert last_event(paths.events, ("finished",), limit_bytes=100_000) is not None


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b"{"], ids=repr)
def test_an_empty_file_holds_no_last_event(paths: RunPaths, content: bytes) -> None:
    paths.events.write_bytes(content)

    assert last_event(paths.events, ("saved",)) is None


def test_a_missing_file_holds_no_events(paths: RunPaths) -> None:
    assert read_events(paths.events) == []
    assert last_event(paths.events, ("saved",)) is None


@pytest.mark.parametrize("block_edge", range(-3, 4))
def test_lines_across_block_edges_are_read_whole(paths: RunPaths, block_edge: int) -> None:
    first = Event(1.0, "finished", details={"filler": "x" * 10}).to_line()
    second = Event(2.0, "alert", details={"filler": ""}).to_line()
    missing = 64 * 1024 - len(second) + block_edge
    second = Event(2.0, "alert", details={"filler": "y" * missing}).to_line()
    paths.events.write_bytes(first + second)

    found = [last_event(paths.events, (kind,)) for kind in ("alert", "finished")]

    assert [event.time for event in found if event is not None] == [2.0, 1.0]


def test_what_listing_imports_stays_light() -> None:
    """`ckptop ls` has 0.15 s altogether; NumPy alone takes 0.1."""
    modules = "attempts, control, events, lease, locks, metric_writer, tail"
    code = (
        f"import sys; from ckptop.store import {modules}; "
        "print({'numpy', 'torch', 'watchdog'} & sys.modules.keys() or 'light')"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == "light\n"


def test_the_newest_events_of_a_large_file_and_then_what_comes_after(paths: RunPaths) -> None:
    for step in range(100):
        append_event(paths, "saved", step=step)
    log = EventLog(paths.events)

    newest = log.begin(2000)
    assert 0 < len(newest) < 20
    assert newest[-1].step == 99
    assert log.poll() == []
    append_event(paths, "saved", step=100)
    assert [event.step for event in log.poll()] == [100]


def test_of_some_kinds_alone(paths: RunPaths) -> None:
    append_event(paths, "saved", step=1, message='an "alert" in a string')
    append_event(paths, "alert", step=2)
    log = EventLog(paths.events, ("alert", "failed"))

    assert [event.step for event in log.begin()] == [2]
    append_event(paths, "failed", step=3)
    append_event(paths, "saved", step=4)
    assert [event.step for event in log.poll()] == [3]


def test_no_file_has_no_newest_events(paths: RunPaths) -> None:
    assert EventLog(paths.events).begin() == []
