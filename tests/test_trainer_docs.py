"""The task of docs/tasks.md is trained as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ckptop.cli.main import run as run_command
from ckptop.store.store import Store
from ckptop.trainer.config import TaskOptions, TrainConfig

TASKS_PAGE = Path(__file__).parent.parent / "docs" / "tasks.md"


def test_the_task_on_the_page_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", TASKS_PAGE.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "wine.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert run_command(["train", "wine:Wine", "--store", "runs"]) == 0

    assert "Epoch 30/30" in capsys.readouterr().out
    view = Store.open(tmp_path / "runs").run("wine")
    assert view.result["val/accuracy"] >= 0.9
    assert view.result["test/accuracy"] >= 0.85


def test_the_page_has_every_configuration_key_and_no_other() -> None:
    table = TASKS_PAGE.read_text().partition("## Configuration")[2]

    named = {key for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)}

    assert named == set(TrainConfig(model=TaskOptions()).__struct_fields__) - {"model"}
