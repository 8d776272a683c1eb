"""The command palette: what it finds, and that it does what the key would."""

from __future__ import annotations

from pathlib import Path

from dashboard import open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.palette import PaletteScreen


async def test_the_palette_finds_a_command_and_does_it(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped")])
    async with open_dashboard(store) as dashboard:
        await dashboard.press("colon")
        await dashboard.until(lambda: isinstance(dashboard.app.screen, PaletteScreen), "the palette")
        await dashboard.press(*"verif")
        assert "Checkpoints: Verify" in dashboard.text("#commands").splitlines()[1]

        await dashboard.press("enter")
        await dashboard.until(lambda: dashboard.toasts == ["Verified 1: all good."], "the verdict")
        assert dashboard.table.has_focus


async def test_the_palette_leads_to_a_pane_that_has_no_place_now(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped")])
    async with open_dashboard(store) as dashboard:
        await dashboard.press("5", "colon", *"roll")
        assert "Registry: Roll back" in dashboard.text("#commands").splitlines()[1]

        await dashboard.press(*["backspace"] * 4, *"checkp", "space", *"verif", "enter")
        await dashboard.until(lambda: dashboard.toasts == ["Verified 1: all good."], "the verdict")
        assert dashboard.table.has_focus
        assert {"runs", "checkpoints"} <= dashboard.screen.shown_panes

        await dashboard.press("colon", *"roll")
        assert "Registry" not in dashboard.text("#commands")


async def test_the_palette_changes_the_theme_and_escape_leaves_it(tmp_path: Path) -> None:
    async with open_dashboard(build_store(tmp_path / "runs", [RunPlan(name="mine")])) as dashboard:
        await dashboard.press("ctrl+p", *"mono", "enter")
        await dashboard.until(lambda: dashboard.app.theme == "ckptop-mono", "the theme")

        await dashboard.press("ctrl+p", "down", "up", "pagedown", "pageup", "escape")
        await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")
