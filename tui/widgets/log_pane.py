"""What the selected run printed: its train.log, followed, paged through and searched, whatever its size.

A thread reads it, and what is in memory is the part around the cursor. The cursor on the newest line follows what
is printed; anywhere else the text stands still under it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.worker import get_current_worker

from ckptop.host.units import cell_width, format_bytes
from ckptop.store.layout import RunPaths
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.log_reader import LogAsked, LogRead, LogReader, Search
from ckptop.tui.log_window import Found, LogLine, Window
from ckptop.tui.model import Snapshot
from ckptop.tui.text import Line, Span, clipped, folded
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

ILL = re.compile(r"\b(error|exception|traceback|critical|fatal|killed)\b|Error\b|Exception\b", re.IGNORECASE)
ODD = re.compile(r"\b(warn(ing)?|nan|inf)\b|Warning\b", re.IGNORECASE)
"""Words in a line that a person looks for."""


class LogRow(NamedTuple):
    """One row of the pane: a line, or one of the rows that it is wrapped to."""

    offset: int
    part: int
    text: str


class LogPane(CursorList[LogRow]):
    """Screen 6, and a pane where there is much room."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("n", "next_match(1)", "log.next-match", "Next", "Next match below", show=True),
        binding("N", "next_match(-1)", "log.previous-match", "Previous match", "Next match above"),
        binding("f", "follow", "log.follow", "Follow", "Follow what is printed, or stand still", show=True),
        binding("w", "wrap", "log.wrap", "Wrap", "Wrap long lines, or cut them", show=True),
        binding("h,left", "shift(-1)", "log.left", "Left", "Long lines: to the left"),
        binding("l,right", "shift(1)", "log.right", "Right", "Long lines: to the right"),
        COPY,
    ]

    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen; nothing is read otherwise."""
    query_text: reactive[str] = reactive("", repaint=False)
    """What is searched for."""
    filter_hint: ClassVar[str] = "words of a line"

    class Seen(Message):
        """A part of the log was read."""

        def __init__(self, read: LogRead) -> None:
            super().__init__()
            self.read = read

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._reader = LogReader()
        self._run: tuple[str, Path] | None = None
        self._window = Window()
        self._follows = self._wraps = True
        self._shift = 0
        self._past = 0
        """Rows by which the cursor is to leave the part that was in memory."""
        self._origin: int | None = None
        """Where the cursor was when the search was begun."""
        self._resume: int | None = None
        """Where a search goes on that looked far enough for one key."""
        self._said = ""

    # What is read.

    def on_mount(self) -> None:
        """Follow the selected run."""
        self._read_log()
        self.watch(self.screen, "snapshot", self._take_snapshot)

    def on_unmount(self) -> None:
        """Let the thread go."""
        self._reader.stop()

    @work(thread=True, exclusive=True, group="log", exit_on_error=False)
    def _read_log(self) -> None:
        worker = get_current_worker()

        def post(read: LogRead) -> None:
            if not worker.is_cancelled:
                self.post_message(self.Seen(read))

        self._reader.run(post)

    def _take_snapshot(self, snapshot: Snapshot | None) -> None:
        detail = snapshot.detail if snapshot is not None else None
        run = (detail.row.label, detail.root) if detail is not None else None
        if run != self._run:
            self._run, self._window, self._follows, self._shift = run, Window(), True, 0
            self._origin = self._resume = None
            self._said = ""
            self.set_items(())
            self._ask_again()

    def watch_is_open(self) -> None:
        """Read on, or rest."""
        self._ask_again()

    @property
    def _path(self) -> Path | None:
        return RunPaths(self._run[1]).log if self._run is not None and self.is_open else None

    def _ask_again(self) -> None:
        current = self.current
        offset = None if self._follows or current is None else current.offset
        self._reader.ask(LogAsked(self._path, offset))

    def on_log_pane_seen(self, message: Seen) -> None:
        """Show what was read, the cursor where it belongs."""
        message.stop()
        read = message.read
        if read.asked.path != self._path:
            return  # of the run before
        here = self._cursor_key
        self._window = read.window
        self._relist()
        if read.found is not None:
            self._show_found(read.found)
        elif self._follows:
            self._settle(len(self._items) - 1)
        elif self._past:
            past, self._past = self._past, 0
            super()._move(self._index_of.get(here, self._cursor) + past)

    def _show_found(self, found: Found) -> None:
        self._said, self._resume = "", None
        if found.offset is not None:
            self._follows = False
            place = max(0, sum(row.offset <= found.offset for row in self._items) - 1)
            place = self._index_of.get((self._items[place].offset, 0), place) if self._items else 0
            self._top = place - self.page_rows // 2  # what came before it and after it is wanted too
            super()._move(place)
        elif found.is_done:
            self._said = "no match"
        else:
            self._said, self._resume = f"none in {format_bytes(abs(found.next_offset - self._here))}", found.next_offset
        self.repaint()

    # Rows.

    def _relist(self) -> None:
        width = max(1, self.size.width - 2)
        rows = [LogRow(line.offset, 0, line.text) for line in self._window.lines]
        if self._wraps:
            rows = list(_folded(self._window.lines, width))
        self.set_items(rows)

    def on_resize(self) -> None:
        """Wrap anew."""
        if self._wraps:
            self._relist()
            if self._follows:
                self._settle(len(self._items) - 1)

    def key_of(self, item: LogRow) -> tuple[int, int]:
        """Where its line begins, and which part of it this is."""
        return item.offset, item.part

    def heading(self, width: int) -> Line | None:
        """None."""
        del width
        return None

    def rule(self, width: int) -> Line:
        """Whose, where the cursor stands in it, and what is searched for."""
        title = f"Log of {self._run[0]}" if self._run is not None else "Log"
        return rule_line(width, title, self._figures(), digit="6", focused=self.has_focus)

    def _figures(self) -> list[Figure]:
        window, figures = self._window, []
        if self.query_text:
            figures.append(figure("/" + self.query_text, "accent"))
        if self._said:
            figures.append(figure(self._said, "warning"))
        if self._items:
            share = self._here / max(1, window.size_bytes)
            figures.append(figure("follows", "accent") if self._follows else figure(f"at {int(100 * share)} %"))
            figures.append(figure(format_bytes(window.size_bytes)))
        if not self._wraps:
            figures.append(figure("cut" + (f", from {self._shift:,}" if self._shift else "")))
        return figures

    def empty_text(self) -> str:
        """Why there is nothing."""
        if self._run is None:
            return "No run is selected."
        if self._window.problem is not None:
            return f"{self._window.problem[:1].upper()}{self._window.problem[1:]}."
        return "Nothing was printed yet." if self._window.identity != (0, 0) else "Reading…"

    def row(self, item: LogRow, width: int, *, at_cursor: bool) -> Line:
        """One row, what is searched for in the accent."""
        del at_cursor
        text = item.text if self._wraps else clipped(item.text, self._shift, width - 1)
        tone = "error" if ILL.search(text) else "warning" if ODD.search(text) else "foreground"
        return Line((Span(" "), *_marked(text, self.query_text, tone)))

    # Moving.

    @property
    def _here(self) -> int:
        return self.current.offset if self.current is not None else 0

    def _move(self, index: int) -> None:
        last = len(self._items) - 1
        if last < 0:
            return
        past = index - max(0, min(index, last))
        was_following = self._follows
        self._follows = index >= last and self._window.is_at_end
        super()._move(index)
        is_more = self._window.begin > 0 if past < 0 else not self._follows
        if past and is_more:
            self._past += past
        if (past and is_more) or was_following != self._follows:
            self._ask_again()

    def action_first(self) -> None:
        """To the first line of the file."""
        self._go(0)

    def action_last(self) -> None:
        """To its newest line, and follow."""
        self._follows = True
        self._settle(len(self._items) - 1)
        self._ask_again()

    def _go(self, offset: int) -> None:
        """To the first row of the part around a byte, which is read first."""
        self._follows = False
        self._past = -len(self._items)
        self._reader.ask(LogAsked(self._path, offset))
        self._settle(0)

    def action_shift(self, direction: int) -> None:
        """Show more of the right or left of long lines, by half the width."""
        if not self._wraps:
            longest = max((cell_width(row.text) for row in self._items), default=0)
            by = direction * max(1, self.size.width // 2)
            self._shift = max(0, min(self._shift + by, max(0, longest - self.size.width // 2)))
            self.repaint()

    # Keys.

    def shown_bindings(self) -> list[Shown]:
        """Search, and what is done with it."""
        search = binding("slash", "screen.filter", "main.filter", "Search", "")
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and (item.show or item is COPY)]
        back = binding("escape", "screen.back", "main.back", "Back", "")
        return [Shown(item, item.description) for item in (search, *own, back)]

    def action_follow(self) -> None:
        """Go to the newest line and stay there, or stand still."""
        if self._follows:
            self._follows = False
            self._ask_again()
            self.repaint()
        else:
            self.action_last()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._wraps, self._shift = not self._wraps, 0
        offset = self._here
        self._relist()
        self._settle(len(self._items) - 1 if self._follows else self._index_of.get((offset, 0), 0))

    def watch_query_text(self) -> None:
        """Go to the nearest match above while it is typed, else to one below."""
        if not self.query_text:
            self._origin = self._resume = None
            self._said = ""
            self.repaint()
            return
        if self._origin is None:
            self._origin = self._after_here
        self._search(Search(self.query_text, self._origin, -1, turns=True))

    def action_next_match(self, direction: int) -> None:
        """To the next match below or above."""
        if not self.query_text:
            self.notify("Nothing is searched for; / searches.", markup=False)
            return
        start = self._resume if self._resume is not None else self._after_here if direction > 0 else self._here
        self._search(Search(self.query_text, start, direction))

    def _search(self, search: Search) -> None:
        self._said = "searching"
        self._reader.ask(LogAsked(self._path, search=search))
        self.repaint()

    @property
    def _after_here(self) -> int:
        """Where the line after the cursor's begins."""
        after = [row.offset for row in self._items[self._cursor :] if row.offset > self._here]
        return after[0] if after else self._window.end

    def copy_text(self) -> str:
        """The line under the cursor, whole."""
        return "".join(line.text for line in self._window.lines if line.offset == self._here)


def _folded(lines: Sequence[LogLine], width: int) -> Iterator[LogRow]:
    for line in lines:
        for part, text in enumerate(folded(line.text, width)):
            yield LogRow(line.offset, part, text)


def _marked(text: str, needle: str, tone: str) -> Iterator[Span]:
    """The text, each match of `needle` in the accent."""
    end = 0
    if needle:
        for match in re.finditer(re.escape(needle), text, re.IGNORECASE):
            yield Span(text[end : match.start()], tone)
            yield Span(match[0], "accent", bold=True)
            end = match.end()
    yield Span(text[end:], tone)
