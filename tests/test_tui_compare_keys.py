"""Screen 7: runs, checkpoints and releases side by side, key by key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import RunRecord
from ckptop.tui.screens.sides import MARK_TWO
from ckptop.tui.widgets.compare_pane import ComparePane

RUNS = (("one", 1e-3, 0.9812), ("two", 3e-4, 0.954), ("three", 1e-3, 0.972))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    plans = [
        RunPlan(name=name, phase="finished", epochs=9, peak=peak, age_seconds=100.0 * place)
        for place, (name, _, peak) in enumerate(RUNS, 1)
    ]
    store = build_store(tmp_path / "runs", plans)
    for name, rate, _ in RUNS:
        path = RunPaths(store / name).record
        record = read_json(path, RunRecord)
        path.write_bytes(encode(msgspec.structs.replace(record, config={**record.config, "lr": rate})))
    return store


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        yield opened


def pane(dashboard: Dashboard) -> ComparePane:
    return dashboard.screen.query_one(ComparePane)


async def compare_runs(dashboard: Dashboard) -> None:
    await dashboard.press("asterisk", "c")
    await dashboard.until(lambda: dashboard.screen.query("#compare") and pane(dashboard).items, "the comparison")


def line(dashboard: Dashboard, name: str) -> list[str]:
    found = (row.split() for row in dashboard.text("#compare").splitlines())
    return next(words[1:] for words in (row[1:] if row[:1] == ["▌"] else row for row in found) if words[:1] == [name])


def heads(dashboard: Dashboard) -> list[str]:
    return dashboard.text("#compare").splitlines()[1].split()


async def test_c_compares_the_marked_runs(dashboard: Dashboard) -> None:
    await compare_runs(dashboard)

    assert dashboard.screen.shown_panes == {"compare"}
    assert heads(dashboard) == ["one", "P", "two", "three"]
    assert line(dashboard, "lr") == ["0.001", "0.0003", "≠", "0.001"]
    assert line(dashboard, "val/accuracy") == ["0.9812", "★", "0.9540", "−0.0272", "0.9720", "−0.0092"]
    assert "differences only" in dashboard.text("#compare")
    assert "batch_size" not in dashboard.text("#compare")
    assert dashboard.text("#footer") == " . Equal too   s Sort   P Baseline   y Copy   Esc Back   ? Help"

    await dashboard.press("escape")
    assert dashboard.runs.has_focus


async def test_a_full_stop_shows_equal_rows_too(dashboard: Dashboard) -> None:
    await compare_runs(dashboard)
    await dashboard.press("full_stop")
    assert line(dashboard, "batch_size") == ["64", "64", "64"]
    assert ". Differences only" in dashboard.text("#footer")

    await dashboard.press("full_stop")
    assert "batch_size" not in dashboard.text("#compare")


async def test_P_tells_the_others_by_another_column(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await compare_runs(dashboard)
    await dashboard.press("P")

    assert heads(dashboard) == ["two", "P", "one", "three"]
    assert line(dashboard, "val/accuracy")[:4] == ["0.9540", "0.9812", "★", "+0.0272"]


async def test_s_sorts_the_columns_by_the_row_and_S_turns_them_around(dashboard: Dashboard) -> None:  # noqa: N802
    await compare_runs(dashboard)
    assert pane(dashboard).move_to_key(("metrics", "val/accuracy"))
    await dashboard.press("s")
    assert heads(dashboard) == ["one", "P", "three", "two"]
    assert "by val/accuracy" in dashboard.text("#compare")

    await dashboard.press("S")
    assert heads(dashboard) == ["one", "P", "two", "three"]


async def test_y_copies_what_is_listed(dashboard: Dashboard) -> None:
    await compare_runs(dashboard)
    await dashboard.press("slash", *"lr", "enter", "y")

    assert dashboard.app.clipboard == "\tone\ttwo\tthree\nlr\t0.001\t0.0003\t0.001"


async def test_columns_that_do_not_fit_are_an_arrow_away(store: Path) -> None:
    async with open_dashboard(store, size=(60, 20)) as dashboard:
        await compare_runs(dashboard)
        assert heads(dashboard) == ["one", "P", "two"]
        for right, left in (("l", "h"), ("right", "left")):
            await dashboard.press(right)
            assert heads(dashboard) == ["one", "P", "three"]
            await dashboard.press(left)
            assert heads(dashboard) == ["one", "P", "two"]


async def test_7_takes_up_the_marks_and_says_what_to_do_without(dashboard: Dashboard) -> None:
    await dashboard.press("7")
    assert "Mark runs or checkpoints with Space; c compares them." in dashboard.text("#compare")

    await dashboard.press("7", "space", "space", "7")
    await dashboard.until(lambda: pane(dashboard).items, "the comparison")
    assert heads(dashboard) == ["one", "P", "two"]


async def test_c_compares_marked_checkpoints(dashboard: Dashboard) -> None:
    await dashboard.press("3", "space", "space", "c")
    await dashboard.until(lambda: dashboard.screen.query("#compare") and pane(dashboard).items, "the comparison")

    assert heads(dashboard) == ["training", "216", "P", "training", "192"]
    assert line(dashboard, "step") == ["216", "192", "≠"]


@pytest.mark.parametrize("keys", [["c"], ["space", "c"], ["3", "c"]])
async def test_one_alone_is_not_compared(dashboard: Dashboard, keys: list[str]) -> None:
    await dashboard.press(*keys)

    assert dashboard.toasts == [MARK_TWO]


async def test_a_value_that_changes_is_read_again(dashboard: Dashboard, store: Path) -> None:
    await compare_runs(dashboard)
    path = RunPaths(store / "two").record
    record = read_json(path, RunRecord)
    path.write_bytes(encode(msgspec.structs.replace(record, config={**record.config, "lr": 5e-5})))

    await dashboard.until(lambda: line(dashboard, "lr")[1] == "0.00005", "the new rate")
