"""Runs, checkpoints or releases side by side: what differs, and by how much from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.worker import get_current_worker

from ckptop.host.units import cell_width, shorten_middle, shorten_right
from ckptop.tui.comparing import Cell, Column, Row, Section, Subject, as_text, compare, order_of, read_column
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.text import Line, Span, pad, width_of
from ckptop.tui.theme import GLYPHS
from ckptop.tui.watcher import Watcher
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

LOOK_SECONDS = 2.0
LEAST_CELLS, MOST_CELLS, MOST_NAME = 14, 30, 28
"""Cells of a column, and of the names of the rows."""

Item = Row | Section
"""A row, or the title above those of its section."""

Subjects = tuple[Subject, ...]
Columns = tuple[Column, ...]


class Reading:
    """Columns read again and again; the same tuple while nothing of them has changed. Used by one thread."""

    def __init__(self) -> None:
        self._subjects: Subjects = ()
        self._columns: Columns = ()

    def look(self, subjects: Subjects) -> Columns:
        """A column for each subject."""
        fresh = subjects != self._subjects
        known = self._columns if not fresh else (None,) * len(subjects)
        pairs = zip(subjects, known, strict=True)
        # A checkpoint or a release never changes; a run may still train.
        columns = tuple(
            read_column(subject) if old is None or subject.root is not None else old for subject, old in pairs
        )
        if fresh or _said(columns) != _said(self._columns):
            self._subjects, self._columns = subjects, columns
        return self._columns


def _said(columns: Columns) -> list[tuple[object, ...]]:
    return [(column.label, repr(column.values), column.problem) for column in columns]


class ComparePane(CursorList[Item]):
    """Screen 7."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("full_stop", "equal", "compare.equal", "Equal too", "Show the rows that are equal too", show=True),
        binding("s", "sort", "compare.sort", "Sort", "Sort the columns by the row under the cursor", show=True),
        binding("S", "reverse", "compare.reverse", "Reverse", "Turn their order around"),
        binding("P", "baseline", "compare.baseline", "Baseline", "Tell the others by the next column", show=True),
        binding("h,left", "shift(-1)", "compare.left", "Left", "Columns to the left"),
        binding("l,right", "shift(1)", "compare.right", "Right", "Columns to the right"),
        COPY,
    ]

    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen; nothing is read otherwise."""
    query_text: reactive[str] = reactive("", repaint=False)
    """Only rows whose name holds this are listed."""
    filter_hint: ClassVar[str] = "the name of a row"

    class Seen(Message):
        """The columns were read."""

        def __init__(self, subjects: Subjects, columns: Columns) -> None:
            super().__init__()
            self.subjects, self.columns = subjects, columns

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._watcher: Watcher[Subjects, Columns] = Watcher(Reading().look, LOOK_SECONDS)
        self._subjects: Subjects = ()
        self._what = "runs"
        self._columns: Columns = ()
        self._rows: list[Row] = []
        self._baseline = ""
        """Label of the column that the others are told by."""
        self._order: list[int] = []
        self._sorted_by: tuple[Section, str] | None = None
        self._reversed = self._shows_equal = False
        self._first = 0
        """The first column shown beside the baseline."""

    def on_mount(self) -> None:
        """Read what is compared while it is on screen."""
        self._read_columns()

    def on_unmount(self) -> None:
        """Let the thread go."""
        self._watcher.stop()

    @work(thread=True, exclusive=True, group="compare", exit_on_error=False)
    def _read_columns(self) -> None:
        worker = get_current_worker()

        def post(subjects: Subjects, columns: Columns) -> None:
            if not worker.is_cancelled:
                self.post_message(self.Seen(subjects, columns))

        self._watcher.run(post)

    def watch_is_open(self) -> None:
        """Read on, or rest."""
        self._watcher.ask(self._subjects if self.is_open and self._subjects else None)

    def show(self, subjects: Sequence[Subject], what: str) -> None:
        """Compare these, the first being the baseline.

        Args:
            subjects: At least one.
            what: What they are, in the plural.
        """
        if tuple(subjects) == self._subjects:
            return
        self._subjects, self._what = tuple(subjects), what
        self._columns, self._baseline = (), subjects[0].label if subjects else ""
        self._sorted_by, self._reversed, self._first = None, False, 0
        self._relist()
        self.watch_is_open()

    @property
    def subjects(self) -> Subjects:
        """What is compared."""
        return self._subjects

    def on_compare_pane_seen(self, message: Seen) -> None:
        """Show what was read."""
        message.stop()
        if message.subjects == self._subjects:
            self._columns = message.columns
            self._relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self._relist()

    def _relist(self) -> None:
        places = range(len(self._columns))
        if self._sorted_by is not None:
            places = order_of(self._columns, self._sorted_by, reverse=self._reversed)  # type: ignore[assignment]
        base = next((place for place in places if self._columns[place].label == self._baseline), 0)
        self._order = [base, *(place for place in places if place != base)] if self._columns else []
        self._rows = compare([self._columns[place] for place in self._order], 0) if self._columns else []
        needle = self.query_text.casefold()
        items: list[Item] = []
        for row in self._rows:
            if (row.is_equal and not self._shows_equal) or needle not in row.name.casefold():
                continue
            if row.section not in items:
                items.append(row.section)
            items.append(row)
        self.set_items(items)

    # Lines.

    def key_of(self, item: Item) -> tuple[str, str]:
        """Section and name."""
        return (item.section, item.name) if isinstance(item, Row) else (item, "")

    def rule(self, width: int) -> Line:
        """What is shown of how much."""
        figures: list[Figure] = []
        if self.query_text:
            figures.append(figure("/" + self.query_text, "accent"))
        if self._columns:
            equal = sum(row.is_equal for row in self._rows)
            figures.append(figure("all rows" if self._shows_equal else f"differences only · {equal:,} equal hidden"))
            if self._sorted_by is not None:
                figures.append(figure(f"by {self._sorted_by[1]}" + (", reversed" if self._reversed else "")))
            if len(self._order) > 1 + self._fitting(width):
                figures.append(figure(f"{len(self._order):,} {self._what}, l shows more"))
        return rule_line(width, "Compare", figures, digit="7", focused=self.has_focus)

    def empty_text(self) -> str:
        """Why there is nothing, and what now."""
        if not self._subjects:
            return "Nothing to compare. Mark runs or checkpoints with Space; c compares them."
        if not self._columns:
            return "Reading…"
        problem = next((column.problem for column in self._columns if column.problem), None)
        if self.query_text:
            return "Nothing matches. Esc clears."
        return problem or "They are equal in everything. . shows all rows."

    @property
    def _name_cells(self) -> int:
        longest = max((cell_width(row.name) for row in self._rows), default=8)
        return min(longest, MOST_NAME, max(8, self.size.width // 4))

    def _column_cells(self, width: int) -> int:
        room = width - self._name_cells - 5
        return max(LEAST_CELLS, min(MOST_CELLS, room // max(1, len(self._order)) - 2))

    def _fitting(self, width: int) -> int:
        """Columns that fit beside the baseline."""
        room = width - self._name_cells - 5
        return max(1, room // (self._column_cells(width) + 2) - 1)

    def _shown(self, width: int) -> list[int]:
        """Places in the order: the baseline and those beside it."""
        count = self._fitting(width)
        first = max(1, min(1 + self._first, len(self._order) - count))
        return [0, *range(first, min(len(self._order), first + count))] if self._order else []

    def heading(self, width: int) -> Line | None:
        """The names, the baseline's marked."""
        if not self._columns:
            return None
        cells = self._column_cells(width)
        spans = [Span("   " + " " * self._name_cells + "  ")]
        for place in self._shown(width):
            column = self._columns[self._order[place]]
            mark = " P" if place == 0 else ""
            label = shorten_middle(column.label, cells - len(mark))
            tone = "accent" if place == 0 else "error" if column.problem else "foreground"
            spans.append(Span(pad(label + mark, cells) + "  ", tone, bold=True))
        return Line(tuple(spans))

    def row(self, item: Item, width: int, *, at_cursor: bool) -> Line:
        """One row, or the title of a section."""
        if not isinstance(item, Row):
            return Line((Span(" " + item, "muted", bold=True),))
        cells = self._column_cells(width + 1)
        name = pad(shorten_middle(item.name, self._name_cells), self._name_cells)
        spans = [Span("  " + name + "  ", "foreground" if at_cursor else "muted")]
        for place in self._shown(width + 1):
            shown = _cell(item.cells[place], cells)
            spans += [*shown, Span(" " * (cells - width_of(shown) + 2))]
        return Line(tuple(spans))

    # Keys.

    def shown_bindings(self) -> list[Shown]:
        """Its own and the way back."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and (item.show or item is COPY)]
        texts = {"compare.equal": "Differences only" if self._shows_equal else "Equal too"}
        back = binding("escape", "screen.back", "main.back", "Back", "")
        return [Shown(item, texts.get(item.id or "", item.description)) for item in (*own, back)]

    def copy_text(self) -> str:
        """What is listed, for a spreadsheet."""
        rows = [item for item in self._items if isinstance(item, Row)]
        return as_text([self._columns[place] for place in self._order], rows) if self._columns else ""

    def action_equal(self) -> None:
        """Show the rows that are equal too, or differences only."""
        self._shows_equal = not self._shows_equal
        self._relist()
        self.post_message(self.CursorMoved())  # the footer says it the other way round

    def action_sort(self) -> None:
        """Sort the columns by the row under the cursor; the baseline stays where it is."""
        if isinstance(self.current, Row):
            self._sorted_by, self._reversed = (self.current.section, self.current.name), False
            self._relist()

    def action_reverse(self) -> None:
        """Turn the order of the columns around."""
        if self._sorted_by is not None:
            self._reversed = not self._reversed
            self._relist()

    def action_baseline(self) -> None:
        """The next column is the baseline."""
        if len(self._columns) > 1:
            labels = [column.label for column in self._columns]
            here = labels.index(self._baseline) if self._baseline in labels else 0
            self._baseline = labels[(here + 1) % len(labels)]
            self._relist()

    def action_shift(self, direction: int) -> None:
        """Show columns further on, or further back."""
        most = max(0, len(self._order) - 1 - self._fitting(self.size.width))
        self._first = max(0, min(self._first + direction, most))
        self.repaint()


def _cell(cell: Cell, width: int) -> list[Span]:
    """A value with what it differs by; the value is cut where there is no room for both."""
    extras = []
    if cell.is_best:
        extras.append(Span(" " + GLYPHS["best"][0], "foreground", bold=True))
    if cell.difference:
        extras.append(Span(" " + cell.difference, "muted"))
    text = shorten_right(cell.text, max(3, width - width_of(extras)))
    return [Span(text, "foreground", cell.is_best), *extras]
