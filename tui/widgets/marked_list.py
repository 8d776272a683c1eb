"""A list whose rows can be marked, to do something to several at once; marks go with the rows they stand on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from ckptop.tui.widgets.cursor_list import CursorList

T = TypeVar("T")


class MarkedList(CursorList[T]):
    """Marks by key; subclasses bind the keys that set them."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self.marked: set[Hashable] = set()
        self._anchor: Hashable = None
        """The row marked last, where a range begins."""

    def keep_marks(self, keys: set[Hashable]) -> None:
        """Drop the marks of rows that are not among `keys`."""
        if not self.marked <= keys:
            self.marked &= keys
            self.post_message(self.CursorMoved())

    def clear_marks(self) -> bool:
        """Unmark all; False where nothing was marked."""
        had_marks = bool(self.marked)
        self.marked.clear()
        self.repaint()
        return had_marks

    def action_mark(self) -> None:
        """Mark or unmark this row and step on."""
        if self.current is not None:
            self._anchor = self.key_of(self.current)
            self.marked ^= {self._anchor}
            self.action_move(1)
            self.post_message(self.CursorMoved())

    def action_range(self) -> None:
        """Mark every row from the one marked last, else from this one alone, to here."""
        if self.current is None:
            return
        here = self._cursor
        start = self._index_of.get(self._anchor, here)
        low, high = sorted((start, here))
        self.marked |= {self.key_of(item) for item in self.items[low : high + 1]}
        self._anchor = self.key_of(self.current)
        self.repaint()
        self.post_message(self.CursorMoved())

    def action_mark_all(self) -> None:
        """Mark all that are listed, or none where all are."""
        listed = {self.key_of(item) for item in self.items}
        self.marked = set() if listed <= self.marked else self.marked | listed
        self.repaint()
        self.post_message(self.CursorMoved())

    def action_next_mark(self, direction: int) -> None:
        """Go to the next marked row, around the end."""
        indices = [index for index, item in enumerate(self.items) if self.key_of(item) in self.marked]
        if not indices or self.current is None:
            return
        here = self._cursor
        ahead = [index for index in indices if (index > here if direction > 0 else index < here)]
        self.move_to((ahead or indices)[0 if direction > 0 else -1])
