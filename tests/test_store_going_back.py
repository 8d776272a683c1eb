"""Going back: what was done past the new start is put away, and one line of checkpoints stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_cut import die_before_reopening, each_cut
from tiny_model import HASTY, clone, find, key, live, make_run

from ckptop.store.checkpoint_info import in_lineage, is_live
from ckptop.store.going_back import discard_abandoned, discard_past, recorded_attempts
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.records import Attempt, RunRecord
from ckptop.store.trash import list_discarded
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("back") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def record_with(*from_steps: int) -> RunRecord:
    attempts = [Attempt(attempt=n, from_step=step, time=float(n)) for n, step in enumerate(from_steps, start=1)]
    return RunRecord(id="1", name="mine", task="t", created=1.0, attempts=attempts)


def test_what_is_past_the_start_is_moved_whole_and_links_follow(root: Path) -> None:
    paths = RunPaths(root)

    moved = discard_abandoned(paths, record_with(0, 250), HASTY)

    put_away = sorted((paths.checkpoints.discarded / "2" / "training").glob("*.pt"))
    assert moved == 3
    assert [path.name[:21] for path in put_away] == [f"checkpoint_epoch_000{epoch}" for epoch in (3, 4, 5)]
    assert all(manifest_path(path).exists() for path in put_away)
    assert os.readlink(paths.checkpoints.training / "latest.pt") == find(root, "training", 2).name
    assert all(verify_checkpoint(info) is None for info in live(root))


def test_what_lies_there_already_is_never_overwritten(root: Path) -> None:
    paths = RunPaths(root)
    moving = find(root, "training", 4).path
    taken = paths.checkpoints.discarded / "2" / "training" / moving.name
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")

    with pytest.raises(FileExistsError, match="nothing of a store is ever overwritten"):
        discard_abandoned(paths, record_with(0, 250), HASTY)

    assert taken.read_bytes() == b"somebody's"
    assert moving.exists()


def test_done_once_it_is_done(root: Path) -> None:
    discard_abandoned(RunPaths(root), record_with(0, 250), HASTY)

    assert discard_abandoned(RunPaths(root), record_with(0, 250), HASTY) == 0


def test_each_goes_to_the_attempt_that_left_it_behind(root: Path) -> None:
    """Attempt 2 began at 400, attempt 3 at 200: step 500 was left by the second, 300 and 400 by the third."""
    paths = RunPaths(root).checkpoints

    discard_abandoned(RunPaths(root), record_with(0, 400, 200), HASTY)

    where = {path.name[17:21]: path.parent.parent.name for path in paths.discarded.rglob("*.pt")}
    assert where == {"0005": "2", "0004": "3", "0003": "3"}


def test_one_whose_manifest_is_unreadable_is_left_where_a_person_sees_it(root: Path) -> None:
    """Nothing says which attempt made it, so nothing may put it away."""
    info = find(root, "training", 5)
    manifest_path(info.path).write_bytes(b"{")

    discard_abandoned(RunPaths(root), record_with(0, 100), HASTY)

    assert info.path.exists()
    assert info.name in [item.name for item in read_run(root).checkpoints]


def test_a_script_that_goes_back_loses_nothing_wherever_the_power_goes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkpoint stands in one place, whole, and no link points at what is gone."""
    for fs in each_cut():
        paths = RunPaths(clone(root.parent, tmp_path / "cut") / "mine").checkpoints
        with monkeypatch.context() as dead:
            die_before_reopening(dead)
            is_cut = fs.dies(lambda: discard_past(paths, 2, 200, fs))  # noqa: B023 - called at once

        stand, lie = live(paths.root.parent), list_discarded(paths)
        assert sorted(key(info) for info in [*stand, *(entry.info for entry in lie)]) == sorted(map(key, live(root)))
        assert all(verify_checkpoint(entry.info) is None for entry in lie)
        assert all(verify_checkpoint(info) is None for info in stand)
        assert all(link.exists() for link in paths.root.glob("*/*.pt") if link.is_symlink())
        if not is_cut:
            assert {key(info) for info in stand} == {"training/1", "training/2", "milestone/2"}
            assert os.readlink(paths.training / "latest.pt") == find(paths.root.parent, "training", 2).name
        shutil.rmtree(tmp_path / "cut")


def test_attempts_that_only_the_log_knows_are_added_in_order(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.metrics.write_text(
        '{"attempt":1,"from_step":0,"time":1.0}\n{"step":1}\n{"attempt":2,"from_step":5,"time":2.0}\ngarbage\n'
        '{"attempt":3,"from_step":4,"time":3.0}\n'
    )

    found = recorded_attempts(paths, record_with(0))

    assert [(item.attempt, item.from_step) for item in found.attempts] == [(1, 0), (2, 5), (3, 4)]


def test_no_log_changes_nothing(tmp_path: Path) -> None:
    record = record_with(0)

    assert recorded_attempts(RunPaths(tmp_path), record) is record


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 60))
def test_lineage_is_what_replaying_the_attempts_leaves(starts: list[int], attempt: int, step: int) -> None:
    """Told another way: each attempt forgets what lies past its start, then does its own steps."""
    attempts = [Attempt(attempt=n, from_step=start, time=0.0) for n, start in enumerate(starts, start=1)]
    done: set[tuple[int, int]] = set()
    for item in attempts:
        done = {(made_by, at) for made_by, at in done if at <= item.from_step}
        done |= {(item.attempt, at) for at in range(61)}
    expected = (attempt, step) in done or attempt > len(attempts)

    assert in_lineage(attempt, step, attempts) == expected


def test_every_attempt_sees_what_stands_where_no_manifest_tells(root: Path) -> None:
    info = find(root, "training", 5)
    manifest_path(info.path).unlink()

    assert is_live(find(root, "training", 5), record_with(0, 1, 0).attempts)
