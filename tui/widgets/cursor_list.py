"""A pane of rows under a rule: a cursor that stays on its item, paging, marks, and nothing off-screen drawn.

It keeps its own scroll offset instead of being one of Textual's scroll views: a page of lines is all that is
ever composed, so ten thousand rows cost what forty do, and no scrollbar takes a column.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message

from ckptop.tui.keys import MOVEMENT
from ckptop.tui.text import Line, Span, wrapped
from ckptop.tui.widgets.lines import Lines

T = TypeVar("T")

CURSOR = "▌"
"""Stands left of the cursor's row."""

WHEEL_ROWS = 3


class CursorList(Lines, Generic[T], can_focus=True):
    """Rows with a cursor; subclasses say how a row reads."""

    BINDINGS: ClassVar[list[BindingType]] = MOVEMENT

    FOLLOWS_FIRST: ClassVar[bool] = False
    """Whether a cursor nobody has moved yet stays on the first row while the keys are elsewhere."""

    class CursorMoved(Message):
        """The cursor stands on another item now."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._items: Sequence[T] = ()
        self._index_of: dict[Hashable, int] = {}
        self._cursor = 0
        self._cursor_key: Hashable = None
        self._top = 0
        self._is_moved = False

    # What a subclass says.

    def key_of(self, item: T) -> Hashable:
        """What identifies `item` from one snapshot to the next."""
        raise NotImplementedError

    def rule(self, width: int) -> Line:
        """The rule above."""
        raise NotImplementedError

    def heading(self, width: int) -> Line | None:
        """The line of column names; None for none."""
        raise NotImplementedError

    def row(self, item: T, width: int, *, at_cursor: bool) -> Line:
        """The line of one item."""
        raise NotImplementedError

    def empty_text(self) -> str:
        """What to say where there is no row."""
        raise NotImplementedError

    # What a subclass and the screen may ask.

    @property
    def items(self) -> Sequence[T]:
        """The rows, sorted and filtered."""
        return self._items

    @property
    def current(self) -> T | None:
        """The item under the cursor; None where there is no row."""
        return self._items[self._cursor] if self._items else None

    @property
    def visible_items(self) -> Sequence[T]:
        """The rows on screen."""
        return self._items[self._top : self._top + self.page_rows]

    @property
    def page_rows(self) -> int:
        """How many rows fit."""
        return max(1, self.size.height - 1 - (self.heading(self.size.width) is not None))

    @property
    def hidden_below(self) -> int:
        """Rows past the last one shown."""
        return max(0, len(self._items) - self._top - self.page_rows)

    def set_items(self, items: Sequence[T]) -> None:
        """Show these rows; the cursor stays on its item, or where the item was if it is gone."""
        self._items = items
        self._index_of = {self.key_of(item): index for index, item in enumerate(items)}
        if self.FOLLOWS_FIRST and not self._is_moved and not self.has_focus:
            self._settle(0)
            return
        found = self._index_of.get(self._cursor_key)
        self._settle(self._cursor if found is None else found)

    def move_to_key(self, key: Hashable) -> bool:
        """Put the cursor on the item of `key`; False where there is none."""
        found = self._index_of.get(key)
        if found is not None:
            self._move(found)
        return found is not None

    def move_to(self, index: int) -> None:
        """Put the cursor on a row; past either end is the end."""
        self._move(index)

    def _move(self, index: int) -> None:
        self._is_moved = True
        self._settle(index)

    def _settle(self, index: int) -> None:
        self._cursor = max(0, min(index, len(self._items) - 1))
        previous, self._cursor_key = self._cursor_key, None
        if self._items:
            self._cursor_key = self.key_of(self._items[self._cursor])
        self._keep_in_view()
        self.repaint()
        if self._cursor_key != previous:
            self.post_message(self.CursorMoved())

    def _keep_in_view(self) -> None:
        page = self.page_rows
        self._top = max(self._cursor - page + 1, min(self._top, self._cursor))
        self._top = max(0, min(self._top, len(self._items) - page))

    # Painting.

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule, the heading and one page of rows."""
        width, height = size
        self._keep_in_view()
        lines = [self.rule(width)]
        heading = self.heading(width)
        if not self._items:
            said = wrapped(self.empty_text(), max(1, width - 4))
            return [*lines, *(Line((Span("   " + part, "muted"),)) for part in said)]
        if heading is not None:
            lines.append(heading)
        ground = "cursor_row" if self.has_focus else "panel"
        for index in range(self._top, min(len(self._items), self._top + height - len(lines))):
            at_cursor = index == self._cursor
            spans = self.row(self._items[index], width - 1, at_cursor=at_cursor).spans
            edge = Span(CURSOR if at_cursor else " ", "accent" if self.has_focus else "muted", bold=True)
            lines.append(Line((edge, *spans), ground if at_cursor else None))
        return lines

    # Keys and mouse.

    def action_move(self, rows: int) -> None:
        """Move the cursor by `rows`."""
        self._move(self._cursor + rows)

    def action_page(self, halves: int) -> None:
        """Move the cursor by half pages."""
        self._move(self._cursor + halves * max(1, self.page_rows // 2))

    def action_first(self) -> None:
        """Move to the first row."""
        self._move(0)

    def action_last(self) -> None:
        """Move to the last row."""
        self._move(len(self._items) - 1)

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the row clicked."""
        first_row = self.size.height - self.page_rows
        if event.y >= first_row and self._top + event.y - first_row < len(self._items):
            self._move(self._top + event.y - first_row)

    def on_mouse_scroll_down(self) -> None:
        """Move on."""
        self._move(self._cursor + WHEEL_ROWS)

    def on_mouse_scroll_up(self) -> None:
        """Move back."""
        self._move(self._cursor - WHEEL_ROWS)
