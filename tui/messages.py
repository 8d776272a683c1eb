"""Messages that cross from the reader thread to the screen, and those that several panes send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.message import Message

from ckptop.tui.model import Snapshot


@dataclass
class ReadFailed(Message):
    """A look failed as a whole; the next one may not."""

    error: Exception


@dataclass
class SnapshotRead(Message):
    """A new look at the store; it makes an older one that still waits worthless."""

    snapshot: Snapshot

    def can_replace(self, message: Message) -> bool:
        """Whether `message` need not be handled any more."""
        return isinstance(message, SnapshotRead)


Place = Literal["chart", "log", "hardware", "resume"]
"""Where the cause of something is to be seen; or the form that takes its run back to the best."""


@dataclass
class CauseOpened(Message):
    """A person wants to see what something in a list is about."""

    run: str
    """Name of its run; empty where it is of the machine."""
    place: Place
    step: int | None = None
    metric: str | None = None
    """Whose chart; the chosen one where that is not known."""
