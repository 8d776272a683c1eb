"""The smoothed curve: an exponential moving average, bias-corrected as in Adam, that goes on where it stopped.

A curve that only grew is smoothed from its old end, for a million values take 50 ms and ten none.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from ckptop.tui.chart_series import LARGEST, Floats, Series

EMA_BLOCK = 64
"""Values smoothed by one matrix row; larger blocks do more arithmetic, smaller ones more Python."""

CHUNK = 1024 * EMA_BLOCK
"""Values smoothed at once: what lies between takes little memory, and stays in the processor's cache."""


class Ema:
    """Exponential moving average, bias-corrected as in Adam, that goes on where it stopped."""

    def __init__(self, smoothing: float) -> None:
        """Start empty.

        Args:
            smoothing: Weight of the past, 0 inclusive to 1 exclusive.

        Raises:
            ValueError: `smoothing` is out of range.
        """
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {smoothing}")
        self._smoothing = smoothing
        self._sum = 0.0
        self._count = 0
        # From this count on the bias is below a float's precision, and its power need not be taken.
        self._settled = math.ceil(math.log(1e-17) / math.log(smoothing)) if smoothing else 0

    def extend(self, y: Floats) -> Floats:
        """Smooth the next values, shape (n,); a non-finite one yields NaN and changes nothing else.

        A block of values is one row times a triangular matrix of weights; only the carry from block to
        block is a loop. Nothing is divided by a power of the weight, so nothing overflows. A million
        values take about 50 ms.
        """
        finite = np.isfinite(y)
        if not finite.all():
            smoothed = np.full(y.shape, np.nan)
            smoothed[finite] = self.extend(y[finite])
            return smoothed
        averages = self._weighted_sums(np.clip(y, -LARGEST, LARGEST))
        young = min(y.size, max(0, self._settled - self._count))
        counts = self._count + np.arange(1, young + 1)
        averages[:young] /= 1.0 - self._smoothing**counts
        self._count += y.size
        return averages

    def _weighted_sums(self, values: Floats) -> Floats:
        blocks = math.ceil(values.size / EMA_BLOCK)
        padded = np.zeros((blocks, EMA_BLOCK))
        padded.ravel()[: values.size] = values
        age = np.subtract.outer(np.arange(EMA_BLOCK), np.arange(EMA_BLOCK))
        weights = np.where(age >= 0, (1.0 - self._smoothing) * self._smoothing ** np.maximum(age, 0), 0.0)
        sums = padded @ weights.T
        carries = np.empty((blocks, 1))
        decay, carry = self._smoothing**EMA_BLOCK, self._sum
        for index, block_sum in enumerate(sums[:, -1].tolist()):
            carries[index] = carry
            carry = decay * carry + block_sum
        sums += carries * self._smoothing ** np.arange(1, EMA_BLOCK + 1)
        flat = sums.ravel()[: values.size]
        if values.size:
            self._sum = float(flat[-1])
        return flat


def ema(y: Floats, smoothing: float) -> Floats:
    """Bias-corrected exponential moving average of `y`, shape (n,); NaN where `y` is not finite."""
    return Ema(smoothing).extend(y)


class Smoother:
    """Smoothed series by name; a series that only grew is smoothed from its old end."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Ema, Floats, Floats]] = {}

    def smooth(self, series: Series, smoothing: float) -> Floats:
        """Bias-corrected average of `series.y`; equal to `ema` but for rounding."""
        used, average, before, buffer = self._known.get(series.name, _NEVER)
        size, wanted = before.size, series.y.size
        if not (used == smoothing and size <= wanted and _same_bits(before, series.y[:size])):
            average, buffer, size = Ema(smoothing), np.empty(wanted), 0
        if buffer.size < wanted:  # a quarter to spare: a growing run is rarely copied
            known, buffer = buffer[:size], np.empty(wanted + wanted // 4)  # what is not written takes no memory
            buffer[:size] = known
        for begin in range(size, wanted, CHUNK):
            buffer[begin : min(begin + CHUNK, wanted)] = average.extend(series.y[begin : begin + CHUNK])
        self._known[series.name] = (smoothing, average, series.y, buffer)
        return buffer[:wanted]

    def keep_only(self, names: Collection[str]) -> None:
        """Forget every other series: a million values of one take 16 MB."""
        self._known = {name: known for name, known in self._known.items() if name in names}


_NEVER = (math.nan, Ema(0.0), np.empty(0), np.empty(0))


def _same_bits(a: Floats, b: Floats) -> bool:
    # As integers, for NaN must equal NaN; half a millisecond for a million values.
    return bool(np.array_equal(a.view(np.int64), b.view(np.int64)))
