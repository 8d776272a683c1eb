"""Resume a run: from where, until when, with what changed; it starts in the background."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, shorten_right
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import UsageError
from ckptop.store.views import RunView
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, shown_command
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Choice, Field, Row, Text

START = "the start"


class ResumeScreen(Dialog[list[str]]):
    """Answers with the arguments of `ckptop resume`."""

    def __init__(self, view: RunView, info: CheckpointInfo | None, store: Path) -> None:
        super().__init__(f"Resume {view.name}", no="Cancel", yes="Start in background")
        self._view, self._store = view, store
        self._sources = _sources(view, info)
        self._problem = ""

    def fields(self) -> Sequence[Widget]:
        """From where, until when, what else, and the command."""
        chosen = len(self._sources) - 1 if self._sources[-1][1].endswith(".pt") else 0
        status = self._view.status
        epochs = str(status.total_epochs) if status is not None and status.total_epochs else ""
        return [
            Row(" from    ", Choice([label for label, _ in self._sources], id="from", chosen=chosen)),
            Row(" epochs  ", Field(epochs, width=8, id="epochs", type="integer")),
            Row(" other   ", Field("", width=50, id="other", placeholder="key=value key=value")),
            Text([Line()]),
            Text([Line()], id="note"),
            Text([Line(), Line()], id="command"),
        ]

    def refresh_form(self) -> None:
        """Check the fields, and show what follows from them."""
        self._problem = ""
        note, tone = self._note(), "warning"
        try:
            arguments = self._arguments()
        except UsageError as error:
            self._problem = note = clean(str(error))
            arguments, tone = ["resume", self._view.name], "error"
        self.query_one("#note", Text).show([Line((Span(" " + shorten_right(note, SHEET_WIDTH - 4), tone),))])
        self.query_one("#command", Text).show(shown_command(arguments, self._store))

    def _note(self) -> str:
        config = self._view.record.config if self._view.record is not None else {}
        keys = [word.partition("=")[0] for word in self.field("other").split() if "=" in word]
        was = [f"{clean(key, 30)} was {clean(str(config[key]), 30)}" for key in keys if key in config]
        if keys:
            return ", ".join([*was, "the run will no longer be bitwise exact"])
        if self._view.state == "finished" and not self._epochs():
            return "This run is finished; raise its epochs to go on."
        return ""

    def _epochs(self) -> str:
        """The field, where it says something new."""
        status, text = self._view.status, self.field("epochs")
        return "" if status is not None and text == str(status.total_epochs) else text

    def _arguments(self) -> list[str]:
        selector = self._sources[self.query_one("#from", Choice).chosen][1]
        arguments = ["resume", self._view.name] + ([] if selector == "latest" else ["--from", selector])
        if epochs := self._epochs():
            if not epochs.isdigit() or int(epochs) < 1:
                raise UsageError("epochs must be a whole number from 1")
            arguments += ["--epochs", epochs]
        try:
            settings = shlex.split(self.field("other"))
        except ValueError:
            raise UsageError("a quote is not closed") from None
        for setting in settings:
            if not setting.partition("=")[0] or "=" not in setting:
                raise UsageError(f"{setting!r} is not key=value")
            arguments += ["--set", setting]
        return arguments

    def answer(self) -> list[str] | None:
        """The arguments, with the store; None where a field is wrong."""
        return None if self._problem else [*self._arguments(), "--store", str(self._store)]


def _sources(view: RunView, info: CheckpointInfo | None) -> list[tuple[str, str]]:
    """What to go on from: label and selector; what was chosen in the table comes last."""
    latest, best = view.latest, view.best
    if latest is None:
        sources = [(START if not view.checkpoints else "latest", "latest")]
    else:
        sources = [(f"latest {format_count(latest.step)}", "latest")]
    if best is not None:
        sources.append((f"best {format_count(best.step)}", "best"))
    if info is not None and (latest is None or info.key != latest.key) and (best is None or info.key != best.key):
        sources.append((f"selected {format_count(info.step)}", info.name))
    return sources
