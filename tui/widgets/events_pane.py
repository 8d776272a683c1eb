"""What happened to the selected run, one event a row, the newest at the bottom."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.worker import get_current_worker

from ckptop.host.units import format_count, shorten_right
from ckptop.store.layout import RunPaths
from ckptop.tui.event_rows import EventRow, Timeline, moment
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.messages import CauseOpened
from ckptop.tui.model import Snapshot
from ckptop.tui.text import Line, Span, pad
from ckptop.tui.theme import GLYPHS
from ckptop.tui.watcher import Watcher
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.pane_rule import figure, rule_line

LOOK_SECONDS = 0.5
MOMENT_WIDTH, STEP_WIDTH = 11, 11

LOOKS: dict[str, tuple[str, str]] = {
    "alert": (GLYPHS["alert"][0], "warning"),
    "failed": (GLYPHS["failed"][0], "error"),
    "finished": (GLYPHS["finished"][0], "success"),
    "stopped": (GLYPHS["stopped"][0], "foreground"),
    "started": (GLYPHS["running"][0], "success"),
    "milestone": (GLYPHS["milestone"][0], "foreground"),
    "promoted": (GLYPHS["best"][0], "foreground"),
    "saved": (GLYPHS["checkpoint"][0], "muted"),
}
"""Glyph and tone of an event; any other has none and is routine."""


class EventsPane(CursorList[EventRow]):
    """The timeline, below the log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "open", "events.open", "Chart", "To the chart, at the step of this event", show=True),
        COPY,
    ]

    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen; nothing is read otherwise."""
    query_text: reactive[str] = reactive("", repaint=False)
    """Only events whose text holds this are listed."""
    filter_hint: ClassVar[str] = "words of an event"

    class Seen(Message):
        """The events of a run were read."""

        def __init__(self, path: Path, rows: tuple[EventRow, ...]) -> None:
            super().__init__()
            self.path, self.rows = path, rows

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._watcher: Watcher[Path, tuple[EventRow, ...]] = Watcher(Timeline().look, LOOK_SECONDS)
        self._run: tuple[str, str, Path] | None = None
        self._rows: tuple[EventRow, ...] = ()
        self._now = 0.0

    def on_mount(self) -> None:
        """Follow the selected run."""
        self._read_events()
        self.watch(self.screen, "snapshot", self._take_snapshot)

    def on_unmount(self) -> None:
        """Let the thread go."""
        self._watcher.stop()

    @work(thread=True, exclusive=True, group="events", exit_on_error=False)
    def _read_events(self) -> None:
        worker = get_current_worker()

        def post(path: Path, rows: tuple[EventRow, ...]) -> None:
            if not worker.is_cancelled:
                self.post_message(self.Seen(path, rows))

        self._watcher.run(post)

    def _take_snapshot(self, snapshot: Snapshot | None) -> None:
        detail = snapshot.detail if snapshot is not None else None
        self._now = snapshot.now if snapshot is not None else 0.0
        run = (detail.row.name, detail.row.label, detail.root) if detail is not None else None
        if run != self._run:
            self._run, self._rows = run, ()
            self._relist()
            self.watch_is_open()

    def watch_is_open(self) -> None:
        """Read on, or rest."""
        self._watcher.ask(self._path)

    @property
    def _path(self) -> Path | None:
        return RunPaths(self._run[2]).events if self._run is not None and self.is_open else None

    def on_events_pane_seen(self, message: Seen) -> None:
        """List them; a cursor on the newest stays on the newest."""
        message.stop()
        if message.path == self._path:
            self._rows = message.rows
            self._relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self._relist()

    def _relist(self) -> None:
        was_last = self._cursor >= len(self._items) - 1
        needle = self.query_text.casefold()
        self.set_items([row for row in self._rows if needle in row.text.casefold()] if needle else self._rows)
        if was_last:
            self._settle(len(self._items) - 1)

    def key_of(self, item: EventRow) -> int:
        """Its place in the file."""
        return item.key

    def heading(self, width: int) -> Line | None:
        """None."""
        del width
        return None

    def rule(self, width: int) -> Line:
        """Whose, and how many."""
        figures = [figure("/" + self.query_text, "accent")] if self.query_text else []
        if self._items:
            figures.append(figure(format_count(len(self._items))))
        title = f"Events of {self._run[1]}" if self._run is not None else "Events"
        return rule_line(width, title, figures, focused=self.has_focus)

    def empty_text(self) -> str:
        """Why there is nothing."""
        return "Nothing matches. Esc clears." if self.query_text else "Nothing has happened yet."

    def row(self, item: EventRow, width: int, *, at_cursor: bool) -> Line:
        """One event."""
        glyph, tone = LOOKS.get(item.event, (" ", "muted"))
        step = format_count(item.step) if item.step is not None else ""
        room = max(0, width - MOMENT_WIDTH - STEP_WIDTH - 6)
        return Line((
            Span(" " + pad(moment(item.time, self._now), MOMENT_WIDTH), "muted"),
            Span(step.rjust(STEP_WIDTH - 2) + "  ", "foreground" if at_cursor else "muted"),
            Span(glyph + " ", tone, bold=True),
            Span(shorten_right(item.text, room), "foreground" if at_cursor else tone),
        ))  # fmt: skip

    def shown_bindings(self) -> list[Shown]:
        """Its own, the search and the way back."""
        search = binding("slash", "screen.filter", "main.filter", "Filter", "")
        back = binding("escape", "screen.back", "main.back", "Back", "")
        own = [item for item in self.BINDINGS if isinstance(item, Binding)]
        return [Shown(item, item.description) for item in (*own, search, back)]

    def copy_text(self) -> str:
        """The event under the cursor."""
        row = self.current
        return f"{moment(row.time, self._now)}  {row.text}" if row is not None else ""

    def action_open(self) -> None:
        """Ask for the chart at its step."""
        if self._run is not None and self.current is not None and self.current.step is not None:
            self.post_message(CauseOpened(self._run[0], "chart", self.current.step))
