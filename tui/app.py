"""The dashboard as an application: themes, the terminal's manners, what is remembered and set.

Small on purpose: what is on screen is in `screens`, what is read in `reader`, what keys do behind `screens.acting`.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")  # read when Textual is imported

from rich.console import RenderableType
from rich.segment import Segment
from textual import on
from textual._compositor import ChopsUpdate
from textual.actions import SkipAction
from textual.app import App
from textual.binding import BindingType
from textual.color import Color
from textual.driver import Driver
from textual.filter import LineFilter
from textual.notifications import Notify
from textual.reactive import Reactive
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES, Theme

from ckptop.tui.ascii_art import ASCII_VARIABLE, MARKERS
from ckptop.tui.keys import binding
from ckptop.tui.memory import Layout, layout_path, read_layout
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.settings import Settings, read_settings, settings_path
from ckptop.tui.style import CSS
from ckptop.tui.text import draw_with
from ckptop.tui.theme import CKPTOP_DARK, THEMES, recoloured
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


THEME_NAMES = frozenset({theme.name for theme in THEMES} | BUILTIN_THEMES.keys())


def wanted_theme(*others: str | None) -> str:
    """The theme of `$CKPTOP_THEME`, else the first of the others that there is, else our dark one."""
    wanted = (os.environ.get(THEME_VARIABLE), *others)
    return next((name for name in wanted if name in THEME_NAMES), None) or CKPTOP_DARK.name


@cache
def _all_themes(hues: str) -> dict[str, Theme]:
    # Textual asks for the theme in use a hundred times a frame.
    themes = {theme.name: theme for theme in THEMES} | BUILTIN_THEMES
    return {name: recoloured(theme, hues) for name, theme in themes.items()}


class CkptopApp(App[None]):
    """The dashboard."""

    CSS = CSS
    TITLE = "ckptop"
    ENABLE_COMMAND_PALETTE = False

    theme: Reactive[str] = Reactive(wanted_theme)

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("q", "quit", "app.quit", "Quit", "Quit; trainers go on"),
        binding("ctrl+c", "interrupt", "app.interrupt", "Quit", "Quit, from dialogs and forms too", everywhere=True),
        binding("colon,ctrl+p", "palette", "app.palette", "Palette", "Find a command by its name"),
        binding(
            "ctrl+z", "suspend_process", "app.suspend", "Suspend", "Back to the shell; fg returns", everywhere=True
        ),
    ]

    def __init__(
        self,
        reader: StoreReader,
        tasks: Tasks = tuple,
        *,
        settings: Settings | None = None,
        layout: Layout | None = None,
        remember: Path | None = None,
    ) -> None:
        """The dashboard of one store.

        Args:
            reader: What reads it.
            tasks: Names the tasks that can be trained.
            settings: What a person set.
            layout: How it was left; None where it was never opened.
            remember: Where to keep how it is left; None forgets it.
        """
        self.hues = (settings or Settings()).palette
        """Name of the palette whose hues every theme has."""
        chosen = layout.theme if layout is not None else None
        # Before anything is made of it: a theme set later would have the style sheet parsed twice.
        self.set_reactive(CkptopApp.theme, wanted_theme((settings or Settings()).theme, chosen))
        super().__init__()
        self.keys_by_id = dict((settings or Settings()).keys)
        """Keys that a person changed, by the id of the binding."""
        if self.keys_by_id:
            self.set_keymap(self.keys_by_id)
        self._reader, self._tasks, self._left, self._remember = reader, tasks, layout, remember
        self._wall = StrippingFilter()  # one for all lines: each keeps what it became, by the filter

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Ours from the very start, and all in the hues of the palette that was set."""
        return _all_themes(self.hues)

    def get_default_screen(self) -> Screen[None]:
        """The main screen; pushing it on top of an empty one would paint twice."""
        return MainScreen(self._reader, self._tasks, layout=self._left, remember=self._remember)

    async def action_quit(self) -> None:
        """Leave; how it is left is remembered."""
        main = self.screen_stack[0]
        if isinstance(main, MainScreen):
            main.remember_at_once()
        await super().action_quit()

    async def action_interrupt(self) -> None:
        """Quit, unless there is selected text, which the key copies."""
        from ckptop.tui.widgets.form import has_chosen_text

        if has_chosen_text(self.focused) or self.screen.get_selected_text():
            raise SkipAction
        await self.action_quit()

    @on(Driver.SignalResume)
    def repaint_all(self) -> None:
        """Back from the shell: the terminal's other screen is empty, and Textual writes only what has changed."""
        self.refresh(layout=True)

    def on_notify(self, event: Notify) -> None:
        """Show a toast, unless the same is on screen: a key pressed five times has one answer."""
        new = event.notification
        same = (new.title, new.message, new.severity)
        if any((shown.title, shown.message, shown.severity) == same for shown in self._notifications):
            event.prevent_default()  # Textual would pile them up

    def action_palette(self) -> None:
        """Find a command by its name, and do it."""
        from ckptop.tui.screens.palette import open_palette

        open_palette(self)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        # Textual's own name: the only place where every partial repaint passes.
        super()._display(screen, TightUpdate(renderable) if isinstance(renderable, ChopsUpdate) else renderable)

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own filters, and the wall."""
        return [*super().get_line_filters(), self._wall]


def open_app(reader: StoreReader, tasks: Tasks) -> int:
    """Open the dashboard on what the reader reads, and return when it is left; see `tui.start`."""
    settings = read_settings(settings_path(), themes=THEME_NAMES, check_keys=_check_keys)
    if settings.markers in MARKERS and not os.environ.get(ASCII_VARIABLE):
        draw_with(MARKERS[settings.markers])
    remember = layout_path(reader.look.root)
    # With SIGHUP ignored (nohup) and its terminal gone, Textual would spin on a dead descriptor.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    app = CkptopApp(reader, tasks, settings=settings, layout=read_layout(remember), remember=remember)
    app.run(mouse=settings.mouse)
    return app.return_code or 0


def _check_keys(keys: Mapping[str, str]) -> tuple[str, str] | None:
    from ckptop.tui.keymap import what_is_wrong

    return what_is_wrong(keys)
