"""What was asked of a run, on its way from `control/` to the loop.

The heartbeat's thread looks into the directory once a second; the loop looks at a queue, which costs it nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from ckptop.store.control import answer, ids_of, pending
from ckptop.store.layout import RunPaths
from ckptop.store.records import ControlRequest


class Inbox:
    """Requests to one attempt, each handed over once; what is older than the attempt is refused."""

    def __init__(self, paths: RunPaths, attempt: int, step: Callable[[], int]) -> None:
        """`step` tells the optimizer steps done, for the answers."""
        self._paths, self._attempt, self._step = paths, attempt, step
        self._older: frozenset[str] = frozenset()
        with contextlib.suppress(OSError):
            self._older = frozenset(ids_of(paths))
        self._arrived: deque[ControlRequest] = deque()
        self._arrival = threading.Event()
        self._seen: set[str] = set()
        self._save_asked_by: str | None = None
        self.has_news = False
        """Whether something may wait to be taken; a plain attribute, since the loop looks at it every step."""

    def look(self) -> None:
        """Take over what is new in the directory, and answer what must be refused. Of the heartbeat's thread."""
        with contextlib.suppress(OSError):
            found = pending(self._paths, older=self._older)
            for refused in found.refused:
                if refused.id in self._seen:
                    continue  # its file could not be removed; once is enough
                self._seen.add(refused.id)
                answer(self._paths, refused, False, f"refused: {refused.reason}", attempt=self._attempt)
            for request in found.requests:
                if request.id not in self._seen:
                    self._seen.add(request.id)
                    self._arrived.append(request)
                    self.has_news = True
                    self._arrival.set()

    def take(self) -> list[ControlRequest]:
        """Requests that came since the last call; `take_save_request` after it, so that no news is missed."""
        self.has_news = False
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def answer(self, request: ControlRequest, ok: bool, message: str) -> None:
        """Answer a request: a `control` event, then the request's file is removed."""
        with contextlib.suppress(OSError):
            answer(self._paths, request, ok, message, attempt=self._attempt, step=self._step())

    def wait(self, seconds: float) -> None:
        """Wait until a request comes, `seconds` at most; what came before the call does not wait."""
        if not self._arrived:
            self._arrival.wait(seconds)
        self._arrival.clear()

    def ask_for_save(self, asked_by: str) -> None:
        """Ask for a checkpoint after this step from within the process; safe in a signal handler."""
        self._save_asked_by = asked_by
        self.has_news = True

    def take_save_request(self) -> str | None:
        """Who asked by `ask_for_save` since the last call."""
        asked_by, self._save_asked_by = self._save_asked_by, None
        return asked_by
