"""Exporting from the dashboard: the form, and the file that a real child writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from safetensors.numpy import load_file
from store_fixture import RunPlan, build_store
from tiny_model import make_run

from ckptop.tui import exporting
from ckptop.tui.child import Answer
from ckptop.tui.screens.export import ExportScreen
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.text import plain
from ckptop.tui.widgets.form import Choice, Field
from ckptop.tui.widgets.lines import Lines


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped", epochs=12, checkpoints=3)])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What children were told."""
    heard: list[list[str]] = []

    async def answer(arguments: Sequence[str]) -> Answer:
        heard.append(list(arguments))
        return Answer(0, {"path": "there.pt", "tensors": 2, "size_bytes": 2048}, "")

    monkeypatch.setattr(exporting, "run_ckptop", answer)
    return heard


@pytest.fixture
async def dashboard(store: Path, told: list[list[str]]) -> AsyncIterator[Dashboard]:
    del told
    async with open_dashboard(store, size=(80, 24)) as opened:
        yield opened


async def open_form(dashboard: Dashboard, *keys: str) -> None:
    await dashboard.press(*keys, "e")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, ExportScreen), "the form")
    await dashboard.pilot.pause()


def said(dashboard: Dashboard, name: str) -> str:
    lines = dashboard.app.screen.query_one(f"#{name}", Lines).lines
    return "".join(plain(line).strip() for line in lines)


def target(dashboard: Dashboard) -> Field:
    return dashboard.app.screen.query_one("#to", Field)


async def press_the_second_button(dashboard: Dashboard) -> None:
    dashboard.app.screen.query_one("#buttons").focus()
    await dashboard.press("right", "enter")


async def test_a_checkpoint_becomes_a_file_that_other_tools_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    async with open_dashboard(tmp_path / "runs") as dashboard:
        await open_form(dashboard, "3")
        assert target(dashboard).value == "mine_epoch_0005_step_00000500.safetensors"
        await press_the_second_button(dashboard)

        await dashboard.until(lambda: any("Exported 1 tensor" in toast for toast in dashboard.toasts), "the file")
    assert list(load_file("mine_epoch_0005_step_00000500.safetensors")) == ["weight"]


async def test_the_end_of_the_name_and_the_format_say_the_same(dashboard: Dashboard, told: list[list[str]]) -> None:
    await open_form(dashboard, "3")
    choice = dashboard.app.screen.query_one("#format", Choice)
    await dashboard.press("tab", "right")
    assert target(dashboard).value.endswith(".pt")
    target(dashboard).value = "w.safetensors"
    await dashboard.until(lambda: choice.chosen == 0, "the format")
    target(dashboard).value = "w.pt"
    await dashboard.until(lambda: "--to w.pt" in said(dashboard, "command"), "the command")
    assert choice.chosen == 1

    await press_the_second_button(dashboard)
    await dashboard.until(lambda: told, "the child")
    assert told[0][0] == "export"
    assert told[0][1].startswith("mine:training/checkpoint_epoch_")
    assert told[0][2:4] == ["--to", "w.pt"]
    await dashboard.until(lambda: dashboard.toasts[-1] == "Exported 2 tensors, 2.0 KiB, to there.pt.", "the toast")


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("", "name a file"),
        ("w.bin", "end it in .safetensors or .pt"),
        ("nowhere/w.pt", "there is no directory nowhere"),
        ("~nobody-at-all/w.pt", "there is no directory ~nobody-at-all"),
        ("x" * 5000 + "/w.pt", "there is no directory …"),
        ("taken.pt", "taken.pt exists; nothing is overwritten"),
    ],
)
async def test_what_stands_in_the_way_is_said_while_it_is_typed(
    dashboard: Dashboard, told: list[list[str]], to: str, problem: str
) -> None:
    Path("taken.pt").touch()
    await open_form(dashboard, "3")
    target(dashboard).value = to

    await dashboard.until(lambda: said(dashboard, "problem").startswith(problem), problem)
    await press_the_second_button(dashboard)
    assert isinstance(dashboard.app.screen, ExportScreen)
    assert not told


async def test_of_several_a_directory_is_asked_for(dashboard: Dashboard, told: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    await open_form(dashboard, "3", "space", "space")
    assert target(dashboard).value == "."
    target(dashboard).value = "out"
    await dashboard.pilot.pause()
    await press_the_second_button(dashboard)

    await dashboard.until(lambda: dashboard.toasts[-1:] == ["Exported 2 of 2."], "both")
    assert [Path(words[3]).parent.name for words in told] == ["out", "out"]
    assert len({words[3] for words in told}) == 2
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


async def test_a_damaged_checkpoint_is_not_exported_and_the_reason_is_said(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Sequence[str]) -> Answer:
        return Answer(12, {}, "mine: bytes differ; nothing was exported")

    monkeypatch.setattr(exporting, "run_ckptop", refuse)
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await open_form(dashboard, "3", "enter")  # from the detail
        await press_the_second_button(dashboard)

        await dashboard.until(lambda: "bytes differ; nothing was exported" in dashboard.toasts[-1], "the reason")
