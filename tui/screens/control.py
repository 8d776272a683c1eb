"""What can be asked of a run's trainer, one line each; what cannot, says why.

A menu and no form: the first row loses nothing, and what ends the trainer is asked about once more.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, shorten_right
from ckptop.store.views import RunView
from ckptop.tui.keys import binding
from ckptop.tui.powers import Powers
from ckptop.tui.screens.dialog import SHEET_WIDTH, SheetRule, shown_command
from ckptop.tui.text import Line, Span, pad, wrapped
from ckptop.tui.theme import GLYPHS, STATE_TOKENS
from ckptop.tui.widgets.cursor_list import CursorList
from ckptop.tui.widgets.form import Text

NAME_WIDTH = 18


class Item(NamedTuple):
    """One row."""

    action: str
    """What the menu answers with."""
    name: str
    what: str
    refusal: str | None
    """Why it cannot be done now."""
    command: tuple[str, ...]
    """The words behind `ckptop` that do the same."""


def items_of(view: RunView, powers: Powers) -> list[Item]:
    """The rows for a run: what loses nothing first, what ends it last."""
    name, paused = view.name, view.state == "paused"
    ask, short = powers.ask, "it is paused already" if paused else "it is not paused"
    pausing = ask or (short if paused else None)
    going_on = ask or (None if paused else short)
    values = _values(view)
    return [
        Item("save", "Save now", "a checkpoint after this step; it goes on", ask, ("ctl", name, "save")),
        Item("pause", "Pause", "it waits after this step until it is continued", pausing, ("ctl", name, "pause")),
        Item("continue", "Continue", "it goes on where it was paused", going_on, ("ctl", name, "continue")),
        Item("set", "Set lr, epochs…", values, ask, ("ctl", name, "set", "lr=…")),
        Item("stop", "Stop…", "after this step; it saves first", ask, ("stop", name)),
        Item("kill", "Stop now…", "killed; what is not saved is lost", powers.kill, ("stop", name, "--now")),
    ]


def _values(view: RunView) -> str:
    rate = view.record.config.get("lr") if view.record is not None else None
    epochs = view.status.total_epochs if view.status is not None else None
    known = [f"lr {rate:g}" if isinstance(rate, int | float) and not isinstance(rate, bool) else "",
             f"{format_count(epochs)} epochs" if epochs else ""]  # fmt: skip
    return "now " + ", ".join(filter(None, known)) if any(known) else "while it trains"


class Menu(CursorList[Item]):
    """The rows; those that are off are greyed."""

    GROUND = "panel"
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("enter,space", "choose", "control.choose", "Choose", "Do what the cursor stands on", show=True),
    ]

    class Chosen(Message):
        """Enter on a row."""

    def __init__(self, view: RunView, reason: str | None) -> None:
        """Show the rows.

        Args:
            view: The run.
            reason: Why its trainer cannot be asked; said once below the rows, and not in each.
        """
        super().__init__(id="menu")
        self._view, self._reason = view, reason

    def key_of(self, item: Item) -> str:
        """The action."""
        return item.action

    def rule(self, width: int) -> Line:
        """How the run does."""
        state, status = self._view.state, self._view.status
        spans = [Span(f" {GLYPHS[state][0]} {state}", STATE_TOKENS[state])]
        if status is not None:
            total = f" of {format_count(status.total_steps)}" if status.total_steps else ""
            spans.append(Span(f"   step {format_count(status.step)}{total}", "muted"))
            if self._view.latest is not None:
                spans.append(Span(f"   saved at {format_count(self._view.latest.step)}", "muted"))
        return Line(tuple(spans)) if width else Line()

    def heading(self, width: int) -> Line | None:  # noqa: ARG002  a blank line below the state
        """Air."""
        return Line()

    def empty_text(self) -> str:
        """Never shown."""
        return ""

    def row(self, item: Item, width: int, *, at_cursor: bool) -> Line:
        """Name and consequence, or the reason."""
        off = item.refusal is not None
        name = Span(pad(item.name, NAME_WIDTH), "muted" if off else "foreground", at_cursor and not off)
        said = item.refusal if item.refusal is not None and item.refusal != self._reason else item.what
        return Line((name, Span(shorten_right(said, width - NAME_WIDTH), "muted")))

    def action_choose(self) -> None:
        """Choose the row."""
        self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """Move there, and choose it with the second click."""
        before = self.current
        super().on_click(event)
        if self.current is before:
            self.action_choose()


class ControlScreen(ModalScreen[str | None]):
    """Answers with the action of a row that is on; None where it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("escape,q,x", "dismiss(None)", "control.leave", "Leave", "Leave; nothing happens", show=True),
    ]

    HINT: ClassVar[str] = "↑ ↓ choose · Enter does it · Esc leaves"

    def __init__(self, view: RunView, powers: Powers) -> None:
        super().__init__()
        self._view, self._powers = view, powers
        self._items = items_of(view, powers)

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical(id="sheet"):
            yield SheetRule(f"Control {clean(self._view.name)}")
            yield Text([Line()])
            yield Menu(self._view, self._powers.ask)
            yield Text([Line(), Line()], id="command")
            yield Text([Line(), Line((Span(" " + self.HINT, "muted"),))])

    def on_mount(self) -> None:
        """The first row that is on has the cursor."""
        menu = self.query_one(Menu)
        menu.set_items(self._items)
        menu.move_to(next((place for place, item in enumerate(self._items) if item.refusal is None), 0))
        menu.focus()
        self._show_command()

    def on_cursor_list_cursor_moved(self) -> None:
        """Show the row's command."""
        self._show_command()

    def _show_command(self) -> None:
        item = self.query_one(Menu).current
        if item is None:
            return
        lines = shown_command(item.command, self._view.root.parent)
        if item.refusal is not None:
            said = wrapped(self._powers.ask or "", SHEET_WIDTH - 3, 2)
            lines = [Line((Span(" " + part, "warning"),)) for part in said] + [Line()] * (2 - len(said))
        self.query_one("#command", Text).show([Line(), *lines])

    def on_menu_chosen(self) -> None:
        """Answer, where the row is on."""
        item = self.query_one(Menu).current
        if item is not None and item.refusal is None:
            self.dismiss(item.action)
