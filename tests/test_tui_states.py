"""Every state a run can be in, reached from files as trainers leave them, and what the screen says of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_run, dead_process

from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Exit, Process, Status
from ckptop.store.state import STALLED_SECONDS
from ckptop.store.store import Store
from ckptop.tui import text
from ckptop.tui.heartbeats import Heartbeats
from ckptop.tui.model import STATE_ORDER
from ckptop.tui.run_views import RunViews
from ckptop.tui.theme import GLYPHS

EVERYTHING = frozenset({""})
OUT_OF_MEMORY = Exit(signal=9, error="killed by SIGKILL: the kernel's out-of-memory killer took it")


def rewrite(paths: RunPaths, **changes: Any) -> None:
    """Replace the status whole, as a trainer does."""
    status = read_json(paths.status, Status)
    staged = paths.status.with_name("staged")
    staged.write_bytes(encode(msgspec.structs.replace(status, **changes)))
    staged.rename(paths.status)


def elsewhere(pid: int = 7) -> Process:
    """A process of another machine."""
    return Process(pid=pid, start_ticks=1, boot_id="b", host="gpu-box-7", user="ada")


def build(root: Path, name: str, **plan: Any) -> RunPaths:
    return build_run(root, RunPlan(name=name, epochs=3, **plan))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run in every state, named by it; crashes in three ways."""
    root = tmp_path / "runs"
    build(root, "starting", phase="starting", checkpoints=0, log=False)
    build(root, "running")
    build(root, "paused", phase="paused")
    build(root, "stalled", last_step_age_seconds=10 * STALLED_SECONDS)
    build(root, "stopped", phase="stopped")
    build(root, "finished", phase="finished")
    build(root, "failed", phase="failed", error="ValueError: 3 labels for 4 images")
    build(root, "crashed", alive=False)
    rewrite(build(root, "crashed-signal"), process=dead_process(), exit=Exit(signal=11))
    rewrite(build(root, "crashed-code"), process=dead_process(), exit=Exit(code=137))
    rewrite(build(root, "crashed-memory"), process=dead_process(), exit=OUT_OF_MEMORY)
    rewrite(build(root, "unknown"), process=elsewhere(), heartbeat=time.time() - 3600)
    build(root, "unreadable").status.write_bytes(b"{")
    return root


SAID = {
    "stalled": "no step since",
    "failed": "ValueError: 3 labels for 4",
    "crashed": "its process is gone",
    "crashed-signal": "killed by SIGSEGV",
    "crashed-code": "exit code 137",
    "crashed-memory": "the kernel's",
    "unknown": "no heartbeat from gpu-box-7",
    "unreadable": "status.json is truncated",
}
"""What the facts say of those that want a person."""


async def select(dashboard: Dashboard, name: str) -> None:
    dashboard.runs.move_to_key(name)
    await dashboard.until(
        lambda: dashboard.snapshot.detail is not None and dashboard.snapshot.detail.row.name == name, name
    )
    await dashboard.pilot.pause()


def facts(dashboard: Dashboard) -> str:
    """The pane of facts, its rule first."""
    left = [line[:46] for line in dashboard.screen_text().splitlines()]
    top = next(place for place, line in enumerate(left) if place > 2 and line.startswith(("─ ", "- ")))
    return "\n".join(left[top : top + 10])


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
async def test_every_state_is_told_by_glyph_and_word_in_list_facts_and_header(
    store: Path, monkeypatch: pytest.MonkeyPatch, ascii_only: bool
) -> None:
    monkeypatch.setattr(text, "ASCII_ONLY", ascii_only)

    async with open_dashboard(store, size=(190, 44)) as dashboard:
        await dashboard.until(lambda: not dashboard.snapshot.unread, "all runs")
        shown = dashboard.screen_text()
        header, listed = shown.splitlines()[0], [line[1:44].split() for line in shown.splitlines()[2:17]]

        for state in STATE_ORDER:
            glyph = GLYPHS[state][ascii_only]
            assert f"{glyph} {4 if state == 'crashed' else 1} {state} " in header
            (row,) = [cells for cells in listed if cells[1:2] == [state]]
            assert row[0] == glyph
            assert state in row[2:] or state == "running"  # a running one has its progress in that place

            await select(dashboard, state)
            assert f"{glyph} {state} " in facts(dashboard).splitlines()[0]
        if ascii_only:
            assert shown.isascii()


async def test_the_ill_say_what_is_wrong_with_them_and_the_next_key(store: Path) -> None:
    async with open_dashboard(store, size=(120, 48)) as dashboard:
        await dashboard.until(lambda: not dashboard.snapshot.unread, "all runs")

        for name, words in SAID.items():
            await select(dashboard, name)
            assert words in facts(dashboard), name
        await select(dashboard, "crashed-memory")
        assert "out-of-memory killer took it" in facts(dashboard)
        assert "r resumes · Enter says why" in facts(dashboard)
        await select(dashboard, "stalled")
        assert "x stops it" in facts(dashboard)


async def test_in_80_columns_the_rule_above_the_list_says_it(store: Path) -> None:
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await dashboard.until(lambda: not dashboard.snapshot.unread, "all runs")
        await select(dashboard, "crashed-signal")

        assert dashboard.text("#runs").splitlines()[0].endswith(" killed by SIGSEGV ━")


# Heartbeats from elsewhere.


class Clocks:
    """The viewer's clock and its monotonic one."""

    def __init__(self, now: float) -> None:
        self.now, self.passed = now, 1000.0

    def wait(self, seconds: float) -> None:
        self.now, self.passed = self.now + seconds, self.passed + seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(time.time())


def states(views: RunViews, changed: frozenset[str]) -> list[str]:
    views.update(changed)
    return [getattr(views.get(name), "state", "?") for name in views.names]


@pytest.mark.parametrize("ahead_seconds", [-7200.0, 0.0, 7200.0])
def test_a_run_elsewhere_is_unknown_once_its_heart_stood_still_for_a_minute_here(
    tmp_path: Path, clocks: Clocks, ahead_seconds: float
) -> None:
    """However wrong the other machine's clock is, once a beat was seen."""
    paths = build(tmp_path, "far")
    rewrite(paths, process=elsewhere(), heartbeat=clocks.now + ahead_seconds)
    views = RunViews(Store(tmp_path), Heartbeats(lambda: clocks.now, lambda: clocks.passed))
    states(views, EVERYTHING)

    clocks.wait(1)
    rewrite(paths, heartbeat=clocks.now + ahead_seconds)
    assert states(views, frozenset({"far"})) == ["running"]

    clocks.wait(59)
    assert states(views, frozenset()) == ["running"]
    clocks.wait(2)
    assert states(views, frozenset()) == ["unknown"]

    rewrite(paths, heartbeat=clocks.now + ahead_seconds)
    assert states(views, frozenset({"far"})) == ["running"]


def test_a_run_elsewhere_that_was_never_seen_to_beat_goes_by_the_difference_of_the_clocks(
    tmp_path: Path, clocks: Clocks
) -> None:
    rewrite(build(tmp_path, "far"), process=elsewhere(), heartbeat=clocks.now - 3600)

    views = RunViews(Store(tmp_path), Heartbeats(lambda: clocks.now, lambda: clocks.passed))

    assert states(views, EVERYTHING) == ["unknown"]


def test_a_run_elsewhere_stalls_by_the_clock_of_its_own_machine(tmp_path: Path, clocks: Clocks) -> None:
    """Its clock is two hours ahead: by ours its last step is yet to come."""
    far = clocks.now + 7200
    rewrite(build(tmp_path, "far"), process=elsewhere(), heartbeat=far, last_step_time=far - 10 * STALLED_SECONDS)

    views = RunViews(Store(tmp_path), Heartbeats(lambda: clocks.now, lambda: clocks.passed))

    assert states(views, EVERYTHING) == ["stalled"]


def test_a_trainer_that_ends_while_it_is_looked_at_is_not_called_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status said running, then it wrote finished and ended, then we looked for the process."""
    paths = build(tmp_path, "quick")
    views = RunViews(Store(tmp_path))
    assert states(views, EVERYTHING) == ["running"]

    def ended(_: object) -> bool:
        rewrite(paths, phase="finished", process=dead_process())
        return False

    monkeypatch.setattr("ckptop.store.state.is_alive", ended)

    assert states(views, frozenset()) == ["finished"]
