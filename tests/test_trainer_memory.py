"""Options that trade time for memory, or compilation for speed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint_sequential
from trainer_runs import assert_same_training, at_step, logged, newest_state, run_training

from ckptop.store.errors import TrainingFailed, UsageError


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradient_checkpointing_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    calls: list[int] = []

    def counted(layers: Any, segments: int, *rest: Any, **options: Any) -> Any:
        calls.append(segments)
        return checkpoint_sequential(layers, segments, *rest, **options)  # type: ignore[no-untyped-call]  # torch has no types here

    monkeypatch.setattr("ckptop.trainer.tasks.diabetes.checkpoint_sequential", counted)
    settings = {"epochs": "2", "model__hidden": "[8, 4]", "precision": precision}
    run_training(tmp_path, name="kept", **settings)
    assert calls == []

    run_training(tmp_path, name="again", gradient_checkpointing="true", **settings)

    assert calls == [2] * 34
    assert_same_training(tmp_path / "kept", tmp_path / "again")


def test_gradient_checkpointing_is_refused_where_a_model_offers_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model of digits offers no gradient checkpointing"):
        run_training(tmp_path, "digits", name="run", gradient_checkpointing="true")


def test_compiling_without_a_compiler_is_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(UsageError, match=r"needs the C\+\+ compiler no-such-compiler, .* leave compile out"):
        run_training(tmp_path, name="run", compile="true")


def test_a_model_that_does_not_compile_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    class Compiled(torch.nn.Module):
        def forward(self, *_: Any) -> Any:
            raise BackendCompilerFailed(lambda: None, ValueError("Python.h: No such file\nand more"), None)

    monkeypatch.setattr(torch, "compile", lambda model: Compiled())

    with pytest.raises(TrainingFailed, match=r"^torch.compile failed: .*; --set compile=false goes on without it$"):
        run_training(tmp_path, name="run", compile="true")


@pytest.mark.slow  # a minute of compiling
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch.compile's own
def test_a_compiled_model_trains_as_well_and_resumes_exactly(tmp_path: Path) -> None:
    settings = {"epochs": "2", "model__dropout": "0"}
    run_training(tmp_path, name="eager", **settings)
    run_training(tmp_path, name="compiled", compile="true", **settings)

    with at_step(20, lambda run: run.request_stop("the test")):
        assert run_training(tmp_path, name="halved", compile="true", **settings) == 3
    assert run_training(tmp_path, name="halved", resume="auto") == 0

    assert_same_training(tmp_path / "compiled", tmp_path / "halved")
    eager, compiled = logged(tmp_path / "eager"), logged(tmp_path / "compiled")
    for key in (17, "val/loss"), (34, "test/loss"):
        assert float(compiled[key]) == pytest.approx(float(eager[key]), rel=1e-3)
    assert newest_state(tmp_path / "compiled")["model_state_dict"].keys() == (
        newest_state(tmp_path / "eager")["model_state_dict"].keys()
    )
