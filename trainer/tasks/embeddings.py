"""Texts as vectors of a frozen encoder, computed once: the result is kept under `$XDG_CACHE_HOME/ckptop/embeddings`.

The key is of the texts, the encoder's bytes and everything that decides about the numbers, so a changed encoder is
computed anew. A cache that was deleted or cut off is computed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from ckptop.store.errors import DataError
from ckptop.store.hashing import xxh3_128_of
from ckptop.trainer.failure import is_out_of_memory
from ckptop.trainer.tasks.encoder import (
    Precision,
    load_config,
    load_encoder,
    load_tokenizer,
    mean_pooled,
    padded,
    require_transformers,
    tokens_of,
)


def embed(
    texts: Sequence[str], encoder: str, *, precision: Precision = "bf16", most_tokens: int = 128, batch_size: int = 32
) -> torch.Tensor:
    """(N, D) float32: the mean of the last hidden state over the tokens of each text.

    Args:
        texts: None empty.
        encoder: A name on the hub, or a folder.
        precision: The encoder computes in it.
        most_tokens: Of a text; the rest is cut off.
        batch_size: Texts at a time.

    Raises:
        DataError: The encoder cannot be had, or does not fit.
        MissingExtra: transformers is not installed.
    """
    require_transformers()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    key = _key(texts, encoder, [precision, most_tokens, batch_size, device.type])
    cached = _cache() / f"{key}.npy"
    kept = _read(cached, len(texts))
    if kept is None:
        kept = _compute(texts, encoder, precision, most_tokens, batch_size, device)
        _write(cached, kept)
    return torch.from_numpy(kept).float()


def _compute(
    texts: Sequence[str], name: str, precision: Precision, most_tokens: int, batch_size: int, device: torch.device
) -> np.ndarray:
    from tqdm import tqdm

    tokens = tokens_of(load_tokenizer(name), texts, most_tokens)
    model = load_encoder(name, precision).eval()
    order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))  # alike ones together: little padding
    vectors: dict[int, np.ndarray] = {}
    with tqdm(total=len(texts), desc=f"embedding with {name}", unit="text", disable=not sys.stderr.isatty()) as bar:
        try:
            model.to(device)
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                pooled = _pooled(model, padded([tokens[row] for row in rows]).to(device))
                vectors |= dict(zip(rows, pooled.cpu().numpy(), strict=True))
                bar.update(len(rows))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DataError(
                f"the encoder {name} does not fit into memory with {batch_size} texts at a time; --set "
                f"encoder_batch_size={max(1, batch_size // 4)} or --set encoder=bert-base-uncased needs less"
            ) from error
    return np.stack([vectors[row] for row in range(len(texts))])


@torch.inference_mode()
def _pooled(model: Any, table: torch.Tensor) -> torch.Tensor:
    mask = table >= 0
    hidden = model(input_ids=table.clamp_min(0), attention_mask=mask.long()).last_hidden_state
    return mean_pooled(hidden, mask)


def _key(texts: Sequence[str], encoder: str, settings: list[Any]) -> str:
    digest = xxhash.xxh3_128(json.dumps([settings, *_identity(encoder)]).encode())
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text.encode(errors="surrogatepass"))
    return str(digest.hexdigest())


def _identity(encoder: str) -> list[str]:
    """The bytes of a folder, or the revision of a name."""
    config = load_config(encoder)
    folder = Path(encoder)
    if not folder.is_dir():
        return [encoder, str(getattr(config, "_commit_hash", None))]
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [part for file in files for part in (file.name, xxh3_128_of(file))]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "ckptop" / "embeddings"


def _read(path: Path, count: int) -> np.ndarray | None:
    with contextlib.suppress(OSError, ValueError, EOFError), path.open("rb") as file:
        array: np.ndarray = np.load(file, allow_pickle=False)
        if array.dtype == np.float32 and array.ndim == 2 and len(array) == count and np.isfinite(array).all():
            return array
    return None


def _write(path: Path, vectors: np.ndarray) -> None:
    """Beside first, then renamed: a reader never sees half. A cache that cannot be written costs only the next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.save(file, vectors, allow_pickle=False)
        Path(file.name).replace(path)
