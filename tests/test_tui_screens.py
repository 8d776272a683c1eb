"""Whole screens as pictures, at the two sizes the interface was drawn for. Look at a difference before accepting it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard import ONE_GPU, StillSampler
from pilot import wait_for
from store_fixture import DEFAULT_RUNS, build_store
from textual.pilot import Pilot

from ckptop.tui.app import CkptopApp
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.main import MainScreen

NOW = 1_763_725_260.0
"""12:41 in UTC, as in the pictures."""

SnapCompare = Callable[..., bool]


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("NO_COLOR", "CKPTOP_THEME"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def app(tmp_path: Path) -> CkptopApp:
    plans = [replace(plan, size_bytes=1_300_234 if plan.name == "digits-cnn" else 4096) for plan in DEFAULT_RUNS]
    store = build_store(tmp_path / "runs", plans, now=NOW)
    printed = [f"Epoch {epoch}/100 - Train Loss: {2 / epoch:.4f}\n" for epoch in range(1, 63)]
    (store / "digits-cnn" / "train.log").write_text("".join(printed))
    event = {
        "time": NOW - 9,
        "event": "alert",
        "attempt": 2,
        "step": 1488,
        "kind": "degraded",
        "message": "fell behind",
    }
    with (store / "digits-cnn" / "events.jsonl").open("a") as events:
        events.write(json.dumps(event) + "\n")
    reader = StoreReader(store, shown_as="./runs", clock=lambda: NOW, sampler=StillSampler(ONE_GPU), watch=False)
    return CkptopApp(reader)


async def until_complete(pilot: Pilot[None]) -> None:
    def is_complete() -> bool:
        screen = pilot.app.screen
        assert isinstance(screen, MainScreen)
        shown = screen.snapshot
        if shown is None or shown.hardware is None or shown.detail is None or shown.detail.curves is None:
            return False
        if shown.alerts is None or not shown.alerts.is_complete:  # the header counts them
            return False
        return shown.unread == 0 and all(run.trend for run in screen.query_one("#runs").visible_items)  # type: ignore[attr-defined]

    await wait_for(pilot, is_complete, what="everything on screen")
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_main_screen(snap_compare: SnapCompare, app: CkptopApp, size: tuple[int, int]) -> None:
    assert snap_compare(app, terminal_size=size, run_before=until_complete)


async def until_detail(pilot: Pilot[None]) -> None:
    await until_complete(pilot)
    await pilot.press("3", "enter", "l")  # facts name a path that differs from test to test
    await pilot.pause()


def test_everything_known_of_a_checkpoint(snap_compare: SnapCompare, app: CkptopApp) -> None:
    assert snap_compare(app, terminal_size=(80, 24), run_before=until_detail)


@pytest.mark.parametrize(
    ("key", "seen", "gone"),
    [("6", "fell behind", "Reading"), ("8", "crashed at step", "3 alerts")],
    ids=["log", "alerts"],
)
def test_a_screen_of_its_own(snap_compare: SnapCompare, app: CkptopApp, key: str, seen: str, gone: str) -> None:
    async def opened(pilot: Pilot[None]) -> None:
        await until_complete(pilot)
        await pilot.press(key)
        await wait_for(pilot, lambda: seen in _text(pilot) and gone not in _text(pilot), what=f"screen {key}")
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=opened)


def _text(pilot: Pilot[None]) -> str:
    return "".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
