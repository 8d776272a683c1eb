"""The examples of docs/store.md run as they stand there, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckptop.cli.main import COMMANDS
from ckptop.cli.main import run as run_command
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.store import Store
from ckptop.store.views import read_standalone

PAGE = (Path(__file__).parent.parent / "docs" / "store.md").read_text()
EXAMPLES: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_script(code: str, where: Path) -> str:
    (where / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loop_with_three_tiers_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = EXAMPLES[0]

    halfway = run_script(loop.replace("range(done + 1, 11)", "range(done + 1, 6)").replace("1.0.0", "0.9.0"), tmp_path)
    rest = run_script(loop, tmp_path)
    again = run_script(loop.replace("1.0.0", "1.0.1"), tmp_path)

    assert "epoch 1: " in halfway
    assert "epoch 1: " not in rest
    assert rest.endswith("signs_v1.0.0.pt\n")
    assert again == f"{tmp_path}/checkpoints/production/signs_v1.0.1.pt\n", "there was nothing left to train"
    listed = CheckpointManager(tmp_path / "checkpoints").list_checkpoints()
    assert [info.epoch for info in listed["training"]][-3:] == [8, 9, 10]
    assert len(listed["production"]) == 3
    assert listed["milestone"]
    view = read_standalone(tmp_path / "checkpoints")
    assert view.latest is not None
    assert view.latest.step == 80
    monkeypatch.chdir(tmp_path)
    assert run_command(["verify", "checkpoints"]) == 0
    assert run_command(["ls", "checkpoints"]) == 0


def test_the_script_s_run_is_there(tmp_path: Path) -> None:
    run_script(EXAMPLES[1], tmp_path)

    view = Store.open(tmp_path / "runs").run("mine")
    assert view.state == "finished"


def test_every_command_on_the_page_exists() -> None:
    named = set(re.findall(r"(?:`|\$ )ckptop ([a-z]+)", PAGE)) - {"checkpoints"}

    assert named <= set(COMMANDS)
    assert {"verify", "prune", "delete", "restore", "trash", "resume"} <= named
