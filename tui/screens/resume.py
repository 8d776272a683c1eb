"""Resume a run, or fork it: from where, as what, until when, with what changed; it starts in the background."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from textual.widget import Widget

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, shorten_right
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import UsageError
from ckptop.store.views import RunView
from ckptop.tui.powers import Powers
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, free_name, settings_in, shown_command
from ckptop.tui.screens.steer import epochs_of, learning_rate, rate_of, whole_epochs
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Choice, Field, Row, Text

START = "the start"
SAME, FORK = "same run", "fork named"
NAME_IT = "Name the fork; this run stays as it is."


class ResumeScreen(Dialog[list[str]]):
    """Answers with the arguments of `ckptop resume`."""

    def __init__(
        self,
        view: RunView,
        info: CheckpointInfo | None,
        store: Path,
        powers: Powers,
        *,
        taken: Collection[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Show the form.

        Args:
            view: The run.
            info: The checkpoint that was chosen; None for the newest.
            store: Its store.
            powers: What may be done: to go on with it, to fork it, or both.
            taken: Names of the runs there are.
            settings: Keys to change that are proposed.
        """
        self._ways = [way for way, refusal in ((SAME, powers.resume), (FORK, powers.fork)) if refusal is None]
        super().__init__(f"{'Resume' if SAME in self._ways else 'Fork'} {view.name}", no="Cancel",
                         yes="Start in background")  # fmt: skip
        self._view, self._store, self._taken = view, store, taken
        self._settings = dict(settings or {})
        self._rate, self._was = self._settings.pop("lr", rate_of(view)), rate_of(view)
        self._sources = _sources(view, info)
        self._chosen = _chosen(view, info, self._sources)
        self._problem = ""

    def fields(self) -> Sequence[Widget]:
        """From where, as what, until when, what else; and the command."""
        epochs = self._settings.pop("epochs", epochs_of(self._view))
        other = " ".join(f"{key}={value}" for key, value in self._settings.items())
        named = [Field("", width=24, id="fork", placeholder="a new name")] if FORK in self._ways else []
        return [
            Row(" from    ", Choice([label for label, _ in self._sources], id="from", chosen=self._chosen)),
            Row(" as      ", Choice(self._ways, id="as"), *named),
            Row(" epochs  ", Field(epochs, width=8, id="epochs", type="integer"),
                "   lr ", Field(self._rate, width=10, id="lr")),
            Row(" other   ", Field(other, width=50, id="other", placeholder="key=value key=value")),
            Text([Line()]),
            Text([Line()], id="note"),
            Text([Line(), Line()], id="command"),
        ]  # fmt: skip

    def refresh_form(self) -> None:
        """Check the fields, and show what follows from them."""
        self._problem = ""
        note, tone = self._note(), "warning"
        try:
            arguments = self._arguments()
        except UsageError as error:
            self._problem = note = clean(str(error))
            arguments, tone = ["resume", self._view.name], "error"
        if self._is_fork and not self.field("fork"):  # to be typed yet: no fault
            arguments, note, tone = ["resume", self._view.name, "--fork", "NAME"], NAME_IT, "muted"
        self.query_one("#note", Text).show([Line((Span(" " + shorten_right(note, SHEET_WIDTH - 4), tone),))])
        self.query_one("#command", Text).show(shown_command(arguments, self._store))

    @property
    def _is_fork(self) -> bool:
        return self._ways[self.query_one("#as", Choice).chosen] == FORK

    def _note(self) -> str:
        """What a person should know of what the fields say."""
        config = self._view.record.config if self._view.record is not None else {}
        keys = [word.partition("=")[0] for word in self.field("other").split() if "=" in word]
        if self.field("lr") != self._was:
            keys.insert(0, "lr")
        was = [f"{clean(key, 30)} was {clean(str(config[key]), 30)}" for key in keys if key in config]
        if self._is_fork:
            return ", ".join([*was, f"{clean(self._view.name, 30)} stays as it is"])
        if keys:
            return ", ".join([*was, "the run will no longer be bitwise exact"])
        if self._view.state == "finished" and not self._epochs():
            return "This run is finished; raise its epochs to go on."
        return ""

    def _epochs(self) -> str:
        """The field, where it says something new."""
        text = self.field("epochs")
        return "" if text == epochs_of(self._view) else text

    def _arguments(self) -> list[str]:
        selector = self._sources[self.query_one("#from", Choice).chosen][1]
        arguments = ["resume", self._view.name] + ([] if selector == "latest" else ["--from", selector])
        if self._is_fork:
            if not self.field("fork"):
                raise UsageError("a fork needs a name of its own")
            arguments += ["--fork", free_name(self.field("fork"), self._taken)]
        elif FORK in self._ways and self.field("fork"):
            raise UsageError(f"choose {FORK}, or leave the name empty")
        if epochs := self._epochs():
            arguments += ["--epochs", str(whole_epochs(epochs))]
        if (rate := self.field("lr")) and rate != self._was:
            learning_rate(rate)
            arguments += ["--set", f"lr={rate}"]
        for setting in settings_in(self.field("other")):
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


def _chosen(view: RunView, info: CheckpointInfo | None, sources: Sequence[tuple[str, str]]) -> int:
    """Which source the form begins with: the checkpoint that was meant, else the newest."""
    if info is None:
        return 0
    selectors = [selector for _, selector in sources]
    is_best = view.best is not None and info.key == view.best.key
    wanted = info.name if info.name in selectors else "best" if is_best else "latest"
    return selectors.index(wanted) if wanted in selectors else 0
