"""The keys that look into checkpoints, mark and pin them, and those of the trash, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dashboard import Dashboard, open_dashboard
from msgspec.structs import replace
from store_fixture import RunPlan, build_store
from textual.binding import Binding

from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, tensors_path
from ckptop.store.manifest import Manifest, TensorEntry, TensorIndex, encode
from ckptop.store.views import read_run
from ckptop.tui.screens.confirm import Confirm
from ckptop.tui.screens.help import HelpScreen
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.screens.trash import TrashList, TrashScreen
from ckptop.tui.widgets.detail import Detail

MINE = RunPlan(name="mine", phase="stopped", epochs=12, checkpoints=8, total_epochs=20)
OTHER = RunPlan(name="other", phase="finished", epochs=3, checkpoints=2, age_seconds=9_000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = build_store(tmp_path / "runs", [MINE, OTHER])
    for path in CheckpointPaths(root / "mine" / "checkpoints").training.glob("*.pt"):
        entries = [
            TensorEntry(name=f"model_state_dict.{name}", dtype="float32", shape=shape, strides=[1], offset=offset,
                        storage=name, size_bytes=size)
            for name, shape, offset, size in (("bias", [16], 0, 64), ("weight", [16, 12], 64, 768))
        ]  # fmt: skip
        tensors_path(path).write_bytes(encode(TensorIndex(file=path.name, tensors=entries)))
    return root


@pytest.fixture
async def dashboard(store: Path) -> AsyncIterator[Dashboard]:
    async with open_dashboard(store) as opened:
        yield opened


def detail(dashboard: Dashboard) -> Detail:
    return dashboard.screen.query_one(Detail)


async def open_detail(dashboard: Dashboard) -> None:
    await dashboard.press("3", "enter")
    await dashboard.until(lambda: "Facts" in dashboard.text("#detail"), "the detail")


# Detail.


async def test_enter_opens_everything_known_of_a_checkpoint_and_escape_returns(dashboard: Dashboard) -> None:
    await open_detail(dashboard)

    text = dashboard.text("#detail")
    assert text.startswith("━ training 12 · step 288 ━")
    assert "val/accuracy" in text
    assert "checkpoint_epoch_0012_step_00000288.pt" in "".join(line.strip() for line in text.splitlines())
    await dashboard.press("escape")
    assert dashboard.table.has_focus
    assert "runs" in dashboard.screen.shown_panes


@pytest.mark.parametrize(("onwards", "back"), [("l", "h"), ("right", "left")])
async def test_sections_are_walked_and_tensors_stand_by_size(dashboard: Dashboard, onwards: str, back: str) -> None:
    await open_detail(dashboard)

    await dashboard.press(onwards)
    assert "batch_size" in dashboard.text("#detail")
    await dashboard.press(onwards)
    assert "pytorch_version" in dashboard.text("#detail")
    await dashboard.press(onwards)
    assert "attempt 1" in dashboard.text("#detail")
    await dashboard.press(onwards)
    await dashboard.until(lambda: "model.weight" in dashboard.text("#detail"), "the tensors")

    lines = dashboard.text("#detail").splitlines()
    weight, bias = (next(line for line in lines if f"model.{name}" in line) for name in ("weight", "bias"))
    assert lines.index(weight) < lines.index(bias)
    assert weight.split()[1:4] == ["f32", "16x12", "768"]
    assert weight.endswith("92 %")
    await dashboard.press(back)
    assert "attempt 1" in dashboard.text("#detail")


async def test_a_file_that_is_no_checkpoint_says_so_in_place_of_its_tensors(dashboard: Dashboard, store: Path) -> None:
    for index in CheckpointPaths(store / "mine" / "checkpoints").training.glob("*.tensors.json"):
        index.unlink()
    await open_detail(dashboard)

    await dashboard.press("h")

    await dashboard.until(lambda: "cannot be read as a checkpoint" in dashboard.text("#detail"), "the reason")
    assert str(store) not in dashboard.text("#detail")


@pytest.mark.parametrize(
    ("down", "up"),
    [("j", "k"), ("down", "up"), ("pagedown", "pageup"), ("ctrl+d", "ctrl+u"), ("G", "g"), ("end", "home")],
)
async def test_a_long_section_scrolls(store: Path, down: str, up: str) -> None:
    for manifest in CheckpointPaths(store / "mine" / "checkpoints").training.glob("*00288.json"):
        facts = read_json(manifest, Manifest)
        manifest.write_bytes(encode(replace(facts, config={f"key_{number:03}": number for number in range(90)})))
    async with open_dashboard(store, size=(80, 24)) as dashboard:
        await open_detail(dashboard)
        await dashboard.press("l")
        assert "key_000" in dashboard.text("#detail")

        await dashboard.press(down)
        assert "key_000" not in dashboard.text("#detail")
        await dashboard.press(up)
        assert "key_000" in dashboard.text("#detail")


async def test_n_and_N_step_through_the_table(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await open_detail(dashboard)

    await dashboard.press("n")
    await dashboard.until(lambda: dashboard.text("#detail").startswith("━ training 11"), "the next one")
    await dashboard.press("N")
    await dashboard.until(lambda: dashboard.text("#detail").startswith("━ training 12"), "the one before")


async def test_the_detail_stands_beside_the_table_where_there_is_room(store: Path) -> None:
    async with open_dashboard(store, size=(200, 60)) as dashboard:
        assert "detail" in dashboard.screen.shown_panes
        assert "training 12" in dashboard.text("#detail")

        await dashboard.press("3", "j")
        await dashboard.until(lambda: "training 11" in dashboard.text("#detail"), "the detail to follow")
        await dashboard.press("enter")
        assert detail(dashboard).has_focus
        assert "runs" in dashboard.screen.shown_panes

        await dashboard.pilot.resize_terminal(80, 24)
        await dashboard.until(lambda: dashboard.table.has_focus, "the keys back at the table")


async def test_what_was_verified_is_told_in_the_detail(dashboard: Dashboard) -> None:
    await open_detail(dashboard)
    assert "not in this session; V does" in dashboard.text("#detail")

    await dashboard.press("V")

    await dashboard.until(lambda: "✓ verified" in dashboard.text("#detail"), "the verdict")
    await dashboard.until(lambda: dashboard.toasts == ["Verified 1: all good."], "the report")


async def test_a_click_chooses_a_section(dashboard: Dashboard) -> None:
    await open_detail(dashboard)

    await dashboard.pilot.click(Detail, offset=(11, 1))

    assert "batch_size" in dashboard.text("#detail")


# Marks and pins.


async def test_v_marks_from_the_last_mark_to_here(dashboard: Dashboard) -> None:
    await dashboard.press("3", "space", "j", "j", "v")

    assert len(dashboard.table.marked) == 4
    assert "4 marked" in dashboard.text("#checkpoints")


async def test_P_pins_what_is_marked_and_u_takes_it_back(dashboard: Dashboard, store: Path) -> None:  # noqa: N802
    def pinned() -> int:
        return sum(info.pinned for info in read_run(store / "mine").checkpoints)

    await dashboard.press("3", "j", "space", "space", "P")
    await dashboard.until(lambda: dashboard.toasts, "the report")
    assert dashboard.toasts == ["Pinned 2 checkpoints: nothing deletes them. u undoes."]
    assert pinned() == 2
    await dashboard.until(lambda: "P pin" in dashboard.text("#checkpoints"), "the mark")

    await dashboard.press("u")
    await dashboard.until(lambda: pinned() == 0, "no pin")


async def test_P_on_a_run_pins_its_best_and_again_unpins_it(dashboard: Dashboard, store: Path) -> None:  # noqa: N802
    def pinned() -> list[int]:
        return [info.epoch for info in read_run(store / "mine").checkpoints if info.pinned]

    await dashboard.press("P")
    await dashboard.until(lambda: pinned() == [9], "the best to be pinned")
    await dashboard.until(lambda: any(row.info.pinned for row in dashboard.table.items), "the pin in the table")

    await dashboard.press("P")
    await dashboard.until(lambda: not pinned(), "no pin")


# Trash.


async def open_trash(dashboard: Dashboard, *keys: str) -> TrashList:
    await dashboard.press(*keys)
    await dashboard.until(lambda: isinstance(dashboard.app.screen, TrashScreen), "the trash")
    found = dashboard.app.screen.query_one(TrashList)
    await dashboard.until(lambda: "Reading" not in dashboard.text("#trash"), "its items")
    return found


async def delete_three(dashboard: Dashboard) -> None:
    await dashboard.press("3", "j", "space", "space", "space", "d")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.press("y")
    await dashboard.until(lambda: "3 in trash" in dashboard.text("#checkpoints"), "three in the trash")


async def test_R_restores_what_is_marked_in_the_trash(dashboard: Dashboard, store: Path) -> None:  # noqa: N802
    await delete_three(dashboard)
    trash = await open_trash(dashboard, "t")
    assert "━ Trash of mine ━" in dashboard.text("#trash")
    assert "3 items" in dashboard.text("#trash")
    assert dashboard.screen_text().splitlines()[-1].startswith(" R Restore   X Empty   Space Mark   / Filter")

    await dashboard.press("question_mark")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, HelpScreen), "the help")
    assert "Take the marked ones, or this, back" in dashboard.text("#keys")
    await dashboard.press("escape")

    await dashboard.press("space", "v", "R")
    await dashboard.until(lambda: len(trash.items) == 1, "two to be back")

    assert dashboard.toasts[-1] == "2 back from the trash."
    assert read_run(store / "mine").trash_count == 1
    await dashboard.press("escape")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


async def test_X_asks_and_starts_on_keep_and_nothing_comes_back(dashboard: Dashboard, store: Path) -> None:  # noqa: N802
    await delete_three(dashboard)
    trash = await open_trash(dashboard, "t")

    await dashboard.press("X")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.press("y", "enter")  # y is no answer here, and the marked button keeps
    await dashboard.until(lambda: isinstance(dashboard.app.screen, TrashScreen), "the trash")
    assert len(trash.items) == 3

    await dashboard.press("X")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.press("right", "enter")
    await dashboard.until(lambda: not trash.items, "an empty trash")
    assert "The trash is empty." in dashboard.text("#trash")
    assert dashboard.toasts[-1].startswith("3 gone for good, ")
    assert read_run(store / "mine").trash_count == 0


async def test_s_sorts_the_trash_and_S_turns_it_around(dashboard: Dashboard) -> None:  # noqa: N802  the key
    await delete_three(dashboard)
    trash = await open_trash(dashboard, "t")
    newest = [item.key for item in trash.items]

    await dashboard.press("S")
    assert [item.key for item in trash.items] == newest[::-1]
    assert "newest first, reversed" in dashboard.text("#trash")
    await dashboard.press("s", "s", "s", "s")
    steps = [item.step or 0 for item in trash.items]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) > 1
    assert "by step" in dashboard.text("#trash")
    await dashboard.press("S")
    assert [item.step or 0 for item in trash.items] == steps[::-1]
    await dashboard.press("s", "s")
    assert [item.key for item in trash.items] == newest


async def test_a_run_is_deleted_listed_filtered_and_restored(dashboard: Dashboard, store: Path) -> None:
    await dashboard.press("j", "d")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    assert "Move run other (3 checkpoints, 12.0 KiB) to trash?" in dashboard.screen_text()
    await dashboard.press("y")
    await dashboard.until(lambda: [run.name for run in dashboard.runs.items] == ["mine"], "the run to be gone")
    assert dashboard.toasts == ["other in trash. u undoes; t lists it."]

    trash = await open_trash(dashboard, "t")
    assert "━ Trash of all runs ━" in dashboard.text("#trash")
    assert "whole run" in dashboard.text("#trash")
    await dashboard.press("slash", *"nothing", "enter")
    assert "Nothing matches. Esc clears." in dashboard.text("#trash")
    await dashboard.press("escape", "asterisk", "n", "N", "y")
    assert dashboard.app.clipboard.endswith("-other")
    await dashboard.press("R")
    await dashboard.until(lambda: not trash.items, "the run to be back")
    assert (store / "other" / "run.json").exists()
    await dashboard.press("q")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, MainScreen), "the main screen")


async def test_u_brings_a_deleted_run_back(dashboard: Dashboard, store: Path) -> None:
    await dashboard.press("j", "d")
    await dashboard.until(lambda: isinstance(dashboard.app.screen, Confirm), "the question")
    await dashboard.press("y")
    await dashboard.until(lambda: dashboard.toasts, "the report")

    await dashboard.press("u")

    await dashboard.until(lambda: (store / "other" / "run.json").exists(), "the run to be back")


async def test_a_run_at_work_is_not_deleted(tmp_path: Path) -> None:
    async with open_dashboard(build_store(tmp_path / "runs", [RunPlan(name="busy")])) as dashboard:
        await dashboard.press("d")

        assert dashboard.toasts == ["busy is running; x stops it first."]


def test_every_key_of_the_trash_is_pressed_here() -> None:
    text = Path(__file__).read_text()

    for owner in (TrashList, TrashScreen):
        for item in owner.__dict__["BINDINGS"]:
            assert isinstance(item, Binding)
            for key in item.key.split(","):
                assert f'"{key}"' in text, f"{item.id}: {key} has no test"
