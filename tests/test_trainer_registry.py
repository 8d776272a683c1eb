"""Finding a task by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ckptop.store.errors import UsageError
from ckptop.trainer import registry
from ckptop.trainer.registry import load_task, task_names


def test_our_tasks_are_found() -> None:
    assert {"diabetes", "digits"} <= set(task_names())
    assert load_task("digits").metric == ("val/accuracy", "max")
    assert load_task("diabetes").metric == ("val/smape", "min")


def test_an_unknown_task_is_answered_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(UsageError, match=r"no task 'digit'; did you mean digits\?") as caught:
        load_task("digit")

    assert "diabetes, digits" in str(caught.value)


def test_another_package_adds_a_task_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("numerals", "ckptop.trainer.tasks.digits:Digits", registry.ENTRY_POINT_GROUP)

    def points(*, group: str, name: str = "numerals") -> list[EntryPoint]:
        return [point] if (group, name) == (registry.ENTRY_POINT_GROUP, "numerals") else []

    monkeypatch.setattr(registry, "entry_points", points)

    assert "numerals" in task_names()
    assert load_task("numerals").name == "digits"


def test_a_file_in_the_working_directory_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_numerals.py").write_text(
        "from ckptop.trainer.tasks.digits import Digits\nclass Mine(Digits):\n    name = 'mine'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load_task("my_numerals:Mine").name == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Mine(:\n", r"broken_numerals:Mine cannot be read: invalid syntax \(.*broken_numerals.py, line 1\)"),
        ("import no_such_package_here\n", "broken_numerals imports no_such_package_here, which is not installed"),
    ],
)
def test_a_file_that_python_cannot_read_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    (tmp_path / "broken_numerals.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(UsageError, match=message):
        load_task("broken_numerals:Mine")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_here:Mine", "no module 'no_such_module_here' here"),
        ("ckptop.trainer.registry:load_task", "is not a subclass"),
        ("ckptop.trainer.registry:Nothing", "is not a subclass"),
    ],
)
def test_what_is_no_task_is_refused(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_task(target)
