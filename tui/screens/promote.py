"""Promote checkpoints: to milestones, or to releases with a model's name, the next version, a requirement, a card."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from textual.widget import Widget
from textual.widgets import Input

from ckptop.host.terminal import clean
from ckptop.host.units import format_count, format_value, shorten_right
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import StoreError, UsageError
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.store.registry import Registry, read_registry
from ckptop.store.requirement import Requirement
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import RunView
from ckptop.tui.front import counted
from ckptop.tui.screens.dialog import SHEET_WIDTH, Dialog, shown_command
from ckptop.tui.text import Line, Span
from ckptop.tui.widgets.form import Buttons, Choice, Field, Row, Text

PARTS = ("patch", "minor", "major")
DEFAULT_PART = 1
TARGETS = ("milestone", "production")
CHECKING = "checking its bytes…"
COMMAND_ROWS = 6
"""At most: a requirement and a card make it long."""


class Promotion(NamedTuple):
    """What was asked for."""

    commands: list[list[str]]
    """Arguments of `ckptop promote`, the card aside; one list a checkpoint, the oldest first."""
    card: str
    """Intended use, in words; empty for none."""
    to_production: bool


class PromoteScreen(Dialog[Promotion]):
    """Answers with what is to be carried out."""

    def __init__(self, view: RunView, infos: Sequence[CheckpointInfo], store: Path) -> None:
        """Show the form.

        Args:
            view: The run.
            infos: Checkpoints with a manifest, the oldest first.
            store: The store.
        """
        one = f"{infos[0].label}, step {format_count(infos[0].step)}"
        what = one if len(infos) == 1 else counted(len(infos), "checkpoint")
        super().__init__(f"Promote {what}, of {view.name}", no="Cancel", yes="Promote")
        self._view, self._infos, self._store = view, infos, store
        self._registry = _registry_of(store)
        self._targets = [name for name in TARGETS if name == "production" or _all_training(infos)]
        self._problem, self._hash, self._hash_tone = "", CHECKING, "muted"

    def fields(self) -> Sequence[Widget]:
        """Where to, as what, what it must reach; and the command."""
        model = clean(self._view.record.task if self._view.record is not None else "model", 60)
        version = str(self._registry.next_version(model, PARTS[DEFAULT_PART]))
        metric = f"{clean(self._view.metric.name, 24)}>=…" if self._view.metric is not None else "METRIC>=…"
        return [
            Row(" to       ", Choice(self._targets, id="target", chosen=len(self._targets) - 1)),
            Row(" model    ", Field(model, width=20, id="model"), f" now {self._newest(model)}"),
            Row(" version  ", Field(version, width=10, id="version"), "  next ",
                Choice(PARTS, id="part", chosen=DEFAULT_PART)),
            Row(" require  ", Field("", width=26, id="require", placeholder=metric)),
            Row(" card     ", Field("", width=52, id="card", placeholder="intended use")),
            Text([Line()]),
            Text([Line(), Line()], id="values"),
            Text([Line()], id="problem"),
            Text([Line(), Line()], id="command"),
        ]  # fmt: skip

    def on_mount(self) -> None:
        """Have the bytes checked while the form is filled in."""
        super().on_mount()
        self.run_worker(self._check_bytes(), exit_on_error=False)

    async def _check_bytes(self) -> None:
        for info in self._infos:
            finding = await asyncio.to_thread(verify_checkpoint, info)
            if finding is not None:
                self._hash, self._hash_tone = "✗ its bytes are not what was written", "error"
                break
        else:
            self._hash, self._hash_tone = ("✓ hash matches" if len(self._infos) == 1 else "✓ hashes match"), "success"
        self.refresh_form()

    def _newest(self, model: str) -> str:
        latest = self._registry.latest(model)
        return clean(latest, 20) if latest is not None else "not released"

    @property
    def _to_production(self) -> bool:
        return self._targets[self.query_one("#target", Choice).chosen] == "production"

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

    # What follows from the fields.

    def refresh_form(self) -> None:
        """Check the fields, and show what holds, the command and the button."""
        self._problem = self._check()
        self.query_one("#problem", Text).show([_said(self._problem, "error")])
        self.query_one("#values", Text).show([self._required(), _said(self._values(), "muted")])
        count = len(self._infos)
        if self._to_production:
            yes = f"Release {clean(self.field('version'), 20)}" if count == 1 else f"Make {count:,} releases"
        else:
            yes = "Make a milestone" if count == 1 else f"Make {count:,} milestones"
        self.query_one(Buttons).show(["Cancel", yes])
        card = self.field("card") if self._to_production else ""
        tail = f" --card <(echo {shlex.quote(json.dumps({'intended_use': card}))})" if card else ""
        self.query_one("#command", Text).show(
            shown_command(self._arguments(0), self._store, tail=tail, most=COMMAND_ROWS)
        )

    def _values(self) -> str:
        if len(self._infos) > 1:
            steps = ", ".join(format_count(info.step) for info in self._infos)
            return f"steps {steps}" + ("; versions count up from the oldest" if self._to_production else "")
        manifest = self._infos[0].manifest
        metrics = list(manifest.metrics)[:3] if manifest is not None else []
        shown = [f"{clean(name, 30)} {format_value(self._infos[0].metric(name))}" for name in metrics]
        return "  ".join(shown) or "no metrics recorded"

    def _required(self) -> Line:
        """Whether the requirement holds, and the hash."""
        said: list[Span] = [Span(" ")]
        if self.field("require"):
            if self._unmet():  # the reason has a line of its own
                said.append(Span("✗ not reached   ", "error"))
            else:
                metric = Requirement.parse(self.field("require")).metric
                values = ", ".join(format_value(info.metric(metric)) for info in self._infos[:3])
                said.append(Span(f"✓ {values}   ", "success"))
        return Line((*said, Span(self._hash, self._hash_tone)))

    def _unmet(self) -> str:
        """Why what is required does not hold; empty where it does."""
        try:
            requirement = Requirement.parse(self.field("require"))
            for info in self._infos:
                requirement.check(info)
        except UsageError as error:
            return clean(str(error), SHEET_WIDTH)
        except StoreError as error:
            return clean(str(error).removeprefix(f"{info.key} "))
        return ""

    def _check(self) -> str:
        if self._hash_tone == "error":
            return "damaged: V tells which, and nothing promotes it"
        if self.field("require") and (unmet := self._unmet()):
            return unmet
        if not self._to_production:
            return ""
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

    def _arguments(self, place: int) -> list[str]:
        chosen = f"{self._view.name}:{self._infos[place].name}"
        required = ["--require", self.field("require")] if self.field("require") else []
        if not self._to_production:
            return ["promote", chosen, "--to", "milestone", *required]
        part = PARTS[self.query_one("#part", Choice).chosen]
        named = ["--version", self.field("version")] if place == 0 else ["--bump", part]
        return ["promote", chosen, "--to", "production", "--model", self.field("model"), *named, *required]

    def answer(self) -> Promotion | None:
        """What is to be carried out, with the store; None where a field is wrong."""
        if self._problem:
            return None
        commands = [[*self._arguments(place), "--store", str(self._store)] for place in range(len(self._infos))]
        return Promotion(commands, self.field("card") if self._to_production else "", self._to_production)


def _said(text: str, tone: str) -> Line:
    return Line((Span(" " + shorten_right(text, SHEET_WIDTH - 4), tone),))


def _all_training(infos: Sequence[CheckpointInfo]) -> bool:
    return all(info.tier == "training" for info in infos)


def _registry_of(store: Path) -> Registry:
    try:
        return read_registry(StorePaths(store))
    except OSError:  # the child says what is wrong with it
        return Registry((), {}, 0)
