"""A question with number and bytes, verbs on its buttons, and No marked at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.widget import Widget

from ckptop.tui.keys import binding
from ckptop.tui.screens.dialog import Dialog
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Buttons, Text


class Confirm(Dialog[bool]):
    """Answers True where the second button was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("n", "leave", "confirm.no", "No", "The answer that loses nothing"),
        binding("y", "yes", "confirm.yes", "Yes", "Yes, where it can be undone"),
        binding("tab,shift+tab", "other", "confirm.other", "Other answer", "Mark the other answer"),
    ]

    HINT: ClassVar[str] = "← → choose · Enter presses · n Esc no"

    def __init__(
        self,
        question: str,
        *,
        no: str,
        yes: str,
        note: str = "",
        undoable: bool = False,
        command: Sequence[Line] = (),
    ) -> None:
        """Ask.

        Args:
            question: One sentence that names object and size.
            no: The button that loses nothing.
            yes: The other one, a verb.
            note: One more line.
            undoable: Whether `y` answers yes at once.
            command: What does the same in a script.
        """
        super().__init__(question, no=no, yes=yes)
        self._note, self._undoable, self._command = note, undoable, command
        if undoable:
            self.HINT = Confirm.HINT + " · y yes"  # type: ignore[misc]  # of this dialog alone

    def fields(self) -> Sequence[Widget]:
        """The note and the command."""
        note = [Text([Line((Span(" " + self._note, "warning"),))])] if self._note else []
        return [*note, Text(self._command)] if self._command else note

    def answer(self) -> bool:
        """Yes."""
        return True

    def action_other(self) -> None:
        """Mark the other answer: of a question there are no fields to go to."""
        buttons = self.query_one(Buttons)
        buttons.action_move(-1 if buttons.marked else 1)

    def action_yes(self) -> None:
        """Yes, where it can be undone."""
        if self._undoable:
            self.dismiss(True)
