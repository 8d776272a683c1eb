"""What is told of a store: once, in order, with the right epoch and state, whatever happens to the files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_run, dead_process, live_process

from ckptop.store.epochs import EpochTail
from ckptop.store.events import append_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.notices import Notice, StoreNotices
from ckptop.store.records import Process, Status
from ckptop.store.state import FOREIGN_SECONDS


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return build_run(tmp_path, RunPlan(name="mine", epochs=2))


@pytest.fixture
def notices(paths: RunPaths) -> StoreNotices:
    found = StoreNotices(paths.root.parent)
    list(found.begin())
    return found


def rewrite(paths: RunPaths, **changes: Any) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, **changes)))


def log(paths: RunPaths, *lines: dict[str, Any]) -> None:
    with paths.metrics.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def kinds(notices: Iterable[Notice]) -> list[str]:
    return [f"{notice.kind}" + (f" {notice.details['state']}" if notice.kind == "state" else "") for notice in notices]


def elsewhere() -> Process:
    return msgspec.structs.replace(live_process(), host="another-box")


def test_what_was_there_is_not_told_but_who_is_live(paths: RunPaths) -> None:
    build_run(paths.root.parent, RunPlan(name="old", phase="finished", epochs=2))
    notices = StoreNotices(paths.root.parent)

    assert [(notice.run, *kinds([notice])) for notice in notices.begin()] == [("mine", "state running")]
    assert list(notices.look({"", "mine", "old"})) == []


def test_an_event_is_told_once_with_its_details(paths: RunPaths, notices: StoreNotices) -> None:
    append_event(paths, "saved", attempt=1, step=60, checkpoint="training/x.pt")

    (notice,) = notices.look({"mine"})

    assert (notice.run, notice.kind, notice.step, notice.details["checkpoint"]) == (
        "mine",
        "saved",
        60,
        "training/x.pt",
    )
    assert list(notices.look({"mine"})) == []


def test_an_epoch_is_told_with_the_metrics_of_its_validation(paths: RunPaths, notices: StoreNotices) -> None:
    log(
        paths,
        {"step": 71, "epoch": 3, "time": 1.0, "train/loss": 0.5},
        {"step": 72, "epoch": 3, "time": 2.0, "val/loss": "NaN", "val/accuracy": 0.9},
        {"step": 72, "epoch": 3, "time": 3.0, "test/loss": 0.1},
    )

    (notice,) = notices.look({"mine"})

    assert (notice.kind, notice.epoch, notice.step, notice.time) == ("epoch", 3, 72, 2.0)
    assert notice.details["total_epochs"] == 100
    assert notice.details["metrics"]["val/accuracy"] == 0.9
    assert str(notice.details["metrics"]["val/loss"]) == "nan"
    rewrite(paths, phase="finished")
    assert kinds(notices.look()) == ["state finished"], "the test belongs to the epoch that was told"


def test_of_a_loop_that_never_validates_an_epoch_ends_with_the_next_or_the_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    epochs = EpochTail(path, "score")
    lines = [{"step": step, "epoch": (step + 1) // 2, "loss": 1 / step} for step in range(1, 5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert [(epoch.epoch, epoch.step, epoch.values) for epoch in epochs.poll()] == [(1, 2, {"loss": 0.5})]
    assert [(epoch.epoch, epoch.step) for epoch in epochs.end()] == [(2, 4)]
    assert list(epochs.end()) == []


def test_the_runs_own_metric_is_a_validation_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":10,"score":0.7}\n{"step":11,"loss":0.1}\nnot json\n{"step":-1,"score":1}\n')

    assert [(epoch.epoch, epoch.step) for epoch in EpochTail(path, "score").poll()] == [(0, 10)]


def test_a_death_is_told_though_no_file_changes(paths: RunPaths, notices: StoreNotices) -> None:
    rewrite(paths, process=dead_process())

    (notice,) = notices.look()

    assert kinds([notice]) == ["state crashed"]
    assert notice.details["why"] == "its process is gone"
    assert list(notices.look()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"phase": "paused"}, "state paused"), ({"last_step_time": 1.0}, "state stalled")],
    ids=["paused", "stalled"],
)
def test_a_pause_and_a_stall_are_told_and_so_is_their_end(
    changes: dict[str, Any], told: str, paths: RunPaths, notices: StoreNotices
) -> None:
    rewrite(paths, **changes)
    assert kinds(notices.look()) == [told]

    rewrite(paths, phase="running", last_step_time=time.time())

    assert kinds(notices.look()) == ["state running"]


def test_an_end_is_told_by_its_event_alone(paths: RunPaths, notices: StoreNotices) -> None:
    append_event(paths, "finished", step=72, metrics={"test/loss": 0.1})
    rewrite(paths, phase="finished")

    assert kinds(notices.look({"mine"})) == ["finished"]


def test_an_end_whose_event_was_lost_is_told_as_a_state(paths: RunPaths, notices: StoreNotices) -> None:
    """As where the disk was full."""
    rewrite(paths, phase="failed")

    assert kinds(notices.look({"mine"})) == ["state failed"]


def test_another_hosts_silence_is_told_by_our_own_clock(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock is an hour off: that is no silence once the heartbeat moves."""
    hour_ago = time.time() - 3600
    rewrite(paths, process=elsewhere(), heartbeat=hour_ago)
    notices = StoreNotices(paths.root.parent)
    assert list(notices.begin()) == []
    rewrite(paths, heartbeat=hour_ago + 1)

    assert kinds(notices.look({"mine"})) == ["state running"]

    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started + FOREIGN_SECONDS + 5)
    assert kinds(notices.look()) == ["state unknown"]


def test_a_new_run_is_told_from_its_beginning_and_an_old_one_from_now(paths: RunPaths, notices: StoreNotices) -> None:
    build_run(paths.root.parent, RunPlan(name="new", epochs=1, age_seconds=1))
    build_run(paths.root.parent, RunPlan(name="old", epochs=1, age_seconds=9000))

    told = [(notice.run, *kinds([notice])) for notice in notices.look({"new", "old"})]

    assert ("new", "started") in told
    assert ("new", "epoch") in told
    assert [kind for run, kind in told if run == "old"] == ["state running"]


def test_a_run_that_vanishes_is_told_and_one_that_comes_back_too(paths: RunPaths, notices: StoreNotices) -> None:
    away = paths.root.parent.parent / "away"
    shutil.move(paths.root, away)
    assert kinds(notices.look({""})) == ["gone"]

    shutil.move(away, paths.root)

    assert kinds(notices.look({""})) == ["state running"]


def test_a_directory_that_is_being_emptied_is_gone_once(paths: RunPaths, notices: StoreNotices) -> None:
    """As `rm -r` does it, file by file."""
    paths.record.unlink()

    assert kinds(notices.look({"mine"})) == ["gone"]
    shutil.rmtree(paths.root)
    assert kinds(notices.look({"mine", ""})) == []


def test_a_store_may_appear_later(tmp_path: Path) -> None:
    notices = StoreNotices(tmp_path / "later")
    assert list(notices.begin()) == []
    assert list(notices.look({""})) == []

    build_run(tmp_path / "later", RunPlan(name="new", epochs=1, age_seconds=1))

    assert kinds(notices.look({""}))[0] == "started"


@pytest.mark.parametrize("name", ["run.json", "status.json", "metrics.jsonl", "events.jsonl"])
@pytest.mark.parametrize(
    "content",
    [b"\x00\xff" * 50, b"[" * 100_000 + b"\n", b'{"step":1e400}\n7\n', None],
    ids=["bytes", "deep", "numbers", "fifo"],
)
def test_whatever_a_file_holds_the_others_go_on(
    name: str, content: bytes | None, paths: RunPaths, notices: StoreNotices
) -> None:
    other = build_run(paths.root.parent, RunPlan(name="other", epochs=1, age_seconds=9000))
    list(notices.look({""}))
    path = paths.root / name
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    append_event(other, "saved", step=1)

    told = list(notices.look({"mine", "other"}))

    assert [notice.run for notice in told if notice.kind == "saved"] == ["other"]


def test_how_things_stood_when_first_seen_is_no_news_and_what_follows_is(paths: RunPaths) -> None:
    notices = StoreNotices(paths.root.parent)

    first = list(notices.begin())
    append_event(paths, "saved", step=60)
    build_run(paths.root.parent, RunPlan(name="moved-here", phase="failed", epochs=1, age_seconds=9000))
    then = list(notices.look({"", "mine"}))
    rewrite(paths, process=dead_process())
    died = list(notices.look({"mine"}))

    assert [(one.run, one.kind, one.is_news) for one in first] == [("mine", "state", False)]
    assert {(one.run, one.kind, one.is_news) for one in then} == {
        ("mine", "saved", True), ("moved-here", "state", False),
    }  # fmt: skip
    assert [(one.details["state"], one.is_news) for one in died] == [("crashed", True)]


def test_a_log_of_events_that_was_replaced_is_read_anew_and_that_is_no_news(
    paths: RunPaths, notices: StoreNotices
) -> None:
    append_event(paths, "alert", message="one")
    assert [one.is_news for one in notices.look({"mine"})] == [True]
    copy = paths.root / "copy"
    copy.write_bytes(paths.events.read_bytes())

    copy.replace(paths.events)
    again = list(notices.look({"mine"}))
    append_event(paths, "alert", message="two")
    after = list(notices.look({"mine"}))

    assert again
    assert not any(one.is_news for one in again)
    assert [(one.details["message"], one.is_news) for one in after] == [("two", True)]


def test_a_run_that_began_and_died_between_two_looks_is_told_as_crashed(tmp_path: Path) -> None:
    build_run(tmp_path, RunPlan(name="old", phase="finished", epochs=1))
    notices = StoreNotices(tmp_path)
    list(notices.begin())
    young = build_run(tmp_path, RunPlan(name="young", epochs=1, age_seconds=1))
    rewrite(young, process=dead_process())

    told = list(notices.look({"", "young"}))

    states = [one for one in told if one.kind == "state"]
    assert [(one.run, one.details["state"], one.is_news) for one in states] == [("young", "crashed", True)]
