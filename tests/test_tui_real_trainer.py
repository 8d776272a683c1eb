"""The dashboard and a real trainer: started, paused, steered, stopped, resumed, killed and explained by keys alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard

from ckptop.store.layout import RunPaths
from ckptop.store.views import RunView, read_run
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.control import ControlScreen, Menu
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.screens.steer import SteerScreen
from ckptop.tui.screens.train import TrainScreen
from ckptop.tui.screens.why import WhyScreen
from ckptop.tui.widgets.form import Buttons, Field

pytest.importorskip("torch")

LOOKS = 12
"""Each waits as long as `pilot.LIMIT_SECONDS`: importing torch on a busy machine takes its time."""


async def until(dashboard: Dashboard, condition: Callable[[], object], what: str) -> None:
    """Wait for something a process of its own has to do first."""
    for look in range(LOOKS):
        try:
            await dashboard.until(condition, what)
        except AssertionError:
            if look == LOOKS - 1:
                raise AssertionError(f"waited in vain for {what}; said: {dashboard.toasts}") from None
        else:
            return


async def see(dashboard: Dashboard, state: str) -> None:
    await until(dashboard, lambda: dashboard.snapshot.runs and dashboard.snapshot.runs[0].state == state, state)


async def open_screen(dashboard: Dashboard, kind: type[object], key: str) -> None:
    await dashboard.press(key)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, kind), kind.__name__)
    await dashboard.pilot.pause()


async def control(dashboard: Dashboard, row: int) -> None:
    await open_screen(dashboard, ControlScreen, "x")
    dashboard.app.screen.query_one(Menu).move_to(row)
    await dashboard.press("enter")


async def press_yes(dashboard: Dashboard) -> None:
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")


async def said(dashboard: Dashboard, words: str) -> None:
    await until(dashboard, lambda: any(words in toast for toast in dashboard.toasts), words)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def view(store: Path) -> RunView:
    return read_run(store / "real")


@pytest.mark.usefixtures("no_trainer_is_left")
async def test_a_training_lives_its_life_from_the_dashboard_alone(store: Path) -> None:
    async with open_dashboard(store, watch=True) as dashboard:
        await open_screen(dashboard, TrainScreen, "T")
        await dashboard.press("right")
        for name, value in {"name": "real", "epochs": "2000", "other": "threads=1 save_every_epochs=2"}.items():
            dashboard.app.screen.query_one(f"#{name}", Field).value = value
        await press_yes(dashboard)
        await see(dashboard, "running")

        await control(dashboard, 1)
        await see(dashboard, "paused")
        await control(dashboard, 3)
        await dashboard.until(lambda: isinstance(dashboard.app.screen, SteerScreen), "the form")
        dashboard.app.screen.query_one("#lr", Field).value = "2e-4"
        await press_yes(dashboard)
        await said(dashboard, "lr was")
        await control(dashboard, 2)
        await see(dashboard, "running")
        record = view(store).record
        assert record is not None
        assert record.config["lr"] == 2e-4

        await control(dashboard, 4)
        await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
        await dashboard.pilot.pause()
        await dashboard.press("right", "enter")
        await see(dashboard, "stopped")
        saved = view(store).latest
        assert saved is not None

        await open_screen(dashboard, ResumeScreen, "r")
        await press_yes(dashboard)
        await see(dashboard, "running")
        await said(dashboard, f"Resumed real from step {saved.step:,}")

        status = view(store).status
        assert status is not None
        os.kill(status.process.pid, signal.SIGKILL)
        await see(dashboard, "crashed")
        await until(dashboard, lambda: is_explained(store), "its supervisor to write down what killed it")
        await open_screen(dashboard, WhyScreen, "enter")
        await until(dashboard, lambda: "$ ckptop resume real" in dashboard.text("#page"), "the page")
        assert "killed by SIGKILL" in dashboard.text("#page")
        await dashboard.press("escape")
        await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


def is_explained(store: Path) -> bool:
    status = view(store).status
    return status is not None and status.exit is not None


@pytest.fixture
def no_trainer_is_left(store: Path) -> Iterator[None]:
    """Whatever fails, the trainer goes with the test."""
    yield
    if RunPaths(store / "real").status.exists():
        status = view(store).status
        if status is not None and view(store).state in ("running", "paused", "starting"):
            os.kill(status.process.pid, signal.SIGKILL)
