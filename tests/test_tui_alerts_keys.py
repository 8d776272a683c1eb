"""Screen 8: the alerts of all runs, key by key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.events import append_event
from ckptop.store.layout import RunPaths
from ckptop.tui.messages import CauseOpened
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.widgets.alerts_pane import AlertsPane
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.form import Choice
from ckptop.tui.widgets.log_pane import LogPane

FELL = "val/accuracy is 0.7, 20.0% worse than the best; to go back: ckptop stop well"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plans = [
        RunPlan(name="well", phase="stopped", epochs=20, age_seconds=99),
        RunPlan(name="ill", alive=False, age_seconds=9_000),
    ]
    store = build_store(tmp_path / "runs", plans)
    append_event(RunPaths(store / "well"), "alert", attempt=1, step=240, kind="degraded", message=FELL)
    return store


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        await opened.until(lambda: opened.snapshot.alerts and opened.snapshot.alerts.is_complete, "the alerts")
        yield opened


def pane(dashboard: Dashboard) -> AlertsPane:
    return dashboard.screen.query_one(AlertsPane)


async def open_alerts(dashboard: Dashboard) -> None:
    await dashboard.press("8")
    await dashboard.until(lambda: dashboard.screen.query("#alerts") and pane(dashboard).items, "the list")


async def go_to(dashboard: Dashboard, kind: str) -> None:
    keys = [row.key for row in pane(dashboard).items if row.kind == kind]
    assert pane(dashboard).move_to_key(keys[0])


async def test_the_header_counts_what_is_new_until_the_list_was_looked_at(dashboard: Dashboard) -> None:
    assert "▲ 2 alerts" in dashboard.text("#header")

    await open_alerts(dashboard)
    assert "2 of 2 new" in dashboard.text("#alerts")
    assert "val/accuracy is 0.7, 20.0% worse than the best" in dashboard.text("#alerts")
    assert "to go back" not in dashboard.text("#alerts")
    assert dashboard.text("#footer") == " Enter Cause   r Resume from best   d Dismiss   u Undo   Esc Back   ? Help"
    await dashboard.until(lambda: "alert" not in dashboard.text("#header"), "the count to go")
    assert "2 of 2 new" in dashboard.text("#alerts")

    await dashboard.press("escape", "8")
    assert "new" not in dashboard.text("#alerts")


async def test_one_toast_tells_of_a_new_alert_and_none_of_old_ones(dashboard: Dashboard, store: Path) -> None:
    assert dashboard.toasts == []

    append_event(RunPaths(store / "well"), "alert", attempt=1, step=900, kind="nan", message="train/loss is NaN")
    dashboard.reader.wake(["well"])

    await dashboard.until(lambda: dashboard.toasts, "the toast")
    assert dashboard.toasts == ["▲ well: train/loss is NaN. 8 lists alerts."]
    assert "▲ 3 alerts" in dashboard.text("#header")


async def test_several_new_alerts_are_one_toast(dashboard: Dashboard, store: Path) -> None:
    for step in (900, 1900):
        append_event(RunPaths(store / "well"), "alert", attempt=1, step=step, kind="nan", message="NaN")
    dashboard.reader.wake(["well"])

    await dashboard.until(lambda: dashboard.toasts, "the toast")
    assert dashboard.toasts == ["▲ 2 new alerts. 8 lists them."]


async def test_enter_goes_to_the_chart_at_the_step(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await go_to(dashboard, "degraded")
    await dashboard.press("enter")

    enlarged = dashboard.screen.query_one(EnlargedPlot)
    await dashboard.until(lambda: enlarged.has_focus, "the chart")
    assert enlarged._view.cursor == 240
    assert dashboard.text("#enlarged-rule").startswith("━ 2 val/accuracy")
    await dashboard.press("escape")
    assert pane(dashboard).has_focus
    await dashboard.press("escape")
    assert "runs" in dashboard.screen.shown_panes


async def test_enter_on_a_crash_goes_to_the_log_of_its_run(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await go_to(dashboard, "crash")
    await dashboard.press("enter")

    await dashboard.until(
        lambda: dashboard.screen.query("#log") and dashboard.screen.query_one(LogPane).has_focus, "the log"
    )
    assert "Log of ill" in dashboard.text("#log")
    await dashboard.press("escape")
    assert pane(dashboard).has_focus
    await dashboard.press("6", "escape")
    assert dashboard.runs.has_focus


async def test_r_offers_to_resume_the_run_from_its_best(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await go_to(dashboard, "degraded")
    await dashboard.press("r")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, ResumeScreen), "the form")
    await dashboard.pilot.pause()

    assert dashboard.app.screen.query_one("#from", Choice).chosen == 1
    assert "--from best" in "\n".join(str(line) for line in dashboard.app.screen.query_one("#command").lines)  # type: ignore[attr-defined]


async def test_d_dismisses_and_u_brings_back(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await go_to(dashboard, "crash")
    await dashboard.press("d")
    await dashboard.until(lambda: [row.kind for row in pane(dashboard).items] == ["degraded"], "one alert")
    assert dashboard.toasts == ["Dismissed 1 alert. u undoes."]

    await dashboard.press("u")
    await dashboard.until(lambda: len(pane(dashboard).items) == 2, "both alerts")
    await dashboard.press("u")
    assert dashboard.toasts[-1] == "Nothing to undo."


async def test_s_sorts_the_alerts_and_S_turns_them_around(dashboard: Dashboard) -> None:  # noqa: N802  the key
    def runs() -> list[str]:
        return [row.run for row in pane(dashboard).items]

    await open_alerts(dashboard)
    newest = runs()
    assert newest == ["well", "ill"]
    await dashboard.press("s")
    assert runs() == ["ill", "well"]
    assert "by run" in dashboard.text("#alerts")
    await dashboard.press("S")
    assert runs() == ["well", "ill"]
    assert "by run, reversed" in dashboard.text("#alerts")
    await dashboard.press("s")
    assert [row.kind for row in pane(dashboard).items] == ["crash", "degraded"]

    await dashboard.press("s")
    assert runs() == newest
    assert "first" not in dashboard.text("#alerts")


async def test_marked_alerts_are_dismissed_together(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await dashboard.press("g", "space", "space")
    assert "d Dismiss 2" in dashboard.text("#footer")
    await dashboard.press("n", "N", "asterisk", "asterisk", "d")

    await dashboard.until(lambda: not pane(dashboard).items, "an empty list")
    assert "Nothing to be alarmed about." in dashboard.text("#alerts")


async def test_slash_filters_and_y_copies(dashboard: Dashboard) -> None:
    await open_alerts(dashboard)
    await dashboard.press("slash", *"crash", "enter", "y")

    assert [row.run for row in pane(dashboard).items] == ["ill"]
    assert "ill: crashed at step" in dashboard.app.clipboard
    await dashboard.press("escape")
    assert len(pane(dashboard).items) == 2


async def test_an_alert_of_a_run_that_is_gone_says_so(dashboard: Dashboard) -> None:
    dashboard.screen.post_message(CauseOpened("gone", "log"))

    await dashboard.until(lambda: dashboard.toasts == ["gone is gone from the store."], "why nothing happens")


async def test_the_cause_is_shown_of_a_run_that_is_hidden(dashboard: Dashboard) -> None:
    dashboard.runs.move_to_key("ill")
    await dashboard.press("H")
    assert [run.name for run in dashboard.runs.items] == ["well"]

    await open_alerts(dashboard)
    await go_to(dashboard, "crash")
    await dashboard.press("enter")

    await dashboard.until(lambda: dashboard.screen.query("#log") and "Log of ill" in dashboard.text("#log"), "its log")
    assert dashboard.runs.current is not None
    assert dashboard.runs.current.name == "ill"
