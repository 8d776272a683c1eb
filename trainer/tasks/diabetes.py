"""Diabetes progression: scikit-learn's 442 patients, a small network, judged by SMAPE.

Features and targets stay in their own units: the means and deviations of the training part are buffers of
the model, so a checkpoint predicts from raw measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential
from torch.utils.data import TensorDataset

from ckptop.store.errors import UsageError
from ckptop.trainer.config import Fraction, Positive, TaskOptions, TrainConfig
from ckptop.trainer.metrics import MetricDict, Smape, smape_of_constant
from ckptop.trainer.task import Task, TaskData
from ckptop.trainer.tasks.read_table import read_table
from ckptop.trainer.tasks.tables import content_hash, subset

FEATURES = 10


class DiabetesOptions(TaskOptions, frozen=True, kw_only=True):
    """The model section of `diabetes`."""

    hidden: tuple[Positive, ...] = (64, 32)
    """Units of each hidden layer."""
    dropout: Fraction = 0.2


class StandardisedMlp(nn.Module):
    """A perceptron between the standardisation of its features and that of its target."""

    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    target_mean: torch.Tensor
    target_std: torch.Tensor

    def __init__(self, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_std", torch.ones(FEATURES))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_std", torch.ones(()))
        widths = [FEATURES, *hidden]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        self._is_checkpointing = False

    def gradient_checkpointing_enable(self) -> None:
        """Keep no activations within a hidden layer; the bits stay the same."""
        self._is_checkpointing = True

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) in their own units to (B,) in the target's."""
        scaled = (features - self.feature_mean) / self.feature_std
        if self._is_checkpointing and self.training:
            segments = max(1, len(self.layers) // 3)  # linear, activation and dropout
            outputs = checkpoint_sequential(self.layers, segments, scaled, use_reentrant=False)  # type: ignore[no-untyped-call]  # torch has no types here
        else:
            outputs = self.layers(scaled)
        return cast(torch.Tensor, outputs).squeeze(1) * self.target_std + self.target_mean


class Diabetes(Task[DiabetesOptions]):
    """How far the disease is a year after ten measurements."""

    name = "diabetes"
    metric = ("val/smape", "min")
    metric_label = "SMAPE"
    metric_percent_scale = 1.0

    def defaults(self) -> TrainConfig[DiabetesOptions]:
        """A SMAPE about a third below that of always saying the median."""
        return TrainConfig(
            epochs=60,
            batch_size=32,
            lr=1e-3,
            weight_decay=0.1,
            warmup_steps=20,
            clip_norm=5.0,
            threads=1,  # kernels this small only wait for a second one
            model=DiabetesOptions(),
        )

    def load(self, path: Path | None, seed: int) -> TaskData:
        """The patients, split 60/20/20."""
        if path is not None:
            raise UsageError("diabetes comes with scikit-learn; leave --data out")
        from sklearn.datasets import load_diabetes
        from sklearn.model_selection import train_test_split

        features, progression = load_diabetes(return_X_y=True, scaled=False)
        train, rest = train_test_split(np.arange(len(progression)), test_size=0.4, random_state=seed)
        validation, test = train_test_split(rest, test_size=0.5, random_state=seed)
        tensors = torch.from_numpy(features).float(), torch.from_numpy(progression).float()
        median = tensors[1][torch.from_numpy(train)].median()
        baselines = {
            f"{split}/smape_median": smape_of_constant(median, tensors[1][torch.from_numpy(rows)])
            for split, rows in (("val", validation), ("test", test))
        }
        return TaskData(
            train=subset(tensors, train),
            validation=subset(tensors, validation),
            test=subset(tensors, test),
            path="sklearn:diabetes",
            hash=content_hash(features, progression),
            description=f"{len(progression)} patients",
            baselines=baselines,
        )

    def read_inputs(self, path: Path) -> TensorDataset:
        """Ten measurements a row, in scikit-learn's order and units (`scaled=False`)."""
        return TensorDataset(torch.from_numpy(read_table(path, FEATURES, "the measurements").values).float())

    def read_labelled(self, path: Path) -> TensorDataset:
        """The same, and then the progression."""
        values = torch.from_numpy(read_table(path, FEATURES, "the measurements", labelled=True).values).float()
        return TensorDataset(values[:, :FEATURES], values[:, FEATURES])

    def build_model(self, options: DiabetesOptions) -> StandardisedMlp:
        """A perceptron; its standardisation is fitted by `fit_statistics`."""
        return StandardisedMlp(options.hidden, options.dropout)

    def fit_statistics(self, model: nn.Module, data: TaskData) -> None:
        """Take means and deviations from the training part alone."""
        features, targets = cast(TensorDataset, data.train).tensors
        mlp = cast(StandardisedMlp, model)
        mlp.feature_mean.copy_(features.mean(0))
        mlp.feature_std.copy_(features.std(0).clamp_min(1e-6))
        mlp.target_mean.copy_(targets.mean())
        mlp.target_std.copy_(targets.std())

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean absolute error, in the target's unit."""
        return F.l1_loss(outputs, targets)

    def metrics(self) -> MetricDict:
        """SMAPE in percent."""
        return MetricDict(smape=Smape())
