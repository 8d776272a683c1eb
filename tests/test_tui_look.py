"""Looking at a store again and again: what changed is read, what did not is not, and nothing brings it down."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dashboard import StillSampler
from store_fixture import DEFAULT_RUNS, RunPlan, build_run, build_store, dead_process

from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import encode
from ckptop.store.records import Status
from ckptop.store.views import read_run
from ckptop.tui import logs
from ckptop.tui.look import Asked, StoreLook
from ckptop.tui.model import RunRow, Snapshot, Verdict

ALL = Asked(changed=frozenset({""}))
CNN = next(plan for plan in DEFAULT_RUNS if plan.name == "digits-cnn")


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_763_700_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Path:
    return build_store(tmp_path / "runs", now=clock.now)


@pytest.fixture
def look(store: Path, clock: Clock) -> StoreLook:
    return StoreLook(store, "./runs", clock, StillSampler())


def row_of(snapshot: Snapshot, name: str) -> RunRow:
    return next(row for row in snapshot.runs if row.name == name)


def change_status(store: Path, name: str, **fields: object) -> None:
    path = RunPaths(store / name).status
    status = msgspec.structs.replace(read_json(path, Status), **fields)
    staged = path.with_name("staged")
    staged.write_bytes(encode(status))
    staged.rename(path)


def test_the_first_look_shows_runs_and_checkpoints_without_any_log(look: StoreLook) -> None:
    snapshot = look.read(ALL, with_logs=False)

    assert [row.state for row in snapshot.runs].count("running") == 2
    assert snapshot.detail is not None
    assert snapshot.detail.row.name == "digits-cnn"
    assert snapshot.detail.table.rows
    assert snapshot.detail.curves is None


def test_the_checkpoints_of_a_run_are_shown_before_its_long_log_is_read(
    look: StoreLook, monkeypatch: pytest.MonkeyPatch
) -> None:
    look.read(ALL)
    monkeypatch.setattr(logs, "LONG_BYTES", 100)

    first = look.read(Asked(selected="diabetes"))
    was_behind = look.is_behind
    second = look.read(Asked(selected="diabetes"))

    assert first.detail is not None
    assert second.detail is not None
    assert first.detail.table.rows
    assert (first.detail.curves, was_behind) == (None, True)
    assert second.detail.curves is not None
    assert second.detail.table is first.detail.table


def test_where_nothing_changed_the_very_same_snapshot_comes_back(look: StoreLook) -> None:
    everyone = replace(ALL, visible=tuple(plan.name for plan in DEFAULT_RUNS))
    look.read(everyone)
    while look.is_behind:
        look.read(everyone)
    snapshot = look.read(everyone)

    assert look.read(replace(everyone, changed=frozenset())) is snapshot
    assert look.read(everyone) is snapshot


def test_a_new_minute_is_a_new_snapshot(look: StoreLook, clock: Clock) -> None:
    before = look.read(ALL)

    clock.now += 61

    assert look.read(Asked()).now == clock.now
    assert look.read(Asked()) is not before


def test_a_step_shows_and_the_checkpoints_are_not_read_again(
    look: StoreLook, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look.read(ALL)
    assert before.detail is not None
    monkeypatch.setattr("ckptop.store.views.read_checkpoints", lambda *_: pytest.fail("listed again"))

    change_status(store, "digits-cnn", step=1_489)
    after = look.read(Asked(changed=frozenset({"digits-cnn"})))

    assert row_of(after, "digits-cnn").step == 1_489
    assert after.detail is not None
    assert after.detail.table is before.detail.table
    assert row_of(after, "sweep-02") is row_of(before, "sweep-02")


def test_a_new_checkpoint_shows(look: StoreLook, store: Path, clock: Clock) -> None:
    before = look.read(ALL)
    paths, record = RunPaths(store / "digits-cnn"), None
    view = look.read(ALL).detail
    assert view is not None
    assert view.view is not None
    record = view.view.record
    assert record is not None
    from store_fixture import write_checkpoint

    write_checkpoint(paths, record, "training", "checkpoint_epoch_0063_step_00001512.pt", 63, CNN, clock.now)
    after = look.read(Asked(changed=frozenset({"digits-cnn"})))

    assert before.detail is not None
    assert after.detail is not None
    assert len(after.detail.table.rows) == len(before.detail.table.rows) + 1
    assert after.detail.table.rows[0].mark == "latest"


def test_a_new_run_and_a_removed_one_are_noticed(look: StoreLook, store: Path, clock: Clock) -> None:
    look.read(ALL)
    build_run(store, RunPlan(name="another"), now=clock.now)
    (store / "sweep-02").rename(store.parent / "elsewhere")

    snapshot = look.read(ALL)

    names = {row.name for row in snapshot.runs}
    assert "another" in names
    assert "sweep-02" not in names


def test_a_killed_trainer_is_noticed_without_any_file_changing(
    look: StoreLook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert row_of(look.read(ALL), "digits-cnn").state == "running"

    monkeypatch.setattr("ckptop.store.state.is_alive", lambda _: False)
    snapshot = look.read(Asked())

    assert row_of(snapshot, "digits-cnn").state == "crashed"


def test_the_run_asked_for_is_shown_with_its_curves(look: StoreLook) -> None:
    snapshot = look.read(replace(ALL, selected="diabetes"))

    assert snapshot.detail is not None
    assert snapshot.detail.row.name == "diabetes"
    assert snapshot.detail.curves is not None
    assert [group.title for group in snapshot.detail.curves.groups] == ["loss", "val/smape"]


def test_curves_stay_the_same_object_until_the_log_grows(look: StoreLook, store: Path) -> None:
    asked = replace(ALL, selected="digits-cnn")
    before = look.read(asked).detail
    assert before is not None

    with RunPaths(store / "digits-cnn").metrics.open("a") as log:
        log.write(json.dumps({"step": 1489, "epoch": 63, "train/loss": 0.03}) + "\n")
    after = look.read(asked).detail

    assert after is not None
    assert after.curves is not before.curves
    again = look.read(asked).detail
    assert again is not None
    assert again.curves is after.curves


def test_only_visible_runs_have_their_logs_read(look: StoreLook) -> None:
    snapshot = look.read(replace(ALL, selected="digits-cnn", visible=("digits-mlp",)))

    assert row_of(snapshot, "digits-mlp").trend
    assert not row_of(snapshot, "sweep-02").trend


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"id": 7}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 10_000],
    ids=["empty", "torn", "no object", "wrong type", "no UTF-8", "deep list", "deep object"],
)
def test_a_damaged_run_file_makes_that_run_unreadable_and_no_other(look: StoreLook, store: Path, damage: bytes) -> None:
    (store / "digits-mlp" / "run.json").write_bytes(damage)

    snapshot = look.read(replace(ALL, selected="digits-mlp"))

    row = row_of(snapshot, "digits-mlp")
    assert row.state == "unreadable"
    assert row.problem is not None
    assert "run.json" in row.problem
    assert "\n" not in row.problem
    assert row_of(snapshot, "digits-cnn").state == "running"


def test_an_exception_while_reading_one_run_stays_with_it(look: StoreLook, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(root: Path) -> object:
        if root.name == "diabetes":
            raise ZeroDivisionError("nobody thought of this")
        return read_run(root)

    monkeypatch.setattr("ckptop.store.store.read_run", breaking)

    snapshot = look.read(replace(ALL, selected="diabetes"))

    assert row_of(snapshot, "diabetes").state == "unreadable"
    assert row_of(snapshot, "diabetes").problem == "nobody thought of this"
    assert snapshot.detail is not None
    assert snapshot.detail.facts == (("problem", "nobody thought of this"),)


def test_a_truncated_manifest_marks_that_checkpoint_bad(look: StoreLook, store: Path) -> None:
    victim = next((store / "digits-cnn/checkpoints/training").glob("*_0061_*.pt"))
    data = manifest_path(victim).read_bytes()
    manifest_path(victim).write_bytes(data[: len(data) // 2])

    snapshot = look.read(ALL)

    assert snapshot.detail is not None
    (bad,) = [row for row in snapshot.detail.table.rows if row.mark == "bad"]
    assert bad.epoch == 61
    assert bad.problem is not None
    assert "\n" not in bad.problem


def test_a_file_shorter_than_its_manifest_says_is_bad_without_verifying(look: StoreLook, store: Path) -> None:
    victim = next((store / "digits-cnn/checkpoints/training").glob("*_0061_*.pt"))
    os.truncate(victim, 100)

    snapshot = look.read(ALL)

    assert snapshot.detail is not None
    (bad,) = [row for row in snapshot.detail.table.rows if row.mark == "bad"]
    assert bad.problem == "100 bytes on disk, 4,096 in its manifest"


def test_what_verification_found_is_shown_until_it_is_sound_again(look: StoreLook) -> None:
    first = look.read(ALL).detail
    assert first is not None
    key = first.table.rows[1].key

    damaged = look.read(replace(ALL, verdicts={"digits-cnn": {key: Verdict(0.0, "bytes differ")}})).detail
    sound = look.read(ALL).detail

    assert damaged is not None
    assert sound is not None
    assert damaged.table.rows[1].mark == "bad"
    assert sound.table.rows[1].mark == ""


def test_a_bad_log_line_is_told_in_one_line(look: StoreLook, store: Path) -> None:
    log = RunPaths(store / "digits-cnn").metrics
    log.write_bytes(b"{not json}\n" + log.read_bytes())

    row = row_of(look.read(replace(ALL, selected="digits-cnn")), "digits-cnn")

    assert row.problem == "metrics.jsonl line 1 is not JSON; skipped."


@pytest.mark.parametrize("name", ["[/red]", "\x1b]52;c;AAAA\x07", "\x9b31m", "a\x00b", "\u202eevil", "x\ny"])
def test_a_hostile_metric_name_reaches_no_string_of_the_snapshot(look: StoreLook, store: Path, name: str) -> None:
    with RunPaths(store / "digits-cnn").metrics.open("a") as log:
        log.write(json.dumps({"step": 1490, "epoch": 63, name: 1.0}) + "\n")

    detail = look.read(replace(ALL, selected="digits-cnn")).detail

    assert detail is not None
    assert detail.curves is not None
    titles = [group.title for group in detail.curves.groups]
    labels = [curve.name for group in detail.curves.groups for curve in group.curves]
    assert all(text.isprintable() for text in titles + labels)


def test_a_missing_store_is_an_empty_one(tmp_path: Path, clock: Clock) -> None:
    look = StoreLook(tmp_path / "nowhere", "./nowhere", clock, StillSampler())

    snapshot = look.read(ALL)

    assert snapshot.loaded
    assert snapshot.runs == ()
    assert snapshot.detail is None


def test_a_store_that_is_a_file_says_so(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "file"
    path.write_text("no store")

    snapshot = StoreLook(path, "./file", clock, StillSampler()).read(ALL)

    assert snapshot.problem is not None
    assert "is a file" in snapshot.problem


def test_a_run_without_a_log_has_empty_curves(tmp_path: Path, clock: Clock) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="fresh", log=False, checkpoints=0)], now=clock.now)

    detail = StoreLook(store, "./runs", clock, StillSampler()).read(ALL).detail

    assert detail is not None
    assert detail.curves is not None
    assert detail.curves.groups == ()


def test_a_crashed_run_says_what_to_do(look: StoreLook) -> None:
    detail = look.read(replace(ALL, selected="sweep-03")).detail

    assert detail is not None
    assert detail.facts[:2] == (("error", "its process is gone"), ("next", "r resumes · Enter says why"))


def test_a_run_that_ended_after_the_first_look_is_read_whole(look: StoreLook, store: Path) -> None:
    look.read(ALL)
    with RunPaths(store / "digits-cnn").events.open("a") as events:
        events.write(json.dumps({"time": 1.0, "event": "finished", "metrics": {"test/accuracy": 0.97}}) + "\n")
    change_status(store, "digits-cnn", phase="finished", process=dead_process())

    detail = look.read(Asked(changed=frozenset({"digits-cnn"}), selected="digits-cnn")).detail

    assert detail is not None
    assert detail.row.state == "finished"
    assert ("result", "test/accuracy 0.970") in detail.facts


def test_many_runs_appear_step_by_step_the_newest_first(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_READ_SECONDS", "NEXT_READ_SECONDS"):
        monkeypatch.setattr(f"ckptop.tui.run_views.{name}", 0.0)
    plans = [RunPlan(name=f"run-{n}", phase="stopped", epochs=2, checkpoints=1) for n in range(5)]
    store = build_store(tmp_path / "runs", plans, now=clock.now)
    for age, plan in enumerate(reversed(plans)):
        os.utime(RunPaths(store / plan.name).record, (clock.now - age, clock.now - age))
    look = StoreLook(store, "./runs", clock, StillSampler())

    first = look.read(ALL)
    seen = [len(first.runs)]
    while look.is_behind:
        seen.append(len(look.read(Asked()).runs))

    assert seen == sorted(seen)
    assert seen[-1] == 5
    assert first.unread == 5 - len(first.runs)


def test_a_huge_log_is_read_in_pieces(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptop.tui.logs.READ_SECONDS", 0.0)
    monkeypatch.setattr("ckptop.tui.logs.PIECE_BYTES", 1)  # a piece of the tail, a megabyte, at a time
    plan = RunPlan(name="long", phase="stopped", epochs=100, steps_per_epoch=180, checkpoints=0)
    look = StoreLook(build_store(tmp_path / "runs", [plan], now=clock.now), "./runs", clock, StillSampler())

    sizes = [value_count(look.read(ALL))]
    while look.is_behind:
        sizes.append(value_count(look.read(Asked())))

    assert len(sizes) > 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 18_000 + 2 * 100


def value_count(snapshot: Snapshot) -> int:
    assert snapshot.detail is not None
    if snapshot.detail.curves is None:
        return 0
    return sum(curve.value.size for group in snapshot.detail.curves.groups for curve in group.curves)
