"""The reading side of metrics.jsonl and system.jsonl, incrementally, into columns.

Lines are taken in by thousands where they all hold metrics seen before. Where that fails (a new metric, an
attempt line, a damaged line) the piece is halved until the few lines concerned are read one by one; so anything may
stand in the file, and only what is odd is slow.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ckptop.store.attempts import AttemptLine, attempt_lines, attempt_of, last_attempt_line
from ckptop.store.columns import Columns, FrameParts, MetricTable, Rows
from ckptop.store.metric_lines import (
    ABSENT,
    OWN_FIELDS,
    LineSchema,
    decode_line,
    is_absent,
    step_of,
    to_column,
    to_finite,
)
from ckptop.store.tail import LineTail, Place

__all__ = ["AttemptLine", "Columns", "MetricLog", "attempt_lines", "last_attempt_line"]

MAX_NAMES = 10_000
"""Metrics of one log; the names beyond are not shown."""

_MAX_FIELDS = 128
"""With more metrics than this, mostly absent ones, decoding them all at once would cost too much memory."""
_FEW_PATTERNS = 16
_PATTERN_BITS = 32
_SLOW_LINES = 32
"""A piece this small is read line by line."""
_OWN_COLUMNS = ("step", "epoch", "time")


class LogState(NamedTuple):
    """All that was read of a log, for keeping it elsewhere and going on from there."""

    place: Place
    lines: int
    bad_lines: int
    first_bad: str | None
    attempts: tuple[AttemptLine, ...]
    fields: tuple[str, ...]
    """Names of metrics in the order they came."""
    parts: tuple[FrameParts, ...]


class MetricLog:
    """One log, read as far as it is written; anything may happen to the file meanwhile."""

    def __init__(self, path: Path, tail: LineTail | None = None) -> None:
        """`tail` hands over the lines; one that follows the file by default."""
        self.path = path
        self.bad_lines = 0
        """Lines that were skipped."""
        self.first_bad: str | None = None
        """Where the first of them is, for a person."""
        self._tail = LineTail(path) if tail is None else tail
        self._generation = 0
        self._table = MetricTable()
        self._attempts: list[AttemptLine] = []
        self._lines = 0
        self._fields: dict[str, None] = {}  # the order of names, and so of the columns of a frame
        self._schema: LineSchema | None = None

    @classmethod
    def going_on(cls, path: Path, state: LogState) -> MetricLog:
        """The log at `path`, read as far as `state` says; a poll finds out if the file is another one by now.

        Args:
            path: The file.
            state: What was read of it; the arrays are the log's from now on, to write into.
        """
        log = cls(path)
        log._tail.go_on_from(state.place)
        log._table = MetricTable.of_parts(state.parts)
        log._lines, log.bad_lines, log.first_bad = state.lines, state.bad_lines, state.first_bad
        log._attempts, log._fields = list(state.attempts), dict.fromkeys(state.fields)
        return log

    @property
    def state(self) -> LogState | None:
        """What was read so far, the arrays read-only; None where it cannot be gone on from."""
        place = self._tail.place
        if place is None:
            return None
        parts, attempts = tuple(self._table.parts()), tuple(self._attempts)
        return LogState(place, self._lines, self.bad_lines, self.first_bad, attempts, tuple(self._fields), parts)

    @property
    def read_bytes(self) -> int:
        """How much of the file was read."""
        return self._tail.offset

    def poll(self, limit_bytes: int | None = None) -> bool:
        """Read what was appended since; True if anything changed.

        Args:
            limit_bytes: Stop after about so much, for a reader that must not be late; then `is_behind`. Default: none.
        """
        changed, done_bytes = False, 0
        while (limit_bytes is None or done_bytes < limit_bytes) and (lines := self._tail.poll()):
            if self._tail.generation != self._generation:
                self._restart()
            self._read(lines)
            changed, done_bytes = True, done_bytes + len(lines)
        if self._tail.generation != self._generation:  # cut to nothing
            self._restart()
            changed = True
        return changed

    @property
    def is_behind(self) -> bool:
        """Whether more was there to read at the last look than was read."""
        return self._tail.is_behind

    @property
    def generation(self) -> int:
        """Counts how often the file was replaced or cut, and read anew."""
        return self._generation

    @property
    def problem(self) -> str | None:
        """Why nothing more can be read, for a person; None while all is well or the file never was."""
        return self._tail.problem

    @property
    def names(self) -> list[str]:
        """The metrics that have values, in the order they came."""
        return self._table.names

    @property
    def attempts(self) -> tuple[AttemptLine, ...]:
        """The attempt lines so far."""
        return tuple(self._attempts)

    @property
    def last_step(self) -> int | None:
        """The step of the newest line that is not abandoned."""
        return self._table.last_step

    def series(self, name: str) -> Columns:
        """All values of a metric, abandoned ones included; empty for an unknown name.

        The arrays are read-only, stay as they are while the log grows, and are shared between metrics of one line.
        """
        return self._table.series(name)

    def last(self, name: str) -> float | None:
        """The newest value of a metric that is not abandoned."""
        return self._table.last(name)

    def version(self, name: str) -> int:
        """Rises whenever the series of `name` changes; 0 before its first value."""
        return self._table.version(name)

    def _restart(self) -> None:
        self._generation = self._tail.generation
        self._table.clear()
        self._attempts.clear()
        self._lines, self.bad_lines, self.first_bad = 0, 0, None

    def _read(self, lines: bytes) -> None:
        """Take in a piece of whole lines."""
        if self._read_at_once(lines):
            return
        count = lines.count(b"\n")
        if count <= _SLOW_LINES:
            self._read_one_by_one(lines)
            return
        middle = lines.find(b"\n", len(lines) // 2) + 1
        if middle in {0, len(lines)}:
            middle = lines.rfind(b"\n", 0, len(lines) - 1) + 1
        self._read(lines[:middle])
        self._read(lines[middle:])

    def _read_at_once(self, lines: bytes) -> bool:
        """Whether every line was as the schema says; if not, nothing was taken in."""
        if len(self._fields) > _MAX_FIELDS:
            return False
        if self._schema is None or self._schema.made_of != len(self._fields):
            self._schema = LineSchema(tuple(self._fields))
        found = self._schema.decode(lines)
        if found is None:
            return False
        if found:
            get = operator.attrgetter
            columns = [np.fromiter(map(get(own), found), np.float64, len(found)) for own in _OWN_COLUMNS]
            values = {name: to_column(get(field), found) for name, field in self._schema.field_of.items()}
            first = self._lines + 1
            self._store(np.arange(first, first + len(found), dtype=np.uint32), columns, values)
        self._lines += _count_lines(lines)
        return True

    def _read_one_by_one(self, lines: bytes) -> None:
        waiting: list[_Line] = []
        for text in lines.split(b"\n")[:-1]:
            self._lines += 1
            fields = decode_line(text) if text.strip() else None
            attempt = attempt_of(fields)
            if attempt is not None:
                self._store_lines(waiting)
                waiting = []
                self._attempts.append(attempt)
                self._table.abandon(attempt.from_step)
            elif isinstance(fields, dict) and (step := step_of(fields)) is not None:
                waiting.append(_Line(self._lines, step, fields))
            elif text.strip():
                self._count_bad("is not JSON" if fields is None else "has no step")
        self._store_lines(waiting)

    def _store_lines(self, lines: list[_Line]) -> None:
        if not lines:
            return
        names = {name: None for line in lines for name in line.fields if name not in OWN_FIELDS}
        for name in names:
            if len(self._fields) < MAX_NAMES:
                self._fields.setdefault(name)
        columns = [
            np.array([line.step for line in lines], np.float64),
            np.array([to_finite(line.fields.get("epoch"), 0.0) for line in lines]),
            np.array([to_finite(line.fields.get("time"), math.nan) for line in lines]),
        ]
        values = {name: to_column(_getter(name), lines) for name in self._fields if name in names}
        self._store(np.array([line.number for line in lines], np.uint32), columns, values)

    def _store(
        self, number: NDArray[np.uint32], own: list[NDArray[np.float64]], values: Mapping[str, NDArray[np.float64]]
    ) -> None:
        """Append rows, those that carry the same metrics together."""
        step, epoch, time = own
        rows = Rows(number, step, time, np.clip(epoch, 0, 2**31 - 1).astype(np.int32))
        absent = {name: is_absent(column) for name, column in values.items()}
        partial = [name for name, mask in absent.items() if mask.any()]
        if not partial:
            self._table.extend(rows, values)
            return
        for which in _alike([absent[name] for name in partial]):
            carried = {name: column[which] for name, column in values.items() if not absent[name][which[0]]}
            self._table.extend(rows.select(which), carried)

    def _count_bad(self, why: str) -> None:
        self.bad_lines += 1
        if self.first_bad is None:
            self.first_bad = f"{self.path.name} line {self._lines:,} {why}; skipped."


def _alike(absent: list[NDArray[np.bool_]]) -> list[NDArray[np.int64]]:
    """The lines that lack the same metrics, together and in their order; `absent` says for a metric which lack it."""
    pattern = np.zeros(len(absent[0]), np.int64)
    for count, mask in enumerate(absent, 1):
        pattern = 2 * pattern + mask
        if count % _PATTERN_BITS == 0:  # numbered anew, so that they fit into an integer
            pattern = np.unique(pattern, return_inverse=True)[1].reshape(-1)
    found = np.unique(pattern)
    if len(found) <= _FEW_PATTERNS:  # the usual log has three or four, and is sorted for nothing
        return [np.flatnonzero(pattern == one) for one in found]
    order = np.argsort(pattern, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(pattern[order])) + 1)


class _Line(NamedTuple):
    """A line read by itself."""

    number: int
    step: int
    fields: dict[str, Any]


def _count_lines(lines: bytes) -> int:
    """Ten times as fast as `bytes.count`, which looks for one after the other."""
    return int(np.count_nonzero(np.frombuffer(lines, np.uint8) == ord("\n")))


def _getter(name: str) -> Callable[[_Line], object]:
    return lambda line: line.fields.get(name, ABSENT)
