"""Where the curves of a log of any length broke: of one that is too long, its end and evenly spaced pieces are read.

Where a curve broke between two pieces, what lies between them is looked at next, so that the step told is the right
one. A log of 10 GiB costs about a second so, instead of minutes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from ckptop.store.attempts import AttemptLine, attempts_in
from ckptop.store.breaks import Break, find_breaks
from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read
from ckptop.store.metric_lines import decode_line, step_of, to_finite
from ckptop.store.metric_log import MetricLog
from ckptop.store.tail import CHUNK_BYTES, LineTail

_BLOCK_BYTES = 64 * 1024
_MOST_GAPS = 3

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


class Limits(NamedTuple):
    """How much of a log is read."""

    whole_bytes: int = 256 << 20
    """A log up to this size is read whole, which takes two or three seconds."""
    tail_bytes: int = 16 << 20
    """Of a longer one so much of the end is read; so much between two pieces is read at once."""
    pieces: int = 256
    piece_bytes: int = 64 << 10
    rounds: int = 4
    """How often it is looked closer; of a metric that stands on every line three are enough up to 4 TiB."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Curves:
    """What is known of the curves of a run."""

    breaks: tuple[Break, ...] = ()
    last_step: int = 0
    """The last step that was logged and is not abandoned."""
    size_bytes: int = 0
    """Of the log."""
    read_bytes: int = 0
    """How much of it was looked at."""

    @property
    def is_sampled(self) -> bool:
        """Whether something may have been missed between what was looked at."""
        return self.read_bytes < self.size_bytes


def bytes_to_read(size_bytes: int, limits: Limits = LIMITS) -> int:
    """About how many bytes `read_curves` reads of a log of that size."""
    return size_bytes if size_bytes <= limits.whole_bytes else limits.tail_bytes + limits.pieces * limits.piece_bytes


def read_curves(
    path: Path, attempts: Sequence[AttemptLine], progress: Progress = lambda _bytes: None, limits: Limits = LIMITS
) -> Curves:
    """Where the curves of a log broke; nothing of one that is not there or cannot be read.

    Args:
        path: The log.
        attempts: Those of run.json, oldest first: their lines may stand where nothing is read.
        progress: Called with the bytes read.
        limits: How much is read.
    """
    try:
        if not path.is_file():
            return Curves()
        size_bytes = path.stat().st_size
    except OSError:
        return Curves()
    if size_bytes <= limits.whole_bytes:
        ranges = [Range(0, size_bytes)]
    else:
        end = size_bytes - limits.tail_bytes
        ranges = [*_spread(Range(0, end), limits), Range(end, size_bytes)]
    for _ in range(limits.rounds):
        pieces = _Pieces(path, ranges, attempts, progress)
        log = MetricLog(path, pieces)
        log.poll()
        breaks = [(one, _gap(log, one, pieces)) for one in find_breaks(log)]
        gaps = sorted({gap for _, gap in breaks if gap is not None})[-_MOST_GAPS:]
        if not gaps:
            break
        ranges = _merged([*ranges, *itertools.chain.from_iterable(_spread(gap, limits) for gap in gaps)])
    found = tuple(replace(one, may_be_earlier=gap is not None) for one, gap in breaks)
    return Curves(found, log.last_step or 0, size_bytes, sum(one.end - one.begin for one in pieces.ranges))


class Range(NamedTuple):
    """Bytes of a file; the lines that begin in it are meant."""

    begin: int
    end: int
    """Exclusive."""


def _spread(within: Range, limits: Limits) -> list[Range]:
    """All of it, or evenly spaced pieces where that is too much."""
    size_bytes = within.end - within.begin
    if size_bytes <= max(limits.tail_bytes, limits.pieces * limits.piece_bytes):
        return [within]
    begins = (within.begin + size_bytes * number // limits.pieces for number in range(limits.pieces))
    return [Range(begin, begin + limits.piece_bytes) for begin in begins]


def _merged(ranges: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    for one in sorted(ranges):
        if found and one.begin <= found[-1].end:
            found[-1] = Range(found[-1].begin, max(found[-1].end, one.end))
        else:
            found.append(one)
    return found


def _gap(log: MetricLog, one: Break, pieces: _Pieces) -> Range | None:
    """What was not read between a break and the value before it; None where that is nothing."""
    columns = log.series(one.metric)
    live = columns.step[~columns.abandoned]
    place = int(np.searchsorted(live, one.step))
    if place == live.size:
        return None  # a pace that was reckoned from the times of the lines
    return pieces.between(int(live[place - 1]) if place else None, one.step)


class _Pieces(LineTail):
    """Hands over the lines of some ranges of a file, and says which attempts began between them."""

    def __init__(
        self, path: Path, ranges: Sequence[Range], attempts: Sequence[AttemptLine], progress: Progress
    ) -> None:
        super().__init__(path)
        self.ranges = ranges
        self._attempts, self._progress = attempts, progress
        self._begun = 0
        """The newest attempt of what was handed over."""
        self._first_steps: list[tuple[int, int]] = []
        """The first step of a range, and the number of the range, as they were handed over."""
        self._lines = self._read()

    def poll(self) -> bytes:
        """The next lines; empty at the end."""
        return next(self._lines, b"")

    def between(self, earlier: int | None, later: int) -> Range | None:
        """What was not read between two steps; None where they are of one range."""
        first = -1 if earlier is None else self._range_of(earlier)
        last = self._range_of(later)
        begin = self.ranges[first].end if first >= 0 else 0
        end = self.ranges[last].begin
        return Range(begin, end) if begin < end else None

    def _range_of(self, step: int) -> int:
        """The last one that began no later: an attempt that went back stands after what it abandons."""
        return next((number for first, number in reversed(self._first_steps) if first <= step), 0)

    def _read(self) -> Iterator[bytes]:
        try:
            with open_to_read(self.path) as file:
                for number, whole in enumerate(self.ranges):
                    for begin in range(whole.begin, whole.end, CHUNK_BYTES):
                        part = Range(begin, min(begin + CHUNK_BYTES, whole.end))
                        lines = _lines_of(file.fileno(), part)
                        self._progress(part.end - part.begin)
                        if lines:
                            yield self._with_attempts(lines, number, is_first=begin == whole.begin)
        except (StoreError, OSError) as error:
            self.problem = f"{self.path.name} cannot be read: {error}"

    def _with_attempts(self, lines: bytes, number: int, *, is_first: bool) -> bytes:
        missed = []
        if is_first:
            first, when = _first_line(lines)
            self._first_steps.append((first, number))
            missed = [one for one in self._attempts if one.attempt > self._begun and one.time <= when]
        self._begun = max([self._begun, *(one.attempt for one in [*missed, *attempts_in(lines)])])
        return b"".join(msgspec.json.encode(one._asdict()) + b"\n" for one in missed if number) + lines


def _lines_of(descriptor: int, part: Range) -> bytes:
    """The whole lines that begin in a part of a file; a last one that is cut off, or endless, is left out."""
    base = max(0, part.begin - 1)  # whether a line begins with the part is told by the byte before
    data = os.pread(descriptor, part.end - base, base)
    if len(data) == part.end - base and not data.endswith(b"\n"):
        data += _rest_of_line(descriptor, part.end)
    first = data.find(b"\n") + 1 if part.begin else 0
    return data[first : data.rfind(b"\n") + 1] if 0 < first < part.end - base or not part.begin else b""


def _rest_of_line(descriptor: int, begin: int) -> bytes:
    """From within a line to its end; empty where that is too far."""
    rest = b""
    while len(rest) < CHUNK_BYTES and (block := os.pread(descriptor, _BLOCK_BYTES, begin + len(rest))):
        rest += block
        if end := rest.find(b"\n") + 1:
            return rest[:end]
    return b""


def _first_line(lines: bytes) -> tuple[int, float]:
    """Step and time of the first line that has a step; of none step 0, and a time before every attempt."""
    for text in lines.splitlines():
        fields = decode_line(text)
        step = step_of(fields) if isinstance(fields, dict) else None
        if step is not None:
            return step, to_finite(fields.get("time"), 0.0)
    return 0, 0.0
