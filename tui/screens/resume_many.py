"""Resume or fork several at once: runs from their newest checkpoints, or each of the marked checkpoints of a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import shorten_right
from ckptop.store.errors import UsageError
from ckptop.tui.front import counted
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, free_name, settings_in, shown_command
from ckptop.tui.screens.resume import FORK, SAME
from ckptop.tui.screens.steer import learning_rate, whole_epochs
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Choice, Field, Row, Text

SUFFIX = "fork"


class Source(NamedTuple):
    """What one of them goes on from."""

    run: str
    selector: str
    """`latest`, or the name of a checkpoint's file."""
    step: int | None = None
    """Of the checkpoint, where one was chosen."""


class ResumeManyScreen(Dialog[list[list[str]]]):
    """Answers with the arguments of `ckptop resume`, one list each."""

    def __init__(self, sources: Sequence[Source], store: Path, *, taken: Collection[str] = ()) -> None:
        """Show the form.

        Args:
            sources: What they go on from; several of one run can only be forked.
            store: Its store.
            taken: Names of the runs there are.
        """
        self._sources, self._store, self._taken = sources, store, taken
        runs = {source.run for source in sources}
        several_of_one = len(runs) < len(sources)
        self._ways = [FORK] if several_of_one else [SAME.replace("run", "runs"), FORK]
        what = (
            f"{counted(len(sources), 'checkpoint')} of {next(iter(runs))}" if several_of_one else f"{len(sources)} runs"
        )
        super().__init__(f"{'Fork' if several_of_one else 'Resume'} {what}", no="Cancel", yes="Start in background")
        self._problem = ""

    def fields(self) -> Sequence[Widget]:
        """As what, until when, what else; and the first of the commands."""
        return [
            Row(" as      ", Choice(self._ways, id="as"), " RUN-", Field(SUFFIX, width=16, id="fork")),
            Row(" epochs  ", Field("", width=8, id="epochs", type="integer", placeholder="same"),
                "   lr ", Field("", width=10, id="lr", placeholder="same")),
            Row(" other   ", Field("", width=50, id="other", placeholder="key=value key=value")),
            Text([Line()]),
            Text([Line()], id="note"),
            Text([Line(), Line()], id="command"),
        ]  # fmt: skip

    @property
    def _is_fork(self) -> bool:
        return self._ways[self.query_one("#as", Choice).chosen] == FORK

    def refresh_form(self) -> None:
        """Check the fields, and show the first command or what is wrong."""
        self._problem = ""
        more = len(self._sources) - 1
        note, tone, first = f"and {more:,} more like it, one after another", "muted", ["resume", self._sources[0].run]
        try:
            first = self._commands()[0]
        except UsageError as error:
            self._problem = note = clean(str(error))
            tone = "error"
        self.query_one("#note", Text).show([Line((Span(" " + shorten_right(note, SHEET_WIDTH - 4), tone),))])
        self.query_one("#command", Text).show(shown_command(first, self._store))

    def _commands(self) -> list[list[str]]:
        options: list[str] = []
        if epochs := self.field("epochs"):
            options += ["--epochs", str(whole_epochs(epochs))]
        if rate := self.field("lr"):
            learning_rate(rate)
            options += ["--set", f"lr={rate}"]
        for setting in settings_in(self.field("other")):
            options += ["--set", setting]
        commands = []
        for source in self._sources:
            words = ["resume", source.run]
            if source.selector != "latest":
                words += ["--from", source.selector]
            if self._is_fork:
                words += ["--fork", free_name(self._name_of(source), self._taken)]
            commands.append([*words, *options])
        return commands

    def _name_of(self, source: Source) -> str:
        suffix = self.field("fork")
        if not suffix:
            raise UsageError("name the forks")
        return f"{source.run}-{suffix}" + (f"-{source.step}" if source.step is not None else "")

    def answer(self) -> list[list[str]] | None:
        """The arguments, with the store; None where a field is wrong."""
        return None if self._problem else [[*words, "--store", str(self._store)] for words in self._commands()]
