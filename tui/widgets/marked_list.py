"""A list whose rows can be marked, to do something to several at once; marks go with the rows they stand on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, TypeVar

from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.pane_rule import Figure, figure

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


class SortedList(MarkedList[T]):
    """A marked list of several orders, of which none is remembered; subclasses bind `s` and `S`."""

    SORTS: ClassVar[Sequence[str]]
    """Names of the orders; in the first one items come as they are."""

    _sort = 0
    _reversed = False

    def sort_key(self, item: T, sort: int) -> str | float:
        """What an item is sorted by in the order of that place; never asked for the first."""
        raise NotImplementedError

    def relist(self) -> None:
        """Show the items anew, in order."""
        raise NotImplementedError

    def in_order(self, items: Sequence[T]) -> Sequence[T]:
        """The items as they are to be listed; equals keep the order they come in."""
        sort = self._sort
        ordered = sorted(items, key=lambda item: self.sort_key(item, sort)) if sort else items
        return ordered[::-1] if self._reversed else ordered

    def order_figures(self) -> list[Figure]:
        """The order for the rule; the first one goes without saying."""
        if not self._sort and not self._reversed:
            return []
        return [figure(self.SORTS[self._sort] + (", reversed" if self._reversed else ""))]

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort, self._reversed = (self._sort + 1) % len(self.SORTS), False
        self.relist()

    def action_reverse(self) -> None:
        """Turn the order around."""
        self._reversed = not self._reversed
        self.relist()
