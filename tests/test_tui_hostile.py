"""A viewer outlives every corrupt file, and nothing out of a file acts on the terminal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from dashboard import Dashboard, open_dashboard
from hostile_store import EVIL, poison, poison_words
from rich.segment import Segment
from store_fixture import RunPlan, build_run, build_store
from textual.color import Color

from ckptop.store.layout import RunPaths, manifest_path
from ckptop.tui.app import StrippingFilter
from ckptop.tui.screens.promote import PromoteScreen
from ckptop.tui.screens.prune import PruneScreen
from ckptop.tui.screens.resume import ResumeScreen

ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped", epochs=9, checkpoints=5)])


def assert_harmless(dashboard: Dashboard) -> None:
    for line in dashboard.screen_text().split("\n"):
        assert not ACTS.search(line), line
    for message in dashboard.toasts:
        assert not ACTS.search(message), message


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (50, 12)])
async def test_hostile_text_is_shown_and_does_nothing(store: Path, size: tuple[int, int]) -> None:
    poison(store)

    async with open_dashboard(store, size=size) as dashboard:
        assert_harmless(dashboard)
        await dashboard.press("3", "z", "z", "2", "l", "enter", "escape")
        assert_harmless(dashboard)
        assert dashboard.app.is_running


@pytest.mark.parametrize(("key", "dialog"), [("D", PruneScreen), ("p", PromoteScreen), ("r", ResumeScreen)])
async def test_dialogs_are_harmless_too(store: Path, key: str, dialog: type[object]) -> None:
    poison(store)

    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await dashboard.press(key)
        await dashboard.until(lambda: isinstance(dashboard.app.screen, dialog), dialog.__name__)
        assert_harmless(dashboard)


async def test_the_screens_of_their_own_are_harmless_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(store.parent / "state"))
    build_run(store, RunPlan(name="other", phase="stopped", epochs=9, age_seconds=9_000))
    poison(store)
    poison_words(store)

    async with open_dashboard(store, size=(120, 40)) as dashboard:
        await dashboard.press("asterisk")
        for key, seen in (("6", "@click"), ("7", "scheduler"), ("8", "@click"), ("5", "No release")):
            await dashboard.press(key)
            await dashboard.until(lambda seen=seen: seen in dashboard.screen_text(), f"screen {key}")  # type: ignore[misc]  # mypy cannot infer the lambda
            assert_harmless(dashboard)


async def test_a_hostile_error_in_a_toast_is_plain_text(store: Path) -> None:
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        dashboard.screen.front.say(EVIL, "error")
        await dashboard.pilot.pause()
        assert_harmless(dashboard)
        assert dashboard.app.is_running


@pytest.mark.parametrize("evil", list("\x1b\x9b\x07\x7f\x00\u202e\u200b"))
def test_the_second_wall_replaces_what_slipped_past_the_first(evil: str) -> None:
    segments = [Segment(f"a{evil}[31m"), Segment("fine ▌ ━ ⣿ é")]

    first, second = StrippingFilter().apply(segments, Color(0, 0, 0))

    assert first.text == "a·[31m"
    assert second.text == "fine ▌ ━ ⣿ é"


async def test_there_is_one_wall_so_that_lines_keep_what_it_made_of_them(store: Path) -> None:
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        assert dashboard.app.get_line_filters()[-1] is dashboard.app.get_line_filters()[-1]


async def test_a_checkpoint_deleted_behind_its_back_is_one_clear_line(store: Path) -> None:
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        for path in RunPaths(store / "mine").checkpoints.training.glob("*_0009_*"):
            path.unlink()
        await dashboard.press("3", "V")
        await dashboard.until(lambda: dashboard.toasts, "the verdict")
        assert dashboard.app.is_running

        dashboard.reader.wake(["mine"])
        await dashboard.until(lambda: dashboard.table.items[0].epoch == 8, "the table without it")


async def test_a_run_deleted_behind_its_back_goes_and_the_cursor_finds_another(store: Path) -> None:
    build_run(store, RunPlan(name="other", age_seconds=9_999))
    async with open_dashboard(store) as dashboard:
        assert dashboard.runs.current is not None
        assert dashboard.runs.current.name == "mine"

        shutil.rmtree(store / "mine")
        dashboard.reader.wake()
        await dashboard.until(lambda: [run.name for run in dashboard.runs.items] == ["other"], "one run")

        await dashboard.until(lambda: "other" in dashboard.text("#checkpoints"), "its checkpoints")


async def test_the_whole_store_may_vanish_and_come_back(store: Path) -> None:
    async with open_dashboard(store) as dashboard:
        shutil.rmtree(store)
        dashboard.reader.wake()
        await dashboard.until(lambda: "No runs in ./runs." in dashboard.text("#runs"), "the empty store")

        build_store(store, [RunPlan(name="again")])
        dashboard.reader.wake()
        await dashboard.until(lambda: "again" in dashboard.text("#runs"), "the new run")


async def test_an_unreadable_run_says_why_where_its_checkpoints_would_be(store: Path) -> None:
    (store / "mine" / "run.json").write_text("{")

    async with open_dashboard(store, size=(80, 24)) as dashboard:
        assert "? mine" in dashboard.text("#runs")
        assert "run.json is truncated" in dashboard.text("#runs")
        await dashboard.press("r")
        assert dashboard.app.is_running


async def test_the_problem_of_the_checkpoint_at_the_cursor_stands_in_the_rule(store: Path) -> None:
    victim = next(RunPaths(store / "mine").checkpoints.training.glob("*_0009_*.pt"))
    manifest_path(victim).write_text('{"id": "3"')

    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await dashboard.press("3", "g")
        assert "! bad" in dashboard.text("#checkpoints")
        assert "its manifest is truncated" in dashboard.text("#checkpoints").splitlines()[0]


async def test_a_reader_that_fails_as_a_whole_says_so_and_goes_on(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_dashboard(store) as dashboard:
        original = dashboard.reader.look.read
        failures: list[int] = []

        def fail_once(*arguments: Any, **options: Any) -> Any:
            if not failures:
                failures.append(1)
                raise MemoryError("nobody thought of this")
            return original(*arguments, **options)

        monkeypatch.setattr("ckptop.tui.screens.reading.RETRY_SECONDS", 0.01)
        monkeypatch.setattr(dashboard.reader.look, "read", fail_once)
        dashboard.reader.wake()
        await dashboard.until(lambda: dashboard.toasts, "the complaint")
        assert dashboard.toasts == ["The store cannot be read: nobody thought of this"]

        build_run(store, RunPlan(name="later"))
        dashboard.reader.wake()
        await dashboard.until(lambda: "later" in dashboard.text("#runs"), "the thread at work again")
