"""Which samples make which batch: the order of an epoch is a function of (seed, epoch) alone.

The position within an epoch is restored by index arithmetic, never by drawing the batches before it. No
sample is dropped; a last batch of a single sample, on which BatchNorm fails, joins the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.utils.data import Sampler

from ckptop.trainer.sample_random import mix

_ORDER = 1
"""Keeps the stream of orders apart from other uses of (seed, epoch)."""


@dataclass(slots=True)
class BatchKey:
    """What a loader needs to make one batch."""

    epoch: int
    indices: torch.Tensor
    """(N,) int64: positions in the dataset."""


@dataclass(frozen=True)
class Batches:
    """How a dataset is cut into micro-batches and optimizer steps."""

    sample_count: int
    """At least 1."""
    batch_size: int
    accumulate: int = 1

    @cached_property
    def batch_count(self) -> int:
        """Micro-batches of an epoch."""
        full, rest = divmod(self.sample_count, self.batch_size)
        if rest == 1 and full > 0 and self.batch_size > 1:
            return full  # the lone sample joins the last batch
        return full + (rest > 0)

    @property
    def step_count(self) -> int:
        """Optimizer steps of an epoch; the last one flushes a partial window."""
        return -(-self.batch_count // self.accumulate)

    def bounds(self, batch: int) -> tuple[int, int]:
        """First and past-the-last position of a micro-batch, counted from 0, in the epoch's order."""
        start = batch * self.batch_size
        return start, self.sample_count if batch == self.batch_count - 1 else start + self.batch_size

    def window(self, batch: int) -> range:
        """The micro-batches of the optimizer step that begins with `batch`."""
        return range(batch, min(batch + self.accumulate, self.batch_count))

    def samples(self, window: range) -> int:
        """How many samples a window has."""
        return self.bounds(window[-1])[1] - self.bounds(window[0])[0]


class EpochSampler(Sampler[BatchKey]):
    """Keys of an epoch's batches, from any position; `seek` before each iteration."""

    def __init__(self, batches: Batches, seed: int | None) -> None:
        """`seed` None keeps the dataset's own order."""
        self.batches, self._seed = batches, seed
        self._epoch = self._batch = 0

    def seek(self, epoch: int, batch: int = 0) -> None:
        """The next iteration is of `epoch` (from 1) and begins with micro-batch `batch` (from 0)."""
        self._epoch, self._batch = epoch, batch

    def order(self, epoch: int) -> torch.Tensor:
        """(sample_count,) int64: the dataset's positions in the order of `epoch`."""
        if self._seed is None:
            return torch.arange(self.batches.sample_count)
        generator = torch.Generator().manual_seed(mix(self._seed, _ORDER, epoch))
        return torch.randperm(self.batches.sample_count, generator=generator)

    def __iter__(self) -> Iterator[BatchKey]:
        order, epoch = self.order(self._epoch), self._epoch
        for batch in range(self._batch, self.batches.batch_count):
            start, end = self.batches.bounds(batch)
            yield BatchKey(epoch, order[start:end])

    def __len__(self) -> int:
        return self.batches.batch_count - self._batch
