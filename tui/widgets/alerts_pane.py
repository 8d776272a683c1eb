"""What went wrong in all runs and on this machine, newest first; what is new since somebody looked is bright."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.units import cell_width, format_count, shorten_middle, shorten_right
from ckptop.tui.alert_rows import AlertRow
from ckptop.tui.event_rows import moment
from ckptop.tui.keys import COPY, SORTING, Shown, binding, marking
from ckptop.tui.messages import CauseOpened
from ckptop.tui.model import Snapshot
from ckptop.tui.sorting import ALERT_SORTS, alert_key
from ckptop.tui.text import Line, Span, pad
from ckptop.tui.theme import GLYPHS
from ckptop.tui.widgets.marked_list import SortedList
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

MOMENT_WIDTH = 11
LEAST_NAME, MOST_NAME = 8, 28
"""Cells of a run's name."""


class AlertsPane(SortedList[AlertRow]):
    """Screen 8."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "open", "alerts.open", "Cause", "To the chart or log that shows the cause", show=True),
        binding("r", "resume", "alerts.resume", "Resume from best", "Take its run back to the best", show=True),
        binding("d", "dismiss", "alerts.dismiss", "Dismiss", "Take the marked ones, or this, off the list", show=True),
        *marking(show=False),
        *SORTING,
        COPY,
    ]

    SORTS = ALERT_SORTS

    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen."""
    query_text: reactive[str] = reactive("", repaint=False)
    """Only alerts whose run, kind or message holds this are listed."""
    filter_hint: ClassVar[str] = "run, kind or message"

    class Looked(Message):
        """The list is on screen: nothing on it is new any more."""

    class Dismissed(Message):
        """These alerts are to be taken off the list, or put back."""

        def __init__(self, keys: tuple[str, ...], *, back: bool = False) -> None:
            super().__init__()
            self.keys, self.back = keys, back

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._rows: tuple[AlertRow, ...] | None = None
        self._bright: set[str] = set()
        """Keys of those that were new when the list was opened."""
        self._undos: list[tuple[str, ...]] = []
        self._now = 0.0
        self._wanted: str | None = None
        """Key of the row to go to once it is listed."""
        self._longest = 0
        """Cells of the longest name of a run."""

    def on_mount(self) -> None:
        """List what is known."""
        self.watch(self.screen, "snapshot", self._take_snapshot)

    def _take_snapshot(self, snapshot: Snapshot | None) -> None:
        alerts = snapshot.alerts if snapshot is not None else None
        self._now = snapshot.now if snapshot is not None else 0.0
        rows = alerts.rows if alerts is not None else None
        if rows is not self._rows:
            self._rows = rows
            keys: set[Hashable] = {row.key for row in rows or ()}
            self._bright &= keys
            self.keep_marks(keys)
            self.relist()
            self._look()

    def watch_is_open(self) -> None:
        """What is new when the list is opened stays bright until it is left."""
        self._bright.clear()
        self._look()

    def _look(self) -> None:
        new = {row.key for row in self._rows or () if row.is_new}
        if self.is_open and new:
            self._bright |= new
            self.post_message(self.Looked())
        self.repaint()

    def go_to(self, key: str) -> None:
        """Put the cursor on the alert of `key`, now or once the list is there."""
        self._wanted, self.query_text = key, ""
        self.relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self.relist()

    def sort_key(self, item: AlertRow, sort: int) -> str:
        """By run or by kind."""
        return alert_key(item, sort)

    def relist(self) -> None:
        """List what matches, in order; then go where it is wanted."""
        needle = self.query_text.casefold()
        rows = self._rows or ()
        matching = [row for row in rows if needle in f"{row.label} {row.kind} {row.message}".casefold()]
        self._longest = max((cell_width(row.label) for row in matching), default=0)
        self.set_items(self.in_order(matching if needle else rows))
        if self._wanted is not None and self.move_to_key(self._wanted):
            self._wanted = None

    def key_of(self, item: AlertRow) -> str:
        """Its key."""
        return item.key

    def heading(self, width: int) -> Line | None:
        """None."""
        del width
        return None

    def rule(self, width: int) -> Line:
        """How many are new."""
        figures: list[Figure] = []
        if self.query_text:
            figures.append(figure("/" + self.query_text, "accent"))
        if self.marked:
            figures.append(figure(f"{len(self.marked):,} marked", "accent"))
        if self._items:
            new = sum(row.key in self._bright for row in self._items)
            count = format_count(len(self._items))
            figures.append(figure(f"{new:,} of {count} new", "warning") if new else figure(count))
        if self.hidden_below:
            figures.append(figure(f"{self.hidden_below:,} more below"))
        figures += self.order_figures()
        return rule_line(width, "Alerts", figures, digit="8", focused=self.has_focus)

    def empty_text(self) -> str:
        """Why there is nothing."""
        if self._rows is None:
            return "Reading…"
        return "Nothing matches. Esc clears." if self.query_text else "Nothing to be alarmed about."

    def row(self, item: AlertRow, width: int, *, at_cursor: bool) -> Line:
        """One alert."""
        cells = max(LEAST_NAME, min(self._longest, MOST_NAME, width // 4))
        bright = item.key in self._bright
        tone = "foreground" if bright or at_cursor else "muted"
        mark = GLYPHS["marked"][0] if item.key in self.marked else " "
        room = max(0, width - cells - MOMENT_WIDTH - 8)
        return Line((
            Span(mark, "accent", bold=True),
            Span(GLYPHS["alert"][0] + " ", item.tone, bold=bright),
            Span(pad(moment(item.time, self._now), MOMENT_WIDTH), "muted"),
            Span(" " + pad(shorten_middle(item.label, cells), cells) + "  ", tone, bright),
            Span(shorten_right(item.message, room), tone),
        ))  # fmt: skip

    def shown_bindings(self) -> list[Shown]:
        """Its own, what brings back, and the way back; greyed where this alert is of no run."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        of_machine = self.current is not None and not self.current.run
        off = {"alerts.resume"} if of_machine else {item.id for item in own} if self.current is None else set()
        ways = [
            binding("u", "screen.undo", "main.undo", "Undo", ""),
            binding("escape", "screen.back", "main.back", "Back", ""),
        ]
        count = f" {len(self.marked):,}" if self.marked else ""
        return [
            Shown(item, item.description + (count if item.id == "alerts.dismiss" else ""), item.id in off)
            for item in (*own, *ways)
        ]

    # Keys.

    def copy_text(self) -> str:
        """The alert in one line."""
        row = self.current
        return f"{moment(row.time, self._now)}  {row.label}: {row.message}" if row is not None else ""

    def action_open(self) -> None:
        """Ask for the place where the cause is to be seen."""
        if (row := self.current) is not None:
            self.post_message(CauseOpened(row.run, row.place, row.step, row.metric))

    def action_resume(self) -> None:
        """Ask for its run to be resumed from the best."""
        if (row := self.current) is None:
            return
        if row.run:
            self.post_message(CauseOpened(row.run, "resume", row.step))
        else:
            self.notify("This alert is of the machine; no run goes back for it.", severity="warning", markup=False)

    def action_dismiss(self) -> None:
        """Take the marked ones off the list, or this."""
        keys = tuple(row.key for row in self._rows or () if row.key in self.marked)
        keys = keys or ((self.current.key,) if self.current is not None else ())
        if keys:
            self._undos.append(keys)
            self.marked.clear()
            self.post_message(self.Dismissed(keys))

    def undo(self) -> None:
        """Put what was dismissed last back on the list."""
        if self._undos:
            self.post_message(self.Dismissed(self._undos.pop(), back=True))
        else:
            self.notify("Nothing to undo.", severity="warning", markup=False)
