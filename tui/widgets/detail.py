"""Everything of the checkpoint under the table's cursor: facts, config, environment, lineage, tensors by size.

Beside the table where there is room, else alone. The tensors are read from their index by a thread, and only while
they are looked at: a network disk that hangs must not hang the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.terminal import clean
from ckptop.host.units import cell_width, format_bytes, format_count, format_percent, shorten_middle
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.model import CheckpointRow, Snapshot
from ckptop.tui.text import Line, Span, bar, pad, pad_left, spread, wrapped
from ckptop.tui.widgets.checkpoint_columns import MARKS
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

if TYPE_CHECKING:
    from ckptop.tui.checkpoint_facts import Fact, TensorRow

TENSORS = 4
"""Place of that section."""
TABS_GAP = 3
MOST_LABEL = 24
"""Cells of a fact's name."""
BAR_WIDTH, LEAST_BAR_WIDTH = 16, 8
DTYPE_WIDTH, SIZE_WIDTH, SHARE_WIDTH = 5, 9, 5
MOST_SHAPE = 18
KEPT_TABLES = 8
"""Tables of tensors that are kept: one looks back and forth between a few."""

READING, EMPTY = "Reading its tensors…", "Nothing recorded."

Place = tuple[Path, tuple[int, int]]
Tensors = Sequence["TensorRow"] | str
"""Rows, or why there are none."""


class Detail(Lines, can_focus=True):
    """One checkpoint, a section at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("h,left", "section(-1)", "detail.previous", "Section", "The section before", show=True, shown_as="← →"),
        binding("l,right", "section(1)", "detail.next", "Next section", "The next section"),
        binding("j,down", "scroll_by(1)", "detail.down", "Down", "Scroll down"),
        binding("k,up", "scroll_by(-1)", "detail.up", "Up", "Scroll up"),
        binding("pagedown", "scroll_pages(2)", "detail.page-down", "Page down", "Scroll a page down"),
        binding("pageup", "scroll_pages(-2)", "detail.page-up", "Page up", "Scroll a page up"),
        binding("ctrl+d", "scroll_pages(1)", "detail.half-down", "Half a page down", "Scroll half a page down"),
        binding("ctrl+u", "scroll_pages(-1)", "detail.half-up", "Half a page up", "Scroll half a page up"),
        binding("g,home", "scroll_by(-1000000)", "detail.first", "First", "Scroll to the top"),
        binding("G,end", "scroll_by(1000000)", "detail.last", "Last", "Scroll to the end"),
        binding("n", "step(1)", "detail.next-checkpoint", "Next", "The checkpoint below in the table", show=True,
                shown_as="n N"),
        binding("N", "step(-1)", "detail.previous-checkpoint", "Before", "The checkpoint above in the table"),
        binding("r", "screen.resume", "detail.resume", "Resume", "Resume the run from this one", show=True),
        binding("p", "screen.promote", "detail.promote", "Promote", "Promote this one", show=True),
        binding("P", "screen.pin", "detail.pin", "Pin", "Never delete this one, or allow it again", show=True),
        binding("V", "screen.verify", "detail.verify", "Verify", "Check its bytes against its manifest", show=True),
        binding("e", "screen.export", "detail.export", "Export", "Its weights as a file for other tools"),
        binding("d", "screen.delete", "detail.delete", "Delete", "Move it to trash"),
        COPY,
    ]  # fmt: skip

    class Stepped(Message):
        """The checkpoint beside is wanted."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._row: CheckpointRow | None = None
        self.section = 0
        self._top = 0
        self._tensors: dict[Place, Tensors] = {}
        self._body: tuple[tuple[object, ...], list[Line]] = ((), [])

    # What is shown.

    def show(self, row: CheckpointRow | None) -> None:
        """Show another checkpoint, or the same as it is now."""
        if row is self._row:
            return
        if row is None or self._row is None or row.key != self._row.key:
            self._top = 0
        self._row = row
        self._read_tensors()
        self.repaint()

    def watch_snapshot(self) -> None:
        """Ages, and what was verified."""
        self.repaint()

    def on_resize(self) -> None:
        """It may have come on screen."""
        self._read_tensors()

    def copy_text(self) -> str:
        """The path of the checkpoint."""
        return str(self._row.info.path.absolute()) if self._row is not None else ""

    def shown_bindings(self) -> list[Shown]:
        """Its own, and the way back."""
        back = binding("escape", "screen.back", "main.back", "Back", "")
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        off = self.snapshot is not None and not self.snapshot.writable
        changing = {"detail.resume", "detail.promote", "detail.pin"}
        return [Shown(item, item.description, off and item.id in changing) for item in (*own, back)]

    # Tensors.

    def _read_tensors(self) -> None:
        row = self._row
        if row is None or self.section != TENSORS or not self.size or _place(row) in self._tensors:
            return
        self.run_worker(self._read(row), exclusive=True, group="tensors", exit_on_error=False)

    async def _read(self, row: CheckpointRow) -> None:
        found = await asyncio.to_thread(_tensors_of, row.info.path)
        while len(self._tensors) >= KEPT_TABLES:
            del self._tensors[next(iter(self._tensors))]
        self._tensors[_place(row)] = found
        self.repaint()

    # Painting.

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule, the names of the sections, and a page of the chosen one."""
        width, row = size.width, self._row
        if row is None:
            return [rule_line(width, "Checkpoint", focused=self.has_focus)]
        title = f"{row.tier} {format_count(row.epoch)} · step {format_count(row.step)}"
        lines = [rule_line(width, title, self._figures(row), focused=self.has_focus), self._tabs(row, width), Line()]
        body, room = self._lines_of(row, width), size.height - 3
        self._top = max(0, min(self._top, len(body) - room))
        return lines + body[self._top : self._top + room]

    def _figures(self, row: CheckpointRow) -> list[Figure]:
        if row.problem is not None:
            return [figure("! bad", "error")]
        return [figure("✓ verified", "success")] if row.verified is not None else []

    def _tabs(self, row: CheckpointRow, width: int) -> Line:
        from ckptop.tui.checkpoint_facts import SECTIONS

        spans = [Span(" ")]
        for place, name in enumerate(SECTIONS):
            here = place == self.section
            gap = " " * (TABS_GAP if place and width >= 60 else min(place, 1))
            spans += [Span(gap), Span(name, "accent" if here else "muted", here)]
        mark, tone, bold = MARKS.get(row.mark, (row.mark, "success", False))
        right = [Span(format_bytes(row.size_bytes), "muted"), Span(f"  {mark} " if mark else " ", tone, bold)]
        return Line(spread(spans, right, width))

    def _lines_of(self, row: CheckpointRow, width: int) -> list[Line]:
        """All lines of the section; kept, for a model may have ten thousand tensors."""
        snapshot = self.snapshot
        minute = int(snapshot.now // 60) if snapshot is not None else 0
        tensors = self._tensors.get(_place(row), READING)
        key = (row, self.section, width, minute, tensors if isinstance(tensors, str) else id(tensors))
        if self._body[0] != key:
            composed = tensor_lines(tensors, width) if self.section == TENSORS else self._fact_lines(row, width)
            self._body = key, composed
        return self._body[1]

    def _fact_lines(self, row: CheckpointRow, width: int) -> list[Line]:
        from ckptop.tui import checkpoint_facts as told

        snapshot = self.snapshot
        now = snapshot.now if snapshot is not None else row.time
        detail = snapshot.detail if snapshot is not None else None
        releases = [other for other in detail.table.rows if other.tier == "production"] if detail is not None else []
        sections = (
            lambda: told.facts_of(row, now, row.verified),
            lambda: told.config_of(row),
            lambda: told.environment_of(row),
            lambda: told.lineage_of(row, detail.view if detail is not None else None, releases, now),
        )
        return fact_lines(sections[self.section](), width)

    # Keys and mouse.

    def action_section(self, direction: int) -> None:
        """The section beside, around the end."""
        from ckptop.tui.checkpoint_facts import SECTIONS

        self.section, self._top = (self.section + direction) % len(SECTIONS), 0
        self._read_tensors()
        self.repaint()

    def action_scroll_by(self, rows: int) -> None:
        """Scroll."""
        self._top += rows
        self.repaint()

    def action_scroll_pages(self, halves: int) -> None:
        """Scroll by half pages."""
        self.action_scroll_by(halves * max(1, (self.size.height - 3) // 2))

    def action_step(self, rows: int) -> None:
        """Ask for the checkpoint beside."""
        self.post_message(self.Stepped(rows))

    def on_click(self, event: Click) -> None:
        """Choose the section clicked."""
        if event.y != 1 or self._row is None:
            return
        at = 0
        for place, span in enumerate(self.lines[1].spans):
            at += cell_width(span.text)
            if event.x < at:
                if place >= 2 and (place - 2) % 2 == 0 and (section := (place - 2) // 2) <= TENSORS:
                    self.action_section(section - self.section)
                return

    def on_mouse_scroll_down(self) -> None:
        """Scroll down."""
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        """Scroll up."""
        self.action_scroll_by(-3)


def _place(row: CheckpointRow) -> Place:
    return row.info.path, row.info.inode


def _tensors_of(path: Path) -> Tensors:
    from ckptop.store.errors import StoreError
    from ckptop.store.tensor_table import read_tensor_table
    from ckptop.tui.checkpoint_facts import tensor_rows

    try:
        return tensor_rows(read_tensor_table(path))
    except StoreError as error:
        return clean(str(error).replace(f"{path.parent}/", ""))
    except OSError as error:
        return clean(f"{path.name} cannot be read: {error.strerror}")


def fact_lines(facts: Sequence[Fact], width: int) -> list[Line]:
    """Names and values, the values wrapped under one another."""
    if not facts:
        return [Line((Span(f"   {EMPTY}", "muted"),))]
    label = min(MOST_LABEL, max(cell_width(fact.name) for fact in facts))
    lines = []
    for name, value, tone in facts:
        for place, part in enumerate(wrapped(value, max(8, width - label - 6))):
            shown = pad(shorten_middle(name, label), label) if place == 0 else " " * label
            lines.append(Line((Span(f"   {shown}  ", "muted"), Span(part, tone))))
    return lines


def tensor_lines(tensors: Tensors, width: int) -> list[Line]:
    """A heading and a line a tensor with the share of the bytes that it takes; or why there are none."""
    if isinstance(tensors, str):
        return [Line((Span(f"   {part}", "muted"),)) for part in wrapped(tensors, max(8, width - 6))]
    if not tensors:
        return [Line((Span("   It holds no tensor.", "muted"),))]
    shape = min(MOST_SHAPE, max(6, *(cell_width(row.shape) for row in tensors)))
    cells = BAR_WIDTH if width >= 90 else LEAST_BAR_WIDTH
    fixed = 3 + 2 + DTYPE_WIDTH + 1 + shape + SIZE_WIDTH + 2 + cells + SHARE_WIDTH + 1
    name = max(8, min(width - fixed, max(cell_width(row.name) for row in tensors)))
    heading = (
        f"   {pad('tensor', name)}  {'dtype':<{DTYPE_WIDTH}} {'shape':>{shape}}{'size':>{SIZE_WIDTH}}"
        f"{'share':>{2 + cells + SHARE_WIDTH}}"
    )
    lines = [Line((Span(heading, "muted"),))]
    for row in tensors:
        spans = [
            Span("   " + pad(shorten_middle(row.name, name), name)),
            Span(f"  {row.dtype:<{DTYPE_WIDTH}} ", "muted"),
            Span(pad_left(shorten_middle(row.shape, shape), shape), "muted"),
            Span(pad_left(row.size, SIZE_WIDTH) + "  "),
            *bar(row.share, cells),
            Span(pad_left(format_percent(row.share), SHARE_WIDTH), "muted"),
        ]
        lines.append(Line(tuple(spans)))
    return lines
