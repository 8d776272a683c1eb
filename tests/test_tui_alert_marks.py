"""Alerts stand on the curve where they began: which chart, at which x, and how the axis and the cursor show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dashboard import open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.columns import Columns
from ckptop.store.events import append_event
from ckptop.store.layout import RunPaths
from ckptop.tui.alert_marks import AlertMark, alert_marks
from ckptop.tui.alert_rows import AlertRow, Alerts
from ckptop.tui.chart_compose import compose, draw
from ckptop.tui.chart_model import AlertPlace, ChartModel
from ckptop.tui.chart_reading import readout
from ckptop.tui.chart_series import Series
from ckptop.tui.curve_models import Axis, Mark, Marks, chart_model
from ckptop.tui.curves import CurveGroup, Curves, Logged, make_curves
from ckptop.tui.widgets.alerts_pane import AlertsPane
from ckptop.tui.widgets.chart import Chart

START = 1_700_000_000.0
SAID = "loss is NaN since step 745, and this sentence goes on for much longer than any chart is wide"


def curves_of(steps: int = 100, *, dropped: int = 0) -> Curves:
    """A loss over steps of 2 s and 10 to an epoch; the first `dropped` lines are of an abandoned attempt."""
    step = np.concatenate([np.arange(1.0, dropped + 1), np.arange(1.0, steps + 1)])
    columns = Columns(
        step=step,
        epoch=((step - 1) // 10 + 1).astype(np.int32),
        time=(START + 2.0 * np.arange(step.size)).astype(np.float64),
        value=np.ones(step.size),
        abandoned=np.arange(step.size) < dropped,
    )
    return make_curves("digits", {"train/loss": Logged(columns, 1)}, None)


def row(step: int | None, *, run: str = "digits", metric: str | None = None, kind: str = "nan") -> AlertRow:
    return AlertRow(f"{run}:{kind}:{step}", START, kind, run, run, "it fell", step, metric)


def model(curves: Curves, *steps: int, axis: Axis = "step") -> ChartModel:
    marks = tuple(AlertMark(step, SAID, "error", f"key-{step}") for step in steps)
    checkpoint = Mark(50, 5, START + 100.0, "training/a")
    return chart_model(curves, curves.groups[0], Marks((checkpoint,), alerts=marks), axis=axis, log=None, smoothing=0.0)


def group_of(curves: Curves) -> CurveGroup:
    return curves.groups[0]


def test_a_chart_has_the_alerts_of_its_run_that_concern_its_metric_or_none() -> None:
    rows = (row(1), row(2, metric="train/loss"), row(3, metric="val/accuracy"), row(4, run="other"), row(None))

    found = alert_marks(Alerts(rows), "digits", group_of(curves_of()))

    assert [mark.step for mark in found] == [1, 2]
    assert found == alert_marks(Alerts(rows), "digits", group_of(curves_of()))  # equal: nothing is drawn anew
    assert alert_marks(None, "digits", group_of(curves_of())) == ()


@pytest.mark.parametrize(("axis", "x"), [("step", 40.0), ("epoch", 4.0), ("time", 78.0 / 60), ("clock", START + 78.0)])
def test_an_alert_stands_at_its_step_on_every_axis(axis: Axis, x: float) -> None:
    (stop,) = [stop for stop in model(curves_of(), 40, axis=axis).stops if stop.kind == "alert"]

    assert stop.x == pytest.approx(x)
    assert (stop.key, stop.tone) == ("key-40", "error")


def test_an_alert_past_the_last_logged_line_stands_at_the_last() -> None:
    drawn = model(curves_of(), 4000)

    assert drawn.alerts == (AlertPlace(100.0, "error"),)


def test_an_alert_stands_in_the_attempt_that_counts() -> None:
    (alert,) = model(curves_of(dropped=30), 5, axis="clock").alerts

    assert alert.x == START + 2.0 * (30 + 4)


def test_a_chart_without_a_line_has_no_place_for_an_alert() -> None:
    assert model(curves_of(0), 5).alerts == ()


def test_stops_are_in_order_of_x() -> None:
    kinds = [(stop.x, stop.kind) for stop in model(curves_of(), 70, 20).stops]

    assert kinds == [(20.0, "alert"), (50.0, "checkpoint"), (70.0, "alert")]


@pytest.mark.parametrize(("marker", "glyph"), [("braille", "▲"), ("ascii", "!")])
def test_the_axis_shows_an_alert_rather_than_a_checkpoint_or_nan(marker: str, glyph: str) -> None:
    x = np.arange(1000.0)
    y = np.where(x == 500.0, np.nan, 1.0)
    series = Series("loss", "loss", x, y, dense=False)
    alerts = (AlertPlace(500.0, "error"), AlertPlace(800.0, "warning"))

    rows = compose(ChartModel((series,), checkpoints=(800.0,), alerts=alerts), 86, 12, marker=marker)  # type: ignore[arg-type]  # parametrized

    axis = "".join(cell for cell, _ in rows[-2])
    assert axis.count(glyph) == 2
    assert [tone for cell, tone in rows[-2] if cell == glyph] == ["error", "warning"]
    assert "×" not in axis
    assert "┴" not in axis


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_cursor_reads_an_alert_cut_on_the_right_to_what_fits_beside_it(width: int) -> None:
    frame = draw(model(curves_of(), 40), width, 12, readable=True)
    assert frame.plot is not None

    lines = ["".join(span.text for span in line) for line in readout(frame.model, frame.plot, frame.readings, 40.0)]

    assert lines[0] == "step 40"
    assert lines[-1].startswith("▲ loss is NaN since")
    assert len(lines[-1]) <= max(20, frame.plot.columns)
    assert lines[-1].endswith("…") is (width < 200)


def test_an_alert_is_read_before_the_checkpoints_of_its_column() -> None:
    crowded = model(curves_of(), 50)
    frame = draw(crowded, 80, 12, readable=True)
    assert frame.plot is not None

    lines = readout(frame.model, frame.plot, frame.readings, 50.0)

    assert [line[0].text[0] for line in lines[-2:]] == ["▲", "┴"]


async def test_n_stops_at_an_alert_and_enter_goes_to_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plans = [RunPlan(name="mine", phase="stopped", epochs=20, checkpoints=1, best_epoch=18)]
    store = build_store(tmp_path / "runs", plans)
    append_event(RunPaths(store / "mine"), "alert", attempt=1, step=240, kind="nan", message="train/loss is NaN")
    append_event(RunPaths(store / "mine"), "alert", attempt=1, step=300, kind="degraded", message="it fell behind")
    async with open_dashboard(store) as dashboard:
        await dashboard.until(lambda: dashboard.snapshot.alerts, "the alerts")
        await dashboard.press("2", "enter")
        await dashboard.until(lambda: dashboard.screen.query("#enlarged-chart"), "the chart")
        chart = dashboard.screen.query_one("#enlarged-chart", Chart)
        await dashboard.until(lambda: chart.frame.model.alerts, "its alerts")

        await dashboard.press("n")
        assert chart.cursor == 240
        drawn = "\n".join(chart.render_line(y).text for y in range(chart.size.height))
        assert "▲ train/loss is NaN" in drawn
        assert "▲" in chart.render_line(chart.size.height - 2).text  # on the axis

        await dashboard.press("n", "N", "enter")
        await dashboard.until(lambda: dashboard.screen.query(AlertsPane), "the alerts")
        pane = dashboard.screen.query_one(AlertsPane)
        await dashboard.until(lambda: pane.has_focus and pane.current is not None, "the focus on the list")
        await dashboard.until(lambda: pane.current is not None and pane.current.step == 240, "its row")

        await dashboard.press("escape")
        assert dashboard.plots.has_focus
