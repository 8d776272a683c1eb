"""Train something new: a task, a name, a few settings; it starts in the background and outlives the dashboard."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import cell_width, shorten_right
from ckptop.store.errors import UsageError
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, free_name, settings_in, shown_command
from ckptop.tui.screens.steer import learning_rate, whole_epochs
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Choice, Field, Row, Text

TASK_CELLS = 40
"""For the registered tasks; those that do not fit, and a task of one's own, are typed."""


class TrainScreen(Dialog[list[str]]):
    """Answers with the arguments of `ckptop train … --background`."""

    def __init__(self, tasks: Sequence[str], taken: Collection[str], store: Path) -> None:
        """Show the form.

        Args:
            tasks: Names of the registered tasks; where there are none, one is typed.
            taken: Names of the runs there are.
            store: Where the run will be.
        """
        super().__init__("Train something new", no="Cancel", yes="Start in background")
        self._tasks, self._taken, self._store = _fitting(tasks), taken, store
        self._problem = ""

    def fields(self) -> Sequence[Widget]:
        """What, under which name, with what; and the command."""
        own = Field("", width=18, id="own", placeholder="MODULE:CLASS")
        chosen: list[str | Field | Choice] = [Choice(self._tasks, id="task"), "or "] if self._tasks else []
        return [
            Row(" task    ", *chosen, own),
            Row(" name    ", Field("", width=34, id="name", placeholder="the task's, then task-2, …")),
            Row(" epochs  ", Field("", width=8, id="epochs", type="integer"), "   lr ", Field("", width=10, id="lr")),
            Row(" other   ", Field("", width=50, id="other", placeholder="key=value key=value")),
            Text([Line()]),
            Text([Line()], id="note"),
            Text([Line(), Line()], id="command"),
        ]

    def refresh_form(self) -> None:
        """Check the fields, and show the command or what is wrong."""
        self._problem = ""
        arguments = ["train", self._named_task() or "TASK", "--background"]
        try:
            arguments = self._arguments()
        except UsageError as error:
            self._problem = clean(str(error))
        note = shorten_right(self._problem, SHEET_WIDTH - 4)
        self.query_one("#note", Text).show([Line((Span(" " + note, "error"),))])
        self.query_one("#command", Text).show(shown_command(arguments, self._store))

    def _named_task(self) -> str:
        """The one typed, else the one chosen."""
        chosen = self._tasks[self.query_one("#task", Choice).chosen] if self._tasks else ""
        return self.field("own") or chosen

    def _arguments(self) -> list[str]:
        task, name = self._named_task(), self.field("name")
        if not task:
            raise UsageError("name a task, such as my_task:MyTask")
        arguments = ["train", task]
        if name:
            arguments += ["--name", free_name(name, self._taken)]
        if epochs := self.field("epochs"):
            arguments += ["--epochs", str(whole_epochs(epochs))]
        if rate := self.field("lr"):
            learning_rate(rate)
            arguments += ["--lr", rate]
        for setting in settings_in(self.field("other")):
            arguments += ["--set", setting]
        return [*arguments, "--background"]

    def answer(self) -> list[str] | None:
        """The arguments, with the store; None where a field is wrong."""
        return None if self._problem else [*self._arguments(), "--store", str(self._store)]


def _fitting(tasks: Sequence[str]) -> list[str]:
    """The first tasks whose names fit on the row."""
    shown: list[str] = []
    cells = 0
    for task in tasks:
        cells += cell_width(task) + 6
        if cells > TASK_CELLS:
            break
        shown.append(task)
    return shown
