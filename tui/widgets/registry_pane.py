"""The releases of the store: every version of every model, what `latest` means, and what each was made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.worker import get_current_worker

from ckptop.host.units import (
    cell_width,
    format_age,
    format_bytes,
    format_cell,
    format_count,
    shorten_middle,
    shorten_right,
)
from ckptop.store.layout import StorePaths
from ckptop.tui.keys import COPY, SORTING, Shown, binding, marking
from ckptop.tui.model import Snapshot
from ckptop.tui.registry_rows import RegistryLook, RegistryRows, ReleaseRow
from ckptop.tui.text import Line, Span, pad, pad_left
from ckptop.tui.theme import GLYPHS
from ckptop.tui.watcher import Watcher
from ckptop.tui.widgets.marked_list import MarkedList
from ckptop.tui.widgets.pane_rule import Figure, figure, rule_line

LOOK_SECONDS = 1.0
SORTS = ("by model", "newest first", "by metric", "by size")

MARKS = {"latest": "success", "yanked": "warning", "bad": "error"}
"""Marks and their tones."""
VERSION_WIDTH, MARK_WIDTH, VALUE_WIDTH, AGE_WIDTH, BY_WIDTH, SIZE_WIDTH = 9, 10, 9, 8, 10, 10
WIDE = 96
"""Cells from which it is told who released."""


class RegistryPane(MarkedList[ReleaseRow]):
    """Screen 5."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter", "screen.release_card", "registry.card", "Card", "All that is known of it", show=True),
        binding("B", "screen.roll_back", "registry.roll-back", "Roll back", "Let latest mean this one", show=True),
        binding("A", "screen.audit", "registry.audit", "Audit", "Who did what to this model"),
        binding("c", "screen.compare_releases", "registry.compare", "Compare", "The marked ones, or this and latest",
                show=True),
        binding("V", "screen.verify_releases", "registry.verify", "Verify", "Check the bytes of the marked, or this",
                show=True),
        binding("e", "screen.export_releases", "registry.export", "Export", "Weights of the marked, or this, as files",
                show=True),
        *marking(show=False),
        *SORTING,
        COPY,
    ]  # fmt: skip

    is_open: reactive[bool] = reactive(False, repaint=False)
    """Whether it is on screen; nothing is read otherwise."""
    query_text: reactive[str] = reactive("", repaint=False)
    """Only releases whose model, version, mark or origin holds this are listed."""
    filter_hint: ClassVar[str] = "model, version, mark or run"

    class Seen(Message):
        """The registry was read."""

        def __init__(self, found: RegistryRows) -> None:
            super().__init__()
            self.found = found

    class Undone(Message):
        """The last roll-back is to be taken back."""

    def __init__(self, paths: StorePaths, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._paths = paths
        self._watcher: Watcher[StorePaths, RegistryRows] = Watcher(RegistryLook().look, LOOK_SECONDS)
        self._found: RegistryRows | None = None
        self._verified: dict[str, str | None] = {}
        """What a verification of the bytes found wrong, by key."""
        self._sort, self._reversed = 0, False
        self._now, self._writable = 0.0, True

    def on_mount(self) -> None:
        """Look at the registry while it is on screen."""
        self._read_registry()
        self.watch(self.screen, "snapshot", self._take_snapshot)

    def on_unmount(self) -> None:
        """Let the thread go."""
        self._watcher.stop()

    @work(thread=True, exclusive=True, group="registry", exit_on_error=False)
    def _read_registry(self) -> None:
        worker = get_current_worker()

        def post(_paths: StorePaths, found: RegistryRows) -> None:
            if not worker.is_cancelled:
                self.post_message(self.Seen(found))

        self._watcher.run(post)

    def _take_snapshot(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._now, self._writable = snapshot.now, snapshot.writable
            if self.is_open:
                self.repaint()  # ages

    def watch_is_open(self) -> None:
        """Read on, or rest."""
        self._watcher.ask(self._paths if self.is_open else None)

    def look_again(self) -> None:
        """Something was done to the registry from here."""
        self.watch_is_open()

    def on_registry_pane_seen(self, message: Seen) -> None:
        """List what was read."""
        message.stop()
        self._found = message.found
        self.keep_marks({row.key for row in message.found.rows})
        self._relist()

    def watch_query_text(self) -> None:
        """List what matches."""
        self._relist()

    def mark_verified(self, found: Mapping[str, str | None]) -> None:
        """Show what a verification found, by key: what is wrong, or None."""
        self._verified.update(found)
        self.repaint()

    def selection(self) -> list[ReleaseRow]:
        """The marked releases, listed or not; else the one under the cursor."""
        rows = self._found.rows if self._found is not None else ()
        marked = [row for row in rows if row.key in self.marked]
        return marked or ([self.current] if self.current is not None else [])

    def latest_of(self, model: str) -> ReleaseRow | None:
        """The release of a model that `latest` means."""
        rows = self._found.rows if self._found is not None else ()
        return next((row for row in rows if (row.release.model, row.mark) == (model, "latest")), None)

    def _relist(self) -> None:
        rows = list(self._found.rows) if self._found is not None else []
        if needle := self.query_text.casefold():
            rows = [row for row in rows if needle in f"{row.model} {row.version} {row.mark} {row.origin}".casefold()]
        keys = {
            1: lambda row: -row.release.time,
            2: lambda row: -row.value if row.value is not None else float("inf"),
            3: lambda row: -row.release.size_bytes,
        }
        if self._sort:
            rows.sort(key=keys[self._sort])
        self.set_items(rows[::-1] if self._reversed else rows)

    # Lines.

    def key_of(self, item: ReleaseRow) -> str:
        """Model and version."""
        return item.key

    def _problem(self, row: ReleaseRow) -> str | None:
        return self._verified.get(row.key) or row.problem

    def rule(self, width: int) -> Line:
        """How many of how many models; or what is wrong with the one at the cursor, or with the registry."""
        wrong = self._problem(self.current) if self.current is not None else None
        wrong = wrong or (self._found.problem if self._found is not None else None)
        if wrong is not None:
            tone = "warning" if self.current is not None and self.current.mark == "yanked" else "error"
            said = shorten_right(wrong, width - 20)
            return rule_line(width, "Registry", [figure(said, tone)], digit="5", focused=self.has_focus)
        figures: list[Figure] = []
        if self.query_text:
            figures.append(figure("/" + self.query_text, "accent"))
        if self.marked:
            figures.append(figure(f"{len(self.marked):,} marked", "accent"))
        if self.items:
            models = len({row.model for row in self.items})
            releases = f"{format_count(len(self.items))} {'releases' if len(self.items) != 1 else 'release'}"
            figures.append(figure(releases + (f" of {models:,} models" if models != 1 else "")))
            figures.append(figure(SORTS[self._sort] + (", reversed" if self._reversed else "")))
        return rule_line(width, "Registry", figures, digit="5", focused=self.has_focus)

    def empty_text(self) -> str:
        """Why there is nothing, and what now."""
        if self._found is None:
            return "Reading…"
        if self.query_text:
            return "Nothing matches. Esc clears."
        return "No release yet. p on a run or a checkpoint promotes it to production."

    def _widths(self, width: int) -> tuple[int, int]:
        """Cells of the model and of where it came from."""
        longest = max((cell_width(row.model) for row in self.items), default=5)
        model = max(5, min(longest, 24, width // 4))
        by = BY_WIDTH if width >= WIDE else 0
        rest = width - 4 - model - VERSION_WIDTH - MARK_WIDTH - VALUE_WIDTH - AGE_WIDTH - SIZE_WIDTH - by - 4
        return model, max(0, rest)

    def heading(self, width: int) -> Line | None:
        """The column names."""
        model, origin = self._widths(width - 1)
        metrics = {row.metric for row in self.items}
        metric = shorten_middle(next(iter(metrics)), VALUE_WIDTH - 1) if len(metrics) == 1 else "metric"
        text = "   " + pad("model", model) + "  " + "version".ljust(VERSION_WIDTH) + "mark".ljust(MARK_WIDTH)
        text += pad_left(metric, VALUE_WIDTH) + "age".rjust(AGE_WIDTH) + "size".rjust(SIZE_WIDTH) + "  "
        text += "by".ljust(BY_WIDTH) if width - 1 >= WIDE else ""
        return Line((Span(text + ("from" if origin > 4 else ""), "muted"),))

    def row(self, item: ReleaseRow, width: int, *, at_cursor: bool) -> Line:
        """One release; the name of a model stands at its first row alone."""
        model, origin = self._widths(width)
        bad = self._problem(item) is not None and item.mark != "yanked"
        mark = "bad" if bad else item.mark
        lively = mark in ("latest", "bad") or at_cursor
        tone = "foreground" if lively else "muted"
        index = self._index_of.get(item.key, 0)
        is_first = index == 0 or self._sort != 0 or self._items[index - 1].model != item.model or index == self._top
        verified = " ✓" if item.key in self._verified and self._verified[item.key] is None else ""
        cells = [
            Span((GLYPHS["marked"][0] if item.key in self.marked else " ") + " ", "accent", bold=True),
            Span(pad(shorten_middle(item.model, model) if is_first else "", model) + "  ", "foreground", bold=True),
            Span(pad(shorten_right(item.version, VERSION_WIDTH - 1), VERSION_WIDTH), tone, mark == "latest"),
            Span(("! bad" if bad else mark + verified).ljust(MARK_WIDTH), MARKS.get(mark, "muted"), bad),
            Span(pad_left(format_cell(item.value), VALUE_WIDTH), tone),
            Span(pad_left(format_age(self._now - item.release.time, live=False, now=self._now), AGE_WIDTH), "muted"),
            Span(format_bytes(item.release.size_bytes).rjust(SIZE_WIDTH) + "  ", "muted"),
        ]
        if width >= WIDE:
            cells.append(Span(pad(shorten_right(item.by, BY_WIDTH - 1), BY_WIDTH), "muted"))
        return Line((*cells, Span(shorten_middle(item.origin, origin) if origin > 4 else "", "muted")))

    # Keys.

    def shown_bindings(self) -> list[Shown]:
        """Its own, greyed where it cannot be done, and the way back."""
        own = [item for item in self.BINDINGS if isinstance(item, Binding) and item.show]
        off: Collection[str | None] = () if self._writable else ("registry.roll-back",)
        if not self.items:
            off = [item.id for item in own]
        back = binding("escape", "screen.back", "main.back", "Back", "")
        return [Shown(item, item.description, item.id in off) for item in (*own, back)]

    def copy_text(self) -> str:
        """The paths of the marked releases, or of this one."""
        return "\n".join(str(self._paths.production.absolute() / row.release.file) for row in self.selection())

    def undo(self) -> None:
        """Ask for the last roll-back to be taken back."""
        self.post_message(self.Undone())

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort, self._reversed = (self._sort + 1) % len(SORTS), False
        self._relist()

    def action_reverse(self) -> None:
        """Turn the order around."""
        self._reversed = not self._reversed
        self._relist()
