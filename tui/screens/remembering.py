"""A screen that comes back as it was left: focus, full size, orders, what is folded and hidden, axes and smoothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual.timer import Timer

from ckptop.tui.layout import PANES
from ckptop.tui.memory import Layout, write_layout
from ckptop.tui.plot_settings import AXES, SMOOTHINGS
from ckptop.tui.reader import StoreReader
from ckptop.tui.screens.sides import Sides
from ckptop.tui.sorting import CHECKPOINT_SORTS, SORTS
from ckptop.tui.trainers import Tasks
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.runs_list import RunsList

QUIET_SECONDS = 1.0
"""After a key before what it changed is written: a hang-up ends the app at once, so its end is no time to write."""


class RememberingScreen(Sides):
    """What the main screen takes from one day to the next."""

    def __init__(
        self, reader: StoreReader, tasks: Tasks, *, layout: Layout | None = None, remember: Path | None = None
    ) -> None:
        super().__init__(reader, tasks)
        self._left, self._remember = layout, remember
        self._written = layout
        self._pending: Timer | None = None

    def _restore_layout(self) -> None:
        """Show it as it was left; what a newer or a damaged file says of columns there are not is passed over."""
        left = self._left
        if left is None:
            return
        runs, table, plots = self.query_one(RunsList), self.query_one(CheckpointTable), self._plot_settings
        runs.order.sort = left.run_sort if 0 <= left.run_sort < len(SORTS) else 0
        runs.order.reversed, runs.order.grouped = left.run_reversed, left.grouped
        runs.order.folded, runs.order.hidden = set(left.folded), set(left.hidden)
        known = 0 <= left.checkpoint_sort < len(CHECKPOINT_SORTS)
        table.order_by(left.checkpoint_sort if known else 0, reverse=left.checkpoint_reversed)
        if left.smoothing is not None and 0 <= left.smoothing < len(SMOOTHINGS):
            plots.smoothing_index = left.smoothing
        plots.axis_index = left.axis if 0 <= left.axis < len(AXES) else 0
        plots.logs.update(left.log_axes)
        if left.pane in PANES:
            if left.full in PANES:
                self.full = left.pane
            self.query_one(f"#{left.pane}").focus()

    @property
    def layout_now(self) -> Layout:
        """How it stands."""
        runs, table, plots = self.query_one(RunsList), self.query_one(CheckpointTable), self._plot_settings
        left = self._left or Layout()
        full, focused = self.main_place
        return Layout(
            store=str(self._reader.look.root.absolute()),
            pane=focused if focused in PANES else left.pane,
            full=full if full in PANES else None,
            run_sort=runs.order.sort,
            run_reversed=runs.order.reversed,
            grouped=runs.order.grouped,
            folded=sorted(runs.order.folded),
            hidden=sorted(runs.order.hidden),
            checkpoint_sort=table.order[0],
            checkpoint_reversed=table.order[1],
            smoothing=plots.smoothing_index,
            axis=plots.axis_index,
            log_axes=dict(plots.logs),
            theme=self.app.theme,
        )

    def _remember_soon(self) -> None:
        """Write how it stands, once the keys are quiet for a moment."""
        if self._remember is None:
            return
        if self._pending is not None:
            self._pending.stop()
        self._pending = self.set_timer(QUIET_SECONDS, self._remember_now)

    async def _remember_now(self) -> None:
        layout = self.layout_now
        if self._remember is not None and layout != self._written:
            self._written = layout
            await asyncio.to_thread(write_layout, self._remember, layout)

    def on_click(self) -> None:
        """What the mouse changed is remembered too."""
        self._remember_soon()

    def remember_at_once(self) -> None:
        """Write what a quick quit would leave unwritten; for the moment before the end."""
        if self._remember is not None and self._pending is not None and (layout := self.layout_now) != self._written:
            write_layout(self._remember, layout)
