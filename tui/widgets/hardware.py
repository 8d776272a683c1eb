"""This machine, or that of the selected run where it trains elsewhere; in full size its processes and the disk too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.units import format_age
from ckptop.tui.hardware_lines import full_lines, one_line
from ckptop.tui.keys import COPY, Shown, binding
from ckptop.tui.model import Elsewhere, Hardware, Snapshot
from ckptop.tui.text import Line, plain
from ckptop.tui.usage_lines import PROCESS_SORTS, disk_lines, process_lines
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

OLD_SECONDS = 60.0
"""Age of another machine's figures from which they are a warning."""


class HardwarePane(Lines, can_focus=True):
    """Pane 4; a single line where the layout gives it one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "open", "hardware.open", "Processes", "Its processes, and who fills the disk", show=True),
        binding("x", "screen.control", "hardware.control", "Control", "Control the selected run", show=True),
        binding(
            "t", "screen.trash", "hardware.trash", "Trash", "What was deleted, in the store; X empties it", show=True
        ),
        binding("s", "sort", "hardware.sort", "Sort", "Sort the processes by the next column", show=True),
        binding("S", "reverse", "hardware.reverse", "Reverse", "Reverse the order of the processes"),
        binding("j,down", "scroll_by(1)", "hardware.down", "Down", "Scroll down, in full size"),
        binding("k,up", "scroll_by(-1)", "hardware.up", "Up", "Scroll up"),
        binding("pagedown,ctrl+d", "scroll_by(10)", "hardware.page-down", "Page down", "Scroll down by ten"),
        binding("pageup,ctrl+u", "scroll_by(-10)", "hardware.page-up", "Page up", "Scroll up by ten"),
        binding("g,home", "scroll_by(-100000)", "hardware.first", "First", "Scroll to the top"),
        binding("G,end", "scroll_by(100000)", "hardware.last", "Last", "Scroll to the end"),
        COPY,
    ]

    class Opened(Message):
        """The processes are wanted, or no more."""

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    is_full: reactive[bool] = reactive(False, repaint=False)
    """Whether it is shown alone, and so has room for everything."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._top = 0
        self._sort, self._reversed = 0, False

    def watch_snapshot(self) -> None:
        """Show the new sample."""
        self.repaint()

    def watch_is_full(self) -> None:
        """From the top."""
        self._top = 0
        self.repaint()

    def shown_bindings(self) -> list[Shown]:
        """Its own, all of it, and the way back."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        ways = [
            binding("z", "screen.full_size", "main.full-size", "Full size", ""),
            binding("escape", "screen.back", "main.back", "Back", ""),
        ]
        return [Shown(item, item.description) for item in (*own, *ways)]

    def copy_text(self) -> str:
        """Everything shown."""
        return "\n".join(plain(line).rstrip() for line in self.lines)

    @property
    def _elsewhere(self) -> Elsewhere | None:
        detail = self.snapshot.detail if self.snapshot is not None else None
        return detail.elsewhere if detail is not None else None

    @property
    def _hardware(self) -> Hardware | None:
        if self._elsewhere is not None:
            return self._elsewhere.hardware
        return self.snapshot.hardware if self.snapshot is not None else None

    @property
    def needed_rows(self) -> int:
        """Rows that show everything but processes."""
        runs = self.snapshot.runs if self.snapshot is not None else ()
        return 1 + len(full_lines(self._hardware, runs, 40)) if self._hardware is not None else 6

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule and everything, or the one line."""
        hardware, snapshot = self._hardware, self.snapshot
        width, height = size
        if height == 1:
            spans = one_line(hardware, width) if hardware is not None else ()
            return [Line(spans, "panel" if self.has_focus else None)]
        rule = rule_line(width, "Hardware", self._figures(), digit="4", focused=self.has_focus)
        if hardware is None or snapshot is None:
            return [rule]
        lines = full_lines(hardware, snapshot.runs, width)
        if self.is_full:
            lines += self._usage(hardware, snapshot, width)
            self._top = max(0, min(self._top, len(lines) - height + 1))
            return [rule, *lines[self._top :]]
        if len(lines) > height - 1:
            lines = [line for line in lines if line.spans]  # the empty ones go first
        return [rule, *lines]

    def _figures(self) -> Sequence[Figure]:
        elsewhere, snapshot = self._elsewhere, self.snapshot
        if elsewhere is None or snapshot is None:
            order = f"by {PROCESS_SORTS[self._sort]}" + (", reversed" if self._reversed else "")
            return [figure("this machine"), *([figure(order)] if self.is_full else [])]
        seconds = snapshot.now - elsewhere.time
        age = format_age(max(0.0, seconds), live=False, now=snapshot.now)
        return [
            figure(elsewhere.host, "foreground"),
            figure(f"{age} ago", "warning" if seconds > OLD_SECONDS else "muted"),
        ]

    def _usage(self, hardware: Hardware, snapshot: Snapshot, width: int) -> list[Line]:
        here = self._elsewhere is None
        order = self._sort, self._reversed
        processes = process_lines(hardware, snapshot.runs, order, width, snapshot.now) if here else []
        return [*processes, *disk_lines(snapshot, width)]

    def action_open(self) -> None:
        """Ask for the processes, or no more."""
        self.post_message(self.Opened())

    def action_sort(self) -> None:
        """Sort the processes by the next column."""
        self._sort, self._reversed = (self._sort + 1) % len(PROCESS_SORTS), False
        self.repaint()

    def action_reverse(self) -> None:
        """Turn their order around."""
        self._reversed = not self._reversed
        self.repaint()

    def action_scroll_by(self, rows: int) -> None:
        """Scroll; there is nothing to scroll unless it is shown alone."""
        self._top = max(0, self._top + rows)
        self.repaint()

    def on_mouse_scroll_down(self) -> None:
        """Scroll down."""
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        """Scroll up."""
        self.action_scroll_by(-3)
