"""Messages that cross from the reader thread to the screen."""

from __future__ import annotations

from dataclasses import dataclass

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
