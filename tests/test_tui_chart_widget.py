"""The chart in an app: repaints what changed, follows size and theme, and lends the pane its title."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from pilot import wait_for
from textual.app import App, ComposeResult
from textual.color import Color
from textual.geometry import Region

from ckptop.tui.chart_compose import NO_DATA, Frame, draw
from ckptop.tui.chart_model import ChartModel
from ckptop.tui.chart_series import Series
from ckptop.tui.theme import CKPTOP_DARK, CKPTOP_LIGHT, THEMES
from ckptop.tui.widgets import chart as chart_module
from ckptop.tui.widgets.chart import Chart, title_pairs


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Chart()

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = CKPTOP_DARK.name


def curve(size: int) -> ChartModel:
    x = np.arange(float(size))
    return ChartModel((Series("val/accuracy", "val", x, np.minimum(1.0, 0.3 + x / 1000), dense=False),), subject="a")


def screen(chart: Chart) -> list[str]:
    return [chart.render_line(y).text for y in range(chart.size.height)]


def colors(chart: Chart) -> set[str]:
    styles = [segment.style for y in range(chart.size.height) for segment in chart.render_line(y)]
    return {style.color.name for style in styles if style and style.color}


async def test_a_chart_says_that_it_waits_and_then_draws() -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        waiting = "".join(screen(chart))
        chart.set_model(curve(500))
        await pilot.pause()

        assert NO_DATA in waiting
        assert "val" in "".join(screen(chart))
        assert {len(line) for line in screen(chart)} == {60}


async def test_a_new_point_repaints_its_cells_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(560))
        await pilot.pause()
        before, asked = screen(chart), []
        monkeypatch.setattr(chart, "refresh", lambda *regions: asked.extend(regions))

        chart.set_model(curve(580))

        changed = {
            (x, y)
            for y, (old, new) in enumerate(zip(before, screen(chart), strict=True))
            for x in range(60)
            if old[x] != new[x]
        }
        assert changed
        assert changed <= {(x, region.y) for region in asked for x in range(region.x, region.right)}
        assert sum(region.area for region in asked) < 60
        assert all(isinstance(region, Region) and region.height == 1 for region in asked)


async def test_the_same_data_repaints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(500))
        await pilot.pause()
        asked: list[object] = []
        monkeypatch.setattr(chart, "refresh", lambda *regions: asked.append(regions))

        chart.set_model(curve(500))

        assert not asked


@pytest.mark.parametrize("size", [(10, 3), (200, 60), (1, 1)])
async def test_a_chart_follows_its_size(size: tuple[int, int]) -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(500))
        await pilot.resize_terminal(*size)
        await pilot.pause()

        assert (chart.size.width, chart.size.height) == size
        assert {len(line) for line in screen(chart)} == {size[0]}
        assert "".join(screen(chart)).strip()


async def test_a_chart_takes_the_colours_of_a_new_theme() -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(500))
        await pilot.pause()
        dark = colors(chart)
        app.theme = CKPTOP_LIGHT.name
        await pilot.pause()
        light = colors(chart)

        assert CKPTOP_DARK.secondary in dark
        assert CKPTOP_LIGHT.secondary in light
        assert not dark & light


async def test_the_ground_is_the_screens() -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(500))
        await pilot.pause()

        style = next(iter(chart.render_line(3))).style
        assert style is not None
        assert style.bgcolor is not None
        assert Color.parse(style.bgcolor.name) == Color.parse(str(CKPTOP_DARK.background))


async def test_no_color_draws_without_hues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.set_model(curve(500))
        await pilot.pause()

        assert len(colors(chart)) <= 1


async def test_a_long_curve_is_drawn_by_a_thread_and_the_newest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[bool, int]] = []

    def noted(model: ChartModel, *rest: Any, **named: Any) -> Frame:
        drawn.append((threading.current_thread() is threading.main_thread(), sum(s.y.size for s in model.series)))
        return draw(model, *rest, **named)

    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        monkeypatch.setattr(chart_module, "draw", noted)

        for size in (100_000, 200_000, 300_000):
            chart.set_model(curve(size))
        await wait_for(pilot, lambda: "val" in "".join(screen(chart)), what="the curve")

        assert drawn == [(False, 300_000)]


async def test_a_chart_without_a_place_is_not_drawn_until_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    def noted(model: ChartModel, *rest: Any, **named: Any) -> Frame:
        sizes.append(rest[:2])
        return draw(model, *rest, **named)

    monkeypatch.setattr(chart_module, "draw", noted)
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.display = False
        chart.styles.width = 0
        await pilot.pause()
        sizes.clear()
        hidden = Chart()
        hidden.set_model(curve(100_000))  # not mounted: it has no size yet
        await app.mount(hidden)
        await wait_for(pilot, lambda: "val" in "".join(screen(hidden)), what="the curve")

    assert set(sizes) == {(60, 14)}


async def test_a_curve_that_cannot_be_drawn_says_so_and_the_app_goes_on() -> None:
    def broken() -> ChartModel:
        raise ZeroDivisionError("no such\x1b axis")

    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(Chart)
        chart.show(broken, 1)
        await pilot.pause()

        assert "This cannot be drawn: no such" in "".join(screen(chart))
        assert "\x1b" not in "".join(screen(chart))


def test_the_title_names_each_series_and_the_best() -> None:
    x = np.array([1.0, 1488.0])
    model = ChartModel(
        (
            Series("train/loss", "train", x, np.array([2.0, 0.0414]), dense=True),
            Series("val/loss", "val", x, np.array([2.0, 0.0912]), dense=False),
            Series("old", "old", x, x, dense=False, faded=True),
        ),
        best=(1392.0, 0.9812),
    )

    assert title_pairs(model) == [
        ("train", "0.0414", "accent"),
        ("val", "0.0912", "value"),
        ("★", "0.9812 at 1,392", "foreground"),
    ]
    assert title_pairs(model, ascii_only=True)[-1][0] == "*"


@pytest.mark.parametrize(("y", "said"), [([1.0, math.nan], "NaN"), ([1.0, math.inf], "+Inf"), ([], "—")])
def test_the_title_says_what_is_not_a_number_in_words(y: list[float], said: str) -> None:
    series = Series("val/loss", "val", np.arange(float(len(y))), np.array(y, dtype=np.float64), dense=False)

    assert title_pairs(ChartModel((series,))) == [("val", said, "value")]


def test_a_best_without_a_step_still_has_its_value() -> None:
    assert title_pairs(ChartModel((), best=(math.nan, 0.5))) == [("★", "0.5000", "foreground")]
