"""Rows of a sparse matrix as samples: made dense a batch at a time.

A dense matrix of 40,000 texts and 10,000 words takes 1.6 GB; the sparse one of the same takes 40 MB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ckptop.trainer.task import BatchedSamples


class SparseSamples(BatchedSamples):
    """Samples of (row of the matrix, target), or of rows alone to predict from."""

    def __init__(self, rows: Any, targets: torch.Tensor | None = None, dense: torch.Tensor | None = None) -> None:
        """`rows` is a SciPy CSR matrix (N, columns); `dense`, (N, more), stands behind its columns in the input."""
        self.rows = rows
        self._targets, self._dense = targets, dense

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, columns) float32, and the targets where there are any."""
        inputs = torch.from_numpy(self.rows[indices.numpy()].toarray().astype(np.float32, copy=False))
        if self._dense is not None:
            inputs = torch.cat([inputs, self._dense[indices]], dim=1)
        return (inputs,) if self._targets is None else (inputs, self._targets[indices])

    def __len__(self) -> int:
        return int(self.rows.shape[0])
