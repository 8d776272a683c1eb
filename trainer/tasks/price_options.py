"""What can be set of the task `price`, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from ckptop.trainer.config import Count, Fraction, Positive, TaskOptions
from ckptop.trainer.tasks.encoder import SMALL_PUBLIC, Precision

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tabular": {},
    "blazing": {
        "epochs": 10, "batch_size": 32, "accumulate": 8, "lr": 3e-4, "warmup_steps": 0,
        "model": {"hidden": (256, 128), "dropout": 0.1},
    },
    "fast": {
        "epochs": 25, "batch_size": 64, "lr": 2e-4, "warmup_steps": 0, "model": {"hidden": (256, 128), "dropout": 0.1},
    },
    "ultra": {
        "epochs": 20, "batch_size": 16, "accumulate": 4, "lr": 1e-4, "warmup_steps": 100, "clip_norm": 1.0,
        "gradient_checkpointing": True,
        "model": {"hidden": (512, 256, 128), "dropout": 0.2, "batch_norm": True},
    },
}  # fmt: skip
"""What each changes of the defaults, which are those of `tabular`."""

Preset = Literal["auto", "tabular", "blazing", "fast", "ultra"]


class PriceOptions(TaskOptions, frozen=True, kw_only=True):
    """The model section of `price`."""

    preset: Preset = "auto"
    """ultra trains a text encoder along, fast has a frozen one, blazing hashes texts, tabular has none; auto is tabular
    where there is no text column, else blazing, which needs nothing to be fetched."""
    target: str = "price"
    """The column to predict."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out."""
    text: tuple[str, ...] = ()
    """Columns that are text, whatever they look like."""
    loss: Literal["smape", "smooth_l1"] = "smape"
    """Of the logarithms; smape is the metric itself."""
    validation_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.15
    hidden: tuple[Positive, ...] = (256, 256, 256)
    """Units of each hidden layer."""
    dropout: Fraction = 0.0
    members: Positive = 1
    """Perceptrons in one, whose mean answers; more take longer."""
    batch_norm: bool = False
    bins: Count = 32
    """Quantiles of the training part between which a number has its place; 0 gives standard scores alone."""
    category_size: Positive = 8
    """Numbers that stand for a category."""
    text_size: Positive = 64
    """Numbers that stand for the texts of a row."""
    hash_features: Positive = 8192
    """For blazing: places that words and pairs of words are hashed to."""
    encoder: str = SMALL_PUBLIC
    """For fast and ultra: an encoder or causal model of transformers, by its name on the hub or its folder."""
    encoder_precision: Precision = "bf16"
    """For fast."""
    encoder_batch_size: Positive = 32
    """For fast."""
    max_tokens: Positive = 128
    """For fast and ultra: of a row; the rest is cut off."""
