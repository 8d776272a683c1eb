"""A real terminal program in a real pty, its screen kept by pyte: type, wait for words, read the screen."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

WAIT_SECONDS = 90.0


class TerminalProgram:
    """A program whose terminal this is. As a context manager it is ended on leaving, if it still runs."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        columns: int = 120,
        rows: int = 40,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.written = bytearray()
        """Every byte that came."""
        self._descriptor, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # The size is said twice: once, on a busy machine, a program took the usual 80x24 for it, and nobody knows why.
        size = {"COLUMNS": str(columns), "LINES": str(rows)}
        whole_env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **size, **(env or {})}
        self.process = subprocess.Popen(
            argv, stdin=child, stdout=child, stderr=child, cwd=cwd, env=whole_env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # single-threaded here
        )  # fmt: skip
        os.close(child)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    @property
    def title(self) -> str:
        """What the window is called."""
        return self._screen.title

    def text(self) -> str:
        """The screen as it stands, a line a row."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def wait_until(self, condition: Callable[[str], bool], what: str, seconds: float = WAIT_SECONDS) -> str:
        """Read on until the screen fulfils `condition`; fails with the screen it saw last."""
        deadline = time.monotonic() + seconds
        while not condition(self.text()):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(min(left, 0.5)):
                raise AssertionError(f"waited in vain for {what}; the screen:\n{self.text()}")
        return self.text()

    def wait_for(self, words: str, seconds: float = WAIT_SECONDS) -> str:
        """Read on until `words` stand on the screen."""
        return self.wait_until(lambda text: words in text, repr(words), seconds)

    def wait_end(self, seconds: float = WAIT_SECONDS) -> int:
        """Read on until the program has ended; its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        while self._read(0.0):
            pass
        return self.process.wait(timeout=1)

    def wipe(self) -> None:
        """Empty the screen, as the shell does that had the terminal meanwhile."""
        self._screen.erase_in_display(2)

    def hang_up(self) -> None:
        """Close the terminal, as a dropped connection does."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _read(self, seconds: float) -> bool:
        """Take in what is there; False once nobody writes any more."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._descriptor >= 0:
            os.close(self._descriptor)
