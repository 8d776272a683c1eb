"""The way in: the first look is made while Textual is imported, and is on the screen when it first paints."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
from dashboard import StillSampler
from pilot import wait_for
from store_fixture import RunPlan, build_store

from ckptop.tui.app import CkptopApp
from ckptop.tui.look import Asked
from ckptop.tui.model import Snapshot
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens import main
from ckptop.tui.screens.main import MainScreen

LIMIT_SECONDS = 20


@pytest.fixture
def reader(tmp_path: Path) -> StoreReader:
    store = build_store(tmp_path / "runs", [RunPlan(name="mine", epochs=9)])
    return StoreReader(store, sampler=StillSampler(), watch=False)


def first_posted(reader: StoreReader) -> Snapshot:
    """What `run` posts first; then it is stopped."""
    posted: list[Snapshot] = []

    def post(snapshot: Snapshot) -> None:
        posted.append(snapshot)
        reader.stop()

    reader.run(post)
    return posted[0]


def test_what_was_found_early_is_posted_without_another_look(
    reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.begin()
    found = reader.first(LIMIT_SECONDS)
    looked: list[bool] = []
    read = reader.look.read

    def counted(asked: Asked, *, with_logs: bool = True) -> Snapshot:
        looked.append(with_logs)
        return read(asked, with_logs=with_logs)

    monkeypatch.setattr(reader.look, "read", counted)

    assert found is not None
    assert first_posted(reader) is found
    assert looked == []


def test_a_store_that_hangs_holds_nobody_up(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, read = threading.Event(), reader.look.read

    def hanging(asked: Asked, *, with_logs: bool = True) -> Snapshot:
        assert answers.wait(LIMIT_SECONDS)
        return read(asked, with_logs=with_logs)

    monkeypatch.setattr(reader.look, "read", hanging)
    reader.begin()

    assert reader.first(0.01) is None
    answers.set()
    assert [run.name for run in first_posted(reader).runs] == ["mine"]


def test_an_early_look_that_fails_is_made_again(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reader.look.read

    def failing(asked: Asked, *, with_logs: bool = True) -> Snapshot:
        monkeypatch.setattr(reader.look, "read", read)
        raise OSError("not now")

    monkeypatch.setattr(reader.look, "read", failing)
    reader.begin()

    assert reader.first(LIMIT_SECONDS) is None
    assert [run.name for run in first_posted(reader).runs] == ["mine"]


async def test_garbage_is_collected_again_once_all_stands(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "SETTLED_SECONDS", 0.01)
    gc.disable()
    try:
        async with CkptopApp(reader).run_test(size=(120, 40)) as pilot:
            await wait_for(pilot, gc.isenabled, what="the collector")
    finally:
        gc.enable()
        gc.unfreeze()


async def test_the_very_first_paint_shows_the_runs(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[Snapshot | None] = []
    display = CkptopApp._display

    def noted(app: CkptopApp, screen: MainScreen, renderable: object) -> None:
        painted.append(screen.snapshot)
        display(app, screen, renderable)  # type: ignore[arg-type]  # whatever Textual passes

    monkeypatch.setattr(CkptopApp, "_display", noted)
    reader.begin()
    assert reader.first(LIMIT_SECONDS) is not None

    async with CkptopApp(reader).run_test(size=(120, 40)) as pilot:
        await pilot.pause()

    assert painted[0] is not None
    assert [run.name for run in painted[0].runs] == ["mine"]
