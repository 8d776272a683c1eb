"""What a model is judged by: metrics that take batches and answer one number.

torchmetrics has hundreds, and a task may answer with a `MetricCollection` of them. The two that the tasks here need are
written out, to the same bits, since its import takes longer than all else that a trainer does before its first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, Self

import torch

from ckptop.store.errors import UsageError


class Metrics(Protocol):
    """Metrics by name, as `torchmetrics.MetricCollection` has them."""

    def to(self, device: torch.device) -> Self:
        """The metrics, ready for tensors on `device`."""

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch."""

    def compute(self) -> Mapping[str, Any]:
        """Name to a tensor of one number, over everything seen."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Name to metric; one with an attribute `higher_is_better` says what better means."""

    def __iter__(self) -> Iterator[Any]: ...


class BatchMean:
    """The mean of something over all samples seen."""

    higher_is_better: bool

    def __init__(self) -> None:
        self._sum = torch.zeros(())
        self._count = 0

    def sum_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum over a batch, a 0-d tensor."""
        raise NotImplementedError

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch."""
        batch = self.sum_of(outputs, targets)
        self._sum = self._sum + batch if self._count else batch
        self._count += targets.numel()

    def compute(self) -> torch.Tensor:
        """The mean, a 0-d tensor; NaN before the first batch."""
        return self._sum / torch.full_like(self._sum, self._count)  # CUDA multiplies where it divides by a number


class Accuracy(BatchMean):
    """The share of samples whose class has the highest output; outputs (B, classes), targets (B,) int64."""

    higher_is_better = True

    def sum_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """How many were right, as an integer: one in float32 stands still at 16 million."""
        return (outputs.argmax(dim=1) == targets).sum()


class Smape(BatchMean):
    """The symmetric mean absolute percentage error as people quote it, 0 to 200 percent; outputs and targets (B,)."""

    higher_is_better = False

    def sum_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum of the errors, each 0 to 2."""
        sizes = torch.clamp(torch.abs(targets) + torch.abs(outputs), min=1.17e-06)
        return 2 * torch.sum(torch.abs(outputs - targets) / sizes)

    def compute(self) -> torch.Tensor:
        """Percent."""
        return 100 * super().compute()


class ConfusionCounts:
    """How often each class was taken for each; outputs (B, classes), targets (B,) int64."""

    def __init__(self, class_count: int) -> None:
        self._class_count = class_count
        self._counts = torch.zeros(class_count, class_count, dtype=torch.int64)

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch.

        Raises:
            UsageError: The model knows more or fewer classes than there are names.
        """
        if outputs.shape[1] != self._class_count:
            raise UsageError(f"the model has {outputs.shape[1]} outputs, and class_names {self._class_count} names")
        places = targets * self._class_count + outputs.argmax(dim=1)
        counts = torch.bincount(places, minlength=self._class_count**2)
        self._counts = self._counts.to(counts.device) + counts.view(self._class_count, self._class_count)

    def compute(self) -> torch.Tensor:
        """(classes, classes) int64: a row for each true class, a column for each predicted one."""
        return self._counts


class MetricDict(Mapping[str, BatchMean]):
    """Some of these by name."""

    def __init__(self, **metrics: BatchMean) -> None:
        self._metrics = metrics

    def __getitem__(self, name: str) -> BatchMean:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def to(self, device: torch.device) -> Self:  # noqa: ARG002 - they begin where their first batch is
        """The same: their sums are made where the first batch is."""
        return self

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch."""
        for metric in self.values():
            metric.update(outputs, targets)

    def compute(self) -> dict[str, torch.Tensor]:
        """Name to a 0-d tensor, over everything seen."""
        return {name: metric.compute() for name, metric in self.items()}


def smape_of_constant(constant: torch.Tensor, targets: torch.Tensor) -> float:
    """What always answering `constant` reaches, in percent."""
    smape = Smape()
    smape.update(constant.expand_as(targets), targets)
    return float(smape.compute())
