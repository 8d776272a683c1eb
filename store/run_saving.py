"""A run's CheckpointManager: who it saves for, and what is made durable before each save.

Everything logged up to a step is synced before the checkpoint of that step commits, and how far the logs went is noted
in its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptop.store.arguments import WhenBusy
from ckptop.store.fs import LOCAL
from ckptop.store.going_back import write_record
from ckptop.store.retention import Policy
from ckptop.store.trash import TrashLimit

if TYPE_CHECKING:
    from ckptop.store.checkpoints import CheckpointManager
    from ckptop.store.manifest import LogMark
    from ckptop.store.run import Run
    from ckptop.store.saving import RunLink, SavePoint


class Keep(NamedTuple):
    """What a run keeps, and how it saves; see `CheckpointManager`."""

    training: int
    milestones: int | None
    policies: tuple[Policy, ...]
    trash_limit: TrashLimit | None
    async_save: bool = False
    when_busy: WhenBusy = "wait"


def open_manager(run: Run, keep: Keep) -> CheckpointManager:
    """The manager of the run's checkpoints; imports torch."""
    from ckptop.store.checkpoints import CheckpointManager

    def tell(event: str, step: int, details: dict[str, Any]) -> None:
        run.event(event, step=step, **details)

    return CheckpointManager(
        run.paths.checkpoints.root, keep.training, max_milestones=keep.milestones, policies=keep.policies,
        trash_limit=keep.trash_limit, async_save=keep.async_save, when_busy=keep.when_busy,
        model_name=run.record.task, store_root=run.root.parent, run=link_of(run),
        on_event=tell, before_save=lambda: _before_save(run),
    )  # fmt: skip


def link_of(run: Run) -> RunLink:
    """What the manager needs to know of the run; another once the attempt has begun."""
    from ckptop.store.saving import RunLink

    record, start = run.record, run.start
    return RunLink(
        name=run.name, id=record.id, attempt=run.attempt, attempts=tuple(record.attempts), metric=record.metric,
        started_from=frozenset({start.key} if start.key else ()),
    )  # fmt: skip


def _before_save(run: Run) -> SavePoint:
    """A save begins the attempt as a logged line does, and makes a run anew that was removed meanwhile."""
    from ckptop.store.saving import SavePoint

    run.begin()
    if not run.paths.record.exists():
        LOCAL.mkdir(run.paths.control)
        write_record(run.paths, run.record)
        run.event("alert", message=f"{run.root} was removed while it was trained; it was made again")
    return SavePoint(max(run.logged_step, run.step), lambda: _sync_logs(run))


def _sync_logs(run: Run) -> Mapping[str, LogMark]:
    return run.logs.marks() if run.sync() and run.logs.system.sync() else {}
