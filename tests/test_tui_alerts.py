"""What a viewer calls an alert, of events, states, curves and the machine; and what it remembers of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from pathlib import Path

import msgspec
import pytest
from dashboard import GIB, NO_GPU, ONE_GPU
from store_fixture import RunPlan, build_run, build_store

from ckptop.store.events import Event, append_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.metric_log import MetricLog
from ckptop.store.views import RunView, read_run
from ckptop.tui.alert_book import AlertBook, seen
from ckptop.tui.alert_curves import judge_curves
from ckptop.tui.alert_memory import Remembered, memory_path
from ckptop.tui.alert_rows import AlertRow, Alerts, row_of_event, row_of_state, rows_of_machine

NOW = 1_763_725_260.0


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def view_of(root: Path, **plan: object) -> RunView:
    build_run(root, RunPlan(**{"name": "mine", "epochs": 20, **plan}), now=NOW)  # type: ignore[arg-type]
    return read_run(root / "mine")


# Events and states.


@pytest.mark.parametrize(
    ("event", "details", "kind"),
    [
        ("alert", {"kind": "nan", "message": "loss is NaN"}, "nan"),
        ("alert", {"kind": "disk", "message": "the disk is filling"}, "disk"),
        ("alert", {"message": "odd"}, "warning"),
        ("failed", {"error": "train/loss is NaN at step 7"}, "nan"),
        ("failed", {"error": "CUDA out of memory"}, "failed"),
        ("milestone", {"metric": "val/accuracy", "value": 0.9}, None),
        ("saved", {}, None),
        ("finished", {}, None),
    ],
)
def test_what_events_are_alerts(tmp_path: Path, event: str, details: dict[str, object], kind: str | None) -> None:
    row = row_of_event(Event(NOW, event, 1, 7, None, details), view_of(tmp_path))

    assert (row.kind if row is not None else None) == kind


def test_a_crash_has_a_key_that_every_session_finds_again(tmp_path: Path) -> None:
    view = view_of(tmp_path, alive=False)

    first, second = row_of_state(view), row_of_state(read_run(tmp_path / "mine"))

    assert first is not None
    assert second is not None
    assert (first.kind, first.key) == ("crash", second.key)
    assert first.message.startswith("crashed at step 480")
    assert row_of_state(view_of(tmp_path / "well")) is None


def test_a_host_that_fell_silent_is_an_alert(tmp_path: Path) -> None:
    row = row_of_state(dataclasses.replace(view_of(tmp_path), state="unknown"))

    assert row is not None
    assert (row.kind, row.message) == ("crash", "not heard of at step 480: its host is silent")


def test_a_message_out_of_a_file_is_clean(tmp_path: Path) -> None:
    row = row_of_event(Event(NOW, "alert", 1, 7, None, {"message": "\x1b]52;c;aGk=\x07a\u202eb\n"}), view_of(tmp_path))

    assert row is not None
    assert row.message == "ab "


# The machine.


def test_full_memory_and_a_filling_disk_are_alerts_of_the_machine() -> None:
    full = dataclasses.replace(NO_GPU.host, memory_used_bytes=23 * GIB, memory_total_bytes=24 * GIB)
    host = msgspec.structs.replace(NO_GPU, host=full)
    gpu = msgspec.structs.replace(ONE_GPU, gpus=(dataclasses.replace(ONE_GPU.gpus[0], memory_used_bytes=79 * GIB),))

    assert [row.message for row in rows_of_machine(host, NOW)] == ["memory is 96 % full, 23.0 / 24.0 GiB"]
    assert [row.kind for row in rows_of_machine(gpu, NOW)] == ["memory", "disk"]
    assert rows_of_machine(gpu, NOW)[1].message == "the disk is full in 5 h at 1.9 MiB/s: 38.2 GiB free"
    assert rows_of_machine(NO_GPU, NOW) == []


# Curves.


def judged(view: RunView, lines: list[dict[str, object]]) -> dict[str, AlertRow]:
    view.paths.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = MetricLog(view.paths.metrics)
    log.poll()
    return {row.kind: row for row in judge_curves(log, view)}


def line(step: int, **values: object) -> dict[str, object]:
    return {
        "step": step,
        "epoch": 1,
        "time": NOW + step,
        **{name.replace("_", "/", 1): value for name, value in values.items()},
    }


def noise(step: int) -> float:
    return 0.01 * math.sin(step)


def test_a_healthy_curve_is_no_alert(tmp_path: Path) -> None:
    lines = [line(step, train_loss=2 / step + 0.001 * noise(step), val_accuracy=1 - 1 / step) for step in range(1, 400)]

    assert judged(view_of(tmp_path), lines) == {}


def test_a_loss_that_is_no_number_is_an_alert_at_its_first_step(tmp_path: Path) -> None:
    lines = [line(step, train_loss=1.0 if step < 45 else "NaN") for step in range(1, 60)]

    row = judged(view_of(tmp_path), lines)["nan"]

    assert (row.step, row.message, row.place) == (45, "train/loss is NaN since step 45", "chart")
    assert row.time == NOW + 45


def test_a_metric_that_nobody_is_after_may_be_no_number(tmp_path: Path) -> None:
    assert judged(view_of(tmp_path), [line(step, val_auc="NaN") for step in range(1, 60)]) == {}


def test_a_spike_is_an_alert(tmp_path: Path) -> None:
    lines = [line(step, train_loss=9.0 if step == 150 else 0.5 + noise(step)) for step in range(1, 200)]

    row = judged(view_of(tmp_path), lines)["spike"]

    assert (row.step, row.metric) == (150, "train/loss")
    assert row.message.startswith("train/loss jumped to 9.00 at step 150, usual 0.5")


def test_a_metric_that_stands_still_or_falls_behind_is_an_alert(tmp_path: Path) -> None:
    still = [line(step, val_accuracy=min(step / 10, 0.9)) for step in range(1, 40)]
    fallen = [line(step, val_accuracy=0.9 if step == 5 else 0.7) for step in range(1, 12)]

    assert judged(view_of(tmp_path / "a"), still)["plateau"].message == (
        "val/accuracy has not improved in 30 evaluations: 0.900 at step 9"
    )
    assert judged(view_of(tmp_path / "b"), fallen)["degraded"].message == (
        "val/accuracy is 0.700, 22 % below its best, 0.900 at step 5"
    )


def test_a_pace_that_halves_is_an_alert(tmp_path: Path) -> None:
    lines = [line(step, steps_per_second=100.0 if step < 180 else 20.0) for step in range(1, 200)]
    lines = [
        {"steps_per_second" if name == "steps/per_second" else name: value for name, value in one.items()}
        for one in lines
    ]

    assert judged(view_of(tmp_path), lines)["slow"].message == "steps_per_second is 20.0 since step 180, usual 100"


# The book.


class Watch:
    """A book of alerts and the views it is told of."""

    def __init__(self, store: Path, now: float | None = None) -> None:
        self.store = store
        self.now = time.time() if now is None else now
        self.book = AlertBook(store, lambda: self.now)

    def look(self, *changed: str, hardware: object = None) -> Alerts:
        views = {path.name: read_run(path) for path in self.store.iterdir() if (path / "run.json").exists()}
        alerts = self.book.update(views, changed, {}, hardware)  # type: ignore[arg-type]
        while self.book.is_behind:
            alerts = self.book.update(views, (), {}, hardware)  # type: ignore[arg-type]
        return alerts


def kinds(alerts: Alerts) -> list[tuple[str, str]]:
    return [(row.run, row.kind) for row in alerts.rows]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = build_store(tmp_path / "runs", [RunPlan(name="ill", alive=False), RunPlan(name="well", age_seconds=99)])
    append_event(RunPaths(store / "well"), "alert", step=5, kind="degraded", message="fell behind")
    return store


def test_the_book_gathers_all_runs_and_hands_on_the_same_object_while_nothing_changes(store: Path) -> None:
    watch = Watch(store)

    alerts = watch.look("ill", "well")

    assert sorted(kinds(alerts)) == [("ill", "crash"), ("well", "degraded")]
    assert alerts.is_complete
    assert alerts.new == 2
    assert watch.look("ill", "well") is alerts


def test_what_happens_while_somebody_looks_is_found_now(store: Path) -> None:
    watch = Watch(store)
    watch.look("ill", "well")
    append_event(RunPaths(store / "well"), "alert", step=900, kind="nan", message="loss is NaN")

    row = watch.look("well").rows[0]

    assert (row.kind, row.message, row.found > 0) == ("nan", "loss is NaN", True)


def test_the_same_failure_is_told_once_though_event_and_state_say_it(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="failed", error="out of memory")])
    append_event(RunPaths(store / "mine"), "failed", attempt=1, step=62 * 24, error="out of memory")

    assert kinds(Watch(store).look("mine")) == [("mine", "failed")]


def test_a_run_that_is_gone_takes_its_alerts_along(store: Path) -> None:
    watch = Watch(store)
    watch.look("ill", "well")
    (store / "ill" / "run.json").unlink()

    assert kinds(watch.look("")) == [("well", "degraded")]


def test_a_full_machine_is_told_once_until_it_was_well_again(store: Path) -> None:
    watch, full = Watch(store), msgspec.structs.replace(NO_GPU, full_in_seconds=60.0)
    for hardware in (NO_GPU, full, msgspec.structs.replace(full, full_in_seconds=50.0)):
        alerts = watch.look(hardware=hardware)
    assert kinds(alerts).count(("", "disk")) == 1

    watch.look(hardware=NO_GPU)
    watch.now += 100
    assert kinds(watch.look(hardware=full)).count(("", "disk")) == 2


def test_what_was_dismissed_or_seen_stays_so_in_the_next_session(store: Path) -> None:
    watch = Watch(store)
    key = watch.look("ill", "well").rows[0].key

    watch.book.remember(seen)
    watch.book.remember(lambda memory, _: memory.with_dismissed(key))
    again = Watch(store).look("ill", "well")

    assert key not in [row.key for row in again.rows]
    assert len(again.rows) == 1
    assert again.new == 0
    watch.book.remember(lambda memory, _: memory.without(key))
    assert len(Watch(store).look("ill", "well").rows) == 2


def test_old_alerts_of_a_store_that_is_opened_first_are_not_new(store: Path) -> None:
    assert Watch(store, time.time() + 90_000).look("ill", "well").new == 0


def test_a_home_that_cannot_be_written_remembers_for_the_session(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    watch = Watch(store)
    watch.look("ill", "well")

    watch.book.remember(lambda memory, alerts: memory.with_dismissed(alerts.rows[0].key))

    assert len(watch.look().rows) == 1


def test_the_memory_is_kept_apart_from_the_store_and_by_store(store: Path) -> None:
    path = memory_path(store)

    assert not path.is_relative_to(store)
    assert path != memory_path(store.parent)
    watch = Watch(store)
    watch.look("ill", "well")
    watch.book.remember(seen)
    assert read_json(path, Remembered).seen is not None
    assert os.listdir(path.parent) == [path.name]


def test_hundreds_of_events_are_looked_through_from_the_end(store: Path) -> None:
    path = RunPaths(store / "well").events
    with path.open("a") as file:
        for step in range(10_000):
            file.write(json.dumps({"time": NOW, "event": "saved", "step": step, "checkpoint": "x" * 40}) + "\n")
        file.write(json.dumps({"time": NOW, "event": "alert", "step": 9, "message": "at the end"}) + "\n")

    messages = [row.message for row in Watch(store).look("ill", "well").rows]

    assert "at the end" in messages
    assert "fell behind" not in messages
