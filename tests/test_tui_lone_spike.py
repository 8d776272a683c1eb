"""One spike among a million logged points is drawn and read at every zoom of an enlarged chart, whatever read the log.

From the file on: the log as a trainer writes it, the reader's looks (cold, then out of its cache), the model of the
chart, and each window that `+`, `<` and `>` lead to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from dashboard import open_dashboard
from store_fixture import RunPlan, build_run

from ckptop.store.layout import RunPaths
from ckptop.store.metric_log import LogState, MetricLog
from ckptop.tui.chart_axis import x_limits
from ckptop.tui.chart_compose import ChartMemory, Frame, draw
from ckptop.tui.chart_reading import column_of, value_at
from ckptop.tui.chart_view import ZOOM, Range, View
from ckptop.tui.curve_models import Marks, chart_model
from ckptop.tui.curves import Curves
from ckptop.tui.look import Asked, StoreLook
from ckptop.tui.widgets.chart import Chart
from ckptop.tui.widgets.chart_viewer import LEAST_SPAN
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot, _windowed

HEIGHT = 50.0
SIZE = 110, 30

SIZES = [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)]


def spike_of(points: int) -> int:
    """Its step."""
    return points * 654_321 // 1_000_000


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A store whose one run logged so many losses, all alike but for one; written once."""
    made: dict[int, Path] = {}

    def store(points: int) -> Path:
        if points not in made:
            made[points] = tmp_path_factory.mktemp("spike") / "runs"
            paths = build_run(made[points], RunPlan(name="long", phase="stopped", checkpoints=0, log=False))
            with paths.metrics.open("w") as log:
                log.writelines(
                    f'{{"step":{step},"epoch":{step // 1000 + 1},"time":{step},"train/loss":'
                    f"{HEIGHT if step == spike_of(points) else 1.0}}}\n"
                    for step in range(1, points + 1)
                )
        return made[points]

    return store


@pytest.fixture
def opened_from_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many bytes of each log were not read but taken out of the cache, which is empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[int] = []
    original = MetricLog.going_on

    def noted(path: Path, state: LogState) -> MetricLog:
        log = original(path, state)
        seen.append(log.read_bytes)
        return log

    monkeypatch.setattr(MetricLog, "going_on", noted)
    return seen


def curves_as_read(store: Path) -> Curves:
    """What the reader's thread hands over once the log was read; it keeps a cache, as the thread does."""
    look = StoreLook(store, "./runs")
    snapshot = look.read(Asked(frozenset({""})))
    while look.is_behind:
        snapshot = look.read(Asked(selected="long"))
    look.keep_logs()
    assert snapshot.detail is not None
    assert snapshot.detail.curves is not None
    return snapshot.detail.curves


def views_over(spike: int, whole: Range, newest: float) -> Iterator[View]:
    """Every window on the spike that `+` from all of x down to the deepest, and `<` `>` from there, lead to."""
    view = View(cursor=float(spike))
    while True:
        yield view
        for direction in (-1, 1):
            before, panned = view, view.panned(whole, newest, direction)
            while panned != before and panned.window is not None and panned.window[0] <= spike <= panned.window[1]:
                yield panned
                before, panned = panned, panned.panned(whole, newest, direction)
        closer = view.zoomed(whole, newest, ZOOM, least=LEAST_SPAN["step"])
        if closer == view:
            return
        view = closer


def is_drawn(frame: Frame, spike: int) -> bool:
    """Whether its top stands in its column, or beside it: braille has two points a cell."""
    assert frame.plot is not None
    column, top = column_of(frame.plot, float(spike)), frame.plot.row(HEIGHT)
    assert column is not None
    near = frame.rows[top][frame.plot.left + max(0, column - 1) : frame.plot.left + column + 2]
    return any(cell[1] in {"band", "accent"} and cell[0] != " " for cell in near)


def is_read(frame: Frame, spike: int) -> bool:
    """Whether a cursor in its column tells of it."""
    assert frame.plot is not None
    column = column_of(frame.plot, float(spike))
    assert column is not None
    value = value_at(frame.readings[0], column)
    return value is not None and value.high == HEIGHT


@pytest.mark.parametrize("smoothing", [0.0, 0.93], ids=["raw", "smoothed"])
@pytest.mark.parametrize("points", SIZES)
def test_a_lone_spike_is_seen_at_every_zoom_cold_and_out_of_the_cache(
    store_of: Callable[[int], Path], opened_from_cache: list[int], points: int, smoothing: float
) -> None:
    store, spike = store_of(points), spike_of(points)
    log_bytes = RunPaths(store / "long").metrics.stat().st_size
    for reading in ("cold", "cached"):
        curves = curves_as_read(store)
        assert opened_from_cache == ([log_bytes] if reading == "cached" else [])
        make = partial(chart_model, curves, curves.groups[0], Marks(), axis="step", log=False, smoothing=smoothing)
        memory, windows = ChartMemory(), set()

        for view in views_over(spike, x_limits(1.0, float(points)), float(points)):
            frame = draw(_windowed(make, view)(), *SIZE, memory, readable=True)

            windows.add(view.window)
            assert is_drawn(frame, spike), f"not drawn in {view.window}, {reading}"
            assert is_read(frame, spike), f"not read in {view.window}, {reading}"
        spans = {round(window[1] - window[0], 3) for window in windows if window is not None}
        assert min(spans) == pytest.approx(LEAST_SPAN["step"])
        assert len(windows) > 3 * len(spans) > 3 * math.log2(points / LEAST_SPAN["step"])  # each panned both ways


async def test_the_keys_zoom_in_on_a_lone_spike_without_losing_it(store_of: Callable[[int], Path]) -> None:
    points, spike = 100_000, spike_of(100_000)
    async with open_dashboard(store_of(points)) as dashboard:
        await dashboard.press("2", "enter")
        await dashboard.until(lambda: dashboard.screen.query("#enlarged-chart"), "the chart")
        enlarged, chart = dashboard.screen.query_one(EnlargedPlot), dashboard.screen.query_one("#enlarged-chart", Chart)
        await dashboard.until(lambda: chart.frame.plot is not None, "its curve")
        enlarged.look_at(spike)
        seen: set[Range | None] = set()

        for keys in [(), *[("plus",), ("less_than_sign",), ("greater_than_sign",)] * 15]:
            await dashboard.press(*keys)
            await dashboard.until(lambda: chart.frame.model.window == enlarged._view.window, "the window")

            seen.add(chart.frame.model.window)
            assert is_drawn(chart.frame, spike), chart.frame.model.window
            assert is_read(chart.frame, spike), chart.frame.model.window
        deepest = chart.frame.model.window
        assert deepest is not None
        assert deepest[1] - deepest[0] == pytest.approx(LEAST_SPAN["step"])
        assert len(seen) > 25
