"""The dashboard as an application: themes, the terminal's manners, and the way in.

Small on purpose: what is on screen is in `screens`, what is read in `reader`, what keys do behind `screens.acting`.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")  # read when Textual is imported

from rich.console import RenderableType
from rich.segment import Segment
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.binding import BindingType
from textual.color import Color
from textual.filter import LineFilter
from textual.reactive import Reactive
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES, Theme

from ckptop.tui.keys import binding
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.style import CSS
from ckptop.tui.theme import CKPTOP_DARK, THEMES
from ckptop.tui.tight_update import TightUpdate
from ckptop.tui.trainers import Tasks

THEME_VARIABLE = "CKPTOP_THEME"
"""Name of a Textual theme to use instead of our dark one."""

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")


class StrippingFilter(LineFilter):
    """The second wall: whatever slipped past `clean` loses its control characters before the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002  Textual's name
        """The segments with every control and invisible character replaced by a visible one."""
        if all(segment.text.isascii() and segment.text.isprintable() for segment in segments):
            return segments
        return [
            Segment(_UNSAFE.sub("·", text), style, control) if _UNSAFE.search(text) else Segment(text, style, control)
            for text, style, control in segments
        ]


def wanted_theme() -> str:
    """The theme of `$CKPTOP_THEME`, ours or one of Textual's; our dark one where it names none."""
    wanted = os.environ.get(THEME_VARIABLE, "")
    known = {theme.name for theme in THEMES} | BUILTIN_THEMES.keys()
    return wanted if wanted in known else CKPTOP_DARK.name


class CkptopApp(App[None]):
    """The dashboard."""

    CSS = CSS
    TITLE = "ckptop"
    ENABLE_COMMAND_PALETTE = False

    theme: Reactive[str] = Reactive(wanted_theme)

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("q,ctrl+c", "quit", "app.quit", "Quit", "Quit; trainers go on"),
        binding("ctrl+z", "suspend_process", "app.suspend", "Suspend", "Back to the shell; fg returns"),
    ]

    def __init__(self, reader: StoreReader, tasks: Tasks = tuple) -> None:
        """The dashboard of one store.

        Args:
            reader: What reads it.
            tasks: Names the tasks that can be trained.
        """
        super().__init__()
        self._reader, self._tasks = reader, tasks

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Ours from the very start: a theme set later would have the style sheet parsed twice."""
        return {theme.name: theme for theme in THEMES} | super().available_themes

    def get_default_screen(self) -> Screen[None]:
        """The main screen; pushing it on top of an empty one would paint twice."""
        return MainScreen(self._reader, self._tasks)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        # Textual's own name: the only place where every partial repaint passes.
        super()._display(screen, TightUpdate(renderable) if isinstance(renderable, ChopsUpdate) else renderable)

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own filters, and the wall."""
        return [*super().get_line_filters(), StrippingFilter()]


def run_dashboard(store_path: Path, *, tasks: Tasks = tuple) -> int:
    """Open the dashboard on a store and return when it is left.

    Args:
        store_path: The store's root; it need not exist yet.
        tasks: Names the tasks that can be trained; asked in a thread, when a person wants to train.

    Returns:
        The exit code: 0, or 1 where the dashboard itself failed.
    """
    # With SIGHUP ignored (nohup) and its terminal gone, Textual would spin on a dead descriptor.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    app = CkptopApp(StoreReader(store_path), tasks)
    app.run()
    return app.return_code or 0
