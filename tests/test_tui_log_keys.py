"""Screen 6: the log of the selected run and its events, key by key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.events import append_event
from ckptop.store.layout import RunPaths
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.events_pane import EventsPane
from ckptop.tui.widgets.log_pane import LogPane

LINES = 8000
"""Of 60 characters and more: several windows."""
EVIL = "\x1b]52;c;ZXZpbA==\x07[/red][@click=app.quit]x[/]\x9b2J\u202eabc\x00"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    plans = [RunPlan(name="mine", epochs=20), RunPlan(name="other", phase="finished", age_seconds=9_000)]
    store = build_store(tmp_path / "runs", plans)
    long = "and a long tail " * 20
    with RunPaths(store / "mine").log.open("w") as log:
        for number in range(LINES):
            log.write(
                f"epoch {number:04d} of {LINES}  train/loss {1 / (number + 1):.8f}  {long * (number == LINES - 1)}\n"
            )
    append_event(RunPaths(store / "mine"), "saved", attempt=1, step=240, checkpoint="training/a.pt", size_bytes=4096)
    append_event(RunPaths(store / "mine"), "alert", step=300, kind="degraded", message="fell behind")
    return store


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        await opened.press("6")
        await opened.until(lambda: opened.screen.query("#log") and log(opened).items, "the log")
        yield opened


def log(dashboard: Dashboard) -> LogPane:
    return dashboard.screen.query_one(LogPane)


def at(dashboard: Dashboard) -> str:
    row = log(dashboard).current
    return row.text[:10] if row is not None else ""


async def until_at(dashboard: Dashboard, number: int) -> None:
    wanted = f"epoch {number:04d}"
    await dashboard.until(lambda: at(dashboard) == wanted, f"line {number}, not {at(dashboard)}")


async def test_6_shows_the_newest_lines_and_again_goes_back(dashboard: Dashboard) -> None:
    assert dashboard.screen.shown_panes == {"log", "events"}
    assert "━ 6 Log of mine" in dashboard.text("#log")
    assert "follows" in dashboard.text("#log")
    assert dashboard.text("#footer") == " / Search   n Next   f Follow   w Wrap   y Copy   Esc Back   ? Help"

    await dashboard.press("6")
    assert dashboard.runs.has_focus
    assert "runs" in dashboard.screen.shown_panes


async def test_escape_goes_back_to_the_pane_that_had_the_keys(dashboard: Dashboard) -> None:
    await dashboard.press("escape", "3", "6", "escape")

    assert dashboard.table.has_focus


async def test_a_digit_of_a_pane_leads_out_of_the_log(dashboard: Dashboard) -> None:
    await dashboard.press("3")

    assert dashboard.table.has_focus
    assert "runs" in dashboard.screen.shown_panes


async def test_what_is_printed_is_followed_until_somebody_looks_elsewhere(dashboard: Dashboard, store: Path) -> None:
    with RunPaths(store / "mine").log.open("a") as file:
        file.write("a new line\n")
    await dashboard.until(lambda: at(dashboard) == "a new line", "the new line")

    await dashboard.press("k")
    assert "follows" not in dashboard.text("#log")
    here = at(dashboard)
    with RunPaths(store / "mine").log.open("a") as file:
        file.write("another line\n")
    await dashboard.press("f")
    await dashboard.until(lambda: at(dashboard) == "another li", "the newest line")
    await dashboard.press("f")
    assert "follows" not in dashboard.text("#log")
    assert here != at(dashboard)


async def test_g_and_G_go_to_the_ends_of_the_file(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await dashboard.press("g")
    await until_at(dashboard, 0)
    assert "at 0 %" in dashboard.text("#log")

    await dashboard.press("G")
    await dashboard.until(lambda: at(dashboard) == f"epoch {LINES - 1}" or log(dashboard)._follows, "the end")


async def test_paging_up_reads_what_came_before(dashboard: Dashboard) -> None:
    pane = log(dashboard)
    await dashboard.press("w")
    while pane._window.begin > 0:
        begin = pane._window.begin
        await dashboard.press("home" if begin < 200_000 else "pageup")
        await dashboard.pilot.pause()

    await dashboard.press("g")
    await until_at(dashboard, 0)
    await dashboard.press("j", "j", "k")
    assert at(dashboard) == "epoch 0001"


async def test_a_cursor_that_leaves_the_part_in_memory_goes_on_where_it_was(dashboard: Dashboard) -> None:
    pane = log(dashboard)
    await dashboard.press("w")
    first = pane.items[0]
    pane.move_to(0)
    await dashboard.press("k")

    await dashboard.until(lambda: pane.items[0].offset < first.offset, "the lines before")
    number = int(first.text.split()[1])
    await until_at(dashboard, number - 1)


async def test_slash_finds_the_nearest_line_above_and_n_and_N_the_next(dashboard: Dashboard) -> None:  # noqa: N802
    await dashboard.press("slash", *"0.0002", "enter")
    await dashboard.until(lambda: "0.0002" in (log(dashboard).current or ("", "", ""))[2], "a match")
    newest = at(dashboard)
    assert "/0.0002" in dashboard.text("#log")

    await dashboard.press("N")
    await dashboard.until(lambda: at(dashboard) < newest, "the match above")
    await dashboard.press("n")
    await dashboard.until(lambda: at(dashboard) == newest, "the match below")
    await dashboard.press("n")
    await dashboard.until(lambda: "no match" in dashboard.text("#log"), "the end of the matches")

    await dashboard.press("escape")
    assert "/0.0002" not in dashboard.text("#log")
    assert log(dashboard).has_focus


async def test_n_without_a_search_says_what_to_do(dashboard: Dashboard) -> None:
    await dashboard.press("n")

    assert dashboard.toasts == ["Nothing is searched for; / searches."]


async def test_w_wraps_or_cuts_and_arrows_show_the_rest_of_a_long_line(dashboard: Dashboard) -> None:
    pane = log(dashboard)
    assert "tail" in dashboard.text("#log").splitlines()[-1]
    await dashboard.press("w")
    line = dashboard.text("#log").splitlines()[-1]
    assert line.startswith(f"▌ epoch {LINES - 1}")

    for right, left in (("l", "h"), ("right", "left")):
        await dashboard.press(right)
        assert "cut, from 60" in dashboard.text("#log")
        assert f"epoch {LINES - 1}" not in dashboard.text("#log").splitlines()[-1]
        await dashboard.press(left)
        assert dashboard.text("#log").splitlines()[-1] == line
    await dashboard.press("w")
    assert pane.current is not None
    assert pane.current.part > 0


async def test_y_copies_the_whole_line(dashboard: Dashboard) -> None:
    await dashboard.press("y")

    assert dashboard.app.clipboard.startswith(f"epoch {LINES - 1} of {LINES}")
    assert dashboard.app.clipboard.count("a long tail") == 20


async def test_tab_goes_to_the_events_and_back(dashboard: Dashboard) -> None:
    await dashboard.until(lambda: "fell behind" in dashboard.text("#events"), "the events")
    await dashboard.press("tab")

    assert isinstance(dashboard.screen.focused, EventsPane)
    assert "240  ┴ saved: training/a.pt, 4.0 KiB" in dashboard.text("#events")
    assert dashboard.text("#footer") == " Enter Chart   y Copy   / Filter   Esc Back   ? Help"
    await dashboard.press("y")
    assert dashboard.app.clipboard.endswith("alert: fell behind")

    await dashboard.press("slash", *"saved", "enter")
    assert [row.event for row in dashboard.screen.query_one(EventsPane).items] == ["saved"]
    await dashboard.press("escape", "tab")
    assert log(dashboard).has_focus


async def test_enter_on_an_event_reads_the_chart_at_its_step(dashboard: Dashboard) -> None:
    await dashboard.until(lambda: "fell behind" in dashboard.text("#events"), "the events")
    await dashboard.press("tab", "enter")

    enlarged = dashboard.screen.query_one(EnlargedPlot)
    assert enlarged.has_focus
    assert enlarged._view.cursor == 300
    await dashboard.press("escape")
    assert dashboard.screen.shown_panes == {"log", "events"}
    await dashboard.press("2")
    assert dashboard.plots.has_focus
    assert "runs" in dashboard.screen.shown_panes


async def test_a_new_event_is_listed_and_the_cursor_stays_on_the_newest(dashboard: Dashboard, store: Path) -> None:
    await dashboard.until(lambda: "fell behind" in dashboard.text("#events"), "the events")
    append_event(RunPaths(store / "mine"), "pinned", step=240, checkpoint="training/a.pt")

    await dashboard.until(lambda: "pinned: training/a.pt, by " in dashboard.text("#events"), "the new event")
    row = dashboard.screen.query_one(EventsPane).current
    assert row is not None
    assert row.event == "pinned"


async def test_another_run_has_another_log(dashboard: Dashboard) -> None:
    await dashboard.press("1", "j")
    await dashboard.until(lambda: dashboard.snapshot.detail and dashboard.snapshot.detail.row.name == "other", "other")
    await dashboard.press("6")

    await dashboard.until(lambda: "No train.log" in dashboard.text("#log"), "why there is none")


async def test_a_hostile_log_does_nothing(dashboard: Dashboard, store: Path) -> None:
    paths = RunPaths(store / "mine")
    with paths.log.open("a") as file:
        file.write(EVIL + "\nthe end\n")
    append_event(paths, "alert", message=EVIL)
    await dashboard.until(lambda: at(dashboard) == "the end", "the hostile line")
    await dashboard.until(lambda: "@click" in dashboard.text("#events"), "the hostile event")

    assert not ACTS.search(dashboard.screen_text())
    assert "[@click=app.quit]x[/]" in dashboard.text("#log")


async def test_the_log_stands_among_the_panes_where_there_is_room(store: Path) -> None:
    async with open_dashboard(store, size=(200, 60)) as dashboard:
        await dashboard.until(lambda: f"epoch {LINES - 1}" in dashboard.text("#log"), "the log's newest lines")
        assert dashboard.runs.has_focus

        await dashboard.press("6")
        assert log(dashboard).has_focus
        assert {"runs", "detail"} <= dashboard.screen.shown_panes
        assert dashboard.text("#footer").count("/ ") == 1
        await dashboard.press("6")
        assert dashboard.screen.shown_panes == {"log", "events"}


async def test_in_a_low_terminal_tab_turns_the_page(store: Path) -> None:
    async with open_dashboard(store, size=(60, 12)) as dashboard:
        await dashboard.press("6")
        assert dashboard.screen.shown_panes == {"log"}

        await dashboard.press("tab")
        assert dashboard.screen.shown_panes == {"events"}


async def test_nothing_is_read_of_a_log_that_nobody_looks_at(dashboard: Dashboard, store: Path) -> None:
    await dashboard.press("escape")
    window = log(dashboard)._window
    with RunPaths(store / "mine").log.open("a") as file:
        file.write("unseen\n")
    await dashboard.press("6")
    await dashboard.until(lambda: at(dashboard) == "unseen", "the line")

    assert window.lines[-1].text != "unseen"
