"""The parts of a dialog: words and fields on a row, a choice, and buttons of which one is marked.

Buttons begin on the first, which loses nothing. `Enter` goes from field to field and presses the marked button.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input
from textual.widgets.input import Selection

from ckptop.host.units import cell_width
from ckptop.tui.keys import binding
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.lines import Lines

CHOSEN, OTHER = "(•)", "( )"
BUTTON_GAP = 2


class Text(Lines):
    """Some lines; as high as there are."""

    GROUND = "panel"

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._text = list(lines)
        self.styles.height = len(self._text)

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines instead."""
        if len(lines) != len(self._text):
            self.styles.height = len(lines)
        self._text = list(lines)
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:  # noqa: ARG002  lines are cut by the strip
        """The lines."""
        return self._text


class Word(Text):
    """A word on a row, as wide as it is."""

    def __init__(self, text: str, tone: str = "muted") -> None:
        super().__init__([Line((Span(text, tone),))])
        self.styles.width = cell_width(text)


class Field(Input):
    """A field of a few cells on a row."""

    _offered: Selection | None = None
    """What focus selected by itself, so that typing replaces it; None once somebody has moved in the field."""

    def __init__(self, value: str, *, width: int, id: str, placeholder: str = "", type: str = "text") -> None:  # noqa: A002  Textual's names
        super().__init__(value, compact=True, id=id, placeholder=placeholder, type=type)  # type: ignore[arg-type]  # one of Textual's three words
        self.styles.width = width
        self.cursor_blink = False

    def on_focus(self) -> None:
        """Textual selects everything next."""
        self._offered = Selection(0, len(self.value))

    def watch_selection(self, selection: Selection) -> None:
        """Another one is somebody's own."""
        if selection != self._offered:
            self._offered = None

    @property
    def is_offered(self) -> bool:
        """Whether nobody but focus has selected anything."""
        return self._offered is not None


def has_chosen_text(widget: Widget | None) -> bool:
    """Whether somebody selected text in this field."""
    if not isinstance(widget, Input) or not widget.selected_text:
        return False
    return not (isinstance(widget, Field) and widget.is_offered)


class Row(Horizontal):
    """Words and fields side by side, under one label."""

    def __init__(self, label: str, *parts: str | Field | Choice) -> None:
        super().__init__()
        self._label, self._parts = label, parts

    def compose(self) -> ComposeResult:
        """The label, then the parts; fields stand in brackets."""
        yield Word(self._label)
        for part in self._parts:
            if isinstance(part, Field):
                yield Word("[")
                yield part
                yield Word("]")
            else:
                yield Word(part) if isinstance(part, str) else part


class Choice(Lines, can_focus=True):
    """One of a few words."""

    GROUND = "panel"
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("left,h", "choose(-1)", "choice.previous", "Before", "Choose the one before"),
        binding("right,l,space", "choose(1)", "choice.next", "Next", "Choose the next one"),
        binding("enter", "leave", "choice.leave", "Next field", "Go to the next field"),
    ]

    @dataclass
    class Changed(Message):
        """Another one was chosen."""

        choice: Choice
        chosen: int

    def __init__(self, words: Sequence[str], *, id: str, chosen: int = 0) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._words = list(words)
        self.chosen = chosen
        self.styles.height = 1
        self.styles.width = sum(cell_width(word) + 6 for word in words)

    def compose_lines(self, size: Size) -> list[Line]:  # noqa: ARG002  as wide as its words
        """The words, the chosen one marked."""
        spans: list[Span] = []
        for place, word in enumerate(self._words):
            here = place == self.chosen
            tone = "accent" if here and self.has_focus else "foreground" if here else "muted"
            spans.append(Span(f"{CHOSEN if here else OTHER} {word}", tone, bold=here and self.has_focus))
            spans.append(Span("  "))
        return [Line(tuple(spans))]

    def action_choose(self, direction: int) -> None:
        """Choose the next one, around the end."""
        self.chosen = (self.chosen + direction) % len(self._words)
        self.repaint()
        self.post_message(self.Changed(self, self.chosen))

    def action_leave(self) -> None:
        """Go to the next field."""
        self.screen.focus_next()


class Buttons(Lines, can_focus=True):
    """A row of buttons; the marked one wears `▸[ ]◂`."""

    GROUND = "panel"
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("left,h", "move(-1)", "buttons.previous", "Before", "Mark the button before"),
        binding("right,l", "move(1)", "buttons.next", "Next", "Mark the next button"),
        binding("enter,space", "press", "buttons.press", "Press", "Press the marked button"),
    ]

    @dataclass
    class Pressed(Message):
        """A button was pressed."""

        index: int

    def __init__(self, labels: Sequence[str], *, id: str = "buttons") -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._labels = list(labels)
        self.marked = 0
        self.styles.height = 1

    def show(self, labels: Sequence[str]) -> None:
        """Rename the buttons; the mark stays."""
        self._labels = list(labels)
        self.repaint()

    def compose_lines(self, size: Size) -> list[Line]:
        """The buttons, in the middle."""
        spans: list[Span] = []
        for place, label in enumerate(self._labels):
            here = place == self.marked
            tone = "accent" if here and self.has_focus else "foreground" if here else "muted"
            spans.append(Span(f"▸[ {label} ]◂" if here else f" [ {label} ] ", tone, bold=here))
            spans.append(Span(" " * BUTTON_GAP))
        width = sum(cell_width(span.text) for span in spans) - BUTTON_GAP
        return [Line((Span(" " * max(0, (size.width - width) // 2)), *spans[:-1]))]

    def action_move(self, direction: int) -> None:
        """Mark the button beside."""
        self.marked = max(0, min(self.marked + direction, len(self._labels) - 1))
        self.repaint()

    def action_press(self) -> None:
        """Press the marked button."""
        self.post_message(self.Pressed(self.marked))
