"""Starting trainers by forms: a new training, a fork, a resume with other values; and why a run ended, on a page."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from dashboard import TASKS, Dashboard, open_dashboard
from pilot import LIMIT_SECONDS
from store_fixture import RunPlan, build_store

from ckptop.cli.dashboard import _tasks
from ckptop.host.units import cell_width
from ckptop.store.layout import RunPaths
from ckptop.trainer.registry import task_names
from ckptop.tui import child, trainers
from ckptop.tui.child import Answer, read_ckptop
from ckptop.tui.screens import why
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.screens.train import TrainScreen
from ckptop.tui.screens.why import WhyScreen, next_command, page_lines, proposed_settings
from ckptop.tui.text import Line, plain, wrapped
from ckptop.tui.widgets.form import Buttons, Choice, Field
from ckptop.tui.widgets.lines import Lines

DIVERGED = "TrainingFailed: the loss is nan at step 268"
RUNS = [
    RunPlan(name="mine", epochs=12, total_epochs=20),
    RunPlan(name="gone", epochs=12, total_epochs=20, alive=False, age_seconds=900),
    RunPlan(name="bad", epochs=12, total_epochs=20, phase="failed", error=DIVERGED, age_seconds=2000),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", RUNS)


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store, size=(80, 24)) as opened:
        yield opened


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of each child; none is started."""
    calls: list[Sequence[str]] = []

    async def run(arguments: Sequence[str]) -> Answer:
        calls.append(arguments)
        return Answer(0, {"run": "digits-2", "pid": 4711, "from_step": 288}, "")

    monkeypatch.setattr(trainers, "run_ckptop", run)
    return calls


async def open_screen(dashboard: Dashboard, kind: type[object], *keys: str) -> None:
    await dashboard.press(*keys)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, kind), kind.__name__)
    await dashboard.pilot.pause()


async def select(dashboard: Dashboard, name: str) -> None:
    dashboard.runs.move_to_key(name)
    await dashboard.until(lambda: dashboard.snapshot.detail and dashboard.snapshot.detail.row.name == name, name)


def sheet(dashboard: Dashboard) -> str:
    lines = [line for widget in dashboard.app.screen.query(Lines) for line in widget.lines]
    return "\n".join(plain(line).rstrip() for line in lines)


async def fill(dashboard: Dashboard, **values: str) -> None:
    for name, value in values.items():
        dashboard.app.screen.query_one(f"#{name}", Field).value = value
    await dashboard.pilot.pause()


async def press_yes(dashboard: Dashboard) -> None:
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")


# A new training.


def test_the_dashboard_offers_the_tasks_there_are() -> None:
    assert _tasks() == task_names()


async def test_a_task_is_chosen_named_and_started_in_the_background(
    dashboard: Dashboard, told: list[Sequence[str]], store: Path
) -> None:
    await open_screen(dashboard, TrainScreen, "T")
    assert f"(•) {TASKS[0]}" in sheet(dashboard)

    await dashboard.press("right")
    await fill(dashboard, name="fresh", epochs="5", lr="3e-4", other="seed=7 'note=a b'")
    assert "$ ckptop train digits --name fresh --epochs 5 --lr 3e-4" in sheet(dashboard)
    await press_yes(dashboard)
    await dashboard.until(lambda: told, "the child")

    assert list(told[0]) == [
        "train", "digits", "--name", "fresh", "--epochs", "5", "--lr", "3e-4", "--set", "seed=7", "--set", "note=a b",
        "--background", "--store", str(store),
    ]  # fmt: skip
    await dashboard.until(lambda: "Training digits-2 in the background (pid 4711)." in dashboard.toasts, "the report")


async def test_a_task_of_ones_own_goes_before_the_chosen_one(dashboard: Dashboard, told: list[Sequence[str]]) -> None:
    await open_screen(dashboard, TrainScreen, "T")
    await fill(dashboard, own="my_task:Mine")

    await press_yes(dashboard)
    await dashboard.until(lambda: told, "the child")

    assert list(told[0][:3]) == ["train", "my_task:Mine", "--background"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "mine"}, "mine exists; choose another name"),
        ({"name": "../up"}, "cannot name a run"),
        ({"name": "production"}, "is reserved by the store"),
        ({"epochs": "0"}, "epochs must be a whole number from 1"),
        ({"lr": "fast"}, "lr must be a number above 0"),
        ({"other": "seed"}, "is not key=value"),
    ],
)
async def test_a_wrong_training_is_refused_in_the_form(
    dashboard: Dashboard, told: list[Sequence[str]], values: dict[str, str], said: str
) -> None:
    await open_screen(dashboard, TrainScreen, "T")
    await fill(dashboard, **values)
    assert said in sheet(dashboard)

    await press_yes(dashboard)

    assert isinstance(dashboard.app.screen, TrainScreen)
    assert not told


async def test_what_the_command_refuses_is_shown_in_its_own_words(dashboard: Dashboard) -> None:
    """The real command: it finds the task missing before anything heavy is imported."""
    await open_screen(dashboard, TrainScreen, "T")
    await fill(dashboard, own="no_such_task")
    await press_yes(dashboard)

    await dashboard.until(lambda: len(dashboard.toasts) == 2, "the complaint")
    assert dashboard.toasts[1].startswith("no task 'no_such_task'")


# Resume and fork.


async def test_a_live_run_can_only_be_forked(dashboard: Dashboard, told: list[Sequence[str]], store: Path) -> None:
    await open_screen(dashboard, ResumeScreen, "r")
    assert "Fork mine" in sheet(dashboard)
    assert "same run" not in sheet(dashboard)
    assert "Name the fork; this run stays as it is." in sheet(dashboard)
    assert "$ ckptop resume mine --fork NAME" in sheet(dashboard)
    await press_yes(dashboard)
    assert isinstance(dashboard.app.screen, ResumeScreen)
    assert not told

    await fill(dashboard, fork="branch", lr="1e-5")
    assert "lr was 0.001, mine stays as it is" in sheet(dashboard)
    await press_yes(dashboard)
    await dashboard.until(lambda: told, "the child")

    assert list(told[0]) == ["resume", "mine", "--fork", "branch", "--set", "lr=1e-5", "--store", str(store)]
    await dashboard.until(lambda: "Forked mine as branch from step 288 (pid 4711)." in dashboard.toasts, "the report")


async def test_a_crashed_run_is_resumed_unless_a_fork_is_chosen(
    dashboard: Dashboard, told: list[Sequence[str]], store: Path
) -> None:
    await select(dashboard, "gone")
    await open_screen(dashboard, ResumeScreen, "r")
    assert "(•) same run" in sheet(dashboard)

    await fill(dashboard, fork="branch")
    assert "choose fork named, or leave the name empty" in sheet(dashboard)
    dashboard.app.screen.query_one("#as", Choice).action_choose(1)
    await fill(dashboard, fork="mine")
    assert "mine exists; choose another name" in sheet(dashboard)
    await fill(dashboard, fork="branch")
    await press_yes(dashboard)
    await dashboard.until(lambda: told, "the child")

    assert list(told[0]) == ["resume", "gone", "--fork", "branch", "--store", str(store)]


# Why.


@pytest.mark.parametrize(("name", "keys"), [("gone", ["enter"]), ("bad", ["enter"]), ("mine", ["W"])])
async def test_a_key_opens_the_page_that_the_command_prints(
    dashboard: Dashboard, name: str, keys: list[str], store: Path
) -> None:
    await select(dashboard, name)
    await open_screen(dashboard, WhyScreen, *keys)
    await dashboard.until(lambda: "next" in dashboard.text("#page"), "the page")

    page = dashboard.text("#page")
    assert f"━ Why {name} ━" in page
    printed, _ = await read_ckptop(["why", name, "--store", str(store)])
    assert {line.strip() for line in printed if line.startswith("  progress")} <= {
        line.strip() for line in page.splitlines()
    }
    await dashboard.press("escape")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


@pytest.mark.parametrize("key", ["escape", "enter", "W", "q"])
async def test_the_page_is_left_by_the_keys_that_opened_it_too(dashboard: Dashboard, key: str) -> None:
    await open_screen(dashboard, WhyScreen, "W")

    await dashboard.press(key)

    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")
    assert dashboard.app.is_running


async def test_of_bare_checkpoints_nobody_knows_why(store: Path) -> None:
    """A CheckpointManager used alone leaves no run.json."""
    alone = shutil.copytree(store / "gone" / "checkpoints", store.parent / "alone")
    async with open_dashboard(alone) as dashboard:
        await dashboard.press("W")

        assert dashboard.toasts == ["alone has no run.json: nothing is known of how it ran."]


async def test_the_page_scrolls_and_says_how_much_is_below(dashboard: Dashboard, store: Path) -> None:
    log = RunPaths(store / "gone").log
    log.write_text("".join(f"line {number} of the log\n" for number in range(20)))
    await select(dashboard, "gone")
    await open_screen(dashboard, WhyScreen, "enter")
    await dashboard.until(lambda: "more below" in dashboard.text("#page"), "the page")
    assert "$ ckptop resume gone" not in dashboard.text("#page")

    await dashboard.press("G")
    assert "$ ckptop resume gone" in dashboard.text("#page")
    assert "more below" not in dashboard.text("#page")
    for there, back in (("pagedown", "pageup"), ("space", "pageup"), ("j", "k"), ("down", "up"), ("end", "home")):
        await dashboard.press("g")
        top = dashboard.text("#page")
        assert "ended" in top
        await dashboard.press(there)
        assert dashboard.text("#page") != top
        await dashboard.press(back)
        assert dashboard.text("#page") == top


async def test_from_the_page_the_run_is_resumed_as_it_proposes(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(_: Sequence[str]) -> tuple[list[str], str]:
        return ["bad: ✗ failed", "", "next", "  $ ckptop resume bad --set lr=0.0005 --store x"], ""

    monkeypatch.setattr(why, "read_ckptop", page)
    await select(dashboard, "bad")
    await open_screen(dashboard, WhyScreen, "enter")
    await dashboard.until(lambda: "next" in dashboard.text("#page"), "the page")
    await dashboard.press("y")
    assert dashboard.app.clipboard == "ckptop resume bad --set lr=0.0005 --store x"

    await open_screen(dashboard, ResumeScreen, "r")

    assert "--set lr=0.0005" in sheet(dashboard)
    assert "lr was 0.001" in sheet(dashboard)


async def test_a_live_run_cannot_be_resumed_from_its_page(dashboard: Dashboard) -> None:
    await open_screen(dashboard, WhyScreen, "W")

    await dashboard.press("r")

    assert dashboard.toasts == ["mine is running already."]
    assert isinstance(dashboard.app.screen, WhyScreen)


async def test_leaving_the_page_ends_the_child_that_makes_it(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A post-mortem of a large run reads for minutes; nobody waits for it any more."""
    begun = tmp_path / "begun"
    script = f"import os, time, pathlib; pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); time.sleep(600)"
    original = child._run

    async def slow(command: str, _: Sequence[str], **options: bool) -> tuple[int, bytes, str]:
        return await original(command, [sys.executable, "-c", script], **options)

    monkeypatch.setattr(child, "_run", slow)
    await select(dashboard, "gone")
    await open_screen(dashboard, WhyScreen, "enter")
    await dashboard.until(lambda: begun.exists() and begun.read_text(), "the child")
    assert "Reading its log" in dashboard.text("#page")

    await dashboard.press("escape")

    await dashboard.until(lambda: not Path(f"/proc/{begun.read_text()}").exists(), "its end")


async def test_leaving_the_dashboard_ends_no_child_that_starts_a_trainer(tmp_path: Path) -> None:
    """Whoever presses Start and then q has started it."""
    begun, go, done = (tmp_path / name for name in ("begun", "go", "done"))
    script = (
        f"import pathlib, time\nbegun, go, done = map(pathlib.Path, {[str(begun), str(go), str(done)]!r})\n"
        "begun.touch()\nwhile not go.exists(): time.sleep(0.01)\nprint('said')\ndone.touch()"
    )
    dashboard = (
        "import asyncio, pathlib, sys\nfrom ckptop.tui.child import _run\n"
        "async def main():\n"
        f"    task = asyncio.create_task(_run('resume', [sys.executable, '-c', {script!r}]))\n"
        f"    while not pathlib.Path({str(begun)!r}).exists(): await asyncio.sleep(0.01)\n"
        "    task.cancel()\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", dashboard], check=True, timeout=60)

    go.touch()

    deadline = time.monotonic() + LIMIT_SECONDS
    while not done.exists():
        assert time.monotonic() < deadline, "the child went with the dashboard"
        await asyncio.sleep(0.01)


PRINTED = [
    "bad: ✗ failed", "  ended     " + "word " * 30, "            exit code 16", "", "traceback",
    "  Traceback (most recent call last):", '    File "x.py", line 1', "", "saved", "  newest  training/a.pt", "",
    "next", "  $ ckptop resume bad --set lr=5e-4 --set 'note=a b'", "  halve the rate",
]  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_page_wraps_under_its_values(width: int) -> None:
    lines = [plain(line) for line in page_lines(PRINTED, width, "error")]

    assert all(cell_width(line) <= width for line in lines)
    assert lines[1].startswith("   ended     word word" if width > 22 else "   ended     word")
    assert lines[2].startswith(" " * 13 + "word")


def test_what_ended_it_is_in_the_colour_of_its_state_and_the_command_stands_out() -> None:
    lines = page_lines(PRINTED, 80, "error")

    def of(words: str) -> Line:
        return next(line for line in lines if words in plain(line))

    assert of("ended").spans[1].tone == "error"
    assert of("exit code").spans[1].tone == "foreground"
    assert of("$ ckptop").spans[0].tone == "accent"
    assert plain(of('File "x.py"')) == '     File "x.py", line 1'


def test_the_proposed_command_is_read_off_the_page() -> None:
    assert next_command(PRINTED).startswith("ckptop resume bad")
    assert proposed_settings(PRINTED) == {"lr": "5e-4", "note": "a b"}
    assert proposed_settings(["bad: ✗ failed"]) == {}
    assert proposed_settings(["", "  $ ckptop 'unclosed"]) == {}


@pytest.mark.parametrize(
    ("text", "width", "most", "lines"),
    [
        ("", 5, None, [""]),
        ("one two", 7, None, ["one two"]),
        ("one two", 6, None, ["one", "two"]),
        ("onetwo", 3, None, ["one", "two"]),
        ("one two three", 5, 2, ["one", "two …"]),
        ("äöü日本", 4, None, ["äöü", "日本"]),
        ("  one", 3, None, ["  o", "ne"]),
    ],
)
def test_text_is_wrapped_between_words(text: str, width: int, most: int | None, lines: list[str]) -> None:
    assert wrapped(text, width, most) == lines
