"""The command palette: every command by its name, `Checkpoints: Verify`, made from the live bindings and filtered.

What it finds is done by the pane that has the key, so a command here does what its key does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from ckptop.host.units import shorten_right
from ckptop.tui.keys import binding, changed_keys, shown_key
from ckptop.tui.layout import PANES
from ckptop.tui.screens.dialog import SheetRule
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.text import Line, Span, pad, pad_left
from ckptop.tui.theme import THEMES
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.form import Field, Row, Text

NAME_WIDTH = 30
LEFT_OUT = frozenset({"move.", "app.palette", "filter."})
"""Beginnings of ids that nobody looks for by a name."""


class Command(NamedTuple):
    """One line."""

    name: str
    """`group: Action`."""
    what: str
    """A sentence."""
    key: str
    action: str
    owner: DOMNode | None
    """Who does it; None is the app, with a theme."""


def commands_of(owners: Sequence[tuple[str, DOMNode]]) -> list[Command]:
    """The commands of some nodes, each with the word for its group."""
    found: dict[str, Command] = {}
    for group, owner in owners:
        for cls in type(owner).__mro__:
            for item in cls.__dict__.get("BINDINGS", ()):
                if not isinstance(item, Binding) or item.id is None or item.id.startswith(tuple(LEFT_OUT)):
                    continue
                name = f"{group}: {item.description}"
                if name not in found:
                    key = shown_key(item, changed_keys(owner))
                    found[name] = Command(name, item.tooltip, key, item.action, owner)
    return list(found.values())


class CommandList(CursorList[Command]):
    """The commands that match."""

    GROUND = "panel"
    can_focus = False

    def key_of(self, item: Command) -> str:
        """Its name."""
        return item.name

    def rule(self, width: int) -> Line:
        """A blank line under the field."""
        del width
        return Line()

    def heading(self, width: int) -> Line | None:  # noqa: ARG002  none is needed
        """None."""
        return None

    def empty_text(self) -> str:
        """Why there is nothing."""
        return "No command has these words."

    def row(self, item: Command, width: int, *, at_cursor: bool) -> Line:
        """Name, what it does, and its key."""
        room = width - NAME_WIDTH - 10
        return Line((
            Span(pad(shorten_right(item.name, NAME_WIDTH), NAME_WIDTH + 1), "foreground", at_cursor),
            Span(pad(shorten_right(item.what, room), room), "muted"),
            Span(pad_left(item.key, 8), "accent"),
        ))  # fmt: skip


class PaletteScreen(ModalScreen[Command | None]):
    """Answers with the command that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("escape,ctrl+p", "dismiss(None)", "palette.leave", "Leave", "Leave; nothing happens", show=True),
        binding("down,ctrl+n", "move(1)", "palette.down", "Down", "The next command"),
        binding("up", "move(-1)", "palette.up", "Up", "The command before"),
        binding("pagedown", "move(8)", "palette.page-down", "Page down", "A page down"),
        binding("pageup", "move(-8)", "palette.page-up", "Page up", "A page up"),
    ]

    def __init__(self, commands: Sequence[Command]) -> None:
        super().__init__()
        self._commands = commands

    def compose(self) -> ComposeResult:
        """A field, and under it what matches."""
        with Vertical(id="sheet"):
            yield SheetRule("Commands")
            yield Text([Line()])
            yield Row(" ", Field("", width=68, id="words", placeholder="words of a command, such as verify or theme"))
            yield CommandList(id="commands")
            yield Text([Line(), Line((Span(" ↑ ↓ choose · Enter does it · Esc leaves", "muted"),))])

    def on_mount(self) -> None:
        """List all."""
        self.query_one(Field).focus()
        self.query_one(CommandList).set_items(self._commands)

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what has all the words, those first whose name begins with one."""
        event.stop()
        words = event.value.casefold().split()
        found = [item for item in self._commands if all(_has(item, word) for word in words)]
        found.sort(key=lambda item: _rank(item, words))
        self.query_one(CommandList).set_items(found)
        self.query_one(CommandList).move_to(0)

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self.query_one(CommandList).action_move(rows)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer with the command at the cursor."""
        event.stop()
        if (current := self.query_one(CommandList).current) is not None:
            self.dismiss(current)

    def on_click(self) -> None:
        """The keys stay with the field."""
        self.query_one(Field).focus()


def _has(item: Command, word: str) -> bool:
    """Whether it has the word: in its action or sentence, or at the beginning of its group."""
    group, _, action = item.name.casefold().partition(": ")
    return group.startswith(word) or word in action or word in item.what.casefold()


def _rank(item: Command, words: Sequence[str]) -> int:
    """Lower for a better match: words that begin a word of the name, then those within it, then of the sentence."""
    name = item.name.casefold()
    begins = all(any(part.startswith(word) for part in name.split()) for word in words)
    return 0 if begins else 1 if all(word in name for word in words) else 2


def open_palette(app: App[None]) -> None:
    """Ask for a command and do it; a dialog has no palette."""
    screen = app.screen
    if screen.is_modal:
        return
    focused = screen.focused
    shown = screen.shown_panes if isinstance(screen, MainScreen) else set()
    panes = [
        pane
        for pane in screen.query("*")
        if type(pane).__dict__.get("BINDINGS") and (pane.id in PANES or pane.id in shown)
    ]
    panes.sort(key=lambda pane: pane is not focused)
    owners: list[tuple[str, DOMNode]] = [(str(pane.id).replace("-", " ").capitalize(), pane) for pane in panes]
    commands = commands_of([*owners, ("Everywhere", screen), ("App", app)])
    commands += [Command(f"Theme: {theme.name}", "Colours of the dashboard", "", theme.name, None) for theme in THEMES]

    async def carry_out(command: Command | None) -> None:
        if command is None:
            return
        if command.owner is None:
            app.theme = command.action
            return
        if isinstance(command.owner, Widget) and not command.owner.has_focus:
            if isinstance(screen, MainScreen) and command.owner.id in PANES:
                screen.action_pane(command.owner.id)  # it may have no place now
            else:
                command.owner.focus()
        await app.run_action(command.action, default_namespace=command.owner)

    app.push_screen(PaletteScreen(commands), carry_out)
