"""The values of a metric log as columns, made for a million rows and a reader that looks while they grow.

Lines that carry the same metrics share one frame, and so one column of steps and times: five metrics logged together
cost 65 bytes a line instead of 145. What is handed out are read-only views; later rows go behind them, and a mask that
changes is a new array, so that a view never changes under its holder.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FRAMES = 2000
"""More combinations of metrics than this are taken apart, one frame a metric, so that none can exhaust memory."""

_FIRST_ROWS = 16
_MAPPED_BYTES = 1 << 20
"""Columns from this size on have memory of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One metric, in the order of its lines; arrays of one length, read-only."""

    step: NDArray[np.float64]
    """Whole numbers up to 2**53; as floats, so that they can be drawn as they are."""
    value: NDArray[np.float64]
    time: NDArray[np.float64]
    """Seconds since the epoch; NaN where the line has none."""
    epoch: NDArray[np.int32]
    """From 1; 0 where the line has none."""
    abandoned: NDArray[np.bool_]
    """Discarded by a later attempt that began before this step."""


def picked(mask: NDArray[np.bool_], *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """What `mask` picks of each array; the arrays themselves where it picks all, for a million values take 8 MB."""
    return arrays if mask.all() else tuple(array[mask] for array in arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What lines have besides their metrics; arrays of one length."""

    number: NDArray[np.uint32]
    """Rises with the lines of the file."""
    step: NDArray[np.float64]
    time: NDArray[np.float64]
    epoch: NDArray[np.int32]

    def select(self, which: NDArray[Any]) -> Rows:
        """The rows that `which` picks."""
        return Rows(self.number[which], self.step[which], self.time[which], self.epoch[which])


@dataclass(frozen=True, slots=True, eq=False)
class FrameParts:
    """The arrays of lines that carry the same metrics, for keeping them elsewhere and taking them back."""

    names: tuple[str, ...]
    count: int
    """Rows; what an array has beyond them is room for more."""
    arrays: tuple[NDArray[Any], ...]
    """Of `part_types`, in its order."""


def part_types(metrics: int) -> list[np.dtype[Any]]:
    """Types of the arrays of a frame: number, step, time, epoch, whether abandoned, and one a metric."""
    return [np.dtype(kind) for kind in (np.uint32, np.float64, np.float64, np.int32, np.bool_, *[np.float64] * metrics)]


class MetricTable:
    """All metrics of a log."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, ...], _Frame] = {}
        self._frames_of: dict[str, list[_Frame]] = {}
        self._versions: dict[str, int] = {}
        self._merged: dict[str, tuple[int, Columns]] = {}

    @classmethod
    def of_parts(cls, parts: Iterable[FrameParts]) -> MetricTable:
        """A table of these rows, which go on in their arrays: those must be its own to write."""
        table = cls()
        for part in parts:
            table._add(_Frame.of_parts(part), part.names)
            table._versions |= dict.fromkeys(part.names, 1)
        return table

    def parts(self) -> list[FrameParts]:
        """All there is, read-only."""
        return [frame.parts(names) for names, frame in self._frames.items()]

    def _add(self, frame: _Frame, names: tuple[str, ...]) -> None:
        self._frames[names] = frame
        for name in names:
            self._frames_of.setdefault(name, []).append(frame)

    @property
    def names(self) -> list[str]:
        """The metrics that have values, in the order they came."""
        return list(self._frames_of)

    def version(self, name: str) -> int:
        """Rises whenever the series of `name` changes; 0 before its first value."""
        return self._versions.get(name, 0)

    def extend(self, rows: Rows, values: Mapping[str, NDArray[np.float64]]) -> None:
        """Append rows that all carry the metrics in `values`."""
        names = tuple(values)
        frame = self._frames.get(names)
        if frame is None:
            if len(self._frames) >= MAX_FRAMES and len(names) > 1:
                for name in names:
                    self.extend(rows, {name: values[name]})
                return
            frame = _Frame(names)
            self._add(frame, names)
        frame.extend(rows, values)
        for name in names:
            self._versions[name] = self.version(name) + 1

    def abandon(self, from_step: int) -> None:
        """Mark every row so far whose step is past `from_step`."""
        for names, frame in self._frames.items():
            if frame.abandon(from_step):
                for name in names:
                    self._versions[name] = self.version(name) + 1

    def clear(self) -> None:
        """Forget all rows; versions go on rising."""
        for name in self._frames_of:
            self._versions[name] += 1
        self._frames.clear()
        self._frames_of.clear()
        self._merged.clear()

    def series(self, name: str) -> Columns:
        """The rows of `name`; empty where there are none."""
        frames = self._frames_of.get(name, [])
        if len(frames) == 1:
            return frames[0].columns(name)
        version, merged = self._merged.get(name, (-1, None))
        if merged is None or version != self.version(name):
            merged = _merge(frames, name)
            self._merged[name] = self.version(name), merged
        return merged

    def last(self, name: str) -> float | None:
        """The value of the newest row of `name` that is not abandoned."""
        newest = _newest(self._frames_of.get(name, []))
        return float(newest[0].values[name].view()[newest[1]]) if newest is not None else None

    @property
    def last_step(self) -> int | None:
        """The step of the newest row that is not abandoned."""
        newest = _newest(list(self._frames.values()))
        return int(newest[0].step.view()[newest[1]]) if newest is not None else None


class _Grown:
    """A column that grows; capacity doubles, and what is not yet written takes no memory from the system."""

    def __init__(self, data: NDArray[Any], count: int = 0) -> None:
        self._data = data
        self.count = count

    @classmethod
    def empty(cls, dtype: type[np.generic]) -> _Grown:
        return cls(np.empty(_FIRST_ROWS, dtype))

    def extend(self, items: NDArray[Any]) -> None:
        end = self.count + len(items)
        if end > len(self._data):
            grown = _room(max(end, 2 * len(self._data)), self._data.dtype)
            grown[: self.count] = self._data[: self.count]
            self._data = grown
        self._data[self.count : end] = items
        self.count = end

    def view(self) -> NDArray[Any]:
        return _read_only(self._data[: self.count])


def _room(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Room for items; a large one is a mapping of its own, which the system has back as soon as it is let go.

    The C library keeps freed blocks of megabytes for later, and a log of a million lines took 20 MB more for it.
    """
    size_bytes = count * dtype.itemsize
    return np.frombuffer(mmap.mmap(-1, size_bytes), dtype) if size_bytes >= _MAPPED_BYTES else np.empty(count, dtype)


class _Frame:
    """Rows that carry the same metrics."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.number = _Grown.empty(np.uint32)
        self.step = _Grown.empty(np.float64)
        self.time = _Grown.empty(np.float64)
        self.epoch = _Grown.empty(np.int32)
        self.values = {name: _Grown.empty(np.float64) for name in names}
        self._abandoned: NDArray[np.bool_] = np.empty(0, np.bool_)
        """Of the rows up to the last going back, at least; later ones are not abandoned."""

    @classmethod
    def of_parts(cls, part: FrameParts) -> _Frame:
        frame = cls(())
        number, step, time, epoch, abandoned, *values = part.arrays
        frame.number, frame.step, frame.time, frame.epoch = (
            _Grown(array, part.count) for array in (number, step, time, epoch)
        )
        frame.values = {name: _Grown(array, part.count) for name, array in zip(part.names, values, strict=True)}
        frame._abandoned = abandoned[: part.count]
        return frame

    def parts(self, names: tuple[str, ...]) -> FrameParts:
        own = (self.number, self.step, self.time, self.epoch)
        values = (self.values[name].view() for name in names)
        arrays = (*(column.view() for column in own), self.abandoned(), *values)
        return FrameParts(names, self.step.count, arrays)

    def extend(self, rows: Rows, values: Mapping[str, NDArray[np.float64]]) -> None:
        self.number.extend(rows.number)
        self.step.extend(rows.step)
        self.time.extend(rows.time)
        self.epoch.extend(rows.epoch)
        for name, items in values.items():
            self.values[name].extend(items)

    def abandon(self, from_step: int) -> bool:
        """Whether that changed anything."""
        before = self.abandoned()
        after = before | (self.step.view() > from_step)
        self._abandoned = _read_only(after)
        return bool((after != before).any())

    def abandoned(self) -> NDArray[np.bool_]:
        """Of every row, read-only; one array for all metrics."""
        if len(self._abandoned) < self.step.count:
            mask = np.zeros(self.step.count, np.bool_)
            mask[: len(self._abandoned)] = self._abandoned
            self._abandoned = _read_only(mask)
        return self._abandoned

    def columns(self, name: str) -> Columns:
        return Columns(
            self.step.view(),
            self.values[name].view(),
            self.time.view(),
            self.epoch.view(),
            self.abandoned(),
        )

    def newest(self) -> int | None:
        """Index of the last row that is not abandoned."""
        if self.step.count > len(self._abandoned) or not self._abandoned[-1]:
            return self.step.count - 1
        kept = np.flatnonzero(~self._abandoned)
        return int(kept[-1]) if len(kept) else None


def _newest(frames: list[_Frame]) -> tuple[_Frame, int] | None:
    """The frame and index of the row that came last in the file, abandoned ones left out."""
    found = [(frame, index) for frame in frames if (index := frame.newest()) is not None]
    return max(found, key=lambda one: int(one[0].number.view()[one[1]]), default=None)


def _merge(frames: list[_Frame], name: str) -> Columns:
    """The rows of several frames in the order of their lines."""
    number = np.concatenate([np.empty(0, np.uint32), *(frame.number.view() for frame in frames)])
    order = np.argsort(number, kind="stable")  # a merge of sorted runs

    def merged(dtype: type[np.generic], parts: list[NDArray[Any]]) -> NDArray[Any]:
        return _read_only(np.concatenate([np.empty(0, dtype), *parts])[order])

    return Columns(
        merged(np.float64, [frame.step.view() for frame in frames]),
        merged(np.float64, [frame.values[name].view() for frame in frames]),
        merged(np.float64, [frame.time.view() for frame in frames]),
        merged(np.int32, [frame.epoch.view() for frame in frames]),
        merged(np.bool_, [frame.abandoned() for frame in frames]),
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
