"""The reader thread: woken by real changes, quick to quit, and nothing heavy loaded before the first paint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from dashboard import open_dashboard
from store_fixture import RunPlan, build_run, build_store

from ckptop.store.layout import RunPaths
from ckptop.tui.messages import ReadFailed, SnapshotRead
from ckptop.tui.model import Snapshot
from ckptop.tui.reader import StoreReader


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=9)])


async def test_what_a_trainer_appends_comes_to_the_screen_by_itself(store: Path) -> None:
    async with open_dashboard(store, watch=True) as dashboard:
        with RunPaths(store / "mine").metrics.open("a") as log:
            log.write(json.dumps({"step": 217, "epoch": 10, "train/loss": 0.1234}) + "\n")

        await dashboard.until(lambda: "0.1234" in dashboard.text("#chart-rule-0"), "the new value")


async def test_a_run_that_appears_comes_to_the_screen_by_itself(store: Path) -> None:
    async with open_dashboard(store, watch=True) as dashboard:
        build_run(store, RunPlan(name="newer", age_seconds=1))

        await dashboard.until(lambda: "newer" in dashboard.text("#runs"), "the new run")


async def test_a_store_that_is_not_there_yet_comes_to_the_screen_by_itself(tmp_path: Path) -> None:
    async with open_dashboard(tmp_path / "later", watch=True) as dashboard:
        build_store(tmp_path / "later", [RunPlan(name="first")])

        await dashboard.until(lambda: "first" in dashboard.text("#runs"), "the first run")


async def test_after_quitting_no_thread_is_left(store: Path) -> None:
    before = set(threading.enumerate())
    async with open_dashboard(store, watch=True) as dashboard:
        await dashboard.press("q")

    left = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    assert [thread.name for thread in left if not thread.name.startswith("asyncio")] == []


def test_a_stopped_reader_returns_at_once(store: Path) -> None:
    reader = StoreReader(store, watch=False)
    posted: list[Snapshot] = []
    first = threading.Event()

    def post(snapshot: Snapshot) -> None:
        posted.append(snapshot)
        first.set()

    thread = threading.Thread(target=reader.run, args=(post,))
    thread.start()
    assert first.wait(20)
    reader.stop()
    thread.join(20)

    assert not thread.is_alive()
    assert [run.name for run in posted[0].runs] == ["mine"]


@pytest.mark.parametrize(("is_changed", "until"), [(True, 0.9), (False, 0.5)])
def test_a_tick_waits_for_the_look_that_changes_ask_for(
    store: Path, monkeypatch: pytest.MonkeyPatch, is_changed: bool, until: float
) -> None:
    """Two looks within half a second would write the screen twice."""
    reader, now = StoreReader(store, watch=False), 0.0
    reader._take()
    if is_changed:
        reader.wake(["mine"])

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    monkeypatch.setattr("ckptop.tui.reader.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(reader._condition, "wait", wait)
    reader._wait(0.9, 0.5)

    assert now == until


def test_a_newer_snapshot_replaces_an_older_one_but_no_failure() -> None:
    older, newer = (SnapshotRead(Snapshot(now=now, store="./runs")) for now in (1.0, 2.0))

    assert newer.can_replace(older)
    assert not newer.can_replace(ReadFailed(ValueError()))


LATE = ("numpy", "plotext", "textual_plotext", "psutil", "pynvml", "watchdog")


def test_nothing_heavy_is_imported_before_the_first_paint() -> None:
    code = "import ckptop.tui.app, sys; print([name for name in sys.argv[1:] if name in sys.modules])"

    found = subprocess.run(
        [sys.executable, "-c", code, "torch", *LATE], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.strip() == "[]"


SESSION = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from dashboard import open_dashboard

async def main():
    async with open_dashboard(Path(sys.argv[1]), watch=True) as dashboard:
        await dashboard.press("2", "enter", "a", "L", "escape", "3", "V", "D", "escape", "p", "escape")
    print("torch" in sys.modules, "numpy" in sys.modules)

asyncio.run(main())
"""


def test_a_whole_session_never_loads_torch(store: Path) -> None:
    support = str(Path(__file__).parent / "support")

    found = subprocess.run(
        [sys.executable, "-c", SESSION, str(store), support],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TERM": "xterm-256color"},
    )

    assert found.stdout.split() == ["False", "True"], found.stderr
