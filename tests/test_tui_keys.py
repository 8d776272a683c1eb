"""Every key of the main screen does what it says; the last test sees that none was forgotten."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store
from textual.binding import Binding
from textual.dom import DOMNode
from textual.events import Key, MouseScrollDown
from textual.widgets import Input

from ckptop.host.units import cell_width
from ckptop.tui.app import CkptopApp
from ckptop.tui.keys import MOVEMENT
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.control import ControlScreen
from ckptop.tui.screens.help import HelpScreen, KeyList
from ckptop.tui.screens.main import HINT, MainScreen, explained_panes
from ckptop.tui.screens.page import FactsPage
from ckptop.tui.screens.promote import PromoteScreen
from ckptop.tui.screens.prune import PruneScreen
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.screens.train import TrainScreen
from ckptop.tui.screens.trash import TrashScreen
from ckptop.tui.screens.why import Page, WhyScreen
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.form import Choice, Field
from ckptop.tui.widgets.hardware import HardwarePane
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import RunsList


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs")


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        yield opened


@pytest.fixture
async def long_table(tmp_path: Path) -> AsyncIterator[Dashboard]:
    """A table of sixty checkpoints, its pane in focus."""
    store = build_store(tmp_path / "runs", [RunPlan(name="long", checkpoints=60)])
    async with open_dashboard(store) as opened:
        await opened.press("3")
        yield opened


def names(dashboard: Dashboard) -> list[str]:
    return [run.name for run in dashboard.runs.items]


def selected(dashboard: Dashboard) -> str:
    assert dashboard.runs.current is not None
    return dashboard.runs.current.name


def epoch(dashboard: Dashboard) -> int:
    assert dashboard.table.current is not None
    return dashboard.table.current.epoch


def row(dashboard: Dashboard) -> int:
    assert dashboard.table.current is not None
    return [item.key for item in dashboard.table.items].index(dashboard.table.current.key)


# Moving in a list.


@pytest.mark.parametrize(("down", "up"), [("j", "k"), ("down", "up")])
async def test_j_and_k_move_the_cursor_and_the_run_shown_follows(dashboard: Dashboard, down: str, up: str) -> None:
    await dashboard.press(down)
    assert selected(dashboard) == "cnn-lr3e-4"
    await dashboard.until(
        lambda: dashboard.snapshot.detail is not None and dashboard.snapshot.detail.row.name == "cnn-lr3e-4",
        "the fork's detail",
    )

    await dashboard.press(up)
    assert selected(dashboard) == "digits-cnn"


@pytest.mark.parametrize(("last", "first"), [("G", "g"), ("end", "home")])
async def test_g_and_G_go_to_the_ends(dashboard: Dashboard, last: str, first: str) -> None:  # noqa: N802  the key
    await dashboard.press(last)
    assert selected(dashboard) == names(dashboard)[-1]

    await dashboard.press(first)
    assert selected(dashboard) == names(dashboard)[0]


async def test_pages_and_half_pages(long_table: Dashboard) -> None:
    page = long_table.table.page_rows // 2 * 2

    await long_table.press("pagedown")
    assert row(long_table) == page
    await long_table.press("pageup")
    assert row(long_table) == 0
    await long_table.press("ctrl+d")
    assert row(long_table) == page // 2
    await long_table.press("ctrl+u")
    assert row(long_table) == 0


async def test_the_cursor_stays_on_its_run_when_rows_change(dashboard: Dashboard, store: Path) -> None:
    await dashboard.press("j", "j")
    assert selected(dashboard) == "diabetes"

    build_store(store, [RunPlan(name="newest", age_seconds=1)])
    dashboard.reader.wake()
    await dashboard.until(lambda: "newest" in names(dashboard), "the new run")

    assert names(dashboard)[0] == "newest"
    assert selected(dashboard) == "diabetes"


async def test_a_click_moves_the_cursor(dashboard: Dashboard) -> None:
    await dashboard.pilot.click(RunsList, offset=(5, 3))

    assert selected(dashboard) == "cnn-lr3e-4"


async def test_the_wheel_moves_on(dashboard: Dashboard) -> None:
    await dashboard.pilot._post_mouse_events([MouseScrollDown], RunsList, button=0)

    assert selected(dashboard) == names(dashboard)[3]


# Panes.


async def test_tab_goes_round_the_panes_in_order(dashboard: Dashboard) -> None:
    seen = []
    for _ in range(4):
        await dashboard.press("tab")
        seen.append(type(dashboard.screen.focused))

    assert seen == [Plots, CheckpointTable, HardwarePane, RunsList]


async def test_shift_tab_goes_the_other_way(dashboard: Dashboard) -> None:
    await dashboard.press("shift+tab")

    assert isinstance(dashboard.screen.focused, HardwarePane)


@pytest.mark.parametrize(("key", "pane"), [("1", "runs"), ("2", "plots"), ("3", "checkpoints"), ("4", "hardware")])
async def test_a_digit_focuses_and_a_second_press_shows_full_size(dashboard: Dashboard, key: str, pane: str) -> None:
    if key != "1":
        await dashboard.press(key)
    assert dashboard.screen.focused is not None
    assert dashboard.screen.focused.id == pane

    await dashboard.press(key)
    assert dashboard.screen.shown_panes == {pane}
    await dashboard.until(lambda: dashboard.screen.focused.size.width == 120, "the pane at full width")  # type: ignore[union-attr]

    await dashboard.press("escape")
    assert len(dashboard.screen.shown_panes) > 3


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (("2", "enter"), lambda d: d.screen.full == "enlarged"),
        (("2", "enter", "G"), lambda d: d.screen.query_one(EnlargedPlot)._view.cursor == 1488),
        (("3", "3"), lambda d: d.screen.full == "checkpoints"),
        (("3", "j", "escape", "j"), lambda d: selected(d) == "cnn-lr3e-4"),
        (("tab", "tab", "j"), lambda d: row(d) == 1),
    ],
)
async def test_keys_of_one_packet_reach_the_pane_that_the_first_of_them_leads_to(
    dashboard: Dashboard, keys: tuple[str, ...], wanted: Callable[[Dashboard], bool]
) -> None:
    """Over a slow link several keys arrive at once."""
    assert dashboard.app._driver is not None
    for key in keys:
        event = Key(key, key if len(key) == 1 else None)
        event.set_sender(dashboard.app)
        dashboard.app._driver.send_message(event)

    await dashboard.until(lambda: wanted(dashboard), "what the keys lead to")


async def test_what_is_typed_ahead_behind_a_slash_is_no_command(dashboard: Dashboard) -> None:
    await dashboard.press("3")
    for key, character in (("slash", "/"), ("d", "d"), ("y", "y")):  # of "dynamics"
        dashboard.app.post_message(Key(key, character))
    await dashboard.until(lambda: isinstance(dashboard.app.focused, Input), "the prompt")
    await dashboard.press("x")

    assert dashboard.table.query_text.endswith("x")
    assert isinstance(dashboard.app.screen, MainScreen)
    assert dashboard.toasts == []


async def test_z_shows_full_size_and_back(dashboard: Dashboard) -> None:
    await dashboard.press("3", "z")
    assert dashboard.screen.shown_panes == {"checkpoints"}

    await dashboard.press("z")
    assert "runs" in dashboard.screen.shown_panes


async def test_tab_in_full_size_shows_the_next_pane_full_size(dashboard: Dashboard) -> None:
    await dashboard.press("z", "tab")

    assert dashboard.screen.shown_panes == {"plots"}


async def test_the_rule_of_the_pane_in_focus_alone_is_heavy(dashboard: Dashboard) -> None:
    await dashboard.press("3")

    assert dashboard.text("#checkpoints").startswith("━ 3 Checkpoints")
    assert dashboard.text("#runs").startswith("─ 1 Runs")


async def test_enter_on_a_run_goes_to_its_checkpoints_and_escape_back(dashboard: Dashboard) -> None:
    await dashboard.press("enter")
    assert dashboard.table.has_focus

    await dashboard.press("escape")
    assert dashboard.runs.has_focus


async def test_escape_never_quits(dashboard: Dashboard) -> None:
    await dashboard.press(*["escape"] * 5)

    assert dashboard.app.is_running
    assert dashboard.runs.has_focus


# Resizing.


async def test_a_resize_moves_the_panes_live_and_focus_stays_on_screen(dashboard: Dashboard) -> None:
    await dashboard.press("3")
    await dashboard.pilot.resize_terminal(80, 24)
    assert dashboard.screen.shown_panes == {"runs", "plots", "checkpoints", "hardware"}
    assert dashboard.table.has_focus

    await dashboard.pilot.resize_terminal(50, 12)
    await dashboard.until(lambda: dashboard.runs.has_focus, "the focus on the runs")
    assert dashboard.screen.shown_panes == {"runs"}

    await dashboard.pilot.resize_terminal(120, 40)
    assert "facts" in dashboard.screen.shown_panes


async def test_in_a_tiny_terminal_enter_still_opens(store: Path) -> None:
    async with open_dashboard(store, size=(40, 10)) as dashboard:
        await dashboard.press("enter")
        assert dashboard.screen.shown_panes == {"checkpoints"}

        await dashboard.press("escape")
        assert dashboard.screen.shown_panes == {"runs"}


# Lists: sort, filter, copy.


async def test_s_sorts_by_the_next_column_and_S_turns_it_around(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await dashboard.press("s")
    assert names(dashboard) == sorted(names(dashboard))
    assert "by name" in dashboard.text("#runs")

    await dashboard.press("S")
    assert names(dashboard) == sorted(names(dashboard), reverse=True)

    await dashboard.press("s", "s", "s")
    assert names(dashboard)[0] == "diabetes"  # its metric is the largest number


async def test_every_order_of_the_table_can_be_reached(long_table: Dashboard) -> None:
    orders = []
    for _ in range(5):
        orders.append([row.epoch for row in long_table.table.items])
        await long_table.press("s")

    assert orders[0] == sorted(orders[0], reverse=True)
    assert orders[3][0] == 59  # the best by the run's metric
    await long_table.press("S")
    assert [row.epoch for row in long_table.table.items] == orders[0][::-1]


async def test_slash_filters_by_name_and_escape_clears(dashboard: Dashboard) -> None:
    await dashboard.press("slash", *"swee")
    assert names(dashboard) == ["sweep-03", "sweep-02"]

    await dashboard.press("enter")
    assert dashboard.runs.has_focus
    assert "/swee" in dashboard.text("#runs")

    await dashboard.press("escape")
    assert len(names(dashboard)) == 6


async def test_slash_filters_by_state(dashboard: Dashboard) -> None:
    await dashboard.press("slash", *"crash", "enter")

    assert names(dashboard) == ["sweep-03"]


async def test_a_filter_without_a_match_says_how_to_leave(dashboard: Dashboard) -> None:
    await dashboard.press("slash", *"nothing like this")
    assert "Nothing matches. Esc clears." in dashboard.text("#runs")

    await dashboard.press("escape")
    assert len(names(dashboard)) == 6
    assert dashboard.runs.has_focus


async def test_slash_in_the_table_filters_checkpoints(dashboard: Dashboard) -> None:
    await dashboard.press("3", "slash", *"best", "enter")

    assert [row.mark for row in dashboard.table.items] == ["best"]
    assert dashboard.table.has_focus


@pytest.mark.parametrize(
    ("pane", "wanted"),
    [("1", "/runs/digits-cnn"), ("2", "loss: train"), ("3", ".pt"), ("4", "CPU")],
)
async def test_y_copies(dashboard: Dashboard, pane: str, wanted: str) -> None:
    if pane != "1":
        await dashboard.press(pane)
    await dashboard.press("y")

    assert wanted in dashboard.app.clipboard
    assert dashboard.toasts[-1] == "Copied."


# Marks.


async def test_space_marks_and_steps_and_the_footer_follows(dashboard: Dashboard) -> None:
    await dashboard.press("3", "space", "space")

    assert len(dashboard.table.marked) == 2
    assert "2 marked" in dashboard.text("#checkpoints")
    assert "d Delete 2" in dashboard.text("#footer")
    await dashboard.press("escape")
    assert not dashboard.table.marked
    assert "d Delete" not in dashboard.text("#footer")


async def test_asterisk_marks_all_and_then_none(dashboard: Dashboard) -> None:
    await dashboard.press("3", "asterisk")
    assert len(dashboard.table.marked) == len(dashboard.table.items)

    await dashboard.press("asterisk")
    assert not dashboard.table.marked


async def test_n_and_N_go_round_the_marks(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await dashboard.press("3", "space", "j", "j", "space", "G")
    marked = sorted(row.epoch for row in dashboard.table.items if row.key in dashboard.table.marked)

    await dashboard.press("n")
    assert epoch(dashboard) == marked[1]
    await dashboard.press("n")
    assert epoch(dashboard) == marked[0]
    await dashboard.press("N")
    assert epoch(dashboard) == marked[1]


async def test_another_run_starts_without_marks(dashboard: Dashboard) -> None:
    await dashboard.press("3", "space", "1", "j")
    await dashboard.until(lambda: "cnn-lr3e-4" in dashboard.text("#checkpoints"), "the other run's checkpoints")

    assert not dashboard.table.marked


# Plots.

CHART_KEYS = [("l", "h"), ("right", "left"), ("j", "k"), ("down", "up"), ("end", "home"), ("G", "g")]


async def test_enter_enlarges_the_chosen_chart_and_escape_returns(dashboard: Dashboard) -> None:
    await dashboard.press("2", "l", "enter")
    assert dashboard.screen.shown_panes == {"enlarged"}
    await dashboard.until(lambda: "chart 2 of 4" in dashboard.text("#enlarged-rule"), "the enlarged chart's rule")
    assert "val/accuracy" in dashboard.text("#enlarged-rule")

    await dashboard.press("escape")
    assert dashboard.plots.has_focus
    assert "runs" in dashboard.screen.shown_panes


@pytest.mark.parametrize(
    "keys", [("l", "h"), ("right", "left"), ("j", "k"), ("down", "up"), ("end", "home"), ("G", "g")]
)
async def test_charts_are_chosen_one_after_another(dashboard: Dashboard, keys: tuple[str, str]) -> None:
    onwards, back = keys
    await dashboard.press("2", *[onwards] * 3)
    assert dashboard.text("#chart-rule-1").startswith("━ grad_norm")

    await dashboard.press(*[back] * 3)
    assert dashboard.text("#chart-rule-0").startswith("━ 2 loss")


async def test_brackets_smooth(dashboard: Dashboard) -> None:
    await dashboard.press("2", "right_square_bracket")
    assert "smooth 0.97" in dashboard.text("#chart-rule-0")

    await dashboard.press("left_square_bracket", "left_square_bracket")
    assert "smooth 0.9 " in dashboard.text("#chart-rule-0")


async def test_L_turns_the_y_axis_from_log_to_linear(dashboard: Dashboard) -> None:  # noqa: N802  the key
    def foot() -> str:
        return dashboard.screen_text()

    await dashboard.until(lambda: "  log " in foot(), "the chart")
    await dashboard.press("2", "L")
    await dashboard.until(lambda: "  log " not in foot(), "a linear axis")
    await dashboard.press("L")
    await dashboard.until(lambda: "  log " in foot(), "a logarithmic axis")


async def test_a_walks_the_x_axes(dashboard: Dashboard) -> None:
    await dashboard.press("2", "a")
    assert "by epoch" in dashboard.text("#chart-rule-0")
    await dashboard.press("a")
    assert "by time" in dashboard.text("#chart-rule-0")
    await dashboard.press("a")
    assert "by clock" in dashboard.text("#chart-rule-0")
    await dashboard.press("a")
    assert "by " not in dashboard.text("#chart-rule-0")


# Actions open their dialogs.


@pytest.mark.parametrize(
    ("keys", "dialog"),
    [
        (["D"], PruneScreen),
        (["p"], PromoteScreen),
        (["3", "D"], PruneScreen),
        (["3", "p"], PromoteScreen),
        (["3", "d"], Confirm),
        (["slash", *"sweep-02", "enter", "r"], ResumeScreen),
        (["x"], ControlScreen),
        (["W"], WhyScreen),
        (["T"], TrainScreen),
        (["question_mark"], HelpScreen),
    ],
)
async def test_a_key_opens_its_dialog_and_escape_leaves_it(
    dashboard: Dashboard, keys: list[str], dialog: type[object]
) -> None:
    await dashboard.press(*keys[:-1])
    if keys[0] == "slash":
        await dashboard.until(
            lambda: dashboard.snapshot.detail is not None and dashboard.snapshot.detail.row.name == "sweep-02",
            "the stopped run",
        )
    await dashboard.press(keys[-1])
    await dashboard.until(lambda: isinstance(dashboard.app.screen, dialog), f"{dialog.__name__}")

    await dashboard.press("escape")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


async def test_a_run_that_can_neither_be_resumed_nor_forked_says_why(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="young", checkpoints=0)])
    async with open_dashboard(store) as dashboard:
        await dashboard.press("r")

        assert dashboard.toasts == ["young is running already."]
        offered = dashboard.runs.shown_bindings()
        assert [shown.text for shown in offered if shown.off] == ["Fork", "Delete old", "Promote"]


async def test_nothing_is_done_to_the_run_that_the_cursor_has_left(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.reader, "want", lambda *_: None)  # a disk that hangs
    await dashboard.press("j")
    assert selected(dashboard) == "cnn-lr3e-4"

    for key in ("D", "r", "p", "P", "x", "W"):
        await dashboard.press(key)

        assert isinstance(dashboard.app.screen, MainScreen), key
        assert dashboard.toasts == ["cnn-lr3e-4 is still being read; press it again."]
        dashboard.app.clear_notifications()


async def test_r_in_the_table_means_the_checkpoint_at_the_cursor(dashboard: Dashboard) -> None:
    await dashboard.press("3", "j", "r")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, ResumeScreen), "the form")
    await dashboard.pilot.pause()

    assert dashboard.app.screen.query_one("#from", Choice).chosen == 2


async def test_u_without_a_deletion_says_so(dashboard: Dashboard) -> None:
    await dashboard.press("u")

    assert dashboard.toasts == ["Nothing to undo."]


async def test_V_verifies(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await dashboard.press("3", "asterisk", "V")

    await dashboard.until(lambda: dashboard.toasts == ["Verified 10: all good."], "the verdict")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_quitting(dashboard: Dashboard, key: str) -> None:
    await dashboard.press(key)

    assert dashboard.app._exit
    assert dashboard.app.return_code == 0


async def test_ctrl_z_suspends(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    suspended = []
    monkeypatch.setattr(CkptopApp, "action_suspend_process", lambda _: suspended.append(True))

    await dashboard.press("ctrl+z")

    assert suspended


@pytest.mark.parametrize(
    ("key", "kind"),
    [("question_mark", HelpScreen), ("T", TrainScreen), ("t", TrashScreen), ("D", PruneScreen), ("W", WhyScreen)],
)
async def test_over_a_dialog_ctrl_z_suspends_and_ctrl_c_quits(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, key: str, kind: type[object]
) -> None:
    suspended = []
    monkeypatch.setattr(CkptopApp, "action_suspend_process", lambda _: suspended.append(True))
    await dashboard.press(key)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, kind), "the dialog")

    await dashboard.press("ctrl+z")
    assert suspended
    assert isinstance(dashboard.app.screen, kind)
    await dashboard.press("ctrl+c")
    assert dashboard.app._exit


async def test_in_a_text_field_ctrl_c_copies_what_somebody_selected_and_else_quits(dashboard: Dashboard) -> None:
    await dashboard.press("D")
    await dashboard.until(lambda: isinstance(dashboard.app.focused, Field), "a field")
    field = dashboard.app.focused
    assert isinstance(field, Field)
    await dashboard.press("end", "7", "q", "shift+left")
    await dashboard.press("ctrl+c")
    assert dashboard.app.clipboard == field.value[-1]
    assert not dashboard.app._exit

    await dashboard.press("shift+tab", "tab")
    assert field.selected_text  # by focus alone
    await dashboard.press("ctrl+c")
    assert dashboard.app._exit


# Footer, hint and help.


async def test_the_hint_stands_until_a_key(dashboard: Dashboard) -> None:
    assert HINT in dashboard.text("#footer")

    await dashboard.press("j")

    assert HINT not in dashboard.text("#footer")


async def test_the_footer_names_the_keys_of_the_pane_in_focus(dashboard: Dashboard) -> None:
    assert dashboard.text("#footer").startswith(
        " Enter Open  r Fork  x Control  D Delete old  p Promote  / Filter  ? Help"
    )

    await dashboard.press("2")

    assert dashboard.text("#footer").startswith(
        " Enter Enlarge  [ ] Smooth  L Log y  a x axis  o Overlay  / Filter  ? Help"
    )
    assert dashboard.text("#footer").endswith("  5 Registry  6 Log  7 Compare  8 Alerts")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (["4"], " Enter Processes  x Control  t Trash  s Sort  z Full size  Esc Back"),
        (["3", "space"], " d Delete 1  P Pin  V Verify  c Compare  Esc Unmark"),
    ],
)
async def test_the_footer_names_the_way_back(dashboard: Dashboard, keys: list[str], named: str) -> None:
    await dashboard.press(*keys)

    assert dashboard.text("#footer").replace("   ", "  ").startswith(named)


async def test_help_names_every_key_once_with_a_sentence(dashboard: Dashboard) -> None:
    await dashboard.press("question_mark")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, HelpScreen), "help")
    pages = [dashboard.text("#keys")]
    for _ in range(12):
        await dashboard.press("pagedown")
        pages.append(dashboard.text("#keys"))

    text = "\n".join(pages)
    for item in every_binding():
        assert item.tooltip in text, item.id


@pytest.mark.parametrize("page", [KeyList, FactsPage, Page])
def test_whatever_scrolls_is_scrolled_by_the_same_keys(page: type[DOMNode]) -> None:
    keys = {key for item in page.__dict__["BINDINGS"] for key in item.key.split(",")}

    assert keys >= {key for item in MOVEMENT if isinstance(item, Binding) for key in item.key.split(",")}


async def test_half_a_page_of_the_help(dashboard: Dashboard) -> None:
    await dashboard.press("question_mark")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, HelpScreen), "help")
    top = dashboard.text("#keys")

    await dashboard.press("ctrl+d")
    assert dashboard.text("#keys") != top
    await dashboard.press("ctrl+u")
    assert dashboard.text("#keys") == top


@pytest.mark.parametrize(("key", "title"), [("1", "Runs"), ("2", "Plots"), ("3", "Checkpoints"), ("4", "Hardware")])
async def test_help_begins_with_the_keys_of_the_pane_in_focus(dashboard: Dashboard, key: str, title: str) -> None:
    await dashboard.press("2", key, "question_mark")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, HelpScreen), "help")

    rule, first, *_ = dashboard.text("#keys").splitlines()
    assert first.split()[0] == title
    assert re.search(r"\d+ more below", rule)
    assert "Esc leaves" in rule


def test_every_key_of_the_help_fits_into_one_of_two_columns() -> None:
    """A terminal of 120 columns has room for 45 cells behind a key."""
    assert [item.id for item in every_binding() if cell_width(item.tooltip) > 45] == []


def every_binding() -> list[Binding]:
    owners = (CkptopApp, MainScreen, *(kind for _, kind in explained_panes()))
    own = [item for owner in owners for item in owner.__dict__["BINDINGS"]]
    return [item for item in [*own, *MOVEMENT] if isinstance(item, Binding)]


def test_every_binding_has_an_id_a_description_and_a_tooltip() -> None:
    for item in every_binding():
        assert item.id, item
        assert item.description, item
        assert item.tooltip.strip(), item


def test_no_two_bindings_of_one_pane_share_a_key() -> None:
    for _, owner in explained_panes():
        bindings = [item for cls in (owner, MainScreen, CkptopApp) for item in cls.__dict__["BINDINGS"]]
        if issubclass(owner, CursorList):
            bindings += MOVEMENT
        keys = [key for item in bindings for key in item.key.split(",")]
        assert len(keys) == len(set(keys)), owner


def test_every_key_is_pressed_in_a_test_of_keys() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_tui_*keys.py"))

    for item in every_binding():
        for key in item.key.split(","):
            assert f'"{key}"' in text, f"{item.id}: {key} has no test"
