"""Marked runs laid over the selected one: the keys, what is read for it, and how it is drawn."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import build_store

from ckptop.store.columns import Columns
from ckptop.tui.chart_compose import series_tokens
from ckptop.tui.curve_models import Marks, chart_model, overlay_model, overlay_splits
from ckptop.tui.curves import Curves, Logged, make_curves
from ckptop.tui.widgets.chart import Chart


@pytest.fixture
async def dashboard(tmp_path: Path) -> AsyncIterator[Dashboard]:
    """digits-cnn under the cursor; its fork and diabetes are marked."""
    async with open_dashboard(build_store(tmp_path / "runs")) as opened:
        await opened.press("j", "space", "space", "g")
        await opened.until(lambda: shown_run(opened) == "digits-cnn", "digits-cnn")
        yield opened


def shown_run(dashboard: Dashboard) -> str:
    assert dashboard.snapshot.detail is not None
    return dashboard.snapshot.detail.row.name


def labels(dashboard: Dashboard) -> list[str]:
    return [series.label for series in dashboard.plots.query_one("#chart-0", Chart).frame.model.series]


def logged(step: list[int], *, abandoned: list[int] | None = None) -> Logged:
    steps = np.array(step, dtype=np.float64)
    return Logged(
        Columns(
            step=steps,
            epoch=np.zeros(steps.size, dtype=np.int32),
            time=1000.0 + steps,
            value=steps,
            abandoned=np.isin(np.arange(steps.size), abandoned or []),
        ),
        1,
    )


def run(name: str, found: Logged) -> Curves:
    return make_curves(name, {"train/loss": found, "val/loss": found}, None)


async def test_marks_are_shown_counted_and_cleared(dashboard: Dashboard) -> None:
    text = dashboard.text("#runs")
    assert "●•└ cnn-lr3e-4" in text
    assert "2 marked" in text

    await dashboard.press("escape")
    assert "marked" not in dashboard.text("#runs")


async def test_o_lays_one_split_of_the_marked_runs_over_the_selected_one_then_the_other_then_none(
    dashboard: Dashboard,
) -> None:
    await dashboard.press("2", "o")
    await dashboard.until(lambda: "cnn-lr3e-4" in labels(dashboard), "the fork's curve")
    assert [label for label in labels(dashboard) if label != "digits-cnn"] == ["cnn-lr3e-4", "diabetes"]
    assert "val of 3 runs" in dashboard.text("#chart-rule-0")

    await dashboard.press("o")
    assert "train of 3 runs" in dashboard.text("#chart-rule-0")
    await dashboard.press("o")
    assert "runs" not in dashboard.text("#chart-rule-0")
    await dashboard.until(lambda: not dashboard.snapshot.overlays, "the other logs to be let go")


async def test_an_enlarged_chart_overlays_and_its_cursor_reads_every_run(dashboard: Dashboard) -> None:
    await dashboard.press("2", "enter", "o")
    await dashboard.until(lambda: dashboard.snapshot.overlays, "the marked runs' curves")
    await dashboard.press("G", *["h"] * 80)

    chart = dashboard.screen.query_one("#enlarged-chart", Chart)
    text = "\n".join(chart.render_line(y).text for y in range(chart.size.height))
    assert re.search(r"digits-cnn +\d+\.\d", text)
    assert re.search(r"cnn-lr3e-4 +\d+\.\d", text)


async def test_o_without_marks_says_how_to_mark(dashboard: Dashboard) -> None:
    await dashboard.press("escape", "2", "o")

    assert dashboard.toasts == ["Mark runs with Space in pane 1: they are laid over this one."]


async def test_a_marked_run_that_goes_away_is_not_marked_any_more(dashboard: Dashboard) -> None:
    (Path(str(dashboard.runs.items[1].root))).rename(dashboard.reader.look.root.parent / "gone")
    dashboard.reader.wake()

    await dashboard.until(lambda: "1 marked" in dashboard.text("#runs"), "the mark to go with its run")


# The model.


def test_overlaid_runs_have_hues_of_their_own_and_their_names_and_dropped_attempts_stay_faint() -> None:
    first = run("first", logged([1, 2, 3, 4]))
    second = run("second", logged([1, 2, 3, 2, 3, 4], abandoned=[1, 2]))
    alone = chart_model(first, first.groups[0], Marks(), axis="step", log=None, smoothing=0.0)

    model = overlay_model(alone, [(first, first.groups[0]), (second, second.groups[0])], "val", axis="step")

    assert [(series.label, series.faded) for series in model.series] == [
        ("second", True),
        ("first", False),
        ("second", False),
    ]
    assert series_tokens(model) == ["faint", "overlay0", "overlay1"]
    assert list(model.series[2].x) == [1, 2, 3, 4]  # one line across the resume
    assert not model.bands


def test_time_counts_from_the_start_of_each_run_in_one_unit() -> None:
    first = run("first", logged([0, 3600, 7200]))
    second = run("second", logged([9000, 9060]))
    alone = chart_model(first, first.groups[0], Marks(), axis="time", log=None, smoothing=0.0)
    assert alone.x_label == "h"

    model = overlay_model(alone, [(first, first.groups[0]), (second, second.groups[0])], "val", axis="time")

    assert list(model.series[1].x) == [0.0, 60 / 3600]


def test_validation_is_what_runs_are_compared_by_first() -> None:
    curves = run("first", logged([1]))

    assert overlay_splits(curves.groups[0]) == ["val", "train"]
