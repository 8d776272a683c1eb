"""The files of a run as typed records: run.json, status.json, control requests.

Unknown fields are ignored, so that an older viewer reads a newer trainer's store. Times are
seconds since the epoch, as floats. Numbers have bounds: JSON can spell one that no arithmetic survives.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

SCHEMA = 1
"""Version of every record here; raised only when an old reader would misread."""

Phase = Literal["starting", "running", "paused", "stopped", "finished", "failed"]
Mode = Literal["min", "max"]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of things that a float holds exactly."""
Time = Annotated[float, msgspec.Meta(ge=-1e10, le=1e11)]
"""Seconds since the epoch, within the years that dates can show."""
ExitNumber = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]

LIVE_PHASES = frozenset({"starting", "running", "paused"})
"""Phases in which a process is expected to be there."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the JSON records; equal by value."""


class Sealed(Record, frozen=True, kw_only=True):
    """Base of the records that are believed only with their checksum whole: see `ckptop.store.seal`."""


class Command(Record, frozen=True, kw_only=True):
    """How the run was started, and so how it is resumed."""

    python: str
    argv: list[str]
    """Arguments of the interpreter: `["-m", "ckptop.cli", "train", "digits"]`."""
    cwd: str
    env: dict[str, str] = {}
    """Only variables that change what is computed; never secrets."""


class Parent(Record, frozen=True, kw_only=True):
    """Where a fork began."""

    run: str
    checkpoint: str


class Metric(Record, frozen=True, kw_only=True):
    """What best means for a run."""

    name: str
    mode: Mode


class DataSource(Record, frozen=True, kw_only=True):
    """The training data, by path or name, and the hash of its content."""

    path: str
    hash: str


class Attempt(Record, frozen=True, kw_only=True):
    """One process's stretch of a run."""

    attempt: Count
    """From 1."""
    from_step: Count
    """Optimizer steps already done; lines and checkpoints of earlier attempts past it are abandoned."""
    from_checkpoint: str | None = None
    time: Time
    overrides: dict[str, Any] = {}


class RunRecord(Record, frozen=True, kw_only=True):
    """run.json: who this run is. Replaced whole at each attempt."""

    schema: int = SCHEMA
    id: str
    name: str
    task: str
    created: Time
    config: dict[str, Any] = {}
    steered: dict[str, Any] = {}
    """Keys of `config` that were changed while it ran, with the value before: what the command may still say."""
    seed: int | None = None
    command: Command | None = None
    git_commit: str | None = None
    host: str = ""
    parent: Parent | None = None
    sweep: str | None = None
    metric: Metric | None = None
    data: DataSource | None = None
    attempts: list[Attempt] = []


class Slurm(Record, frozen=True, kw_only=True):
    """The Slurm job a trainer runs in; a higher restart count supersedes a lower one."""

    job_id: str
    restart_count: Count


class Process(Record, frozen=True, kw_only=True):
    """A process that can be told from a later one with the same pid."""

    pid: Count
    start_ticks: Count
    boot_id: str
    host: str
    user: str
    slurm: Slurm | None = None


class Exit(Record, frozen=True, kw_only=True):
    """How the last attempt ended."""

    code: ExitNumber | None = None
    signal: ExitNumber | None = None
    error: str | None = None


class KernelKills(Record, frozen=True, kw_only=True):
    """How often the kernel had killed for want of memory when an attempt began: more by its end tells who did."""

    group: str | None = None
    """Directory of the process's control group, where one counts."""
    group_kills: Count | None = None
    machine_kills: Count | None = None


class Status(Record, frozen=True, kw_only=True):
    """status.json: the live state, replaced whole at most once a second."""

    phase: Phase
    attempt: Count = 0
    epoch: Count = 0
    """From 1; 0 before the first."""
    step: Count = 0
    total_epochs: Count | None = None
    total_steps: Count | None = None
    heartbeat: Time
    last_step_time: Time | None = None
    step_age_seconds: float | None = None
    """How long ago that was at the heartbeat, by a clock that nobody sets."""
    step_seconds: float | None = None
    """Mean seconds of a recent optimizer step."""
    lost_lines: Count = 0
    """Lines of metrics that the disk refused in this attempt."""
    process: Process
    kernel_kills: KernelKills | None = None
    exit: Exit | None = None


class Actor(Record, frozen=True, kw_only=True):
    """Who did something."""

    user: str
    host: str
    pid: Count


class ControlRequest(Record, frozen=True, kw_only=True):
    """control/<time_ns>-<8 hex>.json: what a viewer asks of the trainer."""

    id: str
    time: Time
    user: str
    action: str
    args: dict[str, Any] = {}
