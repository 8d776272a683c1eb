"""Export weights: where to, and in which format; the end of a file's name and the format say the same."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from textual.widget import Widget
from textual.widgets import Input

from ckptop.host.terminal import clean
from ckptop.host.units import shorten_left
from ckptop.tui.exporting import Source
from ckptop.tui.front import counted
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, shown_command
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Buttons, Choice, Field, Row, Text

SUFFIXES = (".safetensors", ".pt")
WORDS = ("weights alone, which any tool reads", "the state dict alone, for torch.load")
COMMAND_ROWS = 4


class ExportScreen(Dialog[list[list[str]]]):
    """Answers with the arguments of `ckptop export`, a list for each."""

    def __init__(self, sources: Sequence[Source], store: Path) -> None:
        """Show the form.

        Args:
            sources: At least one; of several a directory is asked for.
            store: The store.
        """
        what = sources[0].label if len(sources) == 1 else counted(len(sources), "file")
        super().__init__(f"Export {what}", no="Cancel", yes="Export")
        self._sources, self._store = sources, store

    def fields(self) -> Sequence[Widget]:
        """Where to, and as what; the command."""
        to = f"{self._sources[0].stem}{SUFFIXES[0]}" if len(self._sources) == 1 else "."
        return [
            Row(" to    " if len(self._sources) == 1 else " into  ", Field(to, width=62, id="to")),
            Row(" as    ", Choice([suffix[1:] for suffix in SUFFIXES], id="format")),
            Text([Line()], id="note"),
            Text([Line()]),
            Text([Line()], id="problem"),
            Text([Line(), Line()], id="command"),
        ]

    @property
    def _suffix(self) -> str:
        return SUFFIXES[self.query_one("#format", Choice).chosen]

    @property
    def _targets(self) -> list[Path]:
        to = Path(os.path.expanduser(self.field("to")))  # noqa: PTH111  of nobody's home, Path raises while it is typed
        return [to] if len(self._sources) == 1 else [to / f"{source.stem}{self._suffix}" for source in self._sources]

    def on_choice_changed(self) -> None:
        """Another format is another end of the name."""
        field = self.query_one("#to", Field)
        if len(self._sources) == 1 and (stem := _without_suffix(field.value)) != field.value:
            field.value = stem + self._suffix
        super().on_choice_changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The end of a name that is typed is the format."""
        choice = self.query_one("#format", Choice)
        suffix = Path(event.value.strip()).suffix
        if len(self._sources) == 1 and suffix in SUFFIXES and SUFFIXES.index(suffix) != choice.chosen:
            choice.chosen = SUFFIXES.index(suffix)
            choice.repaint()
        super().on_input_changed(event)

    def refresh_form(self) -> None:
        """Check where to, and show what is done."""
        self.query_one("#note", Text).show([Line((Span("       " + WORDS[SUFFIXES.index(self._suffix)], "muted"),))])
        self.query_one("#problem", Text).show([Line((Span(" " + clean(self._problem(), SHEET_WIDTH - 4), "error"),))])
        count = len(self._sources)
        self.query_one(Buttons).show(["Cancel", "Export" if count == 1 else f"Export {count:,} files"])
        tail = f" # and {count - 1:,} more" if count > 1 else ""
        command = shown_command(self._arguments(0), self._store, tail=tail, most=COMMAND_ROWS)
        self.query_one("#command", Text).show(command)

    def _problem(self) -> str:
        """What stands in the way; empty for nothing."""
        targets = self._targets
        if not self.field("to"):
            return "name a file" if len(self._sources) == 1 else "name a directory"
        if targets[0].suffix not in SUFFIXES:
            return "end it in .safetensors or .pt"
        if not os.path.isdir(targets[0].parent):  # noqa: PTH112  of a name that is too long, Path raises
            return f"there is no directory {shorten_left(str(targets[0].parent), SHEET_WIDTH - 30)}"
        there = [target for target in targets if os.path.lexists(target)]
        if there:
            return f"{shorten_left(str(there[0]), SHEET_WIDTH - 30)} exists; nothing is overwritten"
        if targets[0].suffix == ".pt" and importlib.util.find_spec("torch") is None:
            return "a .pt needs torch, which is not installed; safetensors does not"
        return ""

    def _arguments(self, place: int) -> list[str]:
        return ["export", self._sources[place].name, "--to", str(self._targets[place])]

    def answer(self) -> list[list[str]] | None:
        """What is to be carried out; None where something stands in the way."""
        if self._problem():
            return None
        return [[*self._arguments(place), "--store", str(self._store)] for place in range(len(self._sources))]


def _without_suffix(text: str) -> str:
    return next((text.removesuffix(suffix) for suffix in SUFFIXES if text.endswith(suffix)), text)
