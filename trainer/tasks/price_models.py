"""Models of a price: texts in one of three ways, numbers and embedded categories, fused by a perceptron.

The perceptron may be several in one: members share the layers' matrices and have scales of their own before and after
each (BatchEnsemble, as TabM uses it). Each learns by itself, and their mean answers, which costs little more than one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ckptop.trainer.tasks.encoder import mean_pooled, require_transformers
from ckptop.trainer.tasks.price_columns import Columns

_LARGEST_LOG = 60.0
"""Beyond it a float32 price would no longer be finite."""

# Shapes: B batch, K members, D features.


class HashedText(nn.Module):
    """Counts of hashed n-grams as a short vector."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, size), nn.SiLU())

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        """(B, inputs) to (B, size)."""
        return cast(torch.Tensor, self.layers(nn.functional.normalize(counts.log1p(), dim=1)))


class TextVectors(nn.Module):
    """Vectors of a frozen encoder as a short vector."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, size), nn.SiLU())

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, inputs) to (B, size)."""
        return cast(torch.Tensor, self.layers((vectors - self.mean) / self.std))


class EncodedText(nn.Module):
    """Tokens through a transformer that is trained along."""

    def __init__(self, config: dict[str, Any], size: int, dropout: float) -> None:
        """`config` is the transformer's own, as its `to_dict()` gives it; the weights are new."""
        super().__init__()
        transformers = require_transformers()
        encoder = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config), dtype=torch.float32)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # not used, so never trained
        self.encoder = encoder
        width = int(encoder.config.hidden_size)
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, size), nn.SiLU())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) numbers of tokens as floats, below 0 where there are none, to (B, size)."""
        mask = tokens >= 0
        hidden = self.encoder(input_ids=tokens.clamp_min(0).long(), attention_mask=mask.long()).last_hidden_state
        return cast(torch.Tensor, self.layers(mean_pooled(hidden, mask)))


class Members(nn.Module):
    """A linear layer that K members share, each with its own scales before it and after it."""

    def __init__(self, inputs: int, outputs: int, members: int, *, is_first: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=members == 1)
        if members > 1:
            # Signs apart at the first layer make the members differ; the others begin alike.
            before = torch.randint(0, 2, (members, inputs)).float() * 2 - 1 if is_first else torch.ones(members, inputs)
            self.before, self.after = nn.Parameter(before), nn.Parameter(torch.ones(members, outputs))
            self.bias = nn.Parameter(torch.zeros(members, outputs))
        self._members = members

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, K or 1, inputs) to (B, K, outputs)."""
        if self._members == 1:
            return cast(torch.Tensor, self.linear(hidden))
        return cast(torch.Tensor, self.linear(hidden * self.before) * self.after + self.bias)


class PriceModel(nn.Module):
    """The price itself, not its logarithm: `forward` gives (B,) or, in training, (B, K) positive numbers."""

    def __init__(
        self,
        columns: Columns,
        text: nn.Module | None,
        text_width: int,
        text_size: int,
        *,
        hidden: tuple[int, ...],
        dropout: float,
        members: int,
        category_size: int,
        batch_norm: bool,
    ) -> None:
        """`text` takes the first `text_width` columns of the input to `text_size` features."""
        super().__init__()
        self._text_width, self._number_width = text_width, columns.number_width
        self._log_mean, self._log_std = columns.log_mean, columns.log_std
        self.text = text
        self.categories = nn.ModuleList(
            nn.Embedding(len(column.values) + 1, category_size, padding_idx=0) for column in columns.categories
        )
        width = text_size + columns.number_width + category_size * len(columns.categories)
        layers: list[nn.Module] = []
        for place, units in enumerate(hidden):
            layers.append(Members(width, units, members, is_first=place == 0))
            layers += [_OverMembers(units)] if batch_norm else []
            layers += [nn.SiLU(), nn.Dropout(dropout)]
            width = units
        self.layers = nn.Sequential(*layers)
        self.last = nn.Parameter(torch.randn(members, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members))

    def gradient_checkpointing_enable(self) -> None:
        """Keep no activations within a layer of the text encoder; the bits stay the same."""
        encoder = getattr(self.text, "encoder", None)
        if encoder is None:
            return
        what = "activation" if hasattr(encoder, "activation_checkpointing_enable") else "gradient"  # before 5
        enable = getattr(encoder, f"{what}_checkpointing_enable")
        enable(**{f"{what}_checkpointing_kwargs": {"use_reentrant": False}})

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, text_width + numbers + categories) to prices."""
        texts, numbers, places = inputs.tensor_split(
            (self._text_width, self._text_width + self._number_width), dim=1
        )  # fmt: skip
        parts = [numbers, *(embed(places[:, at].long()) for at, embed in enumerate(self.categories))]
        if self.text is not None:
            parts.append(self.text(texts))
        hidden = self.layers(torch.cat([part.float() for part in parts], dim=1).unsqueeze(1))  # (B, K, D)
        scores = (hidden.float() * self.last).sum(-1) + self.bias  # (B, K)
        if not self.training:
            scores = scores.mean(1)
        logs: torch.Tensor = scores * self._log_std + self._log_mean
        return logs.clamp(-_LARGEST_LOG, _LARGEST_LOG).exp()


class _OverMembers(nn.BatchNorm1d):
    """Batch norm of (B, K, D) by feature."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden.transpose(1, 2)).transpose(1, 2)
