"""In what two checkpoints differ, read without torch: names, dtypes, shapes and every bit; and what was recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import make_run, tiny_model

from ckptop.cli.main import run
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.difference import changes
from ckptop.store.errors import Damaged
from ckptop.store.manifest import TensorEntry
from ckptop.store.tensor_difference import TensorDifference, compare_tensors


def compare(tmp_path: Path, a: dict[str, Any], b: dict[str, Any]) -> TensorDifference:
    for name, state in (("a.pt", a), ("b.pt", b)):
        torch.save(state, tmp_path / name)
    return compare_tensors(tmp_path / "a.pt", tmp_path / "b.pt")


def names(entries: tuple[TensorEntry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def test_tensors_differ_by_name_by_dtype_by_shape_and_by_one_bit(tmp_path: Path) -> None:
    values = torch.arange(6, dtype=torch.float32)
    changed = values.clone()
    changed.view(torch.int32)[5] ^= 1
    a = {"same": values, "bit": values, "shape": values, "dtype": values, "a": values, "none": torch.empty(0)}
    b = {"same": values, "bit": changed, "shape": values.view(2, 3), "dtype": values.half(), "b": values}

    found = compare(tmp_path, a, {**b, "none": torch.empty(0)})

    assert found.equal == 2
    assert (names(found.only_in_a), names(found.only_in_b)) == (["a"], ["b"])
    assert [(one.name, one.dtype, other.dtype) for one, other in found.described] == [
        ("shape", "float32", "float32"), ("dtype", "float32", "float16"),
    ]  # fmt: skip
    assert names(found.elements) == ["bit"]


@pytest.mark.parametrize("changed", [False, True])
def test_strides_are_no_difference_and_hide_none(tmp_path: Path, changed: bool) -> None:
    """A transposed, a strided and an expanded tensor against plain ones of the same elements."""
    square, line = torch.arange(12.0).view(3, 4), torch.arange(8.0)
    a = {"t": square.t(), "strided": line[1::2], "expanded": line[:1].expand(3), "scalar": torch.tensor(2.0)}
    b = {name: tensor.contiguous().clone() for name, tensor in a.items()}
    if changed:
        for tensor in b.values():
            tensor.view(-1)[-1] += 1

    found = compare(tmp_path, a, b)

    assert (found.equal, len(found.elements)) == ((0, 4) if changed else (4, 0))


@pytest.mark.parametrize("changed", [False, True])
def test_a_deflated_checkpoint_is_compared_by_what_it_holds(tmp_path: Path, changed: bool) -> None:
    paths = [
        CheckpointManager(tmp_path / name, compress=compress).save_training_checkpoint(
            tiny_model(value), None, 1, 1, {"loss": 1.0}
        )
        for name, compress, value in (("plain", False, 0.0), ("deflated", True, float(changed)))
    ]

    found = compare_tensors(Path(paths[0]), Path(paths[1]))

    assert found.is_empty is not changed
    assert (found.equal, names(found.elements)) == ((0, ["model_state_dict.weight"]) if changed else (1, []))


@pytest.mark.parametrize("where", ["cut", "text"])
def test_a_file_that_is_no_whole_checkpoint_is_refused(tmp_path: Path, where: str) -> None:
    torch.save({"w": torch.zeros(100)}, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(data[: len(data) // 2] if where == "cut" else b"no checkpoint")

    with pytest.raises(Damaged, match=r"b\.pt"):
        compare_tensors(tmp_path / "a.pt", tmp_path / "b.pt")


def test_facts_differ_by_value_and_by_who_has_them() -> None:
    a = {"lr": 0.1, "nan": math.nan, "amp": True, "epochs": 3, "a": None}
    b = {"lr": 0.2, "nan": math.nan, "amp": 1, "epochs": 3.0, "b": []}

    found = {change.name: dict(change.values) for change in changes(a, b)}

    assert found == {"lr": {"a": 0.1, "b": 0.2}, "amp": {"a": True, "b": 1}, "a": {"a": None}, "b": {"b": []}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_run(tmp_path / "runs")
    monkeypatch.setenv("CKPTOP_STORE", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(["diff", *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_tells_what_changed_between_two_checkpoints_and_exits_1(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = answer(["mine:epoch=3", "mine:epoch=4"], capsys)

    assert (code, told["equal"]) == (1, False)
    assert told["differs"]["place"] == {"epoch": {"a": 3, "b": 4}, "step": {"a": 300, "b": 400}}
    assert told["differs"]["metrics"]
    assert not told["differs"]["environment"]
    assert told["tensors"]["elements"] == ["model_state_dict.weight", "rng.torch"]


def test_what_is_the_same_exits_0(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["mine:epoch=3", "mine:epoch=3"], capsys)[0] == 0
    assert run(["diff", "mine", "mine"]) == 0
    assert "Nothing differs." in capsys.readouterr().out


def test_a_strangers_file_is_compared_by_its_tensors_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(tiny_model(3).state_dict(), store.parent / "theirs.pt")

    code, told = answer(["mine:epoch=3", "theirs.pt"], capsys)

    assert code == 1
    assert set(told["not_known"]) == {"place", "config", "metrics", "environment"}
    assert told["tensors"]["only_in_b"] == ["weight"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["mine:epoch=3", "mine"], 2), (["mine:epoch=3", "mine:epoch=77"], 11), (["mine", "nobody"], 11),
        (["runs", "mine"], 2), (["mine:epoch=3", "nothing.pt"], 11), (["mine:epoch=3", "text.pt"], 12),
        (["mine@1.0.0", "mine:epoch=3"], 11), (["mine"], 2),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(store: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> None:
    (store.parent / "text.pt").write_text("no checkpoint")

    assert run(["diff", *words]) == code

    assert len(capsys.readouterr().err.splitlines()) == 1
