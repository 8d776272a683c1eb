"""Promote a checkpoint: to a milestone, or to a release with a model's name and the next version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.widget import Widget
from textual.widgets import Input

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, format_value
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import UsageError
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.store.registry import Registry, read_registry
from ckptop.store.views import RunView
from ckptop.tui.screens.dialog import Dialog, shown_command
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Buttons, Choice, Field, Row, Text

PARTS = ("patch", "minor", "major")
DEFAULT_PART = 1


class PromoteScreen(Dialog[list[str]]):
    """Answers with the arguments of `ckptop promote`."""

    def __init__(self, view: RunView, info: CheckpointInfo, store: Path) -> None:
        super().__init__(
            f"Promote {info.label}, step {format_count(info.step)}, of {view.name}", no="Cancel", yes="Promote"
        )
        self._view, self._info, self._store = view, info, store
        self._registry = _registry_of(store)
        self._problem = ""

    def fields(self) -> Sequence[Widget]:
        """Where to, as what, and the command."""
        model = clean(self._view.record.task if self._view.record is not None else "model", 60)
        version = str(self._registry.next_version(model, PARTS[DEFAULT_PART]))
        targets = ["production"] if self._info.tier == "milestone" else ["production", "milestone"]
        return [
            Row(" to       ", Choice(targets, id="target")),
            Row(" model    ", Field(model, width=24, id="model")),
            Row(
                " version  ",
                Field(version, width=10, id="version"),
                "  next ",
                Choice(PARTS, id="part", chosen=DEFAULT_PART),
            ),
            Text([Line()]),
            Text([Line((Span(" " + self._values(), "muted"),))]),
            Text([Line()], id="problem"),
            Text([Line(), Line()], id="command"),
        ]

    def _values(self) -> str:
        manifest = self._info.manifest
        metrics = list(manifest.metrics)[:3] if manifest is not None else []
        shown = [f"{clean(name, 30)} {format_value(self._info.metric(name))}" for name in metrics]
        return "  ".join(shown) or "no metrics recorded"

    @property
    def _to_production(self) -> bool:
        return self.query_one("#target", Choice).chosen == 0

    def on_choice_changed(self, event: Choice.Changed | None = None) -> None:
        """Another part of the version: suggest what follows."""
        if event is not None and event.choice.id == "part":
            self._suggest()
        self.refresh_form()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another model has other versions."""
        if event.input.id == "model":
            self._suggest()
        super().on_input_changed(event)

    def _suggest(self) -> None:
        part = PARTS[self.query_one("#part", Choice).chosen]
        self.query_one("#version", Field).value = str(self._registry.next_version(self.field("model"), part))

    def refresh_form(self) -> None:
        """Check the fields, and show command and button."""
        self._problem = self._check() if self._to_production else ""
        self.query_one("#problem", Text).show([Line((Span(" " + self._problem, "error"),))])
        yes = f"Release {clean(self.field('version'), 20)}" if self._to_production else "Make a milestone"
        self.query_one(Buttons).show(["Cancel", yes])
        self.query_one("#command", Text).show(shown_command(self._arguments(), self._store))

    def _check(self) -> str:
        model = self.field("model")
        if not model:
            return "a release needs a model's name"
        try:
            version = Version.parse(self.field("version"))
        except UsageError as error:
            return clean(str(error))
        if any(release.version == str(version) for release in self._registry.of(model)):
            return f"{clean(model)} {version} is released already; a release is never changed"
        return ""

    def _arguments(self) -> list[str]:
        chosen = f"{self._view.name}:{self._info.name}"
        if not self._to_production:
            return ["promote", chosen, "--to", "milestone"]
        named = ["--model", self.field("model"), "--version", self.field("version")]
        return ["promote", chosen, "--to", "production", *named]

    def answer(self) -> list[str] | None:
        """The arguments, with the store; None where a field is wrong."""
        return None if self._problem else [*self._arguments(), "--store", str(self._store)]


def _registry_of(store: Path) -> Registry:
    try:
        return read_registry(StorePaths(store))
    except OSError:  # the child says what is wrong with it
        return Registry((), {}, 0)
