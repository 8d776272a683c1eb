"""The dashboard on a store, headless, with hardware that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pilot import wait_for
from textual.pilot import Pilot

from ckptop.host.gpus import GpuProcess, GpuSample
from ckptop.host.machine import DiskSpace, HostSample
from ckptop.tui.app import CkptopApp
from ckptop.tui.model import GpuHistory, Hardware, Snapshot
from ckptop.tui.reader import StoreReader
from ckptop.tui.sampling import HardwareSampler
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.text import plain
from ckptop.tui.widgets.checkpoint_table import CheckpointTable
from ckptop.tui.widgets.lines import Lines
from ckptop.tui.widgets.plots import Plots
from ckptop.tui.widgets.runs_list import RunsList

GIB = 1024**3

TASKS = ("diabetes", "digits")
"""What can be trained."""

NO_GPU = Hardware(
    host=HostSample(
        cpu_percent=41.0, cpu_count=16, memory_used_bytes=int(6.1 * GIB), memory_total_bytes=int(23.4 * GIB)
    ),
    gpu_problem="no NVIDIA GPU",
    disk=DiskSpace(free_bytes=int(38.2 * GIB), total_bytes=200 * GIB),
    memory_history=(0.2, 0.26, 0.3, 0.26),
)
"""A machine without a GPU."""

ONE_GPU = Hardware(
    host=NO_GPU.host,
    gpus=(
        GpuSample(
            index=0,
            uuid="GPU-0",
            name="NVIDIA H100",
            memory_used_bytes=61 * GIB,
            memory_total_bytes=80 * GIB,
            utilization_percent=98,
            temperature_celsius=71,
            power_watts=612.0,
            processes=(GpuProcess(pid=4711, memory_bytes=int(38.2 * GIB)),),
            problem=None,
        ),
    ),
    disk=NO_GPU.disk,
    gpu_history=(GpuHistory(utilization=(0.1, 0.5, 0.9, 0.98), memory=(0.1, 0.4, 0.7, 0.76)),),
    full_in_seconds=5 * 3600.0,
    fill_bytes_per_second=1.9 * 1024**2,
)
"""A machine with one."""


class StillSampler(HardwareSampler):
    """Always the same machine."""

    def __init__(self, hardware: Hardware = NO_GPU) -> None:
        super().__init__(Path())
        self._hardware = hardware

    def sample(self, now: float, *, live: bool, pids: Sequence[int] = ()) -> Hardware:
        """The machine."""
        return self._hardware


class Dashboard:
    """A running dashboard and what tests ask of it."""

    def __init__(self, app: CkptopApp, pilot: Pilot[Any], reader: StoreReader) -> None:
        self.app, self.pilot, self.reader = app, pilot, reader

    @property
    def screen(self) -> MainScreen:
        """The main screen, below any dialog."""
        found = self.app.screen_stack[0]
        assert isinstance(found, MainScreen)
        return found

    @property
    def snapshot(self) -> Snapshot:
        """What is shown."""
        assert self.screen.snapshot is not None
        return self.screen.snapshot

    @property
    def runs(self) -> RunsList:
        """Pane 1."""
        return self.screen.query_one(RunsList)

    @property
    def plots(self) -> Plots:
        """Pane 2."""
        return self.screen.query_one(Plots)

    @property
    def table(self) -> CheckpointTable:
        """Pane 3."""
        return self.screen.query_one(CheckpointTable)

    @property
    def toasts(self) -> list[str]:
        """What was said, oldest first."""
        return [notification.message for notification in self.app._notifications]

    def text(self, selector: str) -> str:
        """The text of a pane, its lines joined."""
        return "\n".join(plain(line).rstrip() for line in self.app.screen.query_one(selector, Lines).lines)

    def screen_text(self) -> str:
        """Everything on screen as text, without colours."""
        width, height = self.app.size
        lines = [list(" " * width) for _ in range(height)]
        for y, strip in enumerate(self.app.screen._compositor.render_strips()):
            lines[y] = list(strip.text)
        return "\n".join("".join(line).rstrip() for line in lines)

    async def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        await self.pilot.press(*keys)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        await wait_for(self.pilot, condition, what=what)


@asynccontextmanager
async def open_dashboard(
    store: Path,
    *,
    size: tuple[int, int] = (120, 40),
    hardware: Hardware = NO_GPU,
    watch: bool = False,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[Dashboard]:
    """Open the dashboard on `store`; on entry the selected run is on screen, its charts included."""
    arguments: dict[str, Any] = {"clock": clock} if clock is not None else {}
    reader = StoreReader(store, shown_as="./runs", sampler=StillSampler(hardware), watch=watch, **arguments)
    app = CkptopApp(reader, lambda: TASKS)
    async with app.run_test(size=size, notifications=True) as pilot:
        dashboard = Dashboard(app, pilot, reader)
        await dashboard.until(lambda: dashboard.screen.snapshot is not None, "the first snapshot")
        await dashboard.until(lambda: _is_complete(dashboard.snapshot), "hardware and curves")
        yield dashboard


def _is_complete(snapshot: Snapshot) -> bool:
    detail = snapshot.detail
    return snapshot.hardware is not None and (detail is None or detail.view is None or detail.curves is not None)
