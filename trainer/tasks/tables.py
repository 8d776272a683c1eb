"""Helpers for data that fits into memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xxhash
from torch.utils.data import TensorDataset


def subset(tensors: Sequence[torch.Tensor], rows: np.ndarray) -> TensorDataset:
    """The rows of each tensor that `rows` names, in that order."""
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    return TensorDataset(*(tensor[index] for tensor in tensors))


def content_hash(*arrays: np.ndarray) -> str:
    """xxh3-128 over dtype, shape and bytes of each array."""
    digest = xxhash.xxh3_128()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return str(digest.hexdigest())
