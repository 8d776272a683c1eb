"""The page on predicting and scoring: its commands answer as it says, and its methods of a task work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
from sklearn.datasets import load_wine

from ckptop.cli.main import run
from ckptop.store.store import Store

DOCS = Path(__file__).parent.parent / "docs"


def plain(line: str) -> str:
    """A printed line without what differs from one machine to the next."""
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d)? [KM]iB|\d\.\d+", "-", line)).strip()


def test_the_commands_on_the_page_answer_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sentences and heads of tables are printed as on the page, sizes and scores aside; rows are a machine's own."""
    page = (DOCS / "predict.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    block = page.partition("```console\n")[2].partition("```")[0]
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path)
    monkeypatch.chdir(tmp_path)

    for part in block.split("$ ckptop ")[1:]:
        command, *wanted = part.splitlines()
        capsys.readouterr()
        assert run(shlex.split(command)) == 0, command
        shown = {plain(line) for line in capsys.readouterr().out.splitlines()}
        sentences = [line for line in wanted if line[:1] not in (" ", "✗", "✓") and " in trash" not in line]
        assert {plain(line) for line in sentences} <= shown, command

    assert (tmp_path / "answers.csv").read_text().startswith("class,probability_0,")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 5


def test_the_methods_on_the_page_let_a_task_of_one_s_own_be_asked_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "tasks.md").read_text()
    task, methods = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    imports = re.findall(r"`(from \w+[\w.]* import \w+)`", page)
    assert len(imports) == 2
    (tmp_path / "wine.py").write_text("\n".join([*imports, task.rstrip(), "", indent(methods, "    ")]))
    features, labels = load_wine(return_X_y=True)
    np.savetxt(tmp_path / "bottles.csv", features, delimiter=",")
    np.savetxt(tmp_path / "tasted.csv", np.column_stack([features, labels]), delimiter=",")
    train = [sys.executable, "-m", "ckptop.cli", "train", "wine:Wine", "--store", "runs"]
    subprocess.run(train, check=True, capture_output=True, cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wine", raising=False)

    assert run(["predict", "wine:best", "--data", "bottles.csv", "--out", "out.npy"]) == 0
    assert run(["eval", "wine:best", "--data", "tasted.csv"]) == 0

    best = Store.open("runs").run("wine").best
    assert best is not None
    right = np.load("out.npy").argmax(1) == labels
    assert best.metric("eval/tasted/accuracy") == pytest.approx(right.mean())
    assert right.mean() > 0.9
