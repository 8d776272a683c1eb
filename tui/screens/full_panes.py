"""Screens 5 to 8: panes that stand alone over the main screen, made when they are wanted first; and the ways there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.widget import Widget

from ckptop.store.layout import StorePaths
from ckptop.tui.layout import (
    ALERTS,
    CHECKPOINTS,
    COMPARE,
    DETAIL,
    ENLARGED,
    EVENTS,
    HARDWARE,
    LOG,
    LOG_PANES,
    PANES,
    PLOTS,
    REGISTRY,
    RUNS,
    SCREENS,
    Wants,
    arrange,
)
from ckptop.tui.messages import CauseOpened
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.browsing import BrowsingScreen
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.body import Body
from ckptop.tui.widgets.enlarged_plot import EnlargedPlot
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import RunsList

ALONE = frozenset({*SCREENS, EVENTS})
"""Ids of the panes that have no place among the others, or need none."""

PANE_OF = {DETAIL: CHECKPOINTS, ENLARGED: PLOTS}
"""The pane that something was opened from."""


def _log(_store: Path) -> Widget:
    from ckptop.tui.widgets.log_pane import LogPane

    return LogPane(id=LOG)


def _events(_store: Path) -> Widget:
    from ckptop.tui.widgets.events_pane import EventsPane

    return EventsPane(id=EVENTS)


def _alerts(_store: Path) -> Widget:
    from ckptop.tui.widgets.alerts_pane import AlertsPane

    return AlertsPane(id=ALERTS)


def _registry(store: Path) -> Widget:
    from ckptop.tui.widgets.registry_pane import RegistryPane

    return RegistryPane(StorePaths(store), id=REGISTRY)


def _compare(_store: Path) -> Widget:
    from ckptop.tui.widgets.compare_pane import ComparePane

    return ComparePane(id=COMPARE)


MAKERS: dict[str, Callable[[Path], Widget]] = {
    LOG: _log,
    EVENTS: _events,
    ALERTS: _alerts,
    REGISTRY: _registry,
    COMPARE: _compare,
}
"""What makes each of these panes; their modules are imported then."""


class FullPanes(BrowsingScreen):
    """What is shown alone, and what was shown before it."""

    def __init__(self, reader: StoreReader, tasks: Tasks) -> None:
        super().__init__(reader, tasks)
        self._before: list[tuple[str | None, str]] = []
        """What was shown alone, and had the keys, before each of these screens was opened, the last one last."""
        self._made: dict[str, Widget] = {}
        """Panes of these screens that were made; they stay."""
        self._cause: CauseOpened | None = None
        """A place to go to once its run has been read."""

    @property
    def wants(self) -> Wants:
        """What the layout depends on."""
        raise NotImplementedError

    @property
    def shown_panes(self) -> set[str]:
        """Ids of the panes that have a place on screen."""
        return set(arrange(self.query_one(Body).size, self.wants))

    def pane(self, name: str) -> Widget:
        """A pane by its id; one of the screens is made where it is not there yet."""
        if name not in MAKERS:
            return self.query_one(f"#{name}")
        if name not in self._made:
            self._made[name] = MAKERS[name](self._reader.look.root)
            self.query_one(Body).mount(self._made[name])
        return self._made[name]

    def settle_panes(self) -> None:
        """Make the panes that have a place now, and let those rest that have none."""
        shown = self.shown_panes
        for name in MAKERS:
            if name in shown or name in self._made:
                self.pane(name).is_open = name in shown  # type: ignore[attr-defined]  # each of them has it

    def action_pane(self, name: str) -> None:
        """Focus a pane; where it has the focus already, or has no place here, show it full size."""
        before = self.focused
        self._leave_chart()
        self._leave_detail()
        pane = self.pane(name)
        if before is pane:
            self.action_full_size()
            return
        if self.full in ALONE and name not in ALONE:
            self.full = self._before[0][0] if self._before else None
            self._before.clear()
        if name not in self.shown_panes or (self.full is not None and name not in ALONE):
            self._show_alone(name)
        self.give_keys(pane)

    def _show_alone(self, name: str, *, from_there: bool = False) -> None:
        """Show a pane alone; from one of these screens to another `Esc` leads back only if `from_there`."""
        if name in ALONE and (self.full not in ALONE or from_there):
            focused = self.focused.id if self.focused is not None else None
            focused = PANE_OF.get(focused or "", focused)
            self._before.append((self.full, focused if focused in (*PANES, *ALONE) else RUNS))
        self.full = name

    @property
    def main_place(self) -> tuple[str | None, str | None]:
        """What is shown alone of the main panes and what has the keys there, or had before one of these screens."""
        if self.full in ALONE and self._before:
            return self._before[0]
        return self.full, self.focused.id if self.focused is not None else None

    def action_full_size(self) -> None:
        """Show the pane in focus alone, or all panes again."""
        if self._leave_chart() or (self.full == DETAIL and self._leave_detail()) or self.leave_screen():
            return
        if self.focused is not None and self.focused.id in (*PANES, DETAIL, *SCREENS):
            if self.full is None:
                self._show_alone(self.focused.id)
            else:
                self.full = None

    def leave_screen(self) -> bool:
        """Back from a screen to what was shown before; False where none is open."""
        if self.full not in ALONE:
            return False
        self.full, focused = self._before.pop() if self._before else (None, RUNS)
        self.give_keys(self.pane(focused) if focused in self.shown_panes else self.query_one(RunsList))
        return True

    def _leave_chart(self) -> bool:
        """Back from the enlarged chart to where it was opened; False where none is."""
        if self.full == ENLARGED and self._full_before in ALONE:
            self.full = self._full_before
            self.give_keys(self.pane(self.full))
            return True
        return super()._leave_chart()

    def action_next_pane(self, direction: int) -> None:
        """Focus the pane after or before this one; on a screen, of its own."""
        self._leave_detail()
        focused = self.focused.id if self.focused is not None else None
        ring = LOG_PANES if self.full in LOG_PANES else PANES if self.full not in ALONE else ()
        if ring:
            focused = PANE_OF.get(focused or "", focused)
            here = ring.index(focused) if focused in ring else -1 if direction > 0 else 0
            self.action_pane(ring[(here + direction) % len(ring)])

    # To the cause of something.

    def on_cause_opened(self, message: CauseOpened) -> None:
        """Go to the run, and once it has been read, to where the cause is to be seen."""
        message.stop()
        if not message.run:
            self.action_pane(HARDWARE)
            return
        runs = self.query_one(RunsList)
        if not runs.reveal(message.run):
            self.front.say(f"{message.run} is gone from the store.", "warning")
            return
        self._want()
        self._cause = message
        self.follow_cause()

    def follow_cause(self) -> None:
        """Go where somebody wanted to go, as soon as there is something to see."""
        cause, detail = self._cause, self.front.detail
        if cause is None or detail is None or detail.row.name != cause.run:
            return
        if cause.place == "chart" and detail.curves is not None:
            self._cause = None
            self._show_chart(cause)
        elif cause.place == "resume":
            self._cause = None
            self.resume_best()
        elif cause.place == "log":
            self._cause = None
            self._show_alone(LOG, from_there=self.full in ALONE)
            self.give_keys(self.pane(LOG))

    def _show_chart(self, cause: CauseOpened) -> None:
        """The chart of a metric alone, the cursor at the step."""
        settings, detail = self._plot_settings, self.front.detail
        plots, enlarged = self.query_one(Plots), self.query_one(EnlargedPlot)
        plots.query_text = ""
        groups = settings.listed(detail.curves if detail is not None else None)
        names = [{curve.name for curve in group.curves} | {group.title} for group in groups]
        settings.choose(
            next((i for i, found in enumerate(names) if cause.metric in found), settings.chosen), len(names)
        )
        settings.axis_index = 0
        if self.full != ENLARGED:
            self._full_before = self.full
        self.full = ENLARGED
        if cause.step is not None:
            enlarged.look_at(cause.step)
        self.give_keys(enlarged)
