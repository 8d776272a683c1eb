"""What `u` takes back: the last thing that was done here and can be undone, then the one before."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ckptop.tui.front import Front

TakeBack = Callable[[], Coroutine[Any, Any, bool]]
"""Takes one thing back and says so; False where it failed, with the reason said."""


class Undoing:
    """The things done from one main screen, newest last."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._steps: list[TakeBack] = []

    def remember(self, take_back: TakeBack) -> None:
        """Something was done; this takes it back."""
        self._steps.append(take_back)

    def undo(self) -> None:
        """Take the last thing back."""
        if not self._steps:
            self._front.say("Nothing to undo.", "warning")
            return
        self._front.start(self._undo(self._steps.pop()))

    async def _undo(self, take_back: TakeBack) -> None:
        if not await take_back():
            self._steps.append(take_back)  # it may go better the next time
