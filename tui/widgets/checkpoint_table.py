"""The checkpoints of the selected run, newest first: tier, mark, epoch, step, metrics, size and age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.units import (
    cell_width,
    format_age,
    format_bytes,
    format_cell,
    format_count,
    shorten_middle,
    shorten_right,
)
from ckptop.tui.keys import COPY, SORTING, Shown, binding, marking
from ckptop.tui.model import CheckpointRow, CheckpointTableModel, Snapshot
from ckptop.tui.sorting import CHECKPOINT_SORTS, checkpoint_order
from ckptop.tui.text import Line, Span, pad_left
from ckptop.tui.theme import GLYPHS
from ckptop.tui.widgets.checkpoint_columns import (
    AGE_WIDTH,
    MARK_WIDTH,
    MARKS,
    SIZE_WIDTH,
    TIER_WIDTH,
    Columns,
    fit_columns,
)
from ckptop.tui.widgets.marked_list import MarkedList
from ckptop.tui.widgets.pane_rule import figure, rule_line

CHANGING = frozenset({
    "checkpoints.delete", "checkpoints.prune", "checkpoints.promote", "checkpoints.resume", "checkpoints.pin",
})  # fmt: skip
"""Ids of the keys that change the store."""


class CheckpointTable(MarkedList[CheckpointRow]):
    """Pane 3."""

    FOLLOWS_FIRST: ClassVar[bool] = True  # the newest checkpoint is what one looks at

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "open", "checkpoints.open", "Open", "Everything known of this one", show=True),
        binding("d", "screen.delete", "checkpoints.delete", "Delete", "Move the marked ones, or this, to trash"),
        binding("r", "screen.resume", "checkpoints.resume", "Resume", "Resume the run from this one", show=True),
        binding("D", "screen.prune", "checkpoints.prune", "Delete old", "Delete old ones by rules", show=True),
        binding("p", "screen.promote", "checkpoints.promote", "Promote", "Promote this one", show=True),
        binding("V", "screen.verify", "checkpoints.verify", "Verify", "Check the bytes against the manifests"),
        binding("e", "screen.export", "checkpoints.export", "Export", "Weights of the marked, or this, as files"),
        binding("P", "screen.pin", "checkpoints.pin", "Pin", "Never delete the marked or this; again: unpin"),
        binding("c", "screen.compare", "checkpoints.compare", "Compare", "Compare the marked ones, side by side"),
        binding("t", "screen.trash", "checkpoints.trash", "Trash", "What was deleted of this run"),
        *marking(show=True),
        *SORTING,
        COPY,
    ]

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    query_text: reactive[str] = reactive("", repaint=False)
    """Only checkpoints whose tier, mark, epoch or step holds this are listed."""
    filter_hint: ClassVar[str] = "tier, mark, epoch or step"
    progress: reactive[str] = reactive("", repaint=False)
    """How far something is that takes its time."""

    class Opened(Message):
        """Enter on a checkpoint."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._model = CheckpointTableModel()
        self._run: str | None = None
        self._sort = 0
        self._reversed = False

    def watch_snapshot(self) -> None:
        """List the rows of the selected run; another run starts without marks."""
        detail = self.snapshot.detail if self.snapshot is not None else None
        run = detail.row.name if detail is not None else None
        if run != self._run:
            self._run, self._cursor_key, self._cursor, self._top, self._is_moved = run, None, 0, 0, False
            self.keep_marks(set())
        model = detail.table if detail is not None else CheckpointTableModel()
        if model is self._model:
            self.repaint()  # ages
            return
        self._model = model
        self.keep_marks({row.key for row in model.rows})
        self._relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self._relist()

    def watch_progress(self) -> None:
        """Show it in the rule."""
        self.repaint()

    def action_open(self) -> None:
        """Ask for everything known of it."""
        if self.current is not None:
            self.post_message(self.Opened())

    def _relist(self) -> None:
        rows: Sequence[CheckpointRow] = self._model.rows
        if self.query_text:
            needle = self.query_text.casefold()
            rows = [row for row in rows if needle in f"{row.tier} {row.mark} {row.epoch} {row.step}".casefold()]
        if self._sort or self._reversed:
            rows = sorted(rows, key=checkpoint_order(self._model, self._sort), reverse=self._reversed)
        self.set_items(rows)

    def selection(self) -> list[CheckpointRow]:
        """The marked rows, listed or not; else the one under the cursor."""
        marked = [row for row in self._model.rows if row.key in self.marked]
        return marked or ([self.current] if self.current is not None else [])

    def shown_bindings(self) -> list[Shown]:
        """What the footer names, greyed where it cannot be done: with marks, what can be done to them."""
        bindings = [item for item in self.BINDINGS if isinstance(item, Binding)]
        off = self._off()
        if not self.marked:
            return [Shown(item, item.description, item.id in off) for item in bindings if item.show]
        by_id = {item.id: item for item in bindings}
        count = len(self.marked)
        return [
            Shown(by_id["checkpoints.delete"], f"Delete {count:,}", "checkpoints.delete" in off),
            Shown(by_id["checkpoints.pin"], "Pin", "checkpoints.pin" in off),
            Shown(by_id["checkpoints.verify"], "Verify"),
            Shown(by_id["checkpoints.compare"], "Compare", count < 2),
            Shown(binding("escape", "screen.back", "main.back", "Back", ""), "Unmark"),
            Shown(by_id["checkpoints.promote"], "Promote", "checkpoints.promote" in off),
            Shown(by_id["checkpoints.resume"], "Fork", "checkpoints.resume" in off),
        ]

    def _off(self) -> frozenset[str]:
        """Ids of the keys that can do nothing here but say why."""
        snapshot = self.snapshot
        if snapshot is not None and not snapshot.writable:
            return CHANGING
        powers = snapshot.detail.powers if snapshot is not None and snapshot.detail is not None else None
        is_off = powers is not None and powers.resume is not None and powers.fork is not None
        return frozenset({"checkpoints.resume"} if is_off else ())

    # Lines.

    def key_of(self, item: CheckpointRow) -> str:
        """Tier and file name."""
        return item.key

    def rule(self, width: int) -> Line:
        """Whose, how many and how large; or what is wrong with the one at the cursor."""
        detail = self.snapshot.detail if self.snapshot is not None else None
        title = f"Checkpoints of {detail.row.label}" if detail is not None else "Checkpoints"
        if self.progress:
            return rule_line(width, title, [figure(self.progress, "accent")], digit="3", focused=self.has_focus)
        if self.current is not None and (problem := self.current.problem) is not None:
            said = shorten_right(problem, width - cell_width(title) - 9)
            return rule_line(width, title, [figure(said, "error")], digit="3", focused=self.has_focus)
        total, shown = len(self._model.rows), len(self.items)
        figures = []
        if total:
            count = f"{total:,}" if shown == total else f"{shown:,} of {total:,}"
            figures.append(figure(f"{count} files" if total != 1 else "1 file"))
            if self.query_text:
                figures.append(figure("/" + self.query_text, "accent"))
            if self.marked:
                figures.append(figure(f"{len(self.marked):,} marked", "accent"))
            figures.append(figure(f"{format_bytes(self._model.size_bytes)}"))
        if self._model.trash_count:
            figures.append(figure(f"{self._model.trash_count:,} in trash"))
        if self._sort or self._reversed:
            figures.append(figure(CHECKPOINT_SORTS[self._sort] + (", reversed" if self._reversed else "")))
        return rule_line(width, title, figures, digit="3", focused=self.has_focus)

    def empty_text(self) -> str:
        """Why there is nothing, and what now."""
        if self.snapshot is None or self.snapshot.detail is None:
            return ""
        if self.query_text:
            return "Nothing matches. Esc clears."
        if self._model.trash_count:
            return f"No checkpoint; {self._model.trash_count:,} in trash."
        if self.snapshot.detail.view is None and self.snapshot.detail.row.problem is not None:
            return self.snapshot.detail.row.problem
        if self.snapshot.detail.row.is_live:
            return "No checkpoint yet; the first comes after epoch 1."
        return "No checkpoint."

    def heading(self, width: int) -> Line | None:
        """The column names."""
        columns = self._fitting(width - 1)
        names = ["tier".ljust(TIER_WIDTH), "mark".ljust(MARK_WIDTH), "epoch".rjust(columns.epoch)]
        names.append("step".rjust(columns.step))
        names += [
            pad_left(shorten_middle(name, cells), cells)
            for name, cells in zip(self._model.columns, columns.metrics, strict=False)
        ]
        names += ["size".rjust(SIZE_WIDTH), "age".rjust(AGE_WIDTH)]
        return Line((Span("   " + columns.join(names), "muted"),))

    def _fitting(self, width: int) -> Columns:
        return fit_columns(self._model, width - 3)  # two for the mark of a marked row, one at the right edge

    def row(self, item: CheckpointRow, width: int, *, at_cursor: bool) -> Line:
        """One checkpoint."""
        columns = self._fitting(width)
        tone = "foreground" if item.tier != "training" or at_cursor else "muted"
        mark, mark_tone, mark_bold = MARKS.get(item.mark, (item.mark, "success", False))
        cells = [
            Span(item.tier.ljust(TIER_WIDTH), tone),
            Span(mark.ljust(MARK_WIDTH), mark_tone, mark_bold),
            Span(format_count(item.epoch).rjust(columns.epoch), tone),
            Span(format_count(item.step).rjust(columns.step), tone),
        ]
        for index, metric_cells in enumerate(columns.metrics):
            best = item.mark == "best" and index == self._model.best_column
            text = format_cell(item.values[index], self._model.decimals[index])
            cells.append(Span(pad_left(text, metric_cells), "foreground" if best else tone, best))
        snapshot = self.snapshot
        live = snapshot is not None and snapshot.detail is not None and snapshot.detail.row.is_live
        now = snapshot.now if snapshot is not None else item.time
        age = format_age(now - item.time, live=live)
        cells += [
            Span(format_bytes(item.size_bytes).rjust(SIZE_WIDTH), "muted"),
            Span(pad_left(age, AGE_WIDTH), "muted"),
        ]
        marked = Span(GLYPHS["marked"][0] + " " if item.key in self.marked else "  ", "accent")
        gaps = [Span(" " * gap) for gap in columns.gaps]
        return Line((marked, *(span for pair in zip(cells, [*gaps, Span("")], strict=True) for span in pair)))

    @property
    def order(self) -> tuple[int, bool]:
        """The column of `CHECKPOINT_SORTS` it is sorted by, and whether it is turned around."""
        return self._sort, self._reversed

    def order_by(self, sort: int, *, reverse: bool) -> None:
        """Sort by a column."""
        self._sort, self._reversed = sort, reverse
        self._relist()

    # Actions.

    def copy_text(self) -> str:
        """The paths of the marked checkpoints, or of this one."""
        return "\n".join(str(row.info.path.absolute()) for row in self.selection())

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort, self._reversed = (self._sort + 1) % len(CHECKPOINT_SORTS), False
        self._relist()

    def action_reverse(self) -> None:
        """Turn the order around."""
        self._reversed = not self._reversed
        self._relist()
