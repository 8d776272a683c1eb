"""Any encoder or causal model of transformers, by name or folder: its tokens, and the mean of its last hidden state.

Nothing of a model is run but transformers' own code: `trust_remote_code` stays off.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import nn

from ckptop.store.errors import DataError, MissingExtra
from ckptop.trainer.failure import is_out_of_memory

SMALL_PUBLIC = "bert-base-uncased"
"""What to name where another cannot be had."""
Precision = Literal["bf16", "fp16", "fp32"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

_WEIGHTS = ("*.safetensors", "*.bin")


def require_transformers() -> Any:
    """The package.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtra("text encoders need transformers: pip install 'ckptop[text]'") from None
    return transformers


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a model.

    Raises:
        DataError: It cannot be had; the message names one that can.
        MissingExtra: transformers is not installed.
    """
    transformers = require_transformers()
    with _told_of(name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    if not tokenizer.is_fast:
        raise DataError(f"the encoder {name} has no fast tokenizer; {_remedy(name)}")
    return tokenizer


def load_encoder(name: str, precision: Precision = "fp32") -> nn.Module:
    """A model that gives a last hidden state, its trained weights loaded, on the CPU.

    Raises:
        DataError: It cannot be had or does not fit into memory; the message names one that does.
        MissingExtra: transformers is not installed.
    """
    transformers = require_transformers()
    _require_weights(name)
    with _told_of(name), _quiet():
        model: nn.Module = transformers.AutoModel.from_pretrained(name, dtype=DTYPES[precision])
    return model


def load_config(name: str) -> Any:
    """The configuration of a model: sizes, no weights; raises as `load_encoder` does."""
    transformers = require_transformers()
    _require_weights(name)
    with _told_of(name):
        return transformers.AutoConfig.from_pretrained(name)


def mean_pooled(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T, D) and (B, T) to the mean over the tokens that are no padding, (B, D) float32."""
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp_min(1)


def tokens_of(tokenizer: Any, texts: Sequence[str], most: int) -> list[list[int]]:
    """Token numbers of each text, at most `most`; of tokenizers.Tokenizer and of transformers' fast ones alike."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    backend.enable_truncation(most)
    backend.no_padding()
    return [encoded.ids or [0] for encoded in backend.encode_batch(list(texts))]


def padded(tokens: Sequence[Sequence[int]]) -> torch.Tensor:
    """(B, T) int64 as long as the longest, -1 behind the end of each."""
    length = max((len(one) for one in tokens), default=1)
    table = np.full((len(tokens), length), -1, dtype=np.int64)
    for row, one in enumerate(tokens):
        table[row, : len(one)] = one
    return torch.from_numpy(table)


def _require_weights(name: str) -> None:
    """Of a folder: that there are weights, and that they fit into memory."""
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith("."):
            raise DataError(f"the encoder {name} does not exist; {_remedy(name)}")
        return
    files = [file for pattern in _WEIGHTS for file in folder.glob(pattern)]
    if not (folder / "config.json").is_file() or not files:
        what = "weights (model.safetensors)" if (folder / "config.json").is_file() else "config.json"
        raise DataError(f"the encoder folder {name} has no {what}; save the model there, or {_remedy(name)}")
    size, available = sum(file.stat().st_size for file in files), psutil.virtual_memory().available
    if size > available:
        raise DataError(
            f"the encoder {name} does not fit: its weights are {size / 2**30:.1f} GiB, {available / 2**30:.1f} GiB of "
            f"memory are available; {_remedy(name)}"
        )


@contextlib.contextmanager
def _told_of(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise DataError(f"the encoder {name} does not fit into memory; {_remedy(name)}") from error
        first = str(error).strip().partition("\n")[0][:160]
        raise DataError(f"the encoder {name} cannot be had ({first}); {_remedy(name)}") from error


def _remedy(name: str) -> str:
    if name == SMALL_PUBLIC:
        return "--set encoder=FOLDER takes one that was saved by save_pretrained()"
    return f"--set encoder={SMALL_PUBLIC} is small and public, --set encoder=FOLDER takes a saved one"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A head that is left out is no news."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
