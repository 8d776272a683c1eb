"""What a task gets wrong is said in one line before there is a run, and looking for it leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from trainer_runs import assert_same_bits, run_training

from ckptop.store.errors import DataError, UsageError
from ckptop.trainer import rng
from ckptop.trainer.build import assemble
from ckptop.trainer.config import layered
from ckptop.trainer.device import open_device
from ckptop.trainer.tasks.digits import Digits


class Endless(IterableDataset[tuple[torch.Tensor, ...]]):
    """Has no length."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        raise NotImplementedError


class Fussy(Metric):
    """Needs more samples than a batch has."""

    def update(self, *_: torch.Tensor) -> None:
        """Takes anything."""

    def compute(self) -> torch.Tensor:
        raise ValueError("at least 300 samples")


def with_metric(**metrics: Metric) -> Any:
    return lambda task: MetricCollection({"accuracy": MulticlassAccuracy(10, average="micro"), **metrics})


def with_data(**parts: Any) -> Any:
    original = Digits.load

    def load(task: Digits, path: Path | None, seed: int) -> Any:
        data = original(task, path, seed)
        return type(data)(**vars(data) | parts)

    return load


def refused(store: Path) -> str:
    with pytest.raises((UsageError, DataError)) as caught:
        run_training(store, "digits", name="run")
    assert not (store / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        ("metrics", with_metric(each=MulticlassF1Score(10, average=None)),
         "the metric each of digits is a tensor of 10, not one number; give it an average"),
        ("loss", lambda task, outputs, targets: torch.nn.functional.cross_entropy(outputs, targets, reduction="none"),
         "the loss of digits is a tensor of 64, not one number; return the mean of the batch"),
        ("loss", lambda task, outputs, targets: 0.5, "the loss of digits is a float, not one number"),
        ("load", lambda task, path, seed: {"train": 1}, "load() of digits returned a dict; it must return a TaskData"),
        ("load", with_data(train=Endless()), "the training part of digits has no length (Endless)"),
        ("load", with_data(validation=TensorDataset(torch.zeros(9, 1, 8, 8))),
         "a sample of digits has 1 parts; its datasets must give (input, target)"),
    ],
    ids=["vector-metric", "vector-loss", "number-loss", "load", "no-length", "no-target"],
)  # fmt: skip
def test_a_task_whose_parts_do_not_fit_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, wrong: Any, message: str
) -> None:
    monkeypatch.setattr(Digits, method, wrong)

    assert refused(tmp_path).startswith(message)


@pytest.mark.parametrize("seed", ["4294967296", "99999999999999999999999"])
def test_a_seed_that_numpy_cannot_take_is_refused(tmp_path: Path, seed: str) -> None:
    with pytest.raises(UsageError, match=r"^seed: "):
        run_training(tmp_path, "digits", name="run", seed=seed)


def test_a_metric_that_one_batch_is_too_little_for_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digits, "metrics", with_metric(fussy=Fussy()))

    with pytest.raises(ValueError, match="at least 300 samples"):
        run_training(tmp_path, "digits", name="run", epochs="1")

    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("train/loss") == 17


def test_the_trial_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the model nor in any random stream, though this task draws from all of them."""
    task, device = Digits(), open_device("cpu", "fp32", deterministic=True)
    config = layered(task.defaults(), {"model": {"channels": 4, "hidden": 16}})
    data = task.load(None, 0)
    tried: list[bool] = []

    def loss(task: Digits, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        tried.append(torch.is_grad_enabled())
        return torch.rand(())

    monkeypatch.setattr(Digits, "loss", loss)
    with monkeypatch.context() as patch:
        patch.setattr("ckptop.trainer.build.try_out", lambda *about: None)
        untried = assemble(task, config, data, device)
        state = rng.capture()
    assert not tried

    parts = assemble(task, config, data, device)

    assert tried == [False]
    assert_same_bits(rng.capture(), state)
    assert_same_bits(dict(parts.model.state_dict()), dict(untried.model.state_dict()))
    assert parts.model.training
    assert all(parameter.grad is None for parameter in parts.model.parameters())
