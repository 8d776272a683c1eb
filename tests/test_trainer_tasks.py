"""The tasks learn what they say they learn, with their own defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from ckptop.store.errors import UsageError
from ckptop.store.store import Store
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.tasks.diabetes import Diabetes, DiabetesOptions
from ckptop.trainer.tasks.digits import Digits
from ckptop.trainer.train import train

SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def result_of(tmp_path: Path, task: str, seed: int) -> dict[str, float]:
    options = TrainOptions(task=task, store=tmp_path, assignments=[("seed", str(seed))])
    assert train(options) == 0
    return dict(Store.open(tmp_path).run(task).result)


@pytest.mark.parametrize("seed", SEEDS)
def test_digits_reads_97_of_100(tmp_path: Path, seed: int) -> None:
    result = result_of(tmp_path, "digits", seed)

    assert result["val/accuracy"] >= 0.97
    assert result["test/accuracy"] >= 0.96


@pytest.mark.parametrize("seed", SEEDS)
def test_diabetes_beats_always_saying_the_median(tmp_path: Path, seed: int) -> None:
    result = result_of(tmp_path, "diabetes", seed)

    assert result["val/smape"] < 0.85 * result["val/smape_median"]
    assert result["test/smape"] < 0.9 * result["test/smape_median"]


@pytest.mark.parametrize("task", [Digits(), Diabetes()], ids=["digits", "diabetes"])
def test_the_parts_do_not_overlap_and_follow_the_seed(task: Digits | Diabetes) -> None:
    data, again, other = task.load(None, 1), task.load(None, 1), task.load(None, 2)

    def rows(part: object) -> list[bytes]:
        assert isinstance(part, TensorDataset)
        inputs, targets = part.tensors
        return [x.numpy().tobytes() + y.numpy().tobytes() for x, y in zip(inputs, targets, strict=True)]

    assert rows(data.train) == rows(again.train)
    assert rows(data.train) != rows(other.train)
    parts = [rows(data.train), rows(data.validation), rows(data.test)]
    assert sum(map(len, parts)) == len(set().union(*map(set, parts)))
    assert data.hash == other.hash


def test_digits_has_the_same_share_of_each_digit_in_every_part() -> None:
    data = Digits().load(None, 0)

    for part in (data.train, data.validation, data.test):
        assert isinstance(part, TensorDataset)
        shares = part.tensors[1].bincount().double() / len(part)
        assert shares == pytest.approx([0.1] * 10, abs=0.01)


def test_diabetes_standardises_by_the_training_part_alone() -> None:
    data = Diabetes().load(None, 0)
    model = Diabetes().build_model(DiabetesOptions())

    Diabetes().fit_statistics(model, data)

    assert isinstance(data.train, TensorDataset)
    features, targets = data.train.tensors
    assert torch.allclose(model.feature_mean, features.mean(0))
    assert torch.allclose(model.target_std, targets.std())


def test_smape_is_in_percent_from_0_to_200() -> None:
    metrics = Diabetes().metrics()

    metrics.update(torch.tensor([100.0, 300.0]), torch.tensor([100.0, 100.0]))

    assert metrics.compute()["smape"] == pytest.approx((0 + 2 * 200 / 400) / 2 * 100)


@pytest.mark.parametrize("task", [Digits(), Diabetes()], ids=["digits", "diabetes"])
def test_a_task_that_brings_its_data_takes_no_path(task: Digits | Diabetes) -> None:
    with pytest.raises(UsageError, match="leave --data out"):
        task.load(Path("somewhere"), 0)
