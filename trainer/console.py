"""What a training says: plain lines on stdout and in train.log, and a bar on a terminal.

Nothing here can stop a training: a terminal or a pipe that has gone away is no longer written to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import IO, TextIO

from ckptop.host.terminal import clean
from ckptop.host.units import format_duration

_BAR_SECONDS = 0.1
"""Between repaints of the bar, at least."""
_BAR_CELLS = 24
_CLEAR_LINE = "\r\x1b[K"


class Console:
    """Says a line once to everybody: the stream and, unless that is the very file, train.log. Any thread may."""

    def __init__(self, log: Path, stream: TextIO | None) -> None:
        """Opens `log` for appending; OSError if that is refused. Without a stdout at all `stream` is None."""
        self._stream: IO[str] | None = stream
        self._log: IO[str] | None = log.open("a", encoding="utf-8")
        if stream is not None and _is_same_file(stream, self._log):
            self._log.close()
            self._log = None
        self._has_bar = stream is not None and _is_terminal(stream)
        self._bar = ""
        self._painted = 0.0
        self._lock = threading.RLock()

    def say(self, line: str) -> None:
        """One plain line; what a request or a file name slipped into it is cleaned."""
        line = clean(line)
        with self._lock:
            self._print(f"{_CLEAR_LINE if self._bar else ''}{line}\n")
            self.note(line)
            if self._bar:
                self._print(self._bar)

    def note(self, line: str) -> None:
        """One line for train.log alone."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk; the checkpoint will say so
                self._log.write(f"{line}\n")
                self._log.flush()

    def keep(self, text: str) -> None:
        """Lines for train.log that nobody prints: where the stream is that very file, they go there."""
        if self._log is not None:
            self.note(text)
        else:
            with self._lock:
                self._print(f"{text}\n")

    def bar(self, epoch: int, epochs: int, step: int, steps: int, loss: float, step_seconds: float) -> None:
        """Repaint the bar, on a terminal and not too often."""
        if not self._has_bar or (now := time.monotonic()) - self._painted < _BAR_SECONDS:
            return
        self._painted = now
        done = int(_BAR_CELLS * step / max(1, steps))
        text = (
            f"Epoch {epoch}/{epochs} {'━' * done}{'─' * (_BAR_CELLS - done)} {step:,}/{steps:,}"
            f" · loss {loss:.4f} · {format_duration(max(0, steps - step) * step_seconds)} left"
        )
        with self._lock:
            self._bar = _CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1]
            self._print(self._bar)

    def close(self) -> None:
        """Remove the bar and close the log."""
        if self._bar:
            self._print(_CLEAR_LINE)
            self._bar = ""
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()

    def _print(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # EIO, EPIPE, closed
            _silence(self._stream)
            self._stream = None


def _is_same_file(stream: IO[str], log: IO[str]) -> bool:
    try:
        return os.path.sameopenfile(stream.fileno(), log.fileno())
    except (OSError, ValueError):  # not a real file, as under pytest
        return False


def _is_terminal(stream: TextIO) -> bool:
    try:
        "━".encode(stream.encoding or "ascii")
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (OSError, ValueError):  # closed, or an encoding without such characters
        return False


def _silence(stream: IO[str]) -> None:
    """Let what is left in the buffer go nowhere: Python flushes it at exit, and would fail with code 120."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
