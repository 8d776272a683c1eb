"""Randomness as a function of (seed, epoch, index), never of the process that draws it.

Counters are hashed (SplitMix64) instead of a stream being advanced, so a batch's numbers are made at
once, in any order and in any worker.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_Words = npt.NDArray[np.uint64]


def mix(*numbers: int) -> int:
    """One 63-bit seed from several non-negative whole numbers; their order matters."""
    state = 0
    for number in numbers:
        state = ((state ^ number) + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
        state ^= state >> 31
    return state >> 1


def _split_mix(state: _Words) -> _Words:
    """One round of SplitMix64, elementwise; arithmetic is modulo 2**64."""
    state = state + np.uint64(_GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True)
class SampleRandom:
    """The random numbers of the samples of one batch."""

    seed: int
    epoch: int
    indices: torch.Tensor
    """(N,) int64: positions in the dataset."""

    def uniform(self, columns: int) -> torch.Tensor:
        """(N, columns) float32 in [0, 1): row i belongs to sample i alone."""
        base = np.uint64(mix(self.seed, self.epoch))
        rows = _split_mix(self.indices.numpy().astype(np.uint64) ^ base)
        cells = _split_mix(rows[:, None] + np.arange(columns, dtype=np.uint64) * np.uint64(_GOLDEN))
        return torch.from_numpy((cells >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24))

    def integers(self, columns: int, bound: int) -> torch.Tensor:
        """(N, columns) int64 in [0, bound)."""
        return (self.uniform(columns) * bound).long().clamp_(max=bound - 1)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's global generators seeded inside, as they were afterwards."""
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    numpy_state = np.random.get_state()  # datasets of others draw from the global one
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
