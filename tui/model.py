"""What crosses from the reader thread to the screen: one frozen snapshot, every string in it clean.

Compared by identity, since comparing ten thousand rows is work: the reader hands on the very same object for
whatever did not change. Structs instead of data classes: ten of these would take 10 ms of every start to define.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # NumPy takes 0.1 s to import, what looks at hardware 10 ms: both come after the first paint
    from ckptop.host.gpus import GpuSample
    from ckptop.host.machine import DiskSpace, HostSample
    from ckptop.host.processes import ProcessSample
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView
    from ckptop.tui.alert_rows import Alerts
    from ckptop.tui.curves import Curves
    from ckptop.tui.powers import Powers

STATE_ORDER = (
    "running", "starting", "paused", "stalled", "crashed", "failed", "unreadable", "unknown", "stopped",
    "finished",
)  # fmt: skip
"""States as header and sorting name them: who runs, who is ill, the rest."""

LIVE_STATES = frozenset({"running", "starting", "paused", "stalled"})
"""States in which a process is there."""


class RunRow(msgspec.Struct, frozen=True, eq=False):
    """One run in the list."""

    name: str
    """Directory name; identifies the run."""
    label: str
    state: str
    problem: str | None = None
    """One clear line about what cannot be read."""
    why: str | None = None
    """What ended it or makes it ill, in one clear line."""
    parent: str | None = None
    """Name of the run it forked from."""
    step: int = 0
    total_steps: int | None = None
    progress: float | None = None
    """0 to 1."""
    eta_seconds: float | None = None
    best: float | None = None
    metric: str | None = None
    lower_is_better: bool = False
    """Of its metric."""
    task: str = ""
    sweep: str | None = None
    """The search it is a trial of."""
    epoch: int = 0
    values: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Metrics of its newest checkpoint and numbers of its configuration, by name as they are: to filter by."""
    pinned: bool = False
    """Whether it holds a pinned checkpoint, so that nothing deletes it."""
    checkpoints: int = 0
    """How many it has."""
    size_bytes: int = 0
    """What they hold, each inode once."""
    trend: tuple[float, ...] = ()
    created: float = 0.0
    root: str = ""
    """Absolute path of its directory, as it is."""
    pid: int | None = None
    """Of the live trainer, on this host."""

    @property
    def is_live(self) -> bool:
        """Whether its trainer is there."""
        return self.state in LIVE_STATES


class Verdict(msgspec.Struct, frozen=True):
    """What a verification found of a checkpoint's bytes."""

    time: float
    """When, seconds since the epoch."""
    problem: str | None = None
    """None where they are what was written."""


class CheckpointRow(msgspec.Struct, frozen=True, eq=False):
    """One checkpoint in the table."""

    info: CheckpointInfo
    key: str
    """`tier/<file name>`; identifies it within the run."""
    tier: str
    mark: str = ""
    """best, latest, bad, pin, or a version such as v1.0.0."""
    epoch: int = 0
    step: int = 0
    values: tuple[float | None, ...] = ()
    """One a metric column of the table."""
    size_bytes: int = 0
    time: float = 0.0
    problem: str | None = None
    verified: float | None = None
    """When its bytes were found to be what was written, in this session; seconds since the epoch."""


class CheckpointTableModel(msgspec.Struct, frozen=True, eq=False):
    """All checkpoints of the selected run, newest first."""

    rows: tuple[CheckpointRow, ...] = ()
    columns: tuple[str, ...] = ()
    """Short names of the metric columns."""
    decimals: tuple[int, ...] = ()
    """Of each metric column: enough to tell the best from its runner-up."""
    best_column: int | None = None
    size_bytes: int = 0
    """Each inode once."""
    tiers: tuple[tuple[str, int, int], ...] = ()
    """Of each tier its name, how many it has, and the bytes they hold, each inode once."""
    trash_count: int = 0


class RunDetail(msgspec.Struct, frozen=True, eq=False):
    """Everything shown of the selected run."""

    row: RunRow
    root: Path
    facts: tuple[tuple[str, str], ...] = ()
    """Label and text, in the order of importance."""
    table: CheckpointTableModel = msgspec.field(default_factory=CheckpointTableModel)
    curves: Curves | None = None
    """None until the metric log was read once."""
    log_problem: str | None = None
    view: RunView | None = None
    """As the store read it; None where it could not."""
    powers: Powers | None = None
    """What may be done to its trainer from here; None with `view`."""
    elsewhere: Elsewhere | None = None
    """The machine it trains on, where that is another one."""


class GpuHistory(msgspec.Struct, frozen=True):
    """A GPU over the last ten minutes, oldest first."""

    utilization: tuple[float, ...]
    """0 to 1, one a bucket of 15 s."""
    memory: tuple[float, ...] = ()
    """Share in use, likewise."""


class Hardware(msgspec.Struct, frozen=True):
    """This machine at one moment."""

    host: HostSample
    gpus: tuple[GpuSample, ...] = ()
    gpu_problem: str | None = None
    disk: DiskSpace | None = None
    """Of the store's file system; None where it cannot be reached."""
    memory_history: tuple[float, ...] = ()
    """Share of the host's memory in use, 0 to 1, one a bucket of 15 s, oldest first."""
    gpu_history: tuple[GpuHistory, ...] = ()
    processes: tuple[ProcessSample, ...] = ()
    """Trainers at work on this machine, and whoever else holds memory of a GPU."""
    full_in_seconds: float | None = None
    """When the disk is full at the rate of the last minutes; None where it does not fill."""
    fill_bytes_per_second: float = 0.0


class Elsewhere(msgspec.Struct, frozen=True):
    """Another machine, as a run on it told last."""

    host: str
    time: float
    """When, seconds since the epoch, by the clock of that machine."""
    hardware: Hardware


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """One look at the store."""

    now: float
    """Seconds since the epoch; ages and the clock are told from it."""
    store: str
    """The store's path as given."""
    runs: tuple[RunRow, ...] = ()
    detail: RunDetail | None = None
    overlays: tuple[Curves, ...] = ()
    """Curves of the marked runs, where they lie over those of the selected one."""
    alerts: Alerts | None = None
    """What went wrong in all runs; None before it was looked for."""
    hardware: Hardware | None = None
    problem: str | None = None
    """Why actions are off, or why the store cannot be read; one line."""
    writable: bool = True
    unwatched: str | None = None
    """Why changes are looked for now and then instead of being told; one line."""
    unread: int = 0
    """Runs still to be read."""
    loaded: bool = False
    """False only before the first read."""
