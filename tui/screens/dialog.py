"""What all dialogs share: a sheet under a heavy rule, fields, the command it stands for, and two buttons.

A dialog of a plan is its own confirmation: the first button, marked at first, does nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from ckptop.host.terminal import clean
from ckptop.host.units import cell_width, shorten_right
from ckptop.store.errors import UsageError
from ckptop.store.names import check_run_name
from ckptop.tui.keys import binding
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Buttons, Choice, Field, Text
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.pane_rule import rule_line

T = TypeVar("T")

SHEET_WIDTH = 76


class SheetRule(Lines):
    """The heavy rule with the title of a sheet."""

    GROUND = "panel"

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.styles.height = 1

    def compose_lines(self, size: Size) -> list[Line]:
        """The rule."""
        return [rule_line(size.width, self._title, focused=True)]


class Dialog(ModalScreen[T | None], Generic[T]):
    """A sheet; it answers with None where it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("escape", "leave", "dialog.leave", "Leave", "Leave; nothing happens"),
        binding("tab,down", "app.focus_next", "dialog.next", "Next field", "Go to the next field"),
        binding("shift+tab,up", "app.focus_previous", "dialog.previous", "Field before", "Go to the field before"),
    ]

    HINT: ClassVar[str] = "Tab next · Space ← → choose · Enter presses · Esc leaves"

    def __init__(self, title: str, *, no: str, yes: str) -> None:
        super().__init__()
        self._title, self._no, self._yes = clean(title), no, yes
        self._first_filled_in: list[object] = []

    def fields(self) -> Sequence[Widget]:
        """The widgets between the rule and the buttons."""
        raise NotImplementedError

    def answer(self) -> T | None:
        """What the second button answers with; None where it may not be pressed."""
        raise NotImplementedError

    def refresh_form(self) -> None:
        """Bring what depends on the fields up to date."""

    def compose(self) -> ComposeResult:
        """The sheet."""
        with Vertical(id="sheet"):
            yield SheetRule(self._title)
            yield Text([Line()])
            yield from self.fields()
            yield Text([Line()])
            yield Buttons([self._no, self._yes])
            yield Text([Line(), Line((Span(" " + self.HINT, "muted"),))])

    def on_mount(self) -> None:
        """The first field has the keys; the buttons, where there is none."""
        inputs = self.query("Field, Choice")
        (inputs.first() if inputs else self.query_one(Buttons)).focus()
        self._first_filled_in = self._filled_in
        self.refresh_form()

    @property
    def _filled_in(self) -> list[object]:
        """What the fields hold, to see whether somebody wanted something."""
        return [*(field.value for field in self.query(Field)), *(choice.chosen for choice in self.query(Choice))]

    def on_input_changed(self, event: Input.Changed) -> None:
        """Bring the plan up to date as it is typed."""
        event.stop()
        self.refresh_form()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
        event.stop()
        self.focus_next()

    def on_choice_changed(self) -> None:
        """Bring the plan up to date."""
        self.refresh_form()

    def on_buttons_pressed(self, event: Buttons.Pressed) -> None:
        """Leave with the answer, or without."""
        event.stop()
        if event.index == 0:
            if self._filled_in != self._first_filled_in:  # Enter, field by field, ends on this button
                self.app.notify(f"{self._no}: nothing was done.", markup=False)
            self.dismiss(None)
            return
        answer = self.answer()
        if answer is not None:
            self.dismiss(answer)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)

    def field(self, name: str) -> str:
        """What a field holds, without blanks around it."""
        return self.query_one(f"#{name}", Field).value.strip()


def shown_command(
    arguments: Sequence[str], store: Path, width: int = SHEET_WIDTH - 4, *, tail: str = "", most: int = 2
) -> list[Line]:
    """`$ ckptop …` on two lines, or on more where that many are given; the store is named where it is not the default.

    Args:
        arguments: Words behind `ckptop`, quoted where that is needed.
        store: The store.
        width: Cells of a line.
        tail: What follows, as a shell reads it.
        most: Lines it may take.
    """
    default = Path(os.environ.get("CKPTOP_STORE") or "./runs")
    where = [] if store in (default, default.resolve()) else ["--store", str(store)]
    words = clean(shlex.join(["ckptop", *arguments, *where]) + tail).split(" ")
    rows = [" $"]
    for word in words:
        if cell_width(rows[-1]) + 1 + cell_width(word) > width and len(rows) < most:
            rows.append("  ")
        rows[-1] += " " + word
    rows += [""] * (2 - len(rows))
    return [Line((Span(shorten_right(row, width), "muted"),)) for row in rows]


def settings_in(text: str) -> list[str]:
    """The `key=value` words of a field, quotes as in a shell.

    Raises:
        UsageError: A quote is not closed, or a word is no setting.
    """
    try:
        settings = shlex.split(text)
    except ValueError:
        raise UsageError("a quote is not closed") from None
    for setting in settings:
        if not setting.partition("=")[0] or "=" not in setting:
            raise UsageError(f"{setting!r} is not key=value")
    return settings


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, where a new run may have it.

    Raises:
        UsageError: It cannot name a run, or one of that name exists.
    """
    if check_run_name(name) in taken:
        raise UsageError(f"{name} exists; choose another name")
    return name
