"""Every key of an enlarged chart: its cursor, marks, zoom and pan, and the way back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store
from textual.events import MouseScrollUp

from ckptop.tui.widgets.chart import Chart
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot


@pytest.fixture
async def dashboard(tmp_path: Path) -> AsyncIterator[Dashboard]:
    """The loss of digits-cnn enlarged: 62 epochs of 24 steps."""
    async with open_dashboard(build_store(tmp_path / "runs")) as opened:
        await opened.press("2", "enter")
        await opened.until(lambda: opened.screen.query("#enlarged-chart"), "the chart")
        await opened.until(lambda: chart(opened).frame.plot is not None, "its curves")
        yield opened


def chart(dashboard: Dashboard) -> Chart:
    return dashboard.screen.query_one("#enlarged-chart", Chart)


def window(dashboard: Dashboard) -> tuple[float, float]:
    plot = chart(dashboard).frame.plot
    assert plot is not None
    return plot.x0, plot.x1


def drawn(dashboard: Dashboard) -> str:
    found = chart(dashboard)
    return "\n".join(found.render_line(y).text for y in range(found.size.height))


def axis(dashboard: Dashboard) -> str:
    """The labels of x on screen, above the footer."""
    return dashboard.screen_text().splitlines()[-2]


def cursor(dashboard: Dashboard) -> float:
    at = chart(dashboard).cursor
    assert at is not None
    return at


@pytest.mark.parametrize(("left", "right"), [("h", "l"), ("left", "right")])
async def test_the_cursor_appears_at_the_newest_point_and_moves_by_columns(
    dashboard: Dashboard, left: str, right: str
) -> None:
    assert chart(dashboard).cursor is None

    await dashboard.press(left)
    assert cursor(dashboard) == 1488
    await dashboard.press(left, left)
    before = cursor(dashboard)
    assert before < 1488
    await dashboard.press(right)
    assert before < cursor(dashboard) <= 1488


async def test_the_cursor_reads_every_series_at_its_x(dashboard: Dashboard) -> None:
    await dashboard.press("h")

    text = drawn(dashboard)
    assert "step 1,488" in text
    (train,) = [line for line in text.splitlines() if "train 0." in line]
    assert "–" in train.split("train 0.")[1]  # the range that the column holds
    assert "val   0." in text


@pytest.mark.parametrize(("first", "last"), [("g", "G"), ("home", "end")])
async def test_the_cursor_goes_to_either_end(dashboard: Dashboard, first: str, last: str) -> None:
    await dashboard.press(first)
    assert cursor(dashboard) <= 24

    await dashboard.press(last)
    assert cursor(dashboard) == 1488


async def test_n_walks_the_marks_and_enter_selects_the_row_of_one(dashboard: Dashboard) -> None:
    await dashboard.press("n")
    assert cursor(dashboard) == 9 * 24
    await dashboard.press("n")
    assert cursor(dashboard) == 15 * 24
    assert "◆ milestone 15" in drawn(dashboard)
    await dashboard.press("N")
    assert cursor(dashboard) == 9 * 24

    await dashboard.press("enter")
    await dashboard.until(lambda: dashboard.table.has_focus, "the focus on the checkpoints")
    assert dashboard.table.current is not None
    assert (dashboard.table.current.tier, dashboard.table.current.epoch) == ("milestone", 9)
    assert "runs" in dashboard.screen.shown_panes


async def test_the_best_checkpoint_is_a_mark(dashboard: Dashboard) -> None:
    for _ in range(12):
        await dashboard.press("n")
        if "★ milestone" in drawn(dashboard):
            break

    assert "★ milestone 59, best" in drawn(dashboard)


async def test_enter_beside_every_mark_says_what_to_do(dashboard: Dashboard) -> None:
    await dashboard.press("enter")

    assert dashboard.toasts == ["No checkpoint at the cursor; n goes to the next mark."]


@pytest.mark.parametrize("key", ["plus", "equals_sign"])
async def test_zoom_halves_what_is_shown_around_the_cursor(dashboard: Dashboard, key: str) -> None:
    low, high = window(dashboard)
    await dashboard.press("n", "n", key)

    left, right = window(dashboard)
    assert right - left == pytest.approx((high - low) / 2)
    assert left < cursor(dashboard) < right
    assert "zoomed" in dashboard.text("#enlarged-rule")

    await dashboard.press("minus")
    assert window(dashboard) == (low, high)


async def test_zoomed_in_far_enough_each_point_is_read_as_logged(dashboard: Dashboard) -> None:
    await dashboard.press("left_square_bracket", "left_square_bracket", "left_square_bracket", "left_square_bracket")
    await dashboard.press("n", *["plus"] * 9)

    assert window(dashboard)[1] - window(dashboard)[0] == pytest.approx(8)
    assert "step 216" in drawn(dashboard)
    curves = dashboard.snapshot.detail.curves  # type: ignore[union-attr]
    assert curves is not None
    train = next(curve for curve in curves.groups[0].curves if curve.split == "train")
    value = float(train.value[(train.step == 216) & ~train.abandoned][0])
    assert f"train {value:.3g}" in drawn(dashboard)


async def test_pan_moves_a_zoomed_view_by_a_quarter(dashboard: Dashboard) -> None:
    await dashboard.press("less_than_sign")
    everything = window(dashboard)
    await dashboard.press("plus", "plus")
    low, high = window(dashboard)

    await dashboard.press("less_than_sign")
    assert window(dashboard) == pytest.approx((low - (high - low) / 4, high - (high - low) / 4))
    await dashboard.press("greater_than_sign")
    assert window(dashboard) == pytest.approx((low, high))
    await dashboard.press("0")
    assert window(dashboard) == everything


async def test_f_keeps_the_newest_in_view_and_lets_go(dashboard: Dashboard) -> None:
    await dashboard.press("f")
    assert "follows" in dashboard.text("#enlarged-rule")
    assert window(dashboard)[0] < 1488 < window(dashboard)[1]

    await dashboard.press("f")
    assert "zoomed" in dashboard.text("#enlarged-rule")


async def test_j_and_k_change_the_metric(dashboard: Dashboard) -> None:
    await dashboard.press("j")
    assert "val/accuracy" in dashboard.text("#enlarged-rule")
    await dashboard.press("down")
    assert "lr" in dashboard.text("#enlarged-rule")
    await dashboard.press("up", "k")
    assert "loss" in dashboard.text("#enlarged-rule")


async def test_the_rule_tells_smoothing_scale_and_axis(dashboard: Dashboard) -> None:
    await dashboard.press("right_square_bracket")
    assert "log · smooth 0.97 · by step" in dashboard.text("#enlarged-rule")

    await dashboard.press("left_square_bracket", "L", "a")
    assert " smooth 0.93 · by epoch" in dashboard.text("#enlarged-rule")
    assert "log" not in dashboard.text("#enlarged-rule")


@pytest.mark.parametrize(("times", "said"), [(1, "epoch 62.0"), (2, " min"), (3, ":")])
async def test_the_cursor_tells_where_it_is_on_every_axis(dashboard: Dashboard, times: int, said: str) -> None:
    await dashboard.press(*["a"] * times, "end")

    assert said in drawn(dashboard)


async def test_y_copies_what_the_cursor_reads(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(dashboard.app, "copy_to_clipboard", copied.append)

    await dashboard.press("h", "y")

    assert copied[0].startswith("loss: step 1,488, train 0.")


@pytest.mark.parametrize("key", ["escape", "z", "2"])
async def test_one_step_back_is_the_plots_pane_with_the_same_chart(dashboard: Dashboard, key: str) -> None:
    await dashboard.press("j", key)

    await dashboard.until(lambda: dashboard.plots.has_focus, "the focus on the plots")
    assert "runs" in dashboard.screen.shown_panes
    assert dashboard.text("#chart-rule-1").startswith("━ val/accuracy")


async def test_a_chart_left_zoomed_opens_with_all_of_x(dashboard: Dashboard) -> None:
    """It has no place on screen while its view is reset, so nothing can be drawn of it then."""
    whole = window(dashboard)
    await dashboard.press("plus", "plus")
    assert window(dashboard) != whole

    await dashboard.press("escape", "enter")
    await dashboard.until(lambda: not chart(dashboard).is_blank, "the chart anew")

    assert window(dashboard) == whole


async def test_what_a_chart_left_zoomed_showed_is_on_screen_no_more(tmp_path: Path) -> None:
    """Nothing of a finished run changes, so nothing else would have it painted anew."""
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="finished", alive=False)])
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await dashboard.until(lambda: dashboard.plots.query("#chart-0"), "curves")
        await dashboard.press("2", "enter")
        await dashboard.until(lambda: axis(dashboard).split()[-1:] == ["step"], "it")
        whole = axis(dashboard)
        await dashboard.press("plus", "plus")
        await dashboard.until(lambda: axis(dashboard) != whole, "a part of it")

        await dashboard.press("escape", "enter")

        await dashboard.until(lambda: axis(dashboard) == whole, "all of it")


async def test_keys_before_the_first_drawing_wait_for_it(tmp_path: Path) -> None:
    async with open_dashboard(build_store(tmp_path / "runs")) as dashboard:
        await dashboard.until(lambda: dashboard.plots.query("#chart-0"), "curves")
        enlarged = dashboard.screen.query_one(EnlargedPlot)

        dashboard.screen.on_plots_enlarged()
        enlarged.action_zoom(1)
        enlarged.action_move_end(1)

        await dashboard.until(lambda: chart(dashboard).cursor == 1488, "the cursor")
        low, high = window(dashboard)
        assert 0 < low < 1488 <= high


async def test_keys_before_a_drawing_that_never_came_are_forgotten(dashboard: Dashboard) -> None:
    whole = window(dashboard)
    await dashboard.press("escape")

    dashboard.screen.on_plots_enlarged()
    dashboard.screen.query_one(EnlargedPlot).action_zoom(1)
    dashboard.screen.action_back()
    await dashboard.press("enter", "h")

    await dashboard.until(lambda: chart(dashboard).cursor == 1488, "the cursor")
    assert window(dashboard) == whole


async def test_a_click_puts_the_cursor_there_and_the_wheel_zooms(dashboard: Dashboard) -> None:
    low, high = window(dashboard)
    await dashboard.pilot.click(EnlargedPlot, offset=(60, 20))
    assert low < cursor(dashboard) < high

    await dashboard.pilot._post_mouse_events([MouseScrollUp], EnlargedPlot, button=0)
    assert window(dashboard)[1] - window(dashboard)[0] == pytest.approx((high - low) / 2)


async def test_the_footer_names_the_keys_of_the_enlarged_chart(dashboard: Dashboard) -> None:
    assert dashboard.text("#footer").startswith(
        " ← → Cursor   n Mark   Enter Row   + - Zoom   [ ] Smooth   Esc Back   ? Help"
    )


async def test_slash_lists_only_metrics_that_match(dashboard: Dashboard) -> None:
    await dashboard.press("escape", "slash", *"grad", "enter")

    assert dashboard.text("#chart-rule-0").startswith("━ 2 grad_norm")
    assert "/grad" in dashboard.text("#chart-rule-0")
    await dashboard.press("escape")
    assert dashboard.text("#chart-rule-0").startswith("━ 2 loss")
