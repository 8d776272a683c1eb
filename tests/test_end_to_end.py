"""The whole path: a real trainer process writes while the real app watches it and acts on what it wrote."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pilot import wait_for
from textual.pilot import Pilot

from ckptop.cli.launch import Launched, launch, reserve, train_argv
from ckptop.cli.main import run
from ckptop.store.layout import StorePaths
from ckptop.store.records import Command
from ckptop.store.registry import read_registry
from ckptop.store.trash import list_trash
from ckptop.store.verify import verify_run
from ckptop.store.views import RunView, read_run
from ckptop.tui.app import CkptopApp
from ckptop.tui.reader import StoreReader

OPTIONS = ("--epochs", "2000", "--set", "threads=1", "--set", "keep_training=8")


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Launched]:
    """`ckptop train diabetes` at work in the background."""
    store = tmp_path / "runs"
    paths = reserve(store, "job")
    argv = train_argv("diabetes", store, "job", OPTIONS)
    launched = launch(Command(python=sys.executable, argv=argv, cwd=str(tmp_path)), paths)
    yield launched
    view = read_run(paths.root)
    if launched.process.poll() is None:
        launched.process.kill()
    elif view.state in ("starting", "running") and view.status is not None:
        os.kill(view.status.process.pid, signal.SIGKILL)
    launched.process.wait()


def shown(pilot: Pilot[None]) -> str:
    """What stands on the screen."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def latest_step(text: str) -> int:
    """The step in the row marked latest; 0 where there is none."""
    row = re.search(r"training +latest +[\d,]+ +([\d,]+)", text)
    return int(row[1].replace(",", "")) if row else 0


def has_curve(text: str) -> bool:
    return sum("⠁" <= cell <= "⣿" for cell in text) > 20


@pytest.mark.parametrize(
    "size", [(120, 40), pytest.param((80, 24), marks=pytest.mark.slow)], ids=["120x40", "80x24"]
)  # fmt: skip
async def test_a_live_run_is_watched_pruned_promoted_stopped_and_resumed(
    trainer: Launched, size: tuple[int, int]
) -> None:
    store = trainer.paths.root.parent

    def view() -> RunView:
        return read_run(trainer.paths.root)

    app = CkptopApp(StoreReader(store))
    async with app.run_test(size=size) as pilot:
        # It is seen: running, with a curve, and checkpoints that come while we look.
        await wait_for(pilot, lambda: "job" in shown(pilot) and "1 running" in shown(pilot), what="the run to appear")
        await wait_for(pilot, lambda: has_curve(shown(pilot)), what="a drawn curve")
        await wait_for(pilot, lambda: len(view().checkpoints) >= 8, what="eight checkpoints on disk")
        first = view().latest
        assert first is not None
        await wait_for(
            pilot,
            lambda: latest_step(shown(pilot)) > first.step,
            what="the row of a checkpoint saved while the app looks on",
        )

        # Delete old: the plan first, on No; then what it said is in the trash.
        await pilot.press("D")
        await wait_for(pilot, lambda: "Delete old checkpoints of job" in shown(pilot), what="the plan")
        assert "▸[ No, keep all ]◂" in shown(pilot)
        await pilot.press("escape")
        await wait_for(pilot, lambda: "Delete old checkpoints" not in shown(pilot), what="the plan to close")
        assert list_trash(trainer.paths.checkpoints) == []
        await pilot.press("D")
        await wait_for(pilot, lambda: "▸[ No, keep all ]◂" in shown(pilot), what="the plan")
        await pilot.press("shift+tab", "right", "enter")
        await wait_for(pilot, lambda: list_trash(trainer.paths.checkpoints), what="checkpoints in the trash")
        assert trainer.process.poll() is None, "the trainer does not mind"

        # Promote the best: a release with its registry line.
        await pilot.press("p")
        await wait_for(pilot, lambda: "[ Release 1.0.0 ]" in shown(pilot), what="the form")
        await pilot.press("shift+tab", "right", "enter")
        registry = StorePaths(store)
        await wait_for(pilot, lambda: read_registry(registry).releases, what="the release")
        release = read_registry(registry).releases[0]
        assert (registry.production / release.file).stat().st_size == release.size_bytes

        # Stopped from outside, then resumed from here.
        trainer.process.terminate()
        await wait_for(pilot, lambda: trainer.process.poll() == 3, what="the trainer to stop")
        await wait_for(pilot, lambda: "1 stopped" in shown(pilot), what="the dashboard to see it")
        stopped = view().latest
        assert stopped is not None
        await pilot.press("r")
        await wait_for(pilot, lambda: "[ Start in background ]" in shown(pilot), what="the form")
        await pilot.press("shift+tab", "right", "enter")
        await wait_for(pilot, lambda: view().state == "running", what="attempt 2")
        await wait_for(pilot, lambda: "1 running" in shown(pilot), what="the dashboard to see it")
        await pilot.press("q")

    # The dashboard is gone, the trainer is not.
    resumed = view()
    assert resumed.record is not None
    assert [attempt.from_step for attempt in resumed.record.attempts] == [0, stopped.step]
    assert resumed.state == "running"
    assert run(["stop", "job", "--store", str(store)]) == 0
    assert verify_run(view()).damaged == 0
