"""The list of runs: glyph, name, how far, when done, best and trend.

Forks stand under their parents while the list is in its own order; sorting by a column takes them apart.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.units import format_count, format_duration, format_percent, format_value, shorten_middle, shorten_right
from ckptop.tui.keys import COPY, SORTING, Shown, binding
from ckptop.tui.model import RunRow, Snapshot
from ckptop.tui.powers import Powers
from ckptop.tui.sorting import SORTS, sort_runs
from ckptop.tui.text import Line, Span, bar, pad, pad_left, sparkline, thinned
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.marked_list import MarkedList
from ckptop.tui.widgets.pane_rule import figure, rule_line

WIDE = 66
"""Cells from which progress bar and steps have columns."""
TIGHT = 40
"""Cells below which glyph and name are all."""
BAR_WIDTH = 10
TREND_WIDTH, WIDE_TREND_WIDTH = 6, 8

LONGEST_BESIDE = 7
"""Letters of a state that fit beside the percentage; a longer one takes its place."""

ILL_STATES = frozenset({"crashed", "failed", "unreadable"})
"""Written in bold."""
DEAD_STATES = frozenset({"crashed", "failed"})
"""Of these a person first wants to know why."""


class RunsList(MarkedList[RunRow]):
    """Pane 1."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "open", "runs.open", "Open", "Go to its checkpoints; of a dead run, to why", show=True),
        binding(
            "r", "screen.resume", "runs.resume", "Resume", "Resume the run where it stopped, or fork it", show=True
        ),
        binding("x", "screen.control", "runs.control", "Control", "Save, pause, continue, set, stop", show=True),
        binding("D", "screen.prune", "runs.prune", "Delete old", "Delete old checkpoints by rules", show=True),
        binding("p", "screen.promote", "runs.promote", "Promote", "Promote the run's best checkpoint", show=True),
        binding("W", "screen.why", "runs.why", "Why", "What ended it, or what it does, on one page"),
        binding("space", "mark", "runs.mark", "Mark", "Mark this run, to lay its curves over others"),
        binding("asterisk", "mark_all", "runs.mark-all", "All", "Mark all runs, or none"),
        binding("n", "next_mark(1)", "runs.next-mark", "Next mark", "Go to the next marked run"),
        binding("N", "next_mark(-1)", "runs.previous-mark", "Previous mark", "Go to the previous marked run"),
        *SORTING,
        COPY,
    ]

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    query_text: reactive[str] = reactive("", repaint=False)
    """Only runs whose name or state holds this are listed."""

    class Opened(Message):
        """Enter on a run."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._sort = 0
        self._reversed = False
        self._is_loading = True

    def watch_snapshot(self) -> None:
        """List the new rows."""
        self._relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self._relist()

    def _relist(self) -> None:
        if self.snapshot is None:
            return
        self.keep_marks({run.name for run in self.snapshot.runs})
        needle = self.query_text.casefold()
        matching = [run for run in self.snapshot.runs if needle in run.label.casefold() or needle in run.state]
        if self._is_loading and not self._is_moved:
            self._cursor, self._cursor_key = 0, None  # runs still to come may stand above
        self._is_loading = self.snapshot.unread > 0
        self.set_items(sort_runs(matching, self._sort, reverse=self._reversed))

    def key_of(self, item: RunRow) -> str:
        """The run's name."""
        return item.name

    def rule(self, width: int) -> Line:
        """How many, and in which order; where no facts stand beside, what is wrong with the run at the cursor."""
        ill, tone = self._what_is_wrong()
        if width >= WIDE and ill is not None:
            said = shorten_right(ill, width - 14)
            return rule_line(width, "Runs", [figure(said, tone)], digit="1", focused=self.has_focus)
        total = len(self.snapshot.runs) if self.snapshot is not None else 0
        shown = len(self.items)
        count = format_count(total) if shown == total else f"{shown:,} of {total:,}"
        figures = [figure(count)]
        if self.snapshot is not None and self.snapshot.unread:
            figures.append(figure(f"reading {self.snapshot.unread:,} more"))
        if self.marked:
            figures.append(figure(f"{len(self.marked):,} marked", "accent"))
        if self.query_text:
            figures.append(figure("/" + self.query_text, "accent"))
        if self.hidden_below:
            figures.append(figure(f"{self.hidden_below:,} more below"))
        figures.append(figure(SORTS[self._sort] + (", reversed" if self._reversed else "")))
        return rule_line(width, "Runs", figures if total else (), digit="1", focused=self.has_focus)

    def _what_is_wrong(self) -> tuple[str | None, str]:
        """What the rule says of the run at the cursor, and in which tone; None where it is well."""
        run = self.current
        if run is None:
            return None, ""
        if run.problem is not None:
            return run.problem, "error"
        return run.why, STATE_TOKENS[run.state]

    def shown_bindings(self) -> list[Shown]:
        """What the footer names, in the same places for every run; what cannot be done to this one is greyed."""
        run, detail = self.current, self.snapshot.detail if self.snapshot is not None else None
        if run is None:
            own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
            return [Shown(item, item.description, off=True) for item in own]
        powers = detail.powers if detail is not None and detail.row.name == run.name else None
        off = _off(powers, changes=self.snapshot is None or self.snapshot.writable)
        if powers is not None and detail is not None and not detail.table.rows:
            off |= {"runs.prune", "runs.promote"}
        shown = []
        for item in (item for item in self.BINDINGS if isinstance(item, Binding) and item.show):
            text = item.description
            if item.id == "runs.open" and run.state in DEAD_STATES:
                text = "Why"
            if item.id == "runs.resume" and run.is_live:
                text = "Fork"
            shown.append(Shown(item, text, item.id in off))
        return shown

    def empty_text(self) -> str:
        """Why there is nothing, and what now."""
        if self.snapshot is None or not self.snapshot.loaded:
            return ""
        if self.query_text:
            return "Nothing matches. Esc clears."
        return f"No runs in {self.snapshot.store}. T trains; `ckptop demo` shows one."

    def heading(self, width: int) -> Line | None:
        """The column names."""
        if width < TIGHT:
            return None
        name = pad("run", self._name_cells(width - 1))
        if width >= WIDE:
            text = f"{name}  {'progress':<{BAR_WIDTH + 6}}{'ETA':>8}{'step':>16}{'best':>8}  trend"
        else:
            text = f"{name}{'done':>6}{'ETA':>8}{'best':>7}  trend"
        return Line((Span("   " + text, "muted"),))

    def _name_cells(self, width: int) -> int:
        """Cells of the name: what the columns leave, in reason."""
        if width + 1 >= WIDE:
            return max(8, min(width - 2 - (2 + BAR_WIDTH + 6 + 8 + 16 + 8 + 3 + WIDE_TREND_WIDTH), 32))
        return max(6, width - 2 - (6 + 8 + 7 + 3 + TREND_WIDTH))

    def row(self, item: RunRow, width: int, *, at_cursor: bool) -> Line:
        """One run."""
        nested = self._sort == 0 and item.parent in self._index_of
        label = ("└ " if nested else "") + item.label
        name_tone = "foreground" if item.is_live or at_cursor else "muted"
        glyph = Span(GLYPHS[item.state][0], STATE_TOKENS[item.state], bold=True)
        mark = Span(GLYPHS["marked"][0] if item.name in self.marked else " ", "accent", bold=True)
        if width + 1 < TIGHT:
            return Line((glyph, mark, Span(shorten_middle(label, width - 2), name_tone, at_cursor)))
        cells = self._name_cells(width)
        name = Span(pad(shorten_middle(label, cells), cells), name_tone, at_cursor)
        wide = width + 1 >= WIDE
        middle = self._wide_middle(item) if wide else self._middle(item)
        best = Span(pad_left(format_value(item.best), 8 if wide else 7), "foreground", at_cursor)
        trend = item.trend if wide else thinned(item.trend, 2 * TREND_WIDTH)
        return Line(
            (glyph, mark, name, *middle, best, Span("  " + sparkline(trend), "accent" if at_cursor else "muted"))
        )

    def _middle(self, item: RunRow) -> list[Span]:
        tone = STATE_TOKENS[item.state]
        if not item.is_live:
            return [Span(pad(f" {item.state}", 14), tone, item.state in ILL_STATES)]
        done = Span(pad_left(format_percent(item.progress), 6))
        if item.state == "running":
            return [done, Span(pad_left(format_duration(item.eta_seconds), 8), "muted")]
        if len(item.state) > LONGEST_BESIDE:
            return [Span(pad_left(item.state, 14), tone)]
        return [done, Span(pad_left(item.state, 8), tone)]

    def _wide_middle(self, item: RunRow) -> list[Span]:
        tone = STATE_TOKENS[item.state]
        steps = format_count(item.step)
        if item.is_live and item.total_steps:
            steps += f" / {format_count(item.total_steps)}"
        if not item.is_live:
            state = Span(pad("  " + item.state, BAR_WIDTH + 16), tone, item.state in ILL_STATES)
            return [state, Span(pad_left(steps, 16), "muted")]
        running = item.state == "running"
        drawn = [Span("  "), *bar(item.progress or 0.0, BAR_WIDTH, "accent" if running else "muted")]
        if len(item.state) > LONGEST_BESIDE:
            drawn.append(Span(pad_left(item.state, 14), tone))
        else:
            eta = format_duration(item.eta_seconds) if running else item.state
            drawn.append(Span(pad_left(format_percent(item.progress), 6)))
            drawn.append(Span(pad_left(eta, 8), "muted" if running else tone))
        return [*drawn, Span(pad_left(steps, 16), "muted")]

    def copy_text(self) -> str:
        """The path of the run."""
        return self.current.root if self.current is not None else ""

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort = (self._sort + 1) % len(SORTS)
        self._reversed = False
        self._relist()

    def action_reverse(self) -> None:
        """Turn the order around."""
        self._reversed = not self._reversed
        self._relist()

    def action_open(self) -> None:
        """Ask for the run's checkpoints."""
        if self.current is not None:
            self.post_message(self.Opened())


def _off(powers: Powers | None, *, changes: bool) -> set[str]:
    """Ids of the keys that can do nothing; while a run is still to be read, none."""
    off = set() if changes else {"runs.prune", "runs.promote", "runs.resume"}
    if powers is not None:
        off |= {"runs.resume"} if powers.resume and powers.fork else set()
        off |= {"runs.control"} if powers.ask and powers.kill else set()
    return off
