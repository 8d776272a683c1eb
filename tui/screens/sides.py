"""What the screens of releases, comparisons and alerts ask of the main screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.host.units import format_count
from ckptop.tui.alarming import Alarming
from ckptop.tui.layout import ALERTS, COMPARE, REGISTRY
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.full_panes import FullPanes
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.runs_list import RunsList

if TYPE_CHECKING:  # what these screens need is imported when one of them is opened
    from ckptop.tui.comparing import Subject
    from ckptop.tui.releases import Releases
    from ckptop.tui.widgets.alerts_pane import AlertsPane
    from ckptop.tui.widgets.chart_viewer import ChartViewer
    from ckptop.tui.widgets.compare_pane import ComparePane
    from ckptop.tui.widgets.registry_pane import RegistryPane

MOST_COMPARED = 64
"""Columns; more than anybody reads."""
MARK_TWO = "Mark two or more with Space; c compares them."


class Sides(FullPanes):
    """From a key on one of these screens to the action that is meant."""

    def __init__(self, reader: StoreReader, tasks: Tasks) -> None:
        super().__init__(reader, tasks)
        self.alarming = Alarming(self.front)
        self._made_releases: Releases | None = None

    # Alerts.

    def on_chart_viewer_alert_opened(self, message: ChartViewer.AlertOpened) -> None:
        """Go to the row of an alert marked on the curve."""
        message.stop()
        alerts: AlertsPane = self.pane(ALERTS)  # type: ignore[assignment]  # made under this id
        alerts.go_to(message.key)
        self.action_pane(ALERTS)

    def on_alerts_pane_looked(self) -> None:
        """Nothing on the list is new any more."""
        self.alarming.looked()

    def on_alerts_pane_dismissed(self, message: AlertsPane.Dismissed) -> None:
        """Take alerts off the list, or put them back."""
        self.alarming.dismiss(message.keys, back=message.back)

    # Releases.

    @property
    def _releases(self) -> Releases:
        if self._made_releases is None:
            from ckptop.tui.releases import Releases

            self._made_releases = Releases(self.front, lambda: self._registry)
        return self._made_releases

    @property
    def _registry(self) -> RegistryPane:
        return self.pane(REGISTRY)  # type: ignore[return-value]  # made under this id

    def action_release_card(self) -> None:
        """Show all that is known of a release."""
        self._releases.card()

    def action_audit(self) -> None:
        """Show who did what to its model."""
        self._releases.audit()

    def action_roll_back(self) -> None:
        """Let `latest` mean a release."""
        self._releases.roll_back()

    def action_verify_releases(self) -> None:
        """Compare the bytes of releases with the registry."""
        self._releases.verify()

    def action_export_releases(self) -> None:
        """Export the marked releases, or the one under the cursor."""
        self._exporting.releases([row.release for row in self._registry.selection()])

    def on_registry_pane_undone(self) -> None:
        """Take the last roll-back back."""
        self._releases.undo()

    # Comparing.

    @property
    def _compare(self) -> ComparePane:
        return self.pane(COMPARE)  # type: ignore[return-value]  # made under this id

    def action_pane(self, name: str) -> None:
        """Go to a pane; the comparison takes up the runs that are marked."""
        super().action_pane(name)
        if name == COMPARE and self.full == COMPARE and len(subjects := self._marked_runs()) > 1:
            self._show_comparison(subjects, "runs")

    def _marked_runs(self) -> list[Subject]:
        from ckptop.tui.comparing import Subject

        runs = self.query_one(RunsList)
        return [Subject(run.label, Path(run.root)) for run in runs.selection() if run.name in runs.marked]

    def action_compare(self) -> None:
        """Compare the marked runs or checkpoints."""
        from ckptop.tui.comparing import Subject

        table = self.query_one(CheckpointTable)
        if self.focused is not table:
            self._show_comparison(self._marked_runs(), "runs")
            return
        detail = self.front.detail
        run = detail.row.name if detail is not None else ""
        rows = [row for row in table.selection() if row.tier != "production"]
        subjects = [Subject(f"{row.tier} {format_count(row.step)}", info=row.info, run=run) for row in rows]
        self._show_comparison(subjects, "checkpoints")

    def action_compare_releases(self) -> None:
        """Compare the marked releases; one alone with what `latest` means."""
        from ckptop.tui.comparing import Subject

        rows = self._registry.selection()
        if len(rows) == 1 and (latest := self._registry.latest_of(rows[0].release.model)) is not None:
            rows = [latest, *rows] if latest.key != rows[0].key else rows
        root = self._reader.look.root
        self._show_comparison(
            [Subject(f"{row.model} {row.version}", release=row.release, store=root) for row in rows], "releases"
        )

    def _show_comparison(self, subjects: list[Subject], what: str) -> None:
        if len(subjects) < 2:
            self.front.say(MARK_TWO, "warning")
            return
        if self.full != COMPARE:
            super().action_pane(COMPARE)
        self._compare.show(subjects[:MOST_COMPARED], what)
        if len(subjects) > MOST_COMPARED:
            self.front.say(f"The first {MOST_COMPARED} of {len(subjects):,} {what} are compared.", "warning")
