"""The line that asks for a filter; it stands in the footer's place while it is open."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from ckptop.tui.keys import binding
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.lines import Lines


@runtime_checkable
class Filtered(Protocol):
    """A pane that can be filtered or searched."""

    query_text: str
    """What for; empty for nothing."""

    @property
    def filter_hint(self) -> str:
        """What one may type."""

    def focus(self) -> Widget:
        """Take the keys."""


class _Slash(Lines):
    GROUND = "panel"

    def compose_lines(self, size: Size) -> list[Line]:
        return [Line((Span(" /", "accent", bold=True),))] if size.height else []


class FilterPrompt(Horizontal):
    """Filters a list while the filter is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("escape", "clear", "filter.clear", "Clear", "Clear the filter and close", show=True),
    ]

    class Closed(Message):
        """The filter is as it should be."""

        def __init__(self, target: Filtered) -> None:
            super().__init__()
            self.target = target

    def __init__(self, target: Filtered) -> None:
        super().__init__(id="filter")
        self._target = target

    def compose(self) -> ComposeResult:
        """The slash and the text."""
        yield _Slash(id="filter-slash")
        field = Input(
            self._target.query_text,
            compact=True,
            select_on_focus=False,
            id="filter-text",
            placeholder=self._target.filter_hint,
        )
        field.cursor_blink = False
        yield field

    @property
    def field(self) -> Input:
        """Where it is typed."""
        return self.query_one(Input)

    def on_mount(self) -> None:
        """Take the keys."""
        self.field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        event.stop()
        self._target.query_text = event.value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        event.stop()
        self.post_message(self.Closed(self._target))

    def action_clear(self) -> None:
        """Clear the filter."""
        self._target.query_text = ""
        self.post_message(self.Closed(self._target))
