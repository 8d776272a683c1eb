"""What a task is: its data, its model, its loss and the metric that decides what best means.

A task holds no state: everything that varies is in its options, everything fitted is in the model's buffers, so a
checkpoint and its configuration are enough to predict. One that reads its data by its options, or fits a vocabulary, is
a `BoundTask`: a run has its own copy, made of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch
from torch.utils.data import Dataset

from ckptop.store.errors import UsageError
from ckptop.store.records import Mode
from ckptop.trainer.config import OptionsT, TrainConfig
from ckptop.trainer.metrics import Metrics
from ckptop.trainer.sample_random import SampleRandom

Samples = Dataset[tuple[torch.Tensor, ...]]
"""Pairs (input, target), or inputs alone to predict from.

A TensorDataset is indexed a batch at a time; any other a sample at a time.
"""


class BatchedSamples(Dataset[tuple[torch.Tensor, ...]]):
    """Samples in memory that are made into tensors a batch at a time, such as the rows of a sparse matrix."""

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The samples at `indices`, (N,) int64: tensors with N rows."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[0] for tensor in self.batch(torch.tensor([index])))


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The three parts of a task's data."""

    train: Samples
    validation: Samples
    test: Samples
    path: str
    """Where it came from: a path, or a name such as `sklearn:digits`."""
    hash: str
    """Of the content, so that a resume can tell changed data."""
    description: str
    """For people: `1,797 images`."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """What a constant answer reaches, logged beside the final result: `{"test/smape_median": 45.9}`."""
    fitted: Mapping[str, Any] | None = None
    """What was fitted on the training part besides weights, as JSON can hold it; see `BoundTask`."""
    also: Mapping[str, Samples] = field(default_factory=dict)
    """Further parts that are evaluated after each epoch, by the name of their split; the trainer's own to fill."""


class Task(ABC, Generic[OptionsT]):
    """One kind of training. Subclass it in a file of its own; docs/tasks.md shows how."""

    name: ClassVar[str]
    metric: ClassVar[tuple[str, Mode]]
    """What best means: a name among `val/…` and whether lower or higher is better."""
    metric_label: ClassVar[str]
    """As people write it: `Accuracy`."""
    metric_percent_scale: ClassVar[float | None] = None
    """What turns the metric into percent for people; None where it is no percentage."""

    continual: ClassVar[Mapping[str, Any]] = {"optimizer": "adam", "lr": 1e-4}
    """What changes in the configuration when a trained model goes on learning on other data."""

    fitted: Mapping[str, Any] | None = None
    """What was fitted on the data of the run that this task is bound to."""

    class_names: ClassVar[tuple[str, ...]] = ()
    """Of a classification, in the order of its outputs (B, classes): the test part gets a confusion matrix, and
    predictions are classes with probabilities."""

    @abstractmethod
    def defaults(self) -> TrainConfig[OptionsT]:
        """A configuration that trains this task well."""

    def configure(
        self,
        layers: Callable[[TrainConfig[OptionsT]], TrainConfig[OptionsT]],
        data: Path | None,  # noqa: ARG002 - few tasks look at it
    ) -> TrainConfig[OptionsT]:
        """The configuration of a new run.

        Args:
            layers: Puts what was asked for on top of what it is given.
            data: What `load` will be told.

        Raises:
            UsageError: What was asked for is wrong.
            DataError: The data has to be looked at, and is unusable.
        """
        return layers(self.defaults())

    def bound(self, options: OptionsT, fitted: Mapping[str, Any] | None) -> Task[OptionsT]:  # noqa: ARG002 - see BoundTask
        """This task as a run has it, with its options and what was fitted; most are the same for every run."""
        return self

    @abstractmethod
    def load(self, path: Path | None, seed: int) -> TaskData:
        """Load and split the data; the split is a function of `seed`.

        Raises:
            DataError: The data is missing or unusable.
            UsageError: The task takes no path, and one was given.
        """

    @abstractmethod
    def build_model(self, options: OptionsT) -> torch.nn.Module:
        """A new model, its weights drawn from torch's global generator."""

    def read_inputs(self, path: Path) -> Samples:
        """A person's file as samples of `(input,)`, in its order: what `ckptop predict` answers.

        Raises:
            UsageError: The task reads none.
            DataError: It is missing or holds something else; the message says where.
        """
        raise UsageError(f"{self.name} cannot predict from {path}: it has no method read_inputs (see docs/tasks.md)")

    def read_labelled(self, path: Path) -> Samples:
        """A person's file as samples of `(input, target)`: what `ckptop eval --data` scores on; raises the same."""
        raise UsageError(
            f"{self.name} cannot be scored on {path}: it has no method read_labelled (see docs/tasks.md); leave --data "
            f"out to score on its own data"
        )

    def fit_statistics(self, model: torch.nn.Module, data: TaskData) -> None:
        """Set buffers that are computed from the training part instead of learned, in a fresh run."""

    def augment(self, options: OptionsT, inputs: torch.Tensor, random: SampleRandom) -> torch.Tensor:  # noqa: ARG002 - most tasks change nothing
        """Change a training batch; all randomness must come from `random`, never from a global stream."""
        return inputs

    @abstractmethod
    def loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch, a 0-d tensor."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """New metrics, of torchmetrics or `trainer.metrics`, updated with (outputs, targets).

        The names go behind `val/` and `test/`.
        """

    def format_metric(self, value: float) -> str:
        """The metric as people read it: `97.22%`."""
        if self.metric_percent_scale is None:
            return f"{value:.4f}"
        return f"{value * self.metric_percent_scale:.2f}%"


class BoundTask(Task[OptionsT]):
    """A task whose data is read by its options, and that may fit more than numbers on it: a vocabulary, categories.

    `load` fits where there is nothing fitted yet, and puts it into `TaskData.fitted`. It is kept as `fitted.json` in
    the run's directory and, the same bytes, as a buffer of the model: a release has no run.
    """

    def __init__(self, options: OptionsT | None = None, fitted: Mapping[str, Any] | None = None) -> None:
        self.options: OptionsT = self.defaults().model if options is None else options
        self.fitted = fitted

    def bound(self, options: OptionsT, fitted: Mapping[str, Any] | None) -> Task[OptionsT]:
        """A copy with these."""
        return type(self)(options, fitted)
