"""The forms on one or many marked rows: what they check while they are filled in, and the commands they start."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import RunPlan, build_store

from ckptop.store.layout import CheckpointPaths
from ckptop.tui import judging, trainers
from ckptop.tui.child import Answer
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.promote import PromoteScreen
from ckptop.tui.screens.prune import PruneScreen
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.screens.resume_many import ResumeManyScreen
from ckptop.tui.text import plain
from ckptop.tui.widgets.form import Buttons, Choice, Field
from ckptop.tui.widgets.lines import Lines

MINE = RunPlan(name="mine", phase="stopped", epochs=12, checkpoints=8, total_epochs=20)
OTHER = RunPlan(name="other", phase="stopped", epochs=6, total_epochs=20, age_seconds=9_000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [MINE, OTHER])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What children were told; a card is read before it goes."""
    heard: list[list[str]] = []

    async def answer(arguments: Sequence[str]) -> Answer:
        words = list(arguments)
        if "--card" in words:
            place = words.index("--card") + 1
            words[place] = json.loads(Path(words[place]).read_text())["intended_use"]
        heard.append(words)
        return Answer(0, {"model": "digits", "version": "0.1.0", "pid": 4711, "from_step": 288}, "")

    monkeypatch.setattr(judging, "run_ckptop", answer)
    monkeypatch.setattr(trainers, "run_ckptop", answer)
    return heard


@pytest.fixture
async def dashboard(store: Path, told: list[list[str]]) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store, size=(80, 24)) as opened:
        yield opened


async def open_form(dashboard: Dashboard, kind: type[object], *keys: str) -> None:
    await dashboard.press(*keys)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, kind), kind.__name__)
    await dashboard.pilot.pause()


def sheet(dashboard: Dashboard) -> str:
    lines = [line for widget in dashboard.app.screen.query(Lines) for line in widget.lines]
    return "\n".join(plain(line).rstrip() for line in lines)


def command(dashboard: Dashboard) -> str:
    return " ".join(dashboard.text("#command").split())


async def fill(dashboard: Dashboard, **texts: str) -> None:
    for name, text in texts.items():
        dashboard.app.screen.query_one(f"#{name}", Field).value = text
    await dashboard.pilot.pause()


async def press_yes(dashboard: Dashboard) -> None:
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


# The plan on the curve.


async def test_what_a_policy_deletes_is_marked_on_the_curve_while_it_is_typed(dashboard: Dashboard) -> None:
    await open_form(dashboard, PruneScreen, "D")
    await dashboard.until(lambda: "✗" in axis(dashboard), "the plan on the curve")
    many = axis(dashboard).count("✗")

    await fill(dashboard, last="7")
    await dashboard.until(lambda: axis(dashboard).count("✗") < many, "a smaller plan")

    text = dashboard.screen_text()
    assert axis(dashboard).count("✗") == 1
    assert "▸[ No, keep all ]◂" in text  # curve, list and buttons fit on 24 rows
    assert "✗ training" in text
    assert "$ ckptop prune mine --keep-last 7" in text


async def test_the_best_may_be_ranked_by_another_metric(dashboard: Dashboard) -> None:
    await open_form(dashboard, PruneScreen, "D")

    await fill(dashboard, best="2", metric="val/loss")
    assert "$ ckptop prune mine --keep-last 3 --keep-best 2 --metric val/loss" in command(dashboard)

    await fill(dashboard, metric="")
    assert "name the metric to rank by, or leave best empty" in sheet(dashboard)


def axis(dashboard: Dashboard) -> str:
    return next((line for line in dashboard.screen_text().splitlines() if "───" in line and "━" not in line), "")


# Many at once.


async def test_r_on_marked_runs_resumes_each(dashboard: Dashboard, told: list[list[str]], store: Path) -> None:
    await open_form(dashboard, ResumeManyScreen, "asterisk", "r")
    assert "Resume 2 runs" in sheet(dashboard)
    assert "and 1 more like it, one after another" in sheet(dashboard)

    await fill(dashboard, epochs="40", lr="3e-4", other="batch_size=32")
    assert "$ ckptop resume mine --epochs 40 --set lr=3e-4 --set batch_size=32" in command(dashboard)
    await press_yes(dashboard)
    await dashboard.until(lambda: "Started 2 of 2." in dashboard.toasts, "the report")

    options = ["--epochs", "40", "--set", "lr=3e-4", "--set", "batch_size=32", "--store", str(store)]
    assert told == [["resume", "mine", *options], ["resume", "other", *options]]


async def test_r_on_marked_checkpoints_forks_each(dashboard: Dashboard, told: list[list[str]]) -> None:
    await open_form(dashboard, ResumeManyScreen, "3", "space", "space", "r")
    assert "Fork 2 checkpoints of mine" in sheet(dashboard)

    await fill(dashboard, fork="warm")
    await press_yes(dashboard)
    await dashboard.until(lambda: "Started 2 of 2." in dashboard.toasts, "the report")

    assert [words[1:6] for words in told] == [
        [
            "mine",
            "--from",
            f"checkpoint_epoch_{epoch:04d}_step_{24 * epoch:08d}.pt",
            "--fork",
            f"mine-warm-{24 * epoch}",
        ]
        for epoch in (12, 11)
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("fork", "", "name the forks"), ("lr", "-1", "lr must be a number above 0"), ("other", "x", "is not key=value")],
)
async def test_a_wrong_field_is_explained_and_nothing_starts(
    dashboard: Dashboard, told: list[list[str]], name: str, text: str, said: str
) -> None:
    await open_form(dashboard, ResumeManyScreen, "3", "space", "space", "r")

    await fill(dashboard, **{name: text})
    assert said in sheet(dashboard)
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")

    assert isinstance(dashboard.app.screen, ResumeManyScreen)
    assert told == []


async def test_of_several_that_fail_the_reasons_are_said(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(arguments: Sequence[str]) -> Answer:
        return Answer(13, {}, f"{arguments[1]} is running") if arguments[1] == "other" else Answer(0, {}, "")

    monkeypatch.setattr(trainers, "run_ckptop", fail)
    await open_form(dashboard, ResumeManyScreen, "asterisk", "r")

    await press_yes(dashboard)
    await dashboard.until(lambda: "other is running" in dashboard.toasts, "the complaint")

    assert "Started 1 of 2." in dashboard.toasts


async def test_marked_checkpoints_become_milestones_the_oldest_first(
    dashboard: Dashboard, told: list[list[str]]
) -> None:
    await open_form(dashboard, PromoteScreen, "3", "space", "space", "p")
    await dashboard.press("right")
    assert "[ Make 2 milestones ]" in sheet(dashboard)

    await press_yes(dashboard)
    await dashboard.until(lambda: "2 milestones of 2." in dashboard.toasts, "the report")

    assert [words[1] for words in told] == [
        "mine:checkpoint_epoch_0011_step_00000264.pt", "mine:checkpoint_epoch_0012_step_00000288.pt",
    ]  # fmt: skip


async def test_a_form_that_enter_led_to_cancel_says_that_nothing_was_done(
    dashboard: Dashboard, told: list[list[str]]
) -> None:
    """Enter goes from field to field and then to the button that loses nothing."""
    await open_form(dashboard, ResumeScreen, "r")
    await dashboard.press("tab", "tab", "tab", "tab", *"1e-4", "enter", "enter", "enter")
    await dashboard.until(lambda: not isinstance(dashboard.app.screen, ResumeScreen), "the dialog to close")

    assert (dashboard.toasts, told) == (["Cancel: nothing was done."], [])


async def test_a_form_left_as_it_was_says_nothing(dashboard: Dashboard) -> None:
    await open_form(dashboard, ResumeScreen, "r")
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("enter")
    await dashboard.until(lambda: not isinstance(dashboard.app.screen, ResumeScreen), "the dialog to close")

    assert dashboard.toasts == []


# What a release must reach.


async def test_a_requirement_and_a_card_go_into_the_command(dashboard: Dashboard, told: list[list[str]]) -> None:
    await open_form(dashboard, PromoteScreen, "p")
    await dashboard.until(lambda: "✓ hash matches" in sheet(dashboard), "the hash")

    await fill(dashboard, require="val/accuracy>=0.9", card="reading meters")
    text = sheet(dashboard)
    assert "✓ 0.981" in text
    assert "--require 'val/accuracy>=0.9'" in command(dashboard)
    assert """--card <(echo '{"intended_use": "reading meters"}')""" in command(dashboard)
    await press_yes(dashboard)
    await dashboard.until(lambda: "Released digits 0.1.0." in dashboard.toasts, "the report")

    (words,) = told
    assert words[words.index("--require") + 1] == "val/accuracy>=0.9"
    assert words[words.index("--card") + 1] == "reading meters"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val/accuracy>=0.99", "has val/accuracy 0.9812, not >= 0.99"),
        ("f1>=0.5", "recorded no f1; it recorded val/accuracy, val/loss"),
        ("nonsense", "is no requirement"),
    ],
)
async def test_what_is_not_reached_is_not_promoted(
    dashboard: Dashboard, told: list[list[str]], text: str, said: str
) -> None:
    await open_form(dashboard, PromoteScreen, "p")

    await fill(dashboard, require=text)
    assert "✗ not reached" in sheet(dashboard)
    assert said in sheet(dashboard)
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")

    assert isinstance(dashboard.app.screen, PromoteScreen)
    assert told == []


async def test_a_flipped_byte_is_seen_before_anything_is_promoted(dashboard: Dashboard, store: Path) -> None:
    for victim in CheckpointPaths(store / "mine" / "checkpoints").training.glob("*_0012_*.pt"):
        victim.write_bytes(b"x" + victim.read_bytes()[1:])

    await open_form(dashboard, PromoteScreen, "3", "p")

    await dashboard.until(lambda: "✗ its bytes are not what was written" in sheet(dashboard), "the verdict")
    assert dashboard.app.screen.query_one("#target", Choice).chosen == 1
