"""A program in a pty: what it writes is stamped as it comes, and only afterwards drawn and looked at.

Drawing with pyte costs more than most programs do; done at once, on two cores, it would slow down what it measures.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyte
from support.report import environment

LIMIT_SECONDS = 60.0

QUESTIONS = {
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",  # synchronised output: yes, as in most terminals of today
    b"\x1b[?2048$p": b"\x1b[?2048;0$y",
    b"\x1b[6n": b"\x1b[1;1R",
    b"\x1b[c": b"\x1b[?62;22c",
}
"""What programs ask a terminal, and what it answers."""

_UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=?][0-9;:]*(?:[uqcmnp]|\$p)|\x1bP.*?\x1b\\|\x1b_.*?\x1b\\", re.DOTALL)

Lines = list[str]
"""A screen, a line a row."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program used between two moments."""

    seconds: float
    cpu_percent: float
    """Of one core."""
    output_bytes: int
    writes: int
    """Bursts of output with a pause of 10 ms between them."""

    @property
    def bytes_per_second(self) -> float:
        """Output."""
        return self.output_bytes / self.seconds


class Terminal:
    """A program and its terminal; a context manager that kills it. Times are seconds since it was started."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, columns: int = 120, rows: int = 40
    ) -> None:
        self._size = columns, rows
        self._chunks: list[tuple[float, bytes]] = []
        self._arrived = threading.Condition()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._drawn = 0
        self._descriptor, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        whole_env = {**environment(), "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.began = time.perf_counter()
        """The moment all times count from."""
        # As its controlling terminal, so that the program is hung up on where this process is killed.
        argv = ["setsid", "--ctty", *argv]
        self._process = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, env=whole_env)
        os.close(child)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began

    @property
    def peak_bytes(self) -> int:
        """Most memory resident at once."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def press(self, keys: str) -> float:
        """Press keys; when that was."""
        now = self.now
        os.write(self._descriptor, keys.encode())
        return now

    def rest(self, seconds: float) -> None:
        """Let the program go on for a time; an error if it ends."""
        time.sleep(seconds)
        if self._process.poll() is not None:
            raise RuntimeError("the program ended by itself:\n" + "\n".join(self.screen()))

    def rest_until_quiet(self, seconds: float) -> None:
        """Let it go on until it has written nothing for so long."""
        while (left := (self._chunks[-1][0] if self._chunks else 0.0) + seconds - self.now) > 0:
            self.rest(left)

    def wait_for_bytes(self, words: str) -> None:
        """Wait until `words` came, drawing nothing; they must not be broken by a change of style."""
        wanted, seen, tail = words.encode(), 0, b""
        with self._arrived:
            while wanted not in tail:
                if len(self._chunks) == seen and not self._arrived.wait(LIMIT_SECONDS - self.now):
                    raise RuntimeError(f"waited in vain for {words!r}; the screen:\n" + "\n".join(self.screen()))
                tail = tail[-len(wanted) :] + b"".join(data for _, data in self._chunks[seen:])
                seen = len(self._chunks)

    def wait_until(self, condition: Callable[[Lines], bool]) -> float:
        """Draw what comes until the screen fulfils `condition`; when what fulfilled it had come."""
        deadline = self.now + LIMIT_SECONDS
        while self.now < deadline:
            for at, lines in self._draw():
                if condition(lines):
                    return at
            with self._arrived:
                self._arrived.wait_for(lambda: len(self._chunks) > self._drawn, 0.5)
        raise RuntimeError("waited in vain; the screen:\n" + "\n".join(self.screen()))

    def screen(self) -> Lines:
        """The screen as it stands."""
        for _ in self._draw():
            pass
        return list(self._screen.display)

    def frames(self) -> Iterator[tuple[float, Lines]]:
        """All that was written, drawn anew piece by piece: when it came, and the screen after it."""
        screen = pyte.Screen(*self._size)
        stream = pyte.ByteStream(screen)
        for at, data in list(self._chunks):
            stream.feed(_UNKNOWN_TO_PYTE.sub(b"", data))
            yield at, screen.display

    def first_time(self, condition: Callable[[Lines], bool]) -> float:
        """When the screen first fulfilled `condition`."""
        for at, lines in self.frames():
            if condition(lines):
                return at
        raise RuntimeError("the screen never did:\n" + "\n".join(self.screen()))

    def settled_time(self, part: Callable[[Lines], Lines]) -> float:
        """When a part of the screen last changed."""
        settled, before = 0.0, part([" " * self._size[0]] * self._size[1])
        for at, lines in self.frames():
            if (now := part(lines)) != before:
                settled, before = at, now
        return settled

    def output_since(self, moment: float) -> list[tuple[float, int]]:
        """Times and sizes of what came after `moment`."""
        return [(at, len(data)) for at, data in list(self._chunks) if at > moment]

    def measure(self, seconds: float) -> Usage:
        """Let the program go on for a time and say what it used."""
        start, cpu = self.now, self._cpu_seconds()
        self.rest(seconds)
        used, end = self._cpu_seconds() - cpu, self.now
        output = self.output_since(start)
        times = [start - 1.0, *(at for at, _ in output)]
        writes = sum(after - before > 0.01 for before, after in itertools.pairwise(times))
        return Usage(end - start, used / (end - start) * 100, sum(size for _, size in output), writes)

    def _cpu_seconds(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _draw(self) -> Iterator[tuple[float, Lines]]:
        while self._drawn < len(self._chunks):
            at, data = self._chunks[self._drawn]
            self._drawn += 1
            self._stream.feed(_UNKNOWN_TO_PYTE.sub(b"", data))
            yield at, self._screen.display

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # EIO: the program has ended
                return
            now = self.now
            for question, reply in QUESTIONS.items():
                if question in data:
                    os.write(self._descriptor, reply)
            with self._arrived:
                self._chunks.append((now, data))
                self._arrived.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()  # else it would read from the next terminal, whose descriptor has the same number
        os.close(self._descriptor)
