"""The control menu: what is sent to a trainer, what is said of its answer, and what is off and why."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_run, build_store, dead_process

from ckptop.store.control import answer, pending
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import ControlRequest, Process, Status
from ckptop.store.views import read_run
from ckptop.tui import trainers
from ckptop.tui.child import Answer
from ckptop.tui.powers import Powers, powers_of
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.control import ControlScreen, Menu
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.steer import SteerScreen
from ckptop.tui.text import plain
from ckptop.tui.widgets.form import Buttons, Field
from ckptop.tui.widgets.lines import Lines

ROWS = ("save", "pause", "continue", "set", "stop", "kill")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=12, total_epochs=20)])


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store, size=(80, 24)) as opened:
        yield opened


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of each child; none is started."""
    calls: list[Sequence[str]] = []

    async def run(arguments: Sequence[str]) -> Answer:
        calls.append(arguments)
        return Answer(0, {"run": "mine", "state": "stopped", "step": 290}, "")

    monkeypatch.setattr(trainers, "run_ckptop", run)
    return calls


def paths(store: Path) -> RunPaths:
    return RunPaths(store / "mine")


def rewrite(store: Path, **changes: object) -> None:
    path = paths(store).status
    path.write_bytes(encode(msgspec.structs.replace(read_json(path, Status), **changes)))


async def see(dashboard: Dashboard, store: Path, state: str, **changes: object) -> None:
    """Write a status and wait until it is on screen."""
    rewrite(store, **changes)
    dashboard.reader.wake(["mine"])
    await dashboard.until(lambda: dashboard.snapshot.detail and dashboard.snapshot.detail.row.state == state, state)


async def open_menu(dashboard: Dashboard) -> Menu:
    await dashboard.press("x")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, ControlScreen), "the menu")
    await dashboard.pilot.pause()
    return dashboard.app.screen.query_one(Menu)


async def choose(dashboard: Dashboard, action: str) -> None:
    menu = await open_menu(dashboard)
    menu.move_to(ROWS.index(action))
    await dashboard.pilot.pause()
    await dashboard.press("enter")


def sheet(dashboard: Dashboard) -> str:
    lines = [line for widget in dashboard.app.screen.query(Lines) for line in widget.lines]
    return "\n".join(plain(line).rstrip() for line in lines)


async def asked(dashboard: Dashboard, store: Path) -> ControlRequest:
    """The request, as the trainer finds it."""
    await dashboard.until(lambda: pending(paths(store)).requests, "the request")
    (request,) = pending(paths(store)).requests
    return request


# Asking.


@pytest.mark.parametrize("action", ["save", "pause", "continue"])
async def test_a_row_asks_the_trainer_and_its_answer_is_told(dashboard: Dashboard, store: Path, action: str) -> None:
    if action == "continue":
        await see(dashboard, store, "paused", phase="paused")

    await choose(dashboard, action)
    request = await asked(dashboard, store)
    answer(paths(store), request, True, "done after step 288")

    assert (request.action, request.args) == (action, {})
    await dashboard.until(lambda: dashboard.toasts == ["mine: done after step 288"], "the answer")


async def test_a_refusal_is_told_with_its_reason(dashboard: Dashboard, store: Path) -> None:
    await choose(dashboard, "save")
    answer(paths(store), await asked(dashboard, store), False, "the disk refused")

    await dashboard.until(lambda: dashboard.toasts == ["mine: the disk refused"], "the answer")


async def test_a_trainer_that_dies_first_is_told(dashboard: Dashboard, store: Path) -> None:
    await choose(dashboard, "save")
    await asked(dashboard, store)
    rewrite(store, process=dead_process())

    await dashboard.until(lambda: "mine is crashed; it ended before it answered." in dashboard.toasts, "the end")


async def test_a_trainer_that_does_not_answer_is_not_waited_for_for_ever(
    dashboard: Dashboard, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "ANSWER_SECONDS", 0.6)

    await choose(dashboard, "pause")
    await dashboard.until(lambda: len(dashboard.toasts) == 2, "both toasts")

    assert dashboard.toasts[0] == "Asked mine; it answers after the step it is in."
    assert dashboard.toasts[1].startswith("mine is running and has not answered; the request stays.")


async def test_a_hostile_answer_is_plain_text(dashboard: Dashboard, store: Path) -> None:
    await choose(dashboard, "save")
    answer(paths(store), await asked(dashboard, store), True, "\x1b]52;c;aGk=\x07[@click=app.quit]x[/]")

    await dashboard.until(lambda: dashboard.toasts == ["mine: [@click=app.quit]x[/]"], "the answer")


async def test_a_control_folder_that_cannot_be_written_is_said(dashboard: Dashboard, store: Path) -> None:
    menu = await open_menu(dashboard)
    assert menu.current is not None
    paths(store).control.rmdir()
    paths(store).control.write_text("in the way")

    await dashboard.press("enter")

    await dashboard.until(lambda: dashboard.toasts, "the complaint")
    assert "mine cannot be asked" in dashboard.toasts[0]


# Setting values.


async def set_values(dashboard: Dashboard, **values: str) -> None:
    await choose(dashboard, "set")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, SteerScreen), "the form")
    await dashboard.pilot.pause()
    for name, value in values.items():
        dashboard.app.screen.query_one(f"#{name}", Field).value = value
    await dashboard.pilot.pause()


async def test_what_differs_is_set_and_the_command_is_shown(dashboard: Dashboard, store: Path) -> None:
    await set_values(dashboard, lr="3e-4", epochs="30")
    assert "$ ckptop ctl mine set lr=0.0003 total_epochs=30" in sheet(dashboard)

    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")
    request = await asked(dashboard, store)

    assert (request.action, request.args) == ("set", {"lr": 3e-4, "total_epochs": 30})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Nothing changes yet."),
        ({"lr": "-1"}, "lr must be a number above 0"),
        ({"lr": "nan"}, "lr must be a number above 0"),
        ({"lr": ""}, "lr must be a number above 0"),
        ({"epochs": "0"}, "epochs must be a whole number from 1"),
    ],
)
async def test_what_cannot_be_set_is_said_in_the_form(dashboard: Dashboard, values: dict[str, str], said: str) -> None:
    await set_values(dashboard, **values)
    assert said in sheet(dashboard)

    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")

    assert isinstance(dashboard.app.screen, SteerScreen)


# Stopping.


@pytest.mark.parametrize(
    ("action", "question", "options"),
    [("stop", "Stop mine after this step? It saves first.", []), ("kill", "Kill mine now?", ["--now"])],
)
async def test_stopping_asks_once_more_and_starts_on_no(
    dashboard: Dashboard, store: Path, told: list[Sequence[str]], action: str, question: str, options: list[str]
) -> None:
    await choose(dashboard, action)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.pilot.pause()
    assert question in sheet(dashboard)
    assert "▸[ Keep running ]◂" in sheet(dashboard)
    await dashboard.press("y")  # cannot be undone
    assert not told

    await dashboard.press("right", "enter")
    await dashboard.until(lambda: told, "the child")

    assert list(told[0]) == ["stop", "mine", *options, "--store", str(store)]
    await dashboard.until(lambda: "mine stopped at step 290. r resumes." in dashboard.toasts, "the report")


async def test_keeping_it_running_starts_nothing(dashboard: Dashboard, told: list[Sequence[str]]) -> None:
    await choose(dashboard, "stop")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.press("enter")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")

    assert not told


async def test_a_kill_says_how_many_steps_it_costs(dashboard: Dashboard, store: Path) -> None:
    rewrite(store, step=300)
    dashboard.reader.wake(["mine"])
    await dashboard.until(lambda: dashboard.snapshot.runs[0].step == 300, "the step")
    await choose(dashboard, "kill")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.pilot.pause()

    assert "12 steps since its newest checkpoint are lost." in sheet(dashboard)


# What is off.


async def test_the_menu_shows_each_rows_command_and_greys_what_the_state_does_not_allow(
    dashboard: Dashboard, store: Path
) -> None:
    menu = await open_menu(dashboard)
    assert "● running   step 288 of 480" in sheet(dashboard)
    assert "$ ckptop ctl mine save --store" in sheet(dashboard)
    assert [item.action for item in menu.items if item.refusal is not None] == ["continue"]

    await dashboard.press("j", "j", "enter")
    assert isinstance(dashboard.app.screen, ControlScreen)
    await dashboard.press("escape")
    assert isinstance(dashboard.app.screen, MainScreen)

    await see(dashboard, store, "paused", phase="paused")
    menu = await open_menu(dashboard)
    assert [item.action for item in menu.items if item.refusal is not None] == ["pause"]


@pytest.mark.parametrize("key", ["escape", "q", "x"])
async def test_the_menu_is_left_by_the_key_that_opened_it_too(dashboard: Dashboard, store: Path, key: str) -> None:
    await open_menu(dashboard)

    await dashboard.press(key)

    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")
    assert dashboard.app.is_running
    assert not pending(paths(store)).requests


async def test_a_second_click_on_a_row_chooses_it(dashboard: Dashboard, store: Path) -> None:
    await open_menu(dashboard)

    await dashboard.pilot.click(Menu, offset=(5, 3))
    assert isinstance(dashboard.app.screen, ControlScreen)
    await dashboard.pilot.click(Menu, offset=(5, 3))

    assert (await asked(dashboard, store)).action == "pause"


async def test_of_a_run_that_ended_everything_is_off_and_the_footer_says_so(dashboard: Dashboard, store: Path) -> None:
    await see(dashboard, store, "finished", phase="finished", process=dead_process())
    offered = {shown.binding.id: shown.off for shown in dashboard.runs.shown_bindings()}
    assert offered == {
        "runs.open": False, "runs.resume": False, "runs.control": True, "runs.prune": False, "runs.promote": False,
    }  # fmt: skip

    menu = await open_menu(dashboard)
    await dashboard.press("enter")

    assert all(item.refusal is not None for item in menu.items)
    assert sheet(dashboard).count("mine is finished; there is nobody to ask.") == 1
    assert isinstance(dashboard.app.screen, ControlScreen)


async def test_on_a_read_only_store_the_menu_is_off_and_says_why(
    dashboard: Dashboard, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if mode == os.W_OK else real(path, mode))
    dashboard.reader.wake()
    await dashboard.until(lambda: not dashboard.snapshot.writable, "the store read-only")

    await open_menu(dashboard)

    assert "is read-only: looking works, actions are off." in sheet(dashboard).replace("\n", "")
    assert {shown.binding.id for shown in dashboard.runs.shown_bindings() if not shown.off} == {"runs.open"}


# Powers, as the reader tells them.


@pytest.fixture
def somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """We are no longer who built the store, nor of its group."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getegid", lambda: 54321)
    monkeypatch.setattr(os, "getgroups", list)


@pytest.mark.usefixtures("somebody_else")
def test_anothers_run_is_neither_asked_nor_killed_nor_resumed(store: Path) -> None:
    powers = powers_of(read_run(store / "mine"), None)

    assert powers.ask == "mine belongs to another user; only they and their group may ask."
    assert powers.kill is not None
    assert "belongs to another user" in powers.kill
    assert powers.fork is not None
    assert "its recorded command is shown, never run" in powers.fork


def test_a_run_elsewhere_can_be_asked_and_not_killed(store: Path) -> None:
    rewrite(store, process=Process(pid=7, start_ticks=1, boot_id="b", host="gpu-box-7", user="ada"))

    powers = powers_of(read_run(store / "mine"), None)

    assert powers.ask is None
    assert powers.kill == "It runs on gpu-box-7 and cannot be killed from here."


def test_a_run_whose_files_others_may_write_is_not_started(store: Path) -> None:
    paths(store).record.chmod(0o666)
    rewrite(store, phase="stopped", process=dead_process())

    powers = powers_of(read_run(store / "mine"), None)

    assert powers.resume is not None
    assert "can be written by others" in powers.resume


def test_a_healthy_live_run_may_be_asked_killed_and_forked(store: Path) -> None:
    assert powers_of(read_run(store / "mine"), None) == Powers("mine is running already.", None, None, None)


def test_a_run_without_a_status_has_nobody_to_ask(tmp_path: Path) -> None:
    build_run(tmp_path, RunPlan(name="new", epochs=1)).status.unlink()

    assert powers_of(read_run(tmp_path / "new"), None).ask == "Nobody holds new; there is nobody to ask."
