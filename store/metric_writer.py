"""The writing side of metrics.jsonl: one line a step, one `os.write` a line.

Nothing waits in the process, so a SIGKILL loses nothing; and logging never stops a training: on a full disk lines are
lost, counted and told of (`lost_lines`, `problem`). Only the attempt line, on which the meaning of the file hangs,
raises.
"""

from __future__ import annotations

import math
import operator
import os
import re
import threading
import time as clock
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.errors import DiskError, UsageError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.lines import is_torn, open_lines
from ckptop.store.manifest import as_float, to_stored

RESERVED_NAMES = frozenset({"step", "epoch", "time", "attempt", "from_step"})
"""Fields of the line itself."""

MAX_NAME_LENGTH = 200

_COPY_BYTES = 1 << 20

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class MetricWriter:
    """Appends to one log of metrics; safe to call from several threads.

    Raises:
        DiskError: The file cannot be opened or made.
    """

    def __init__(self, path: Path, *, fs: FileSystem = LOCAL) -> None:
        self.path = path
        self.lost_lines = 0
        """Lines the disk refused."""
        self.problem: str | None = None
        """Why the newest call failed, for a person; None after one that went well."""
        self._fs, self._write = fs, fs.write
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode
        self._checked_names: set[str] = set()
        try:
            self._descriptor = open_lines(path)
            self._is_torn = is_torn(self._descriptor)
        except OSError as error:
            raise DiskError(error.errno, f"{path} cannot be written: {error.strerror}") from error

    def log(self, step: int, metrics: Mapping[str, Any], epoch: int | None = None, time: float | None = None) -> bool:
        """Append the line of a step; False if the disk refused it.

        Args:
            step: Optimizer steps done, from 0.
            metrics: Name to whatever `float()` takes; a value on a GPU is waited for. Whole numbers stay whole.
            epoch: From 1.
            time: Seconds since the epoch; now by default.

        Raises:
            UsageError: A name or value cannot be logged, or the writer is closed; nothing was written.
        """
        line: dict[str, Any] = {"step": step if type(step) is int else _whole(step)}
        if epoch is not None:
            line["epoch"] = epoch if type(epoch) is int else _whole(epoch)
        line["time"] = clock.time() if time is None else time
        for name, value in metrics.items():
            if name not in self._checked_names:
                self._check_name(name)
            # A difference of NaN or infinity with itself is not zero: one comparison for the common case.
            line[name] = value if type(value) is float and value - value == 0.0 else _number(name, value)
        return self._append(self._encode(line) + b"\n")

    def attempt(self, attempt: int, from_step: int) -> None:
        """Append the line that begins an attempt, durably; it abandons every earlier line past `from_step`.

        Raises:
            DiskError: The disk refused; the attempt must not begin.
            UsageError: The writer is closed.
        """
        line = {"attempt": attempt, "from_step": from_step, "time": clock.time()}
        if not (self._append(self._encode(line) + b"\n") and self.sync()):
            raise DiskError(f"{self.problem}; attempt {attempt} did not begin")

    def sync(self) -> bool:
        """Wait until all lines are durable; False if the disk refused.

        A file that somebody removed meanwhile is written anew, with all that was logged: we still hold it open.

        Raises:
            UsageError: The writer is closed.
        """
        try:
            descriptor = self._open_descriptor()
            if os.fstat(descriptor).st_nlink == 0:
                self._write_anew()
            self._fs.fsync(self._open_descriptor())
        except OSError as error:
            self.problem = f"{self.path.name} cannot be made durable: {error.strerror}"
            return False
        return True

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                self._fs.close(self._descriptor)
                self._descriptor = -1

    def _append(self, line: bytes) -> bool:
        with self._lock:
            descriptor = self._descriptor
            if descriptor < 0:
                raise self._closed()
            if self._is_torn:
                line = b"\n" + line
            try:
                written = self._write(descriptor, line)
                if written < len(line):
                    self._is_torn = True
                    self._fs.write_all(descriptor, memoryview(line)[written:])
            except OSError as error:
                self.lost_lines += 1
                self.problem = f"{self.path.name} cannot be written: {error.strerror}; {self.lost_lines} lines lost"
                return False
            self._is_torn = False
            self.problem = None
        return True

    def _write_anew(self) -> None:
        with self._lock:
            old, self._descriptor = self._descriptor, -1
            self._fs.mkdir(self.path.parent)
            new = open_lines(self.path)
            offset = 0
            while chunk := os.pread(old, _COPY_BYTES, offset):
                self._fs.write_all(new, chunk)
                offset += len(chunk)
            self._descriptor = new
            self._fs.close(old)

    def _open_descriptor(self) -> int:
        if self._descriptor < 0:
            raise self._closed()
        return self._descriptor

    def _closed(self) -> UsageError:
        return UsageError(f"{self.path.name} is closed; log before the run is finished")

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not name or len(name) > MAX_NAME_LENGTH or _UNWRITABLE.search(name):
            raise UsageError(
                f"{name!r} cannot name a metric: use 1 to {MAX_NAME_LENGTH} characters, none of them control characters"
            )
        if name in RESERVED_NAMES:
            raise UsageError(f"{name!r} is a field of the line itself; choose another name for the metric")
        self._checked_names.add(name)


def _whole(value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # whether it takes it is the question
    except TypeError:
        raise UsageError(f"{value!r} is no whole number; step and epoch are counted") from None


def _number(name: str, value: object) -> float | str:
    if type(value) is int and -(2**53) <= value <= 2**53:
        return value
    try:
        number = as_float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch raises RuntimeError
        raise UsageError(f"metric {name!r} is not one number: {error}") from None
    return to_stored(number) if not math.isfinite(number) else number
