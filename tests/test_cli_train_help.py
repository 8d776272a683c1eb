"""`ckptop train TASK --help`: every key a person may set, with type, default and what it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckptop.cli.main import run
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.keys import GROUPS, MODEL_GROUP, OTHER_GROUP, grouped_keys
from ckptop.trainer.registry import load_task, task_names

OWN_TASK = '''
from ckptop.trainer.config import Fraction, TaskOptions, TrainConfig
from ckptop.trainer.tasks.digits import Digits


class Options(TaskOptions, frozen=True, kw_only=True):
    depth: int | None = None
    """How deep,
    in layers."""
    rates: tuple[Fraction, ...] = (0.5, 0.25)


class Own(Digits):
    name = "own"

    def defaults(self):
        return TrainConfig(epochs=7, lr=2.5e-4, model=Options())
'''


def printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(args) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("task", task_names())
def test_every_key_of_a_task_is_listed_once_with_the_default_of_that_task(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_task(task).defaults()

    out = printed(["train", task, "--help"], capsys)

    listed = re.findall(r"^  ([a-z][a-z_.]+) +(\S+) +\S", out.partition("Configuration of")[2], re.MULTILINE)
    wanted = {*TrainConfig.__struct_fields__} - {"model"} | {f"model.{n}" for n in config.model.__struct_fields__}
    assert {name for name, _ in listed} == wanted
    assert len(listed) == len(wanted)
    assert dict(listed)["epochs"] == str(config.epochs)
    assert dict(listed)["threads"] == ("none" if config.threads is None else str(config.threads))
    assert "      The highest learning rate, which the schedule scales.\n" in out


def test_no_key_stands_outside_the_groups_and_no_group_names_a_key_that_is_gone() -> None:
    groups = dict(grouped_keys(load_task("digits").defaults()))

    assert OTHER_GROUP not in groups
    assert {name: tuple(key.name for key in keys) for name, keys in groups.items() if name != MODEL_GROUP} == GROUPS


def test_no_line_is_wider_than_a_terminal_of_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # that of whoever runs the tests may be wider
    for task in task_names():
        assert max(map(len, printed(["train", task, "--help"], capsys).splitlines())) <= 80


def test_a_task_of_a_persons_own_is_described_by_the_strings_under_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_help.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    out = printed(["train", "own_help:Own", "-h"], capsys)

    assert re.search(r"^  epochs +7 +int >= 1, <= 1000000000$", out, re.MULTILINE)
    assert re.search(r"^  lr +0.00025 +float > 0$", out, re.MULTILINE)
    assert re.search(r"^  model.depth +none +int or none\n      How deep, in layers.$", out, re.MULTILINE)
    assert re.search(r"^  model.rates +\[0.5,0.25\] +\[float >= 0, < 1, …\]$", out, re.MULTILINE)


def test_help_without_a_task_says_how_to_see_its_keys_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ckptop.cli.main import run\nassert run(['train', '--help']) == 0\n"
        "assert run(['train']) == 2\nassert 'torch' not in sys.modules\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr
    assert "`ckptop train TASK --help` lists what --set can change of a task." in done.stdout


def test_train_without_a_task_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use: a script whose variable is empty must not go on as if something had been trained."""
    assert run(["train"]) == 2

    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert [name for name in task_names() if name not in errors] == []
    assert "MODULE:CLASS" in errors


def test_help_of_a_task_that_is_not_there_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "digit", "--help"]) == 2

    assert "did you mean digits?" in capsys.readouterr().err


def test_an_option_before_the_task_does_not_hide_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Configuration of diabetes" in printed(["train", "--lr", "0.1", "--help", "diabetes"], capsys)
