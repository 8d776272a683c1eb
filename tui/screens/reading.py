"""A screen that follows a store: the thread that reads it, and the snapshot that it hands over."""

from __future__ import annotations

from textual import work
from textual.reactive import reactive
from textual.screen import Screen
from textual.worker import get_current_worker

from ckptop.host.terminal import clean
from ckptop.tui.messages import ReadFailed, SnapshotRead
from ckptop.tui.model import Snapshot
from ckptop.tui.reader import StoreReader

RETRY_SECONDS = 5.0
"""After a look that failed as a whole."""


class ReadingScreen(Screen[None]):
    """Its `snapshot` is the store as it was read last."""

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)

    def __init__(self, reader: StoreReader) -> None:
        super().__init__()
        self._reader = reader

    def on_unmount(self) -> None:
        """Let the reader thread go."""
        self._reader.stop()

    @work(thread=True, exclusive=True, group="reader", exit_on_error=False)
    def read_store(self) -> None:
        """Look at the store until the screen is left; snapshots come as messages."""
        worker = get_current_worker()

        def post(snapshot: Snapshot) -> None:
            if not worker.is_cancelled:  # cancelled means stale
                self.post_message(SnapshotRead(snapshot))

        while not worker.is_cancelled and not self._reader.is_stopped:
            try:
                self._reader.run(post)
            except Exception as error:  # noqa: BLE001  a thread must never die silently
                self.post_message(ReadFailed(error))
                worker.cancelled_event.wait(RETRY_SECONDS)

    def on_read_failed(self, message: ReadFailed) -> None:
        """Say so; the thread tries again."""
        message.stop()
        said = str(message.error) or type(message.error).__name__
        self.notify(clean(f"The store cannot be read: {said}"), severity="error", markup=False)

    def on_snapshot_read(self, message: SnapshotRead) -> None:
        """Hand the snapshot down to whatever is bound to it."""
        message.stop()
        before, unwatched = self.snapshot, message.snapshot.unwatched
        if unwatched is not None and (before is None or before.unwatched is None):
            self.notify(unwatched[0].upper() + unwatched[1:], severity="warning", markup=False)
        self.snapshot = message.snapshot
