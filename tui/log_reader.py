"""The thread behind the log: it follows one file while somebody looks, and goes and finds what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptop.tui.log_window import Found, LogFile, Window

LOOK_SECONDS = 0.25
"""Between two looks at a file: one `stat` each."""
STREAM_SECONDS = 0.9
"""The same while it keeps growing."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, from where and which way; see `LogFile.search`."""

    needle: str
    offset: int
    direction: int
    turns: bool = False
    """Whether to look the other way where nothing was found this way."""


@dataclass(frozen=True, slots=True)
class LogAsked:
    """What is wanted of the log."""

    path: Path | None
    """None for nothing: the thread rests."""
    offset: int | None = None
    """Around which byte; None for the end, which is followed."""
    search: Search | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LogRead:
    """What was read for a wish."""

    asked: LogAsked
    window: Window
    found: Found | None = None


class LogReader:
    """Reads for one pane. `run` is the thread's; the rest may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._asked = LogAsked(None)
        self._is_new = self._is_stopped = False

    def ask(self, asked: LogAsked) -> None:
        """From now on this; a search that is under way ends."""
        with self._condition:
            self._asked, self._is_new = asked, True
            self._condition.notify()

    def stop(self) -> None:
        """Let `run` return soon."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def run(self, post: Callable[[LogRead], None]) -> None:
        """Read and post, until `stop`; what cannot be read is said in the window, never raised."""
        shown: LogRead | None = None
        pause: float | None = None
        while (asked := self._next(pause)) is not None:
            read = self._read(asked, shown)
            if read is not None and (shown is None or read.window is not shown.window or read.found is not None):
                post(read)
            follows = asked.path is not None and asked.offset is None and asked.search is None
            grew = read is not None and shown is not None and read.window is not shown.window
            pause = None if not follows else STREAM_SECONDS if grew else LOOK_SECONDS
            shown = read or shown

    def _next(self, pause: float | None) -> LogAsked | None:
        """What is to be read: at once what was asked for, the same again after `pause` seconds; None to stop."""
        with self._condition:
            if not self._is_new and not self._is_stopped:
                self._condition.wait(pause)
            self._is_new = False
            return None if self._is_stopped else self._asked

    def _read(self, asked: LogAsked, shown: LogRead | None) -> LogRead | None:
        """What was asked for; None where that is nothing, or another wish came meanwhile."""
        if asked.path is None:
            return None
        file = LogFile(asked.path)
        known = shown.window if shown is not None and shown.asked.path == asked.path else None
        if asked.search is None:
            return LogRead(asked, file.at_end(known) if asked.offset is None else file.around(asked.offset))
        found = self._search(file, asked.search)
        if self._is_overtaken():
            return None
        if found.offset is None:
            return LogRead(asked, known or file.at_end(), found)
        return LogRead(asked, file.around(found.offset), found)

    def _search(self, file: LogFile, search: Search) -> Found:
        found = file.search(search.needle, search.offset, search.direction, self._is_overtaken)
        if found.offset is None and search.turns:
            turned = file.search(search.needle, search.offset, -search.direction, self._is_overtaken)
            found = found if turned.offset is None else turned
        return found

    def _is_overtaken(self) -> bool:
        with self._condition:
            return self._is_new or self._is_stopped
