"""A run as a reader sees it: its records, its derived state and its live checkpoints, frozen.

Reading never fails as a whole: what cannot be read is said in `problem` and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, latest_of, read_checkpoints
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.events import last_event
from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.manifest import to_number
from ckptop.store.records import Metric, RunRecord, Status
from ckptop.store.state import State, derive_state
from ckptop.store.trash import count_trash

T = TypeVar("T")

_EMPTY: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RunHead:
    """Who a run is and how it does, without its checkpoints: two small files, whatever it has saved."""

    name: str
    root: Path
    record: RunRecord | None
    status: Status | None
    state: State
    problem: str | None
    """One clear line about what could not be read."""

    @property
    def paths(self) -> RunPaths:
        """The run's files."""
        return RunPaths(self.root)

    @property
    def metric(self) -> Metric | None:
        """What best means here."""
        return self.record.metric if self.record is not None else None

    @property
    def progress(self) -> float | None:
        """Done part of the run, 0 to 1; None where the end is not known."""
        if self.status is None or not self.status.total_steps:
            return None
        return min(1.0, self.status.step / self.status.total_steps)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the last step at the present pace; None unless running."""
        if self.state != "running" or self.status is None:
            return None
        if not self.status.total_steps or not self.status.step_seconds:
            return None
        return max(0, self.status.total_steps - self.status.step) * self.status.step_seconds


@dataclass(frozen=True, slots=True)
class RunView(RunHead):
    """One run at one moment."""

    checkpoints: tuple[CheckpointInfo, ...]
    """Live ones of both tiers, oldest first."""
    trash_count: int = 0
    result: Mapping[str, float] = field(default_factory=lambda: _EMPTY)
    """Final metrics of the newest finished attempt, the test split's included."""
    checkpoint_paths: CheckpointPaths = field(default_factory=lambda: CheckpointPaths(Path()))

    @property
    def is_standalone(self) -> bool:
        """Whether it is a stand-alone manager's directory rather than a run's."""
        return self.checkpoint_paths.root == self.root

    @property
    def metric(self) -> Metric | None:
        """What best means here; of a stand-alone set, what its newest training checkpoint says."""
        if self.record is not None:
            return self.record.metric
        newest = self.latest
        ranking = newest.manifest.ranking if newest is not None and newest.manifest is not None else None
        return Metric(name=ranking.name, mode=ranking.mode) if ranking is not None else None

    @property
    def latest(self) -> CheckpointInfo | None:
        """The newest committed training checkpoint."""
        return latest_of(self.checkpoints)

    @property
    def best(self) -> CheckpointInfo | None:
        """The best committed checkpoint by the run's metric."""
        return best_of(self.checkpoints, self.metric.name, self.metric.mode) if self.metric else None

    @property
    def best_value(self) -> float | None:
        """The best checkpoint's value of the run's metric."""
        best = self.best
        return best.metric(self.metric.name) if self.metric and best else None

    @property
    def size_bytes(self) -> int:
        """Bytes the live checkpoints hold, each inode once."""
        return sum({info.inode: info.size_bytes for info in self.checkpoints}.values())


def read_head(root: Path) -> RunHead:
    """Read a run's records alone; never raises for what is in them."""
    paths = RunPaths(root)
    problems: list[str] = []
    record = _read(paths.record, RunRecord, problems)
    status = _read(paths.status, Status, problems, missing_is_fine=True)
    state = _state(record, status, problems)
    return RunHead(root.name, root, record, status, state, problems[0] if problems else None)


def read_run(root: Path) -> RunView:
    """Read a run's directory; never raises for what is in it."""
    head = read_head(root)
    paths, record, status = head.paths, head.record, head.status
    problems, checkpoint_paths = [] if head.problem is None else [head.problem], paths.checkpoints
    attempts = record.attempts if record is not None else ()
    checkpoints = read_checkpoints(checkpoint_paths, attempts, problems=problems)
    result = _result(paths) if status is not None and status.phase == "finished" else _EMPTY
    return RunView(
        name=root.name,
        root=root,
        record=record,
        status=status,
        state=head.state,
        problem=problems[0] if problems else None,
        checkpoints=checkpoints,
        trash_count=_trash_count(checkpoint_paths),
        result=result,
        checkpoint_paths=checkpoint_paths,
    )


def read_standalone(root: Path) -> RunView:
    """A directory of a stand-alone CheckpointManager, shown as one run.

    A person may have put it on another disk behind a link, and named the link: what is changed is what it points at.
    """
    name, root = root.resolve().name, root.resolve() if root.is_symlink() else root
    paths = CheckpointPaths(root)
    problems: list[str] = []
    checkpoints = read_checkpoints(paths, problems=problems)
    return RunView(
        name=name,
        root=root,
        record=None,
        status=None,
        state="unknown",
        problem=problems[0] if problems else None,
        checkpoints=checkpoints,
        trash_count=_trash_count(paths),
        checkpoint_paths=paths,
    )


def _read(path: Path, kind: type[T], problems: list[str], *, missing_is_fine: bool = False) -> T | None:
    try:
        return read_json(path, kind)
    except NotFound as error:
        if not missing_is_fine:
            problems.append(str(error))
    except StoreError as error:
        problems.append(str(error).replace(f"{path.parent}/", ""))
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}")
    return None


def _state(record: RunRecord | None, status: Status | None, problems: list[str]) -> State:
    if record is None or (status is None and problems):
        return "unreadable"
    return derive_state(status)


def _result(paths: RunPaths) -> Mapping[str, float]:
    try:
        event = last_event(paths.events, ("finished",))
    except (StoreError, OSError):
        return _EMPTY
    metrics = event.details.get("metrics") if event is not None else None
    if not isinstance(metrics, dict):
        return _EMPTY
    return {str(name): to_number(value) for name, value in metrics.items() if isinstance(value, int | float | str)}


def _trash_count(paths: CheckpointPaths) -> int:
    try:
        return count_trash(paths)
    except OSError:
        return 0
