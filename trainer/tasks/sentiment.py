"""Sentiment of texts: positive or negative, by a perceptron on counted words or on a frozen encoder's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
import xxhash
from torch import nn
from torch.utils.data import TensorDataset

from ckptop.store.errors import DataError, UsageError
from ckptop.trainer.config import Fraction, Positive, TaskOptions, TrainConfig
from ckptop.trainer.fitted import typed
from ckptop.trainer.metrics import Accuracy, MetricDict
from ckptop.trainer.task import BoundTask, Samples, TaskData
from ckptop.trainer.tasks.embeddings import embed
from ckptop.trainer.tasks.encoder import SMALL_PUBLIC, Precision
from ckptop.trainer.tasks.read_texts import CLASSES, Columns, Texts, read_labelled_texts, read_parts, read_plain_texts
from ckptop.trainer.tasks.sparse import SparseSamples

VALIDATION_SHARE = 0.2
WORD = r"(?u)\b\w+\b"
"""What is counted: single letters too, since `wo n't` ends in one and means something."""


class SentimentOptions(TaskOptions, frozen=True, kw_only=True):
    """The model section of `sentiment`."""

    features: Literal["bow", "embeddings"] = "bow"
    """Counted words, or the mean-pooled last hidden state of an encoder; `bow,embeddings` trains both side by side."""
    hidden: tuple[Positive, ...] = (512, 256, 128, 64)
    """Units of each hidden layer."""
    dropout: Fraction = 0.5
    """Of the hidden layers."""
    input_dropout: Fraction = 0.5
    """Of the features."""
    max_features: Positive = 10_000
    """For bow: the most frequent words of the training part that are counted."""
    ngrams: Positive = 1
    """For bow: up to so many words in a row are counted as one."""
    counts: Literal["log", "raw", "binary"] = "log"
    """For bow: log2(1 + count), the count, or whether there is one; one word is 1 in each."""
    encoder: str = SMALL_PUBLIC
    """For embeddings: an encoder or causal model of transformers, by its name on the hub or its folder."""
    encoder_precision: Precision = "bf16"
    encoder_batch_size: Positive = 32
    max_tokens: Positive = 128
    """For embeddings: of a text; the rest is cut off."""
    text_column: str | None = None
    """None finds it by its name: text, sentence, review, …"""
    label_column: str | None = None
    """None finds it by its name: label, sentiment, …"""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept beside the weights."""

    inputs: int
    """Features of a text."""
    ngrams: int = 1
    words: list[str] = []
    """Of bow: the vocabulary, in the order of the features; empty for embeddings."""
    classes: tuple[str, ...] = CLASSES


class Perceptron(nn.Module):
    """Linear layers with ReLU and dropout between the features of a text and two outputs."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, inputs: int, options: SentimentOptions) -> None:
        super().__init__()
        self._counts = options.counts if options.features == "bow" else None
        if self._counts is None:
            self.register_buffer("mean", torch.zeros(inputs))
            self.register_buffer("std", torch.ones(inputs))
        layers: list[nn.Module] = [nn.Dropout(options.input_dropout)]
        for wide, narrow in pairwise([inputs, *options.hidden]):
            layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear([inputs, *options.hidden][-1], len(CLASSES)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, inputs) counts or vectors to (B, 2)."""
        if self._counts == "log":
            features = (1 + features).log2()
        elif self._counts == "binary":
            features = (features > 0).to(features.dtype)
        elif self._counts is None:
            features = (features - self.mean) / self.std
        return cast(torch.Tensor, self.layers(features))


class Sentiment(BoundTask[SentimentOptions]):
    """Whether a text is positive."""

    name = "sentiment"
    metric = ("val/accuracy", "max")
    metric_label = "Accuracy"
    metric_percent_scale = 100.0
    class_names = CLASSES
    continual: ClassVar = {
        "optimizer": "adam", "lr": 1e-4, "scheduler": "constant", "warmup_steps": 0, "weight_decay": 0.0,
        "batch_size": 256, "epochs": 12, "model": {"dropout": 0.2, "input_dropout": 0.3},
    }  # fmt: skip

    def defaults(self) -> TrainConfig[SentimentOptions]:
        """Accuracy 0.79 on the sentences of SST-2 after 10 epochs."""
        return TrainConfig(
            epochs=10, batch_size=32, optimizer="adamw", lr=1e-3, weight_decay=0.05, log_every_steps=10,
            model=SentimentOptions(),
        )  # fmt: skip

    def load(self, path: Path | None, seed: int) -> TaskData:
        """The texts, 20 % split off for validation with the same share of each class."""
        from sklearn.model_selection import train_test_split

        if path is None:
            raise UsageError("sentiment needs texts: --data FILE, FOLDER or the name of a data set on the hub")
        both, test = read_parts(path, self._columns)
        labels = np.array(both.labels)
        if min(np.bincount(labels, minlength=len(CLASSES))) < 2:
            raise DataError(f"{path} has fewer than two texts of a class; it needs both negative and positive ones")
        rows = np.arange(len(labels))
        train, validation = train_test_split(rows, test_size=VALIDATION_SHARE, random_state=seed, stratify=labels)
        fitted = self._known if self.fitted is not None else self._fit([both.texts[row] for row in train], path)
        features = self._features(both.texts, fitted)
        parts = [_samples(features, both.labels, rows) for rows in (train, validation)]
        tested = _samples(self._features(test.texts, fitted), test.labels) if test is not None else parts[1]
        note = "" if test is not None else "; there is no test part, so the validation part stands for it"
        return TaskData(
            train=parts[0], validation=parts[1], test=tested, path=str(path),
            hash=_hash(both, test), description=f"{len(labels):,} texts{note}",
            fitted=self.fitted or msgspec.to_builtins(fitted),
        )  # fmt: skip

    def read_inputs(self, path: Path) -> Samples:
        """Texts: a `.txt` with one a line, or a table with a column of them."""
        return _samples(self._features(read_plain_texts(path, self._columns), self._known))

    def read_labelled(self, path: Path) -> Samples:
        """A table or folder as `load` takes it, all of it."""
        found = read_labelled_texts(path, self._columns)
        return _samples(self._features(found.texts, self._known), found.labels)

    def build_model(self, options: SentimentOptions) -> Perceptron:
        """A perceptron for the features that were fitted."""
        return Perceptron(self._known.inputs, options)

    def fit_statistics(self, model: nn.Module, data: TaskData) -> None:
        """Of embeddings, take means and deviations from the training part alone."""
        if isinstance(data.train, TensorDataset):
            (vectors, _), perceptron = data.train.tensors, cast(Perceptron, model)
            perceptron.mean.copy_(vectors.mean(0))
            perceptron.std.copy_(vectors.std(0).clamp_min(1e-6))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def metrics(self) -> MetricDict:
        """The share of texts told right."""
        return MetricDict(accuracy=Accuracy())

    @property
    def _columns(self) -> Columns:
        return Columns(text=self.options.text_column, label=self.options.label_column)

    @property
    def _known(self) -> Fitted:
        return typed(self.fitted, Fitted, self.name)

    def _fit(self, texts: Sequence[str], path: Path) -> Fitted:
        options = self.options
        if options.features == "embeddings":
            return Fitted(inputs=self._embed(texts[:1]).shape[1])
        from sklearn.feature_extraction.text import CountVectorizer

        counter = CountVectorizer(
            max_features=options.max_features, ngram_range=(1, options.ngrams), token_pattern=WORD
        )
        try:
            counter.fit(texts)
        except ValueError as error:
            raise DataError(f"{path} holds no words to count ({error}); is the right column named?") from None
        words = [str(word) for word in counter.get_feature_names_out()]
        return Fitted(inputs=len(words), ngrams=options.ngrams, words=words)

    def _features(self, texts: Sequence[str], fitted: Fitted) -> Any:
        """(N, inputs): a tensor of vectors, or a sparse matrix of counts."""
        if not fitted.words:
            return self._embed(texts)
        from sklearn.feature_extraction.text import CountVectorizer

        counter = CountVectorizer(vocabulary=fitted.words, ngram_range=(1, fitted.ngrams), token_pattern=WORD)
        return counter.transform(texts).tocsr().astype(np.float32)

    def _embed(self, texts: Sequence[str]) -> torch.Tensor:
        options = self.options
        return embed(
            texts, options.encoder, precision=options.encoder_precision, most_tokens=options.max_tokens,
            batch_size=options.encoder_batch_size,
        )  # fmt: skip


def _samples(features: Any, labels: Sequence[int] | None = None, rows: np.ndarray | None = None) -> Samples:
    """The features, those at `rows` alone, with their labels where there are any."""
    targets = torch.tensor(labels, dtype=torch.long) if labels is not None else None
    if rows is not None:
        features, targets = features[rows], targets[rows] if targets is not None else None
    if not isinstance(features, torch.Tensor):
        return SparseSamples(features, targets)
    return TensorDataset(features) if targets is None else TensorDataset(features, targets)


def _hash(*parts: Texts | None) -> str:
    digest = xxhash.xxh3_128()
    for part in parts:
        for text, label in zip(part.texts, part.labels, strict=True) if part is not None else ():
            digest.update(f"{label} {len(text)} {text}".encode(errors="surrogatepass"))
    return str(digest.hexdigest())
