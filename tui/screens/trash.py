"""The trash of a run, or of the whole store: what was put away, taken back with `R` or removed for good with `X`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import ModalScreen

from ckptop.host.terminal import clean
from ckptop.host.units import format_age, format_bytes, format_count, shorten_middle
from ckptop.tui.front import Front, counted
from ckptop.tui.keys import COPY, SORTING, Shown, binding, marking
from ckptop.tui.sorting import TRASH_SORTS, trash_key
from ckptop.tui.text import Line, Span, pad, pad_left
from ckptop.tui.theme import GLYPHS
from ckptop.tui.trash_items import TrashItem, purge_items, read_trash, restore_items, why_not_restored
from ckptop.tui.widgets.filter_prompt import FilterPrompt
from ckptop.tui.widgets.footer import Footer
from ckptop.tui.widgets.marked_list import SortedList
from ckptop.tui.widgets.pane_rule import figure, rule_line

WHAT_WIDTH, KIND_WIDTH, EPOCH_WIDTH, STEP_WIDTH, SIZE_WIDTH, AGE_WIDTH = 10, 10, 7, 11, 10, 8
LEAST_NAME, MOST_NAME = 8, 40
NUMBERS_FROM = 66
"""Cells from which epoch and step have columns."""


class TrashList(SortedList[TrashItem]):
    """What is in the trash."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("R", "screen.restore", "trash.restore", "Restore", "Take the marked ones, or this, back", show=True),
        binding("X", "screen.empty", "trash.empty", "Empty", "Remove the marked ones, or all, for good", show=True),
        *marking(show=True),
        *SORTING,
        COPY,
    ]

    SORTS = TRASH_SORTS

    query_text: reactive[str] = reactive("", repaint=False)
    filter_hint: ClassVar[str] = "run, tier, kind or step"

    def __init__(self, title: str, *, is_read_only: bool) -> None:
        super().__init__(id="trash")
        self._title, self._is_read_only = title, is_read_only
        self._all: Sequence[TrashItem] = ()
        self._said = "Reading…"

    def shown_bindings(self) -> list[Shown]:
        """Its own keys; those that change something are greyed where nothing may be changed."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        changing = ("trash.restore", "trash.empty")
        return [Shown(item, item.description, self._is_read_only and item.id in changing) for item in own]

    def show(self, items: Sequence[TrashItem], problem: str = "") -> None:
        """Show these items, or why there are none."""
        self._all, self._said = items, problem or "The trash is empty."
        self.keep_marks({item.key for item in items})
        self.relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self.relist()

    def sort_key(self, item: TrashItem, sort: int) -> str | float:
        """By a column."""
        return trash_key(item, sort)

    def relist(self) -> None:
        """List what matches, in order."""
        words = self.query_text.casefold().split()
        matching = [item for item in self._all if all(word in item.words for word in words)]
        self.set_items(self.in_order(matching))

    @property
    def selection(self) -> list[TrashItem]:
        """The marked items; else the one under the cursor."""
        marked = [item for item in self._all if item.key in self.marked]
        return marked or ([self.current] if self.current is not None else [])

    @property
    def doomed(self) -> list[TrashItem]:
        """What emptying removes: the marked items; else all listed that a person deleted. Never a pinned one."""
        marked = [item for item in self._all if item.key in self.marked]
        chosen = marked or [item for item in self.items if item.kind in ("deleted", "run")]
        return [item for item in chosen if not item.pinned]

    def key_of(self, item: TrashItem) -> str:
        """Where it lies."""
        return item.key

    def rule(self, width: int) -> Line:
        """How many and how large."""
        figures = []
        if self._all:
            figures.append(figure(counted(len(self._all), "item")))
            if self.query_text:
                figures.append(figure("/" + self.query_text, "accent"))
            if self.marked:
                figures.append(figure(f"{len(self.marked):,} marked", "accent"))
            figures.append(figure(format_bytes(sum(item.size_bytes for item in self._all))))
        figures += self.order_figures()
        return rule_line(width, self._title, figures, focused=self.has_focus)

    def heading(self, width: int) -> Line | None:
        """The column names."""
        name = pad("run", _name_cells(width - 1))
        numbers = f"{'epoch':>{EPOCH_WIDTH}}{'step':>{STEP_WIDTH}}" if width >= NUMBERS_FROM else ""
        text = (
            f"{name} {'what':<{WHAT_WIDTH}}{'why':<{KIND_WIDTH}}{numbers}{'size':>{SIZE_WIDTH}}{'since':>{AGE_WIDTH}}"
        )
        return Line((Span("   " + text, "muted"),))

    def empty_text(self) -> str:
        """Why there is nothing."""
        return "Nothing matches. Esc clears." if self.query_text else self._said

    def row(self, item: TrashItem, width: int, *, at_cursor: bool) -> Line:
        """One item."""
        cells = _name_cells(width)
        mark = Span(GLYPHS["marked"][0] + " " if item.key in self.marked else "  ", "accent")
        spans = [mark, Span(pad(shorten_middle(clean(item.run), cells), cells) + " ", "foreground", at_cursor)]
        kind = "pinned" if item.pinned else "deleted" if item.kind == "run" else item.kind
        tone = "error" if kind == "damaged" else "muted"
        spans += [Span(f"{item.what:<{WHAT_WIDTH}}"), Span(f"{kind:<{KIND_WIDTH}}", tone)]
        if width + 1 >= NUMBERS_FROM:
            epoch, step = (format_count(value) if value is not None else "" for value in (item.epoch, item.step))
            spans.append(Span(f"{epoch:>{EPOCH_WIDTH}}{step:>{STEP_WIDTH}}"))
        age = format_age(time.time() - item.entry.deleted, live=False)
        spans.append(Span(pad_left(format_bytes(item.size_bytes), SIZE_WIDTH) + pad_left(age, AGE_WIDTH), "muted"))
        return Line(tuple(spans))

    def copy_text(self) -> str:
        """The paths."""
        return "\n".join(str(item.entry.directory.absolute()) for item in self.selection)


def _name_cells(width: int) -> int:
    numbers = EPOCH_WIDTH + STEP_WIDTH if width + 1 >= NUMBERS_FROM else 0
    return max(LEAST_NAME, min(MOST_NAME, width - 4 - WHAT_WIDTH - KIND_WIDTH - numbers - SIZE_WIDTH - AGE_WIDTH))


class TrashScreen(ModalScreen[None]):
    """The trash; Esc leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("slash", "filter", "trash.filter", "Filter", "Filter by run, tier or kind", show=True),
        binding("escape", "leave", "trash.leave", "Back", "Marks and filter away, then back", show=True),
        binding("question_mark", "help", "trash.help", "Help", "List every key of the trash", show=True),
        binding("t,q", "dismiss", "trash.close", "Close", "Back to the dashboard"),
    ]

    def __init__(self, front: Front, run: str | None) -> None:
        """Show the trash.

        Args:
            front: Of the main screen.
            run: Of this run alone; None is the whole store.
        """
        super().__init__()
        self._front, self._run = front, run
        self._root = front.reader.look.root

    def compose(self) -> ComposeResult:
        """The list and its keys."""
        title = f"Trash of {clean(self._run)}" if self._run is not None else "Trash of all runs"
        yield TrashList(title, is_read_only=self._front.refusal() is not None)
        yield Footer(id="footer")

    @property
    def _list(self) -> TrashList:
        return self.query_one(TrashList)

    def on_mount(self) -> None:
        """Read it."""
        self._list.focus()
        self._update_footer()
        self.run_worker(self._read(), exclusive=True, group="trash")

    async def _read(self) -> None:
        items = await self._front.in_thread(read_trash, self._root, self._run)
        self._list.show(items or [], "" if items is not None else "It cannot be read.")
        self._update_footer()

    def on_cursor_list_cursor_moved(self) -> None:
        """Other marks: other keys in the footer."""
        self._update_footer()

    def _update_footer(self) -> None:
        self.query_one(Footer).show(self._list, self)

    def shown_bindings(self) -> list[Shown]:
        """What the footer names of the screen's own keys."""
        return [Shown(item, item.description) for item in self.BINDINGS if isinstance(item, Binding) and item.show]

    # Keys.

    def action_copy(self) -> None:
        """Copy the paths."""
        if text := self._list.copy_text():
            self.app.copy_to_clipboard(text)
            self._front.say("Copied.")

    async def action_filter(self) -> None:
        """Ask for a filter."""
        self.query_one(Footer).display = False
        prompt = FilterPrompt(self._list)
        await self.mount(prompt)  # what is typed ahead must not be taken for keys of the list
        self.set_focus(prompt.field)

    async def on_filter_prompt_closed(self) -> None:
        """Bring the footer back."""
        await self.query_one(FilterPrompt).remove()
        self.query_one(Footer).display = True
        self._list.focus()

    def action_help(self) -> None:
        """List every key that works here."""
        from ckptop.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen([("Trash", TrashList)], [TrashScreen]))

    def action_leave(self) -> None:
        """One step back."""
        if self._list.clear_marks():
            self._update_footer()
        elif self._list.query_text:
            self._list.query_text = ""
        else:
            self.dismiss(None)

    def action_restore(self) -> None:
        """Take back what is marked, or this."""
        items = self._list.selection
        refusal = self._front.refusal() or next(filter(None, map(why_not_restored, items)), None)
        if refusal is not None:
            self._front.say(refusal, "warning")
        elif items:
            self.run_worker(self._restore(items), group="actions")

    async def _restore(self, items: Sequence[TrashItem]) -> None:
        restored = await self._front.in_thread(restore_items, self._root, items)
        if restored is not None:
            self._front.say(f"{restored:,} back from the trash.")
        await self._changed(items)

    def action_empty(self) -> None:
        """Remove what is marked, or all, for good, once confirmed."""
        items, refusal = self._list.doomed, self._front.refusal()
        if refusal is not None:
            self._front.say(refusal, "warning")
        elif items:
            self.run_worker(self._empty(items), group="actions")
        else:
            self._front.say("Nothing here was deleted by a person; mark what shall go.", "warning")

    async def _empty(self, items: Sequence[TrashItem]) -> None:
        from ckptop.tui.screens.confirm import Confirm

        size = format_bytes(sum(item.size_bytes for item in items))
        runs = sum(item.kind == "run" for item in items)
        what = " and ".join(counted(n, noun) for n, noun in ((len(items) - runs, "file"), (runs, "run")) if n)
        question = f"Empty trash: {what}, {size}, for good?"
        if not await self._front.ask(Confirm(question, no="Keep", yes="Delete for good")):
            return
        freed = await self._front.in_thread(purge_items, self._root, items)
        if freed is not None:
            self._front.say(f"{len(items):,} gone for good, {format_bytes(freed)} freed.")
        await self._changed(items)

    async def _changed(self, items: Sequence[TrashItem]) -> None:
        self._front.wake({"", *(item.run for item in items)})
        await self._read()
