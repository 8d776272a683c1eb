"""Handwritten digits: scikit-learn's 1,797 images of 8 x 8 pixels, a small convolutional network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn
from torch.utils.data import TensorDataset

from ckptop.store.errors import UsageError
from ckptop.trainer.config import Count, Fraction, Positive, TaskOptions, TrainConfig
from ckptop.trainer.metrics import Accuracy, MetricDict
from ckptop.trainer.sample_random import SampleRandom
from ckptop.trainer.task import Task, TaskData
from ckptop.trainer.tasks.read_table import Table, read_table
from ckptop.trainer.tasks.tables import content_hash, subset

CLASSES = 10
SIDE_PIXELS = 8
DARKEST = 16
"""A pixel is 0 to this, as in scikit-learn's images."""

# Shapes: B batch, C channels, H rows, W columns.


class DigitsOptions(TaskOptions, frozen=True, kw_only=True):
    """The model section of `digits`."""

    channels: Positive = 32
    """Of the first convolution; the others have twice as many."""
    hidden: Positive = 128
    dropout: Fraction = 0.2
    shift_pixels: Count = 1
    """Training images move by up to this much each way; 0 leaves them."""


class Digits(Task[DigitsOptions]):
    """Which digit an image shows."""

    name = "digits"
    metric = ("val/accuracy", "max")
    metric_label = "Accuracy"
    metric_percent_scale = 100.0
    class_names = tuple(str(digit) for digit in range(CLASSES))

    def defaults(self) -> TrainConfig[DigitsOptions]:
        """Accuracy 0.98 to 1.0 on the validation part after 20 epochs."""
        return TrainConfig(
            epochs=20,
            batch_size=64,
            lr=3e-3,
            weight_decay=0.01,
            warmup_steps=20,
            clip_norm=5.0,
            threads=1,  # kernels this small only wait for a second one
            model=DigitsOptions(),
        )

    def load(self, path: Path | None, seed: int) -> TaskData:
        """The images in [0, 1], split 60/20/20 with the same share of each digit."""
        if path is not None:
            raise UsageError("digits comes with scikit-learn; leave --data out")
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        train, rest = train_test_split(np.arange(len(labels)), test_size=0.4, random_state=seed, stratify=labels)
        validation, test = train_test_split(rest, test_size=0.5, random_state=seed, stratify=labels[rest])
        tensors = _images(images), torch.from_numpy(labels).long()
        return TaskData(
            train=subset(tensors, train),
            validation=subset(tensors, validation),
            test=subset(tensors, test),
            path="sklearn:digits",
            hash=content_hash(images, labels),
            description=f"{len(labels):,} images",
        )

    def read_inputs(self, path: Path) -> TensorDataset:
        """Images of 64 pixels from 0 to 16, row by row."""
        table = read_table(path, SIDE_PIXELS**2, "8 x 8 pixels")
        return TensorDataset(_pixels(table))

    def read_labelled(self, path: Path) -> TensorDataset:
        """The same, and then the digit."""
        table = read_table(path, SIDE_PIXELS**2, "8 x 8 pixels", labelled=True)
        labels = table.values[:, -1]
        table.require((labels >= 0) & (labels < CLASSES) & (labels % 1 == 0), "the label is no digit from 0 to 9")
        return TensorDataset(_pixels(table), torch.from_numpy(labels).long())

    def build_model(self, options: DigitsOptions) -> nn.Module:
        """Three convolutions with BatchNorm, then two linear layers."""
        wide = 2 * options.channels
        return nn.Sequential(
            *_convolution(1, options.channels),
            *_convolution(options.channels, wide),
            nn.MaxPool2d(2),
            *_convolution(wide, wide),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(options.dropout),
            nn.Linear(wide * (SIDE_PIXELS // 4) ** 2, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, CLASSES),
        )

    def augment(self, options: DigitsOptions, inputs: torch.Tensor, random: SampleRandom) -> torch.Tensor:
        """Move each image by up to `shift_pixels` in both directions; what comes in is black."""
        reach = options.shift_pixels
        if reach == 0:
            return inputs
        shifts = random.integers(2, 2 * reach + 1)  # (B, 2)
        side = torch.arange(SIDE_PIXELS)
        rows, columns = shifts[:, :1] + side, shifts[:, 1:] + side  # (B, H), (B, W)
        padded = F.pad(inputs, (reach, reach, reach, reach))
        batch = torch.arange(len(inputs))[:, None, None]
        return padded[batch, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def metrics(self) -> MetricDict:
        """The share of digits read right."""
        return MetricDict(accuracy=Accuracy())


def _pixels(table: Table) -> torch.Tensor:
    pixels = table.values[:, : SIDE_PIXELS**2]
    table.require((pixels >= 0) & (pixels <= DARKEST), f"a pixel is 0 to {DARKEST}; scale the images")
    return _images(pixels)


def _images(pixels: np.ndarray) -> torch.Tensor:
    """(B, 64) from 0 to 16 as (B, C, H, W) from 0 to 1."""
    return torch.from_numpy(pixels).float().view(-1, 1, SIDE_PIXELS, SIDE_PIXELS) / DARKEST


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]
