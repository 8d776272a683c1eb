"""A price from a table of numbers, categories and texts, scored by SMAPE.

The presets differ in what is done with texts: `tabular` leaves them out, `blazing` hashes them, `fast` has vectors of a
frozen encoder, `ultra` trains the encoder along.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn
from torch.utils.data import TensorDataset

from ckptop.store.errors import DataError
from ckptop.trainer.config import TrainConfig, layered
from ckptop.trainer.fitted import typed
from ckptop.trainer.metrics import MetricDict, Smape, smape_of_constant
from ckptop.trainer.task import BoundTask, Samples, TaskData
from ckptop.trainer.tasks.embeddings import embed
from ckptop.trainer.tasks.encoder import (
    load_config,
    load_encoder,
    load_tokenizer,
    padded,
    require_transformers,
    tokens_of,
)
from ckptop.trainer.tasks.price_columns import Columns, encode_rows, fit_columns, kinds_of, prices, texts_of
from ckptop.trainer.tasks.price_models import EncodedText, HashedText, PriceModel, TextVectors
from ckptop.trainer.tasks.price_options import PRESETS, PriceOptions
from ckptop.trainer.tasks.price_tables import hash_of, read_tables, told
from ckptop.trainer.tasks.read_rows import Rows, read_rows
from ckptop.trainer.tasks.sparse import SparseSamples


class Fitted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept beside the weights."""

    columns: Columns
    vector_size: int = 0
    """Of fast: numbers of an encoder's vector."""
    encoder: dict[str, Any] = {}
    """Of ultra: the encoder's own configuration."""
    tokenizer: str = ""
    """Of ultra: its tokenizer, as JSON."""


class Price(BoundTask[PriceOptions]):
    """What something costs."""

    name = "price"
    metric = ("val/smape", "min")
    metric_label = "SMAPE"
    metric_percent_scale = 1.0

    def defaults(self) -> TrainConfig[PriceOptions]:
        """Those of `tabular`: SMAPE 6.4 on the diamonds."""
        return TrainConfig(
            epochs=15, batch_size=256, lr=3e-3, weight_decay=0.01, warmup_steps=250, clip_norm=5.0, log_every_steps=10,
            model=PriceOptions(),
        )  # fmt: skip

    def configure(
        self, layers: Callable[[TrainConfig[PriceOptions]], TrainConfig[PriceOptions]], data: Path | None
    ) -> TrainConfig[PriceOptions]:
        """The preset's values, and what was asked for on top; `auto` is settled by the columns there are."""
        asked = layers(self.defaults()).model
        preset = asked.preset
        if preset == "auto":
            rows = read_tables(data)[0]
            preset = (
                "blazing" if "text" in kinds_of(rows, asked.target, asked.ignore, asked.text).values() else "tabular"
            )
        config = layers(layered(self.defaults(), PRESETS[preset]))
        return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, preset=preset))

    def load(self, path: Path | None, seed: int) -> TaskData:
        """The rows, 15 % split off for validation."""
        from sklearn.model_selection import train_test_split

        rows, test = read_tables(path)
        options = self.options
        kinds = kinds_of(rows, options.target, options.ignore, options.text)
        targets = prices(rows, options.target)
        if len(targets) < 3:
            raise DataError(f"{path} has {len(targets)} rows; a split needs at least 3")
        places = np.arange(len(targets))
        train, validation = train_test_split(places, test_size=options.validation_share, random_state=seed)
        fitted = self.fitted or self._fit(rows, kinds, train)
        bound = Price(options, fitted)
        inputs, tensor = bound._inputs(rows), torch.from_numpy(targets).float()
        parts = [_samples(inputs, tensor, chosen) for chosen in (train, validation)]
        tested = bound.labelled(test) if test is not None else parts[1]
        tests = torch.from_numpy(prices(test, options.target)).float() if test is not None else tensor[validation]
        note = "" if test is not None else "; there is no test part, so the validation part stands for it"
        left_out = [name for name, kind in kinds.items() if kind == "text" and options.preset == "tabular"]
        note += f"; text left out: {', '.join(left_out)}" if left_out else ""
        median = tensor[train].median()
        return TaskData(
            train=parts[0], validation=parts[1], test=tested, path=str(path), hash=hash_of(rows, test),
            description=f"{len(targets):,} rows ({told(kinds)}){note}", fitted=fitted,
            baselines={
                "val/smape_median": smape_of_constant(median, tensor[validation]),
                "test/smape_median": smape_of_constant(median, tests),
            },
        )  # fmt: skip

    def read_inputs(self, path: Path) -> Samples:
        """A table with the columns of the training part, found by their names; the target may be there."""
        return _samples(self._inputs(read_rows(path)))

    def read_labelled(self, path: Path) -> Samples:
        """The same, with the target."""
        return self.labelled(read_rows(path))

    def labelled(self, rows: Rows) -> Samples:
        """Rows with their prices."""
        targets = torch.from_numpy(prices(rows, self._columns.target)).float()
        return _samples(self._inputs(rows), targets)

    def build_model(self, options: PriceOptions) -> PriceModel:
        """A model for the columns that were fitted; an encoder in it has new weights."""
        text, width = self._text_model(options)
        return PriceModel(
            self._columns, text, width, options.text_size if text is not None else 0, hidden=options.hidden,
            dropout=options.dropout, members=options.members, category_size=options.category_size,
            batch_norm=options.batch_norm,
        )  # fmt: skip

    def fit_statistics(self, model: nn.Module, data: TaskData) -> None:
        """Take means and deviations of text vectors from the training part; load an encoder's trained weights."""
        text = cast(PriceModel, model).text
        if isinstance(text, TextVectors) and isinstance(data.train, TensorDataset):
            vectors = data.train.tensors[0][:, : len(text.mean)]
            text.mean.copy_(vectors.mean(0))
            text.std.copy_(vectors.std(0).clamp_min(1e-6))
        elif isinstance(text, EncodedText):
            weights = load_encoder(self.options.encoder).state_dict()
            own = text.encoder.state_dict()
            text.encoder.load_state_dict({name: weights[name] for name in own})

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """SMAPE as a share, 0 to 2, or smooth L1 of the logarithms; of members each for itself."""
        if outputs.ndim == 2:
            targets = targets.unsqueeze(1)
        logs = outputs.float().log() - targets.log()
        if self.options.loss == "smooth_l1":
            return F.smooth_l1_loss(logs, torch.zeros_like(logs), beta=0.05)
        return (2 * torch.tanh(logs.abs() / 2)).mean()  # 2|p-t| / (p+t), without a price that overflows

    def metrics(self) -> MetricDict:
        """SMAPE in percent."""
        return MetricDict(smape=Smape())

    @property
    def _known(self) -> Fitted:
        return typed(self.fitted, Fitted, self.name)

    @property
    def _columns(self) -> Columns:
        return self._known.columns

    def _fit(self, rows: Rows, kinds: dict[str, str], train: np.ndarray) -> dict[str, Any]:
        """Columns, and of a text encoder that is trained along its configuration and tokenizer."""
        options = self.options
        if options.preset == "tabular":
            kinds = {name: kind for name, kind in kinds.items() if kind != "text"}
        columns = fit_columns(rows, options.target, kinds, train.tolist(), options.bins)
        fitted = Fitted(columns=columns)
        if columns.texts and options.preset == "ultra":
            encoder = load_config(options.encoder).to_json_string(use_diff=False)
            tokenizer = load_tokenizer(options.encoder).backend_tokenizer.to_str()
            fitted = Fitted(columns=columns, encoder=msgspec.json.decode(encoder), tokenizer=tokenizer)
        elif columns.texts and options.preset == "fast":
            fitted = Fitted(columns=columns, vector_size=int(load_config(options.encoder).hidden_size))
        built: dict[str, Any] = msgspec.to_builtins(fitted)
        return built

    def _text_model(self, options: PriceOptions) -> tuple[nn.Module | None, int]:
        """What takes the text part of the input, and how wide that is."""
        known = self._known
        if not known.columns.texts:
            return None, 0
        if options.preset == "ultra":
            return EncodedText(known.encoder, options.text_size, options.dropout), options.max_tokens
        if options.preset == "fast":
            return TextVectors(known.vector_size, options.text_size, options.dropout), known.vector_size
        return HashedText(options.hash_features, options.text_size), options.hash_features

    def _inputs(self, rows: Rows) -> Any:
        """The text part and the others: one tensor, or a sparse matrix and a tensor."""
        columns, options = self._columns, self.options
        dense = torch.from_numpy(encode_rows(rows, columns))
        if not columns.texts:
            return dense
        texts = texts_of(rows, columns)
        if options.preset == "blazing":
            from sklearn.feature_extraction.text import HashingVectorizer

            hashing = HashingVectorizer(
                n_features=options.hash_features, ngram_range=(1, 2), alternate_sign=False, norm=None, dtype=np.float32
            )
            return hashing.transform(texts).tocsr(), dense
        part = self._tokens(texts) if options.preset == "ultra" else self._vectors(texts)
        return torch.cat([part, dense], dim=1)

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        """(N, max_tokens) as floats, which hold every number of a token there is."""
        require_transformers()
        from tokenizers import Tokenizer

        most = self.options.max_tokens
        table = padded(tokens_of(Tokenizer.from_str(self._known.tokenizer), texts, most))
        return F.pad(table, (0, most - table.shape[1]), value=-1).float()

    def _vectors(self, texts: list[str]) -> torch.Tensor:
        options = self.options
        return embed(
            texts, options.encoder, precision=options.encoder_precision, most_tokens=options.max_tokens,
            batch_size=options.encoder_batch_size,
        )  # fmt: skip


def _samples(inputs: Any, targets: torch.Tensor | None = None, places: np.ndarray | None = None) -> Samples:
    """The inputs, those at `places` alone, with their prices where there are any."""
    chosen = slice(None) if places is None else places
    targets = targets[chosen] if targets is not None else None
    if isinstance(inputs, tuple):
        hashed, dense = inputs
        return SparseSamples(hashed[chosen], targets, dense[chosen])
    return TensorDataset(inputs[chosen]) if targets is None else TensorDataset(inputs[chosen], targets)
