"""Deleting, pruning, promoting, resuming and undoing through their dialogs, on a real directory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from store_fixture import DEFAULT_RUNS, RunPlan, build_store
from textual.widgets._toast import Toast

from ckptop.store.layout import CheckpointPaths, StorePaths
from ckptop.store.records import Actor
from ckptop.store.registry import ReleaseLine, append_release
from ckptop.tui import judging, trainers
from ckptop.tui.child import Answer, command_line, run_ckptop
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.dialog import Dialog
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.promote import PromoteScreen
from ckptop.tui.screens.prune import PruneScreen
from ckptop.tui.screens.resume import ResumeScreen
from ckptop.tui.text import plain
from ckptop.tui.widgets.form import Buttons, Field
from ckptop.tui.widgets.lines import Lines

STOPPED = RunPlan(name="mine", phase="stopped", epochs=12, checkpoints=8, total_epochs=20)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path / "runs", [STOPPED])


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store, size=(80, 24)) as opened:
        yield opened


def training(store: Path, run: str = "mine") -> set[str]:
    paths = CheckpointPaths(store / run / "checkpoints").training.glob("*.pt")
    return {path.name for path in paths if not path.is_symlink()}


async def open_dialog(dashboard: Dashboard, kind: type[object], *keys: str) -> None:
    await dashboard.press(*keys)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, kind), kind.__name__)
    await dashboard.pilot.pause()


async def back_on_main(dashboard: Dashboard) -> None:
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


def sheet(dashboard: Dashboard) -> str:
    lines = [line for widget in dashboard.app.screen.query(Lines) for line in widget.lines]
    return "\n".join(plain(line).rstrip() for line in lines)


async def type_into(dashboard: Dashboard, field: str, text: str) -> None:
    widget = dashboard.app.screen.query_one(f"#{field}", Field)
    widget.focus()
    widget.value = text
    await dashboard.pilot.pause()


async def press_yes(dashboard: Dashboard) -> None:
    dashboard.app.screen.query_one(Buttons).focus()
    await dashboard.press("right", "enter")


# Confirm.


async def test_a_deletion_asks_with_number_and_bytes_and_starts_on_no(dashboard: Dashboard) -> None:
    await open_dialog(dashboard, Confirm, "3", "space", "space", "d")

    assert "Move 2 checkpoints (8.0 KiB) to trash?" in sheet(dashboard)
    assert "▸[ No, keep all ]◂   [ Move 2 to trash ]" in sheet(dashboard)
    assert "The newest is among them." in sheet(dashboard)


@pytest.mark.parametrize("keys", [["enter"], ["n"], ["escape"]])
async def test_no_keeps_everything(dashboard: Dashboard, store: Path, keys: Sequence[str]) -> None:
    before = training(store)
    await open_dialog(dashboard, Confirm, "3", "d")

    await dashboard.press(*keys)
    await back_on_main(dashboard)

    assert training(store) == before
    assert not dashboard.toasts


@pytest.mark.parametrize("keys", [["right", "enter"], ["l", "space"], ["y"]])
async def test_yes_moves_to_trash_and_u_brings_back(dashboard: Dashboard, store: Path, keys: Sequence[str]) -> None:
    before = training(store)
    await open_dialog(dashboard, Confirm, "3", "space", "space", "d")

    await dashboard.press(*keys)
    await dashboard.until(lambda: dashboard.toasts, "the report")

    assert dashboard.toasts == ["2 in trash, 8.0 KiB freed once emptied. u undoes."]
    assert len(training(store)) == len(before) - 2
    await dashboard.until(lambda: "2 in trash" in dashboard.text("#checkpoints"), "the table without them")
    assert not dashboard.table.marked

    await dashboard.press("u")
    await dashboard.until(lambda: len(dashboard.toasts) == 2, "the undoing")
    assert dashboard.toasts[-1] == "2 back from the trash."
    assert training(store) == before


async def test_left_returns_to_no(dashboard: Dashboard, store: Path) -> None:
    before = training(store)
    await open_dialog(dashboard, Confirm, "3", "d")

    await dashboard.press("right", "left", "enter")
    await back_on_main(dashboard)

    assert training(store) == before


async def test_y_is_no_answer_where_nothing_can_be_undone(dashboard: Dashboard) -> None:
    confirm = Confirm("Empty trash: 3 files, 37.2 MiB, for good?", no="Keep", yes="Delete for good")
    answers: list[bool | None] = []
    dashboard.app.push_screen(confirm, answers.append)
    await dashboard.pilot.pause()

    await dashboard.press("y")
    assert answers == []
    assert "y yes" not in sheet(dashboard)

    await dashboard.press("enter")
    assert answers == [None]


@pytest.mark.parametrize("keys", [["tab"], ["shift+tab"], ["tab", "tab", "tab"]])
async def test_tab_moves_between_the_answers(dashboard: Dashboard, keys: Sequence[str]) -> None:
    await open_dialog(dashboard, Confirm, "3", "d")

    await dashboard.press(*keys)
    assert "▸[ Move 1 to trash ]◂" in sheet(dashboard)

    await dashboard.press("tab")
    assert "▸[ No, keep it ]◂" in sheet(dashboard)


async def test_a_linked_milestone_frees_nothing_and_the_report_says_so(tmp_path: Path) -> None:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", phase="stopped", epochs=12, best_epoch=12)])
    async with open_dashboard(store) as dashboard:
        await open_dialog(dashboard, Confirm, "3", "d")
        await dashboard.press("y")
        await dashboard.until(lambda: dashboard.toasts, "the report")

        assert dashboard.toasts == ["1 in trash, 0 B freed once emptied. u undoes."]


async def test_what_is_gone_already_is_said(dashboard: Dashboard, store: Path) -> None:
    await open_dialog(dashboard, Confirm, "3", "d")
    for path in CheckpointPaths(store / "mine" / "checkpoints").training.glob("*_0012_*.pt"):
        path.unlink()

    await dashboard.press("y")
    await dashboard.until(lambda: dashboard.toasts, "the report")

    assert dashboard.toasts == ["Nothing was deleted: it is gone already."]


async def test_a_failing_disk_is_said_in_one_line(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ckptop.store.actions.delete_checkpoints", refuse)
    await open_dialog(dashboard, Confirm, "3", "d")

    await dashboard.press("y")
    await dashboard.until(lambda: dashboard.toasts, "the report")

    assert dashboard.toasts == ["[Errno 28] No space left on device"]
    assert dashboard.app.is_running


# Verify.


async def test_flipped_bytes_are_found_and_marked_bad(dashboard: Dashboard, store: Path) -> None:
    victim = next(CheckpointPaths(store / "mine" / "checkpoints").training.glob("*_0012_*.pt"))
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)

    await dashboard.press("3", "asterisk", "V")
    await dashboard.until(lambda: len(dashboard.toasts) == 2, "the verdict")

    assert dashboard.toasts[0] == "Verified 9: 8 good, 1 damaged."
    assert dashboard.toasts[1] == "Checkpoint 288: bytes differ from its manifest. Resume skips it. d deletes."
    await dashboard.until(lambda: "! bad" in dashboard.text("#checkpoints"), "the mark")


# Prune.


async def test_the_plan_is_made_while_the_rules_are_typed(dashboard: Dashboard) -> None:
    await open_dialog(dashboard, PruneScreen, "D")
    await dashboard.until(lambda: "past the last 3" in sheet(dashboard), "the plan")
    first = sheet(dashboard)

    await type_into(dashboard, "last", "5")

    assert "delete 5 · 16.0 KiB" in first
    assert "past the last 3" in first
    assert "Move 5 to trash" in first
    assert "delete 3 ·" in sheet(dashboard)
    assert "ckptop prune mine --keep-last 5" in sheet(dashboard)


async def test_pruning_moves_what_the_plan_says_and_undoes(dashboard: Dashboard, store: Path) -> None:
    before = training(store)
    await open_dialog(dashboard, PruneScreen, "D")
    await press_yes(dashboard)
    await dashboard.until(lambda: dashboard.toasts, "the report")

    assert dashboard.toasts == ["5 in trash, 16.0 KiB freed once emptied. u undoes."]
    assert len(training(store)) == 3  # the best is kept as a milestone, which shares its bytes

    await dashboard.press("u")
    await dashboard.until(lambda: training(store) == before, "everything back")


async def test_best_and_every_keep_more(dashboard: Dashboard) -> None:
    await open_dialog(dashboard, PruneScreen, "D")

    await type_into(dashboard, "every", "2")
    await type_into(dashboard, "best", "2")

    text = sheet(dashboard)
    assert "every 2 epochs" in text
    assert "--keep-every 2 --keep-best 2" in text


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [("last", "-", "not a whole number"), ("last", "", "a policy needs a rule"), ("every", "0", "has no meaning")],
)
async def test_a_wrong_rule_is_explained_and_nothing_can_be_pressed(
    dashboard: Dashboard, store: Path, field: str, text: str, said: str
) -> None:
    before = training(store)
    await open_dialog(dashboard, PruneScreen, "D")

    await type_into(dashboard, field, text)
    assert said in sheet(dashboard)
    await press_yes(dashboard)

    assert isinstance(dashboard.app.screen, PruneScreen)
    assert training(store) == before


async def test_enter_goes_from_field_to_field_to_the_button_that_keeps_all(dashboard: Dashboard, store: Path) -> None:
    before = training(store)
    await open_dialog(dashboard, PruneScreen, "D")

    await dashboard.press(*["enter"] * 4, "tab")
    assert isinstance(dashboard.app.screen.focused, Buttons)
    await dashboard.press("enter")
    await back_on_main(dashboard)

    assert training(store) == before


# Promote and resume: what the child is told, and what is said of its answer.


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of each child; none is started."""
    calls: list[Sequence[str]] = []

    async def answer(arguments: Sequence[str]) -> Answer:
        calls.append(arguments)
        facts: dict[str, object] = {"pid": 4711, "from_step": 288}
        if "production" in arguments:
            facts = {"model": "digits", "version": "1.0.0"}
        return Answer(0, facts, "")

    monkeypatch.setattr(judging, "run_ckptop", answer)
    monkeypatch.setattr(trainers, "run_ckptop", answer)
    return calls


async def test_a_release_names_model_and_version(dashboard: Dashboard, told: list[Sequence[str]], store: Path) -> None:
    await open_dialog(dashboard, PromoteScreen, "p")
    assert "[ Release 1.0.0 ]" in sheet(dashboard)
    assert "$ ckptop promote mine:best_accuracy_" in sheet(dashboard)

    await press_yes(dashboard)
    await dashboard.until(lambda: "Released digits 1.0.0." in dashboard.toasts, "the report")

    (arguments,) = told
    assert arguments[0] == "promote"
    assert list(arguments[2:]) == [
        "--to", "production", "--model", "digits", "--version", "1.0.0", "--store", str(store),
    ]  # fmt: skip


def release(store: Path, version: str) -> None:
    paths = StorePaths(store)
    paths.production.mkdir(exist_ok=True)
    line = ReleaseLine(
        time=1.0, model="digits", version=version, file=f"digits_v{version}.pt", sha256="0" * 64, size_bytes=2048,
        run="mine", run_id="id-mine", checkpoint="milestone/x.pt", epoch=9, global_step=216,
        metrics={"val/accuracy": 0.9}, actor=Actor(user="me", host="here", pid=1),
    )  # fmt: skip
    append_release(paths, line)


async def test_the_next_version_follows_the_registry_and_the_part_chosen(dashboard: Dashboard, store: Path) -> None:
    release(store, "1.2.3")
    await open_dialog(dashboard, PromoteScreen, "p")
    assert "[ Release 1.3.0 ]" in sheet(dashboard)

    dashboard.app.screen.query_one("#part").focus()
    await dashboard.press("right")
    assert "[ Release 2.0.0 ]" in sheet(dashboard)
    await dashboard.press("right")
    assert "[ Release 1.2.4 ]" in sheet(dashboard)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("version", "1.0", "is not a version"),
        ("version", "1.2.3", "is released already"),
        ("model", "", "needs a model"),
    ],
)
async def test_a_wrong_release_is_refused_in_the_dialog(
    dashboard: Dashboard, store: Path, told: list[Sequence[str]], field: str, text: str, said: str
) -> None:
    release(store, "1.2.3")
    await open_dialog(dashboard, PromoteScreen, "p")

    await type_into(dashboard, field, text)
    assert said in sheet(dashboard)
    await press_yes(dashboard)

    assert isinstance(dashboard.app.screen, PromoteScreen)
    assert told == []


async def test_a_training_checkpoint_may_become_a_milestone(dashboard: Dashboard, told: list[Sequence[str]]) -> None:
    await open_dialog(dashboard, PromoteScreen, "3", "p")
    await dashboard.press("right")
    assert "[ Make a milestone ]" in sheet(dashboard)

    await press_yes(dashboard)
    await dashboard.until(lambda: "Milestone of step 288." in dashboard.toasts, "the report")

    assert list(told[0][1:4]) == ["mine:checkpoint_epoch_0012_step_00000288.pt", "--to", "milestone"]


async def test_a_release_is_listed_as_production_and_never_deleted(dashboard: Dashboard, store: Path) -> None:
    release(store, "1.0.0")
    dashboard.reader.wake()
    await dashboard.until(lambda: any(row.mark == "v1.0.0" for row in dashboard.table.items), "the release")
    await dashboard.press("3", "slash", *"v1.0", "enter", "d")

    assert dashboard.toasts == ["A release is never deleted; unmark it."]


async def test_resume_tells_the_child_what_was_changed(
    dashboard: Dashboard, told: list[Sequence[str]], store: Path
) -> None:
    await open_dialog(dashboard, ResumeScreen, "r")
    assert "(•) latest 288" in sheet(dashboard)

    await dashboard.press("right")
    await type_into(dashboard, "epochs", "40")
    await type_into(dashboard, "other", "lr=3e-4")
    assert "lr was 0.001, the run will no longer be bitwise exact" in sheet(dashboard)
    assert "$ ckptop resume mine --from best --epochs 40 --set lr=3e-4" in sheet(dashboard)
    await press_yes(dashboard)
    await dashboard.until(lambda: "Resumed mine from step 288 (pid 4711)." in dashboard.toasts, "the report")

    assert list(told[0]) == [
        "resume", "mine", "--from", "best", "--epochs", "40", "--set", "lr=3e-4", "--store", str(store),
    ]  # fmt: skip


async def test_resume_from_the_checkpoint_under_the_cursor(dashboard: Dashboard, told: list[Sequence[str]]) -> None:
    await open_dialog(dashboard, ResumeScreen, "3", "j", "r")
    assert "(•) selected 264" in sheet(dashboard)

    await press_yes(dashboard)
    await dashboard.until(lambda: told, "the child")

    assert list(told[0][2:4]) == ["--from", "checkpoint_epoch_0011_step_00000264.pt"]


async def test_resume_from_the_best_under_the_cursor_begins_with_the_best(dashboard: Dashboard) -> None:
    await dashboard.press("3")
    dashboard.table.move_to_key(next(row.key for row in dashboard.table.items if row.mark == "best"))
    await open_dialog(dashboard, ResumeScreen, "r")

    assert "(•) best" in sheet(dashboard)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("other", "lr", "is not key=value"),
        ("other", "a='b", "a quote is not closed"),
        ("epochs", "0", "epochs must be a whole number from 1"),
    ],
)
async def test_a_wrong_resume_is_refused_in_the_dialog(
    dashboard: Dashboard, told: list[Sequence[str]], field: str, text: str, said: str
) -> None:
    await open_dialog(dashboard, ResumeScreen, "r")

    await type_into(dashboard, field, text)
    assert said in sheet(dashboard)
    await press_yes(dashboard)

    assert isinstance(dashboard.app.screen, ResumeScreen)
    assert told == []


async def test_a_child_that_fails_has_its_last_line_shown(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Sequence[str]) -> Answer:
        return Answer(13, {}, "mine is running (pid 7)")

    monkeypatch.setattr(trainers, "run_ckptop", fail)
    await open_dialog(dashboard, ResumeScreen, "r")

    await press_yes(dashboard)
    await dashboard.until(lambda: "mine is running (pid 7)" in dashboard.toasts, "the complaint")


async def test_a_child_answers_in_json(store: Path) -> None:
    answer = await run_ckptop(["prune", "mine", "--dry-run", "--store", str(store)])

    assert answer.ok
    assert answer.facts["dry_run"] is True


async def test_a_childs_complaint_is_one_clean_line(store: Path) -> None:
    answer = await run_ckptop(["resume", "no\x1b[31mne", "--store", str(store)])

    assert not answer.ok
    assert answer.error.isprintable()
    assert "no run" in answer.error


def test_the_child_is_our_own_interpreter() -> None:
    assert command_line(["ps"])[1:] == ["-m", "ckptop.cli", "ps", "--json"]


# Read-only stores.


@pytest.mark.parametrize("key", ["r", "D", "p", "d", "P"])
async def test_on_a_read_only_store_every_action_says_why_it_is_off(
    dashboard: Dashboard, store: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if mode == os.W_OK else real(path, mode))
    dashboard.reader.wake()
    await dashboard.until(lambda: not dashboard.snapshot.writable, "the store read-only")

    await dashboard.press("3", key)

    assert dashboard.toasts == [f"{store} is read-only: looking works, actions are off."]
    assert "read-only" in dashboard.text("#header")
    assert isinstance(dashboard.app.screen, MainScreen)


async def test_a_toast_on_screen_is_not_shown_once_more(dashboard: Dashboard) -> None:
    await dashboard.press(*["u"] * 5)
    assert len(dashboard.toasts) == 1
    refusal = dashboard.toasts[0]
    await dashboard.until(lambda: len(dashboard.app.screen.query(Toast)) == 1, "its toast")

    await dashboard.press("y")
    assert len(dashboard.toasts) == 2
    dashboard.app.clear_notifications()
    await dashboard.press("u")
    assert dashboard.toasts == [refusal]


async def test_on_a_read_only_store_training_is_greyed(
    dashboard: Dashboard, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greyed() -> set[str | None]:
        return {shown.binding.id for shown in dashboard.screen.shown_bindings() if shown.off}

    assert greyed() == set()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if mode == os.W_OK else real(path, mode))
    dashboard.reader.wake()
    await dashboard.until(lambda: not dashboard.snapshot.writable, "the store read-only")

    assert greyed() == {"main.train"}


def test_every_dialog_is_opened_by_some_test() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_tui_*.py"))

    for kind in Dialog.__subclasses__():
        assert kind.__name__ in text
    assert DEFAULT_RUNS
