"""A store that somebody else wrote into: what is no file, closed, without bounds or a link does no harm."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from power_cut import die_before_reopening
from store_fixture import RunPlan, build_run
from tiny_model import HASTY, OPERATIONS, make_run, save, tiny_model

from ckptop.store.attempts import last_attempt_line
from ckptop.store.checkpoint_info import read_checkpoints
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged, DiskError, StoreError
from ckptop.store.events import append_event, last_event, parse_event
from ckptop.store.files import read_json, refuse_links
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.lease import Lease
from ckptop.store.lines import open_lines, reversed_lines, to_json
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, to_number
from ckptop.store.records import Status
from ckptop.store.run import Run
from ckptop.store.staging import staged_name
from ckptop.store.store import Store

HUGE = 10**400


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return build_run(tmp_path, RunPlan(name="a", phase="finished", epochs=3, total_epochs=3))


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))


def as_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


# What is no file


@pytest.mark.parametrize("name", ["run.json", "status.json"])
def test_a_fifo_in_place_of_a_record_is_told_and_never_waited_for(paths: RunPaths, name: str) -> None:
    as_fifo(paths.root / name)

    view = Store.open(paths.root.parent).run("a")

    assert view.state == "unreadable"
    assert view.problem == f"{name} is not a regular file; it was left alone"


def test_a_fifo_in_place_of_a_manifest_is_that_checkpoints_problem(paths: RunPaths) -> None:
    newest = read_checkpoints(paths.checkpoints)[-1].path
    as_fifo(manifest_path(newest))

    info = next(info for info in Store.open(paths.root.parent).run("a").checkpoints if info.path == newest)

    assert info.problem is not None
    assert "is not a regular file" in info.problem


def test_a_fifo_in_place_of_the_events_leaves_a_finished_run_without_result(paths: RunPaths) -> None:
    as_fifo(paths.events)

    with pytest.raises(Damaged, match="is not a regular file"):
        list(reversed_lines(paths.events, limit_bytes=100))
    with pytest.raises(Damaged, match="is not a regular file"):
        last_event(paths.events, ("finished",))
    assert Store.open(paths.root.parent).run("a").result == {}


# What is closed to us


def test_a_run_that_is_closed_to_us_is_listed_as_unreadable_beside_the_others(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = paths.root.parent
    build_run(store, RunPlan(name="closed", epochs=1))
    exists, open_file = Path.exists, os.open

    def refuse(path: object) -> None:
        if str(path).startswith(f"{store}/closed/"):
            raise PermissionError(errno.EACCES, "Permission denied")

    def exists_or_refused(path: Path) -> bool:
        refuse(path)
        return exists(path)

    def open_or_refused(path: Any, *rest: Any, **more: Any) -> int:
        refuse(path)
        return open_file(path, *rest, **more)

    monkeypatch.setattr(Path, "exists", exists_or_refused)
    monkeypatch.setattr(os, "open", open_or_refused)

    views = Store.open(store).runs()

    assert [(view.name, view.state, view.problem) for view in views] == [
        ("a", "finished", None),
        ("closed", "unreadable", "run.json cannot be read: Permission denied"),
    ]


def test_a_tier_that_cannot_be_read_is_told_and_the_other_is_shown(paths: RunPaths) -> None:
    training = paths.checkpoints.training
    training.rename(training.with_name("away"))
    training.symlink_to("training")

    view = Store.open(paths.root.parent).run("a")

    assert view.problem == f"checkpoints/training cannot be read: {os.strerror(errno.ELOOP)}"
    assert view.state == "finished"
    assert {info.tier for info in view.checkpoints} == {"milestone"}


def test_whoever_changes_checkpoints_is_not_told_that_an_unreadable_tier_is_empty(paths: RunPaths) -> None:
    training = paths.checkpoints.training
    training.rename(training.with_name("away"))
    training.symlink_to("training")

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read_checkpoints(paths.checkpoints)


def test_a_tier_of_a_standalone_directory_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tier in ("training", "milestone"):
        (tmp_path / tier).mkdir()
    plain_open = os.open

    def refuse(path: Any, *rest: Any, **named: Any) -> int:
        if Path(path).name == "milestone":
            raise PermissionError(errno.EACCES, "Permission denied")
        return plain_open(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)

    view = Store.open(tmp_path).runs()[0]

    assert view.problem == f"{tmp_path.name}/milestone cannot be read: Permission denied"


# Numbers without bounds


@pytest.mark.parametrize("name", ["step", "epoch", "attempt", "total_steps", "total_epochs", "heartbeat"])
@pytest.mark.parametrize("value", [HUGE, -HUGE], ids=["huge", "minus-huge"])
def test_a_number_out_of_bounds_makes_a_status_damaged(paths: RunPaths, name: str, value: int) -> None:
    change(paths.status, **({"total_steps": 1} | {name: value}))

    view = Store.open(paths.root.parent).run("a")

    assert view.state == "unreadable"
    assert view.problem is not None
    assert view.problem.startswith("status.json does not hold what it should")
    assert view.problem.endswith(f"`$.{name}`")
    assert (view.progress, view.eta_seconds) == (None, None)


@pytest.mark.parametrize("field", ["epoch", "global_step", "attempt", "size_bytes", "time"])
def test_a_number_out_of_bounds_makes_a_manifest_damaged(paths: RunPaths, field: str) -> None:
    path = manifest_path(read_checkpoints(paths.checkpoints)[-1].path)
    change(path, **{field: HUGE})

    with pytest.raises(Damaged, match=field):
        read_json(path, Manifest)


def test_the_largest_count_a_float_holds_is_still_read(paths: RunPaths) -> None:
    change(paths.status, step=2**53, total_steps=2**53)

    assert read_json(paths.status, Status).step == 2**53
    assert Store.open(paths.root.parent).run("a").progress == 1.0


def test_an_event_whose_time_no_clock_shows_is_no_event() -> None:
    assert parse_event(b'{"time":%d,"event":"saved"}' % HUGE) is None
    assert parse_event(b'{"time":1e300,"event":"saved"}') is None


def test_an_event_loses_only_the_step_that_is_out_of_bounds() -> None:
    event = parse_event(b'{"time":1,"event":"saved","attempt":2,"step":%d}' % HUGE)

    assert event is not None
    assert (event.attempt, event.step) == (2, None)


def test_a_result_too_large_for_a_float_is_infinite(paths: RunPaths) -> None:
    line = {"time": 1.0, "event": "finished", "metrics": {"big": HUGE, "low": -HUGE, "fine": 0.5}}
    paths.events.write_text(json.dumps(line) + "\n")

    result = Store.open(paths.root.parent).run("a").result

    assert dict(result) == {"big": math.inf, "low": -math.inf, "fine": 0.5}


def test_a_whole_number_of_more_than_64_bits_is_written_as_a_float() -> None:
    assert to_json([2**64 - 1, 2**64, HUGE]) == [2**64 - 1, float(2**64), "Infinity"]
    assert to_number(-HUGE) == -math.inf


@pytest.mark.parametrize("value", [str(HUGE), '"late"', "null"], ids=["huge", "text", "null"])
def test_an_attempt_line_counts_whatever_its_time_says(tmp_path: Path, value: str) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(f'{{"attempt":2,"from_step":30,"time":{value}}}\n')

    line = last_attempt_line(log)

    assert line is not None
    assert line[:2] == (2, 30)
    assert math.isnan(line.time)


def test_an_attempt_line_that_starts_beyond_all_steps_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(f'{{"attempt":1,"from_step":0,"time":1}}\n{{"attempt":2,"from_step":{HUGE},"time":1}}\n')

    line = last_attempt_line(log)

    assert line is not None
    assert line.attempt == 1


# Links


def take_lock(path: Path) -> None:
    with FileLock(path):
        pass


OPENS: list[tuple[str, Callable[[RunPaths], object]]] = [
    ("events.jsonl", lambda paths: append_event(paths, "saved")),
    ("metrics.jsonl", lambda paths: open_lines(paths.metrics)),
    ("checkpoints/.lock", lambda paths: take_lock(paths.checkpoints.lock)),
    ("lease.lock", lambda paths: Lease.acquire(paths)),
]


@pytest.mark.parametrize(("name", "act"), OPENS)
def test_a_link_in_place_of_a_file_is_never_written_through(
    paths: RunPaths, tmp_path: Path, name: str, act: Callable[[RunPaths], object]
) -> None:
    outside = tmp_path / "outside"
    link = paths.root / name
    link.unlink(missing_ok=True)
    link.symlink_to(outside)

    with pytest.raises(DiskError) as raised:
        act(paths)

    assert str(raised.value) == f"{link} is a symbolic link; it was not followed"
    assert not outside.exists()


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)

    refuse_links(real, tmp_path / "missing")
    with pytest.raises(StoreError, match="link is a symbolic link; a store's directories never are"):
        refuse_links(real, link)


# Directories that are links


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of somebody else's, with a file that looks like a checkpoint of ours."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "mine.pt").write_bytes(b"years of work")
    return directory


def replace_by_link(directory: Path, outside: Path) -> None:
    """Move what `directory` holds outside, and leave a link."""
    for path in list(directory.iterdir()) if directory.exists() else []:
        path.rename(outside / path.name)
    if directory.exists():
        directory.rmdir()
    directory.symlink_to(outside)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


TIERS = ["training", "milestone", ".staging", ".discarded", ".trash", ".quarantine"]


@pytest.mark.parametrize("name", TIERS)
def test_nothing_is_saved_or_deleted_by_a_rule_through_a_link(tmp_path: Path, outside: Path, name: str) -> None:
    manager = CheckpointManager(tmp_path / "set", 1, fs=HASTY)
    for epoch in (1, 2):
        save(manager, epoch)
    replace_by_link(manager.checkpoint_dir / name, outside)
    before = content(outside)

    with pytest.raises(StoreError, match="is a symbolic link"):
        save(manager, 3)
    with pytest.raises(StoreError, match="is a symbolic link"):
        manager.save_milestone_checkpoint(tiny_model(2), 0.5, "accuracy", 2, step=200)
    with pytest.raises(StoreError, match="is a symbolic link"):
        manager.cleanup_old_checkpoints(keep=0)

    assert content(outside) == before


@pytest.mark.parametrize("name", [".", *TIERS])
def test_nothing_goes_back_through_a_link(tmp_path: Path, outside: Path, name: str) -> None:
    root = make_run(tmp_path / "store")
    replace_by_link(root / "checkpoints" / name, outside)
    before = content(outside)

    with pytest.raises(StoreError, match="is a symbolic link"):
        OPERATIONS["going-back"].act(root, HASTY)
    with pytest.raises(StoreError, match="is a symbolic link"):
        Run.create(root.parent, name="mine", task="tiny", resume="epoch=2")

    assert content(outside) == before


def test_torn_writes_are_not_cleaned_up_behind_a_link(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        die_before_reopening(dead)
        torn = outside / staged_name("x.pt")
    torn.write_bytes(b"torn")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".staging").symlink_to(outside)

    CheckpointManager(tmp_path / "set")

    assert torn.exists()
    (tmp_path / "set" / ".staging").unlink()
    torn.rename(tmp_path / "set" / torn.name)
    (tmp_path / "set" / ".staging").mkdir()
    (tmp_path / "set" / torn.name).rename(tmp_path / "set" / ".staging" / torn.name)
    CheckpointManager(tmp_path / "set")
    assert not (tmp_path / "set" / ".staging" / torn.name).exists(), "it would have gone, and the test proves nothing"


@pytest.mark.parametrize("name", ["production", "production/.staging", "metadata", "metadata/model_cards"])
def test_nothing_is_released_through_a_link(tmp_path: Path, outside: Path, name: str) -> None:
    manager = CheckpointManager(tmp_path / "set", fs=HASTY)
    (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
    replace_by_link(tmp_path / "set" / name, outside)
    before = content(outside)

    with pytest.raises(StoreError, match="is a symbolic link"):
        manager.save_production_checkpoint(tiny_model(), "1.0.0", {}, {})

    assert content(outside) == before


def test_a_set_that_a_person_put_elsewhere_by_a_link_is_used(tmp_path: Path) -> None:
    """`checkpoints -> /scratch/…` in a script of one's own: it was named so."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "scratch")
    manager = CheckpointManager(tmp_path / "set", 1, fs=HASTY)

    for epoch in (1, 2):
        save(manager, epoch)

    assert [info.epoch for info in manager.list_checkpoints("training")["training"]] == [2]
