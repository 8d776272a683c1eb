"""What happens to a store behind the back of an open dashboard: runs moved and half copied, and no inotify to tell."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_run, build_store
from watchdog.observers import Observer

from ckptop.store import feed
from ckptop.store.feed import StoreFeed
from ckptop.store.layout import RunPaths


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped", epochs=9)])


def use_up_inotify(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Observer, "start", refuse)


def be_on_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_is_network", lambda _root: True)


def listed(dashboard: Dashboard) -> list[str]:
    return sorted(run.name for run in dashboard.runs.items)


@pytest.mark.parametrize("without_inotify", [use_up_inotify, be_on_a_network])
async def test_where_nothing_can_be_watched_the_store_is_looked_at(
    store: Path, monkeypatch: pytest.MonkeyPatch, without_inotify: object
) -> None:
    """A change of a run, a new run and a removed one come to the screen by themselves."""
    without_inotify(monkeypatch)  # type: ignore[operator]  # one of the two above
    defaults = StoreFeed.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "fast_seconds", 0.02)
    async with open_dashboard(store, watch=True) as dashboard:
        with RunPaths(store / "mine").metrics.open("a") as log:
            log.write('{"step": 217, "epoch": 10, "train/loss": 0.1234}\n')
        await dashboard.until(lambda: "0.1234" in dashboard.text("#chart-rule-0"), "the new value")

        build_run(store, RunPlan(name="newer", age_seconds=1))
        await dashboard.until(lambda: listed(dashboard) == ["mine", "newer"], "the new run")

        shutil.rmtree(store / "mine")
        await dashboard.until(lambda: listed(dashboard) == ["newer"], "the run that is left")


async def test_where_watching_fails_the_header_says_so_and_one_toast_why(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_up_inotify(monkeypatch)
    async with open_dashboard(store, watch=True) as dashboard:
        await dashboard.until(lambda: "./runs  polled" in dashboard.text("#header"), "the word")
        await dashboard.until(lambda: dashboard.toasts, "the reason")
        dashboard.reader.wake()
        await dashboard.press("2")

        assert dashboard.toasts == ["The store is looked at every 1 s, not watched: No space left on device"]


async def test_a_run_that_is_renamed_while_it_is_looked_at_goes_on_under_its_new_name(store: Path) -> None:
    async with open_dashboard(store, watch=True) as dashboard:
        await dashboard.press("3", "j")

        (store / "mine").rename(store / "yours")

        await dashboard.until(lambda: listed(dashboard) == ["yours"], "the new name")
        await dashboard.until(lambda: "Checkpoints of yours" in dashboard.text("#checkpoints"), "its checkpoints")
        assert dashboard.table.has_focus


async def test_a_run_that_is_half_copied_says_what_is_missing_and_then_is_whole(store: Path, tmp_path: Path) -> None:
    whole = build_store(tmp_path / "elsewhere", [RunPlan(name="copied", phase="stopped", epochs=9)]) / "copied"
    async with open_dashboard(store, watch=True) as dashboard:
        copy = store / "copied"
        copy.mkdir()
        (copy / "run.json").write_bytes((whole / "run.json").read_bytes()[:200])
        (copy / "metrics.jsonl").write_bytes((whole / "metrics.jsonl").read_bytes()[:1000])
        await dashboard.until(lambda: "copied" in listed(dashboard), "the first of it")
        dashboard.runs.move_to_key("copied")
        await dashboard.until(lambda: "run.json is truncated" in dashboard.screen_text(), "what is wrong with it")

        shutil.copytree(whole, copy, dirs_exist_ok=True)

        await dashboard.until(
            lambda: "✓ copied" in dashboard.text("#runs") or "■ copied" in dashboard.text("#runs"), "it"
        )
        await dashboard.until(lambda: len(dashboard.table.items) > 1, "its checkpoints")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_run_that_may_not_be_read_says_so_and_the_others_are_shown(store: Path) -> None:
    forbidden = RunPaths(build_run(store, RunPlan(name="theirs", age_seconds=1)).root)
    forbidden.record.chmod(0)
    async with open_dashboard(store) as dashboard:
        assert "? theirs" in dashboard.text("#runs")
        assert "mine" in dashboard.text("#runs")


async def test_a_log_that_is_no_file_is_told_in_one_line(store: Path) -> None:
    log = RunPaths(store / "mine").metrics
    log.unlink()
    log.mkdir()
    async with open_dashboard(store) as dashboard:
        assert "metrics.jsonl" in dashboard.text("#runs") + dashboard.screen_text()
        assert dashboard.app.is_running
