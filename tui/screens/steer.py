"""Set what may change while a run trains: its learning rate, and how many epochs it trains in all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import format_count
from ckptop.store.errors import UsageError
from ckptop.store.views import RunView
from ckptop.tui.screens.dialog import Dialog, shown_command
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Field, Row, Text

Values = dict[str, float | int]


class SteerScreen(Dialog[Values]):
    """Answers with the arguments of `set`."""

    def __init__(self, view: RunView) -> None:
        super().__init__(f"Set values of {view.name}", no="Cancel", yes="Set")
        self._view = view
        self._was = {"lr": rate_of(view), "epochs": epochs_of(view)}
        self._values: Values = {}

    def fields(self) -> Sequence[Widget]:
        """The two values, what follows, and the command."""
        epoch = self._view.status.epoch if self._view.status is not None else 0
        return [
            Row(" lr      ", Field(self._was["lr"], width=12, id="lr"), "  the highest learning rate"),
            Row(
                " epochs  ",
                Field(self._was["epochs"], width=12, id="epochs", type="integer"),
                f"  in all; epoch {format_count(epoch)} has begun",
            ),
            Text([Line()]),
            Text([Line()], id="note"),
            Text([Line(), Line()], id="command"),
        ]

    def refresh_form(self) -> None:
        """Check the fields, and show what would be sent."""
        note, tone = "It changes with the next step, and is saved with it.", "muted"
        try:
            self._values = self._read()
        except UsageError as error:
            self._values, note, tone = {}, clean(str(error)), "error"
        else:
            if not self._values:
                note = "Nothing changes yet."
        self.query_one("#note", Text).show([Line((Span(" " + note, tone),))])
        words = [f"{key}={value:g}" if key == "lr" else f"{key}={value}" for key, value in self._values.items()]
        command = shown_command(["ctl", self._view.name, "set", *words], self._view.root.parent) if words else []
        self.query_one("#command", Text).show(command or [Line(), Line()])

    def _read(self) -> Values:
        """What differs from now; UsageError where a field holds no such number."""
        rate, epochs = self.field("lr"), self.field("epochs")
        values: Values = {}
        if rate != self._was["lr"]:
            values["lr"] = learning_rate(rate)
        if epochs != self._was["epochs"]:
            values["total_epochs"] = whole_epochs(epochs)
        return values

    def answer(self) -> Values | None:
        """The values, where there are any."""
        return self._values or None


def learning_rate(text: str) -> float:
    """The number in a field.

    Raises:
        UsageError: It is none above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError("lr must be a number above 0, such as 3e-4")
    return value


def whole_epochs(text: str) -> int:
    """The number in a field.

    Raises:
        UsageError: It is no whole number from 1.
    """
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise UsageError("epochs must be a whole number from 1")
    return int(text)


def rate_of(view: RunView) -> str:
    """The configured learning rate as it is typed; empty where none is known."""
    rate = view.record.config.get("lr") if view.record is not None else None
    return f"{rate:g}" if isinstance(rate, int | float) and not isinstance(rate, bool) else ""


def epochs_of(view: RunView) -> str:
    """How many epochs the run trains in all, as it is typed; empty where that is not known."""
    return str(view.status.total_epochs) if view.status is not None and view.status.total_epochs else ""
