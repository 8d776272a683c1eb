"""The list of runs: glyph, name, how far, when done, best and trend.

Forks stand under their parents while the list is in its own order; sorting by a column takes them apart.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from ckptop.host.units import (
    cell_width,
    format_count,
    format_duration,
    format_percent,
    format_value,
    shorten_middle,
    shorten_right,
)
from ckptop.tui.filtering import HINT, run_filter
from ckptop.tui.keys import COPY, SORTING, Shown, binding, marking
from ckptop.tui.model import RunRow, Snapshot
from ckptop.tui.powers import Powers
from ckptop.tui.run_order import RunOrder
from ckptop.tui.sorting import SORTS, Place, place_runs, sort_runs
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
NEST = "  "
"""Before the branch of a run that stands deeper."""

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
        binding("c", "screen.compare", "runs.compare", "Compare", "Compare the marked runs, side by side"),
        binding("P", "screen.pin", "runs.pin", "Pin", "Never delete it: pin its best; again: unpin"),
        binding("d", "screen.delete", "runs.delete", "Delete", "Move the marked runs, or this, to trash"),
        binding("t", "screen.trash", "runs.trash", "Trash", "What was deleted in this store"),
        *marking(show=False),
        binding("b", "group", "runs.group", "By sweep", "Nest each sweep's trials under its best"),
        binding("h,left", "fold", "runs.fold", "Fold", "Fold what stands under this run"),
        binding("l,right", "unfold", "runs.unfold", "Unfold", "Show what stands under this run"),
        binding("H", "hide", "runs.hide", "Hide", "Hide the marked runs, or this; again: show"),
        binding("full_stop", "show_hidden", "runs.show-hidden", "Hidden", "List hidden runs too, or no more"),
        *SORTING,
        COPY,
    ]

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    query_text: reactive[str] = reactive("", repaint=False)
    """Only runs for which this holds are listed; `tui.filtering` says what it may be."""
    filter_hint: ClassVar[str] = HINT

    class Opened(Message):
        """Enter on a run."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self.order = RunOrder()
        self._places: dict[str, Place] = {}
        self._hidden_count = 0
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
        order, matches = self.order, run_filter(self.query_text)
        found = [run for run in self.snapshot.runs if matches(run)]
        matching = [run for run in found if order.shows_hidden or run.name not in order.hidden]
        self._hidden_count = sum(run.name in order.hidden for run in found)
        if self._is_loading and not self._is_moved:
            self._cursor, self._cursor_key = 0, None  # runs still to come may stand above
        self._is_loading = self.snapshot.unread > 0
        places = place_runs(matching, order.sort, reverse=order.reversed, grouped=order.grouped, folded=order.folded)
        self._places = {place.run.name: place for place in places}
        self.set_items([place.run for place in places])

    def selection(self) -> list[RunRow]:
        """The marked runs, listed or not; else the one under the cursor."""
        runs = self.snapshot.runs if self.snapshot is not None else ()
        marked = [
            run for run in sort_runs(runs, self.order.sort, reverse=self.order.reversed) if run.name in self.marked
        ]
        return marked or ([self.current] if self.current is not None else [])

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
        shown = total - self._folded_count() if not self.query_text and not self._hidden_count else len(self.items)
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
        if self._hidden_count:
            figures.append(figure(f"{self._hidden_count:,} hidden"))
        order = self.order
        figures.append(figure(SORTS[order.sort] + (", reversed" if order.reversed else "")))
        if order.grouped:
            figures.append(figure("by sweep"))
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
        if self.marked:
            return self._marked_bindings()
        shown = []
        for item in (item for item in self.BINDINGS if isinstance(item, Binding) and item.show):
            text = item.description
            if item.id == "runs.open" and run.state in DEAD_STATES:
                text = "Why"
            if item.id == "runs.resume" and run.is_live:
                text = "Fork"
            shown.append(Shown(item, text, item.id in off))
        return shown

    def _marked_bindings(self) -> list[Shown]:
        """With marks, what can be done to several."""
        by_id = {item.id: item for item in self.BINDINGS if isinstance(item, Binding)}
        read_only = self.snapshot is not None and not self.snapshot.writable
        return [
            Shown(by_id["runs.resume"], f"Resume {len(self.marked):,}", read_only),
            Shown(by_id["runs.delete"], "Delete", read_only),
            Shown(by_id["runs.compare"], "Compare", len(self.marked) < 2),
            Shown(by_id["runs.hide"], "Hide"),
            Shown(by_id["list.mark-all"], "All"),
        ]

    def empty_text(self) -> str:
        """Why there is nothing, and what now."""
        if self.snapshot is None or not self.snapshot.loaded:
            return ""
        if self.query_text:
            return "Nothing matches. Esc clears."
        if self._hidden_count:
            return f"All {self._hidden_count:,} runs are hidden. . shows them."
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
        place = self._places.get(item.name, Place(item))
        lead = NEST * (place.depth - 1) + "└ " if place.depth else ""
        fold = "" if not place.below or not (self.order.grouped or self._is_folded(item)) else self._fold_glyph(item)
        label = lead + fold + item.label
        hidden = item.name in self.order.hidden
        name_tone = "faint" if hidden and not at_cursor else "foreground" if item.is_live or at_cursor else "muted"
        glyph = Span(GLYPHS[item.state][0], STATE_TOKENS[item.state], bold=True)
        marked = item.name in self.marked
        mark = Span(
            GLYPHS["marked"][0] if marked else "P" if item.pinned else " ", "accent" if marked else "muted", marked
        )
        if width + 1 < TIGHT:
            return Line((glyph, mark, Span(shorten_middle(label, width - 2), name_tone, at_cursor)))
        cells = self._name_cells(width)
        name = self._name_spans(item, label, cells, name_tone, bold=at_cursor)
        wide = width + 1 >= WIDE
        middle = self._wide_middle(item) if wide else self._middle(item)
        best = Span(pad_left(format_value(item.best), 8 if wide else 7), "foreground", at_cursor)
        trend = item.trend if wide else thinned(item.trend, 2 * TREND_WIDTH)
        return Line(
            (
                glyph,
                mark,
                *name,
                *middle,
                best,
                Span(_direction(item), "muted"),
                Span(" " + sparkline(trend), "accent" if at_cursor else "muted"),
            )
        )

    def _name_spans(self, item: RunRow, label: str, cells: int, tone: str, *, bold: bool) -> list[Span]:
        """The name, and of a folded run how many stand under it."""
        below = self._places[item.name].below if item.name in self._places else 0
        more = f" +{below:,}" if below and self._is_folded(item) else ""
        name = shorten_middle(label, cells - len(more))
        return [Span(name, tone, bold), Span(pad(more, cells - cell_width(name)), "muted")]

    def _is_folded(self, item: RunRow) -> bool:
        return item.name in self.order.folded

    def _fold_glyph(self, item: RunRow) -> str:
        return "▸ " if self._is_folded(item) else "▾ "

    def _folded_count(self) -> int:
        return sum(place.below for name, place in self._places.items() if name in self.order.folded)

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
        self.order.next_sort()
        self._relist()

    def action_reverse(self) -> None:
        """Turn the order around."""
        self.order.reversed = not self.order.reversed
        self._relist()

    def action_group(self) -> None:
        """Nest the trials of each sweep under its best one, or not."""
        self.order.grouped = not self.order.grouped
        self._relist()

    def action_fold(self) -> None:
        """Fold what stands under this run; of a run with nothing under it, what stands beside it."""
        if self.current is None:
            return
        place = self._places[self.current.name]
        if place.below and not self._is_folded(self.current):
            self.order.folded.add(self.current.name)
        elif place.above is not None:
            self.order.folded.add(place.above)
            self.move_to_key(place.above)
        self._relist()

    def action_unfold(self) -> None:
        """Show again what stands under this run."""
        if self.current is not None:
            self.order.folded.discard(self.current.name)
            self._relist()

    def action_hide(self) -> None:
        """Hide the marked runs or this one; where all are hidden, show them again."""
        names = {run.name for run in self.selection()}
        self.order.hidden ^= names if names <= self.order.hidden else names - self.order.hidden
        self.clear_marks()
        self._relist()
        self.post_message(self.CursorMoved())

    def action_show_hidden(self) -> None:
        """List hidden runs too, or no more."""
        self.order.shows_hidden = not self.order.shows_hidden
        self._relist()

    def reveal(self, name: str) -> bool:
        """Put the cursor on a run, be it filtered out, hidden or folded away; False where there is none."""
        order, runs = self.order, self.snapshot.runs if self.snapshot is not None else ()
        self.query_text = ""
        order.shows_hidden |= name in order.hidden
        places = place_runs(runs, order.sort, reverse=order.reversed, grouped=order.grouped)
        above = {place.run.name: place.above for place in places}
        here = above.get(name)
        while here is not None:
            order.folded.discard(here)
            here = above.get(here)
        self._relist()
        return self.move_to_key(name)

    def action_open(self) -> None:
        """Ask for the run's checkpoints."""
        if self.current is not None:
            self.post_message(self.Opened())


def _direction(run: RunRow) -> str:
    """Whether lower or higher is better; a blank where there is no value."""
    if run.best is None:
        return " "
    return "↓" if run.lower_is_better else "↑"


def _off(powers: Powers | None, *, changes: bool) -> set[str]:
    """Ids of the keys that can do nothing; while a run is still to be read, none."""
    off = set() if changes else {"runs.prune", "runs.promote", "runs.resume"}
    if powers is not None:
        off |= {"runs.resume"} if powers.resume and powers.fork else set()
        off |= {"runs.control"} if powers.ask and powers.kill else set()
    return off
