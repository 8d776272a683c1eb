"""The metrics written out here give torchmetrics' numbers, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torchmetrics import MetricCollection, SymmetricMeanAbsolutePercentageError
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from ckptop.store.errors import UsageError
from ckptop.trainer.metrics import Accuracy, BatchMean, ConfusionCounts, MetricDict, Smape

CLASSES = 7


def classified(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    for size in (64, 1, 33):
        outputs = torch.randn(size, CLASSES, generator=random)
        outputs[0, 2:5] = 9.0  # a tie
        yield outputs, torch.randint(CLASSES, (size,), generator=random)


def regressed(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    for size in (64, 1, 33):
        outputs, targets = 1000 * torch.randn(2, size, generator=random)
        outputs[0] = targets[0] = 0.0
        yield outputs, targets


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("ours", "theirs", "batches", "scale"),
    [
        (Accuracy, lambda: MulticlassAccuracy(CLASSES, average="micro"), classified, 1),
        (Smape, SymmetricMeanAbsolutePercentageError, regressed, 100),
    ],
    ids=["accuracy", "smape"],
)
def test_a_metric_is_that_of_torchmetrics_to_the_bit(
    ours: type[BatchMean], theirs: Any, batches: Any, scale: int, seed: int
) -> None:
    metrics, peers = MetricDict(m=ours()), MetricCollection({"m": theirs()})

    for outputs, targets in batches(seed):
        metrics.update(outputs, targets)
        peers.update(outputs, targets)

    value = metrics.to(torch.device("cpu")).compute()["m"]
    assert torch.equal(value, scale * peers.compute()["m"])
    assert value.dtype is torch.float32
    assert ours.higher_is_better == peers["m"].higher_is_better


def test_a_nan_among_the_outputs_is_a_nan_of_the_smape() -> None:
    smape = Smape()

    smape.update(torch.tensor([1.0, torch.nan]), torch.ones(2))

    assert torch.isnan(smape.compute())


@pytest.mark.parametrize("seed", range(4))
def test_confusions_are_counted_as_torchmetrics_does(seed: int) -> None:
    ours, theirs = ConfusionCounts(CLASSES), MulticlassConfusionMatrix(CLASSES)

    for outputs, targets in classified(seed):
        ours.update(outputs, targets)
        theirs.update(outputs, targets)

    assert ours.compute().tolist() == theirs.compute().tolist()


def test_class_names_that_are_not_as_many_as_the_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match="the model has 7 outputs, and class_names 3 names"):
        ConfusionCounts(3).update(*next(classified(0)))
