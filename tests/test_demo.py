"""The demo as a user meets it: in a terminal, without one, twice, and after the terminal is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import TerminalProgram

from ckptop.cli.main import run
from ckptop.store.records import LIVE_PHASES
from ckptop.store.store import Store
from ckptop.store.views import RunView

DEMO = [sys.executable, "-m", "ckptop.cli", "demo"]


def live(root: Path) -> list[RunView]:
    return [view for view in Store.open(root, missing_ok=True).runs() if view.status and view.state in LIVE_PHASES]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store whose trainers are stopped, through the front door, when the test is over."""
    root = tmp_path / "runs"
    yield root
    for view in live(root):
        run(["stop", view.name, "--store", str(root), "--timeout", "60"])


@pytest.mark.parametrize(("columns", "rows"), [(120, 40), pytest.param(80, 24, marks=pytest.mark.slow)])
def test_the_demo_shows_two_trainings_that_outlive_it(columns: int, rows: int, store: Path, tmp_path: Path) -> None:
    with TerminalProgram([*DEMO, "--store", str(store)], cwd=tmp_path, columns=columns, rows=rows) as terminal:
        terminal.wait_until(lambda text: "demo-digits" in text and "demo-diabetes" in text, "both runs")
        terminal.wait_for("2 running")
        terminal.wait_for("milestone")
        terminal.wait_until(lambda text: any("⠁" <= cell <= "⣿" for cell in text), "a drawn curve")

        terminal.press("q")

        assert terminal.wait_end() == 0
        assert "2 trainers go on; ckptop stop RUN" in terminal.text()
    assert {view.name for view in live(store)} == {"demo-digits", "demo-diabetes"}


def test_a_second_demo_watches_the_trainers_of_the_first(store: Path, tmp_path: Path) -> None:
    """Closing the terminal ends the dashboard and nothing else."""
    with TerminalProgram([*DEMO, "--store", str(store)], cwd=tmp_path) as first:
        first.wait_for("2 running")
        pids = {view.name: view.status.process.pid for view in live(store) if view.status}
        first.hang_up()
        first.process.wait(timeout=30)

    with TerminalProgram([*DEMO, "--store", str(store)], cwd=tmp_path) as second:
        second.wait_for("2 running")
        second.press("q")
        second.wait_end()

    assert {view.name: view.status.process.pid for view in live(store) if view.status} == pids


def test_without_a_terminal_the_demo_prints_lines_until_both_are_done(tmp_path: Path) -> None:
    """The same code with fewer epochs; a pipe has no dashboard."""
    store = tmp_path / "runs"
    code = f"""
import ckptop.cli.demo as demo
from ckptop.cli.main import run
demo.TASKS = {{name: ("--epochs", "2") for name in demo.TASKS}}
raise SystemExit(run(["demo", "--store", {str(store)!r}]))
"""

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), timeout=200
    )

    assert done.returncode == 0, done.stderr
    assert "[demo-digits] Epoch 2/2 - Train Loss: " in done.stdout
    assert "[demo-diabetes] Epoch 2/2 - Train Loss: " in done.stdout
    assert "Val SMAPE: " in done.stdout
    assert {view.state for view in Store.open(store).runs()} == {"finished"}
