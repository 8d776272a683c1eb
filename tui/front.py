"""What every action of the dashboard shares: the run it means, the toast it ends with, work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from textual.screen import Screen

from ckptop.host.terminal import clean
from ckptop.store.errors import CkptopError
from ckptop.tui.model import RunDetail

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView
    from ckptop.tui.reader import StoreReader
    from ckptop.tui.screens.acting import ActingScreen

T = TypeVar("T")

TOAST_SECONDS = 5


class Front:
    """One main screen as its actions see it."""

    def __init__(self, screen: ActingScreen, reader: StoreReader) -> None:
        self._screen = screen
        self.reader = reader

    def say(self, message: str, severity: str = "information") -> None:
        """Show a toast; the app shows the same one once at a time."""
        self._screen.notify(clean(message), severity=severity, timeout=TOAST_SECONDS, markup=False)  # type: ignore[arg-type]  # one of Textual's three words

    @property
    def detail(self) -> RunDetail | None:
        """The selected run as it is shown; None where there is none."""
        return self._screen.snapshot.detail if self._screen.snapshot is not None else None

    def view(self) -> RunView | None:
        """The selected run as the store read it; None where it could not, or has not yet, with the reason said."""
        detail, at_cursor = self.detail, self._screen.run_at_cursor
        if detail is not None and at_cursor is not None and at_cursor.name != detail.row.name:
            self.say(f"{at_cursor.label} is still being read; press it again.", "warning")
            return None  # what is shown is of the run that the cursor has left
        if detail is not None and detail.view is None:
            self.say(detail.row.problem or "This run cannot be read.", "warning")
        return detail.view if detail is not None else None

    @property
    def run_names(self) -> frozenset[str]:
        """Names of the runs there are."""
        snapshot = self._screen.snapshot
        return frozenset(row.name for row in snapshot.runs) if snapshot is not None else frozenset()

    def refusal(self) -> str | None:
        """Why nothing in this store may be changed; None where it may."""
        snapshot = self._screen.snapshot
        if snapshot is None or snapshot.writable:
            return None
        return snapshot.problem or "The store is read-only."

    def view_to_change(self) -> RunView | None:
        """The selected run, where it may be changed; else None, with the reason said."""
        refusal = self.refusal()
        if refusal is not None:
            self.say(refusal, "warning")
            return None
        return self.view()

    async def ask(self, dialog: Screen[T]) -> T | None:
        """Show a dialog and wait for its answer; None where it was left."""
        return await self._screen.app.push_screen_wait(dialog)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let an action go on by itself."""
        self._screen.run_worker(work, group="actions")

    def wake(self, names: Iterable[str]) -> None:
        """These runs have changed; the empty name is the store itself."""
        self.reader.wake(names)

    def show_progress(self, text: str) -> None:
        """Show how far something is that takes its time; empty when it is over."""
        self._screen.show_progress(text)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Run a call of the store outside the event loop; None where it failed, with the error said."""
        try:
            return await asyncio.to_thread(function, *arguments)
        except (CkptopError, OSError) as error:
            self.say(str(error), "error")
            return None


def bytes_of(infos: Sequence[CheckpointInfo]) -> int:
    """Bytes of checkpoints, each inode once."""
    return sum({info.inode: info.size_bytes for info in infos}.values())


def counted(count: int, noun: str) -> str:
    """`1 checkpoint`, `7 checkpoints`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
