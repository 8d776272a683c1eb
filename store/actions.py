"""What a person does to a run's checkpoints, from any front end: done under the lock, told in events.jsonl.

Everything here is re-checked against the disk when it happens: a plan made a minute ago may be stale.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now, is_live, read_checkpoints
from ckptop.store.cleanup import forks_that_live, live_start
from ckptop.store.errors import Damaged, StoreError
from ckptop.store.events import append_event
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.records import LIVE_PHASES
from ckptop.store.retention import Plan, Policy, Protection, plan
from ckptop.store.trash import TrashEntry, delete, restore
from ckptop.store.views import RunView, read_run, read_standalone


def plan_prune(view: RunView, policies: Sequence[Policy]) -> Plan:
    """What `prune` would do now, with reasons; nothing happens.

    Raises:
        Damaged: run.json is unreadable, which says what best means and where the attempt began.
    """
    _require_record(view)
    protection = Protection(
        metric=view.metric, started_from=live_start(view.record, view.status), forks=_forks(view, view.checkpoints)
    )
    return plan(view.checkpoints, policies, protection)


def _require_record(view: RunView) -> None:
    if view.record is None and not view.is_standalone:
        raise Damaged(
            f"{view.name}: {view.problem}; what it protects is not known, so nothing was deleted. Restore it first"
        )


def _forks(view: RunView, checkpoints: Iterable[CheckpointInfo]) -> frozenset[str]:
    return frozenset() if view.is_standalone else forks_that_live(view.root.parent, checkpoints)


def prune(view: RunView, policies: Sequence[Policy], fs: FileSystem = LOCAL) -> tuple[Plan, list[TrashEntry]]:
    """Move what the policies do not keep to the trash; returns the plan carried out and what went.

    The plan is made again from the disk under the lock: a checkpoint saved meanwhile is not lost.

    Raises:
        Damaged: run.json is unreadable; nothing was deleted.
        Held: The set is being changed by somebody who does not finish.
        OSError: The disk refused; each checkpoint is whole, here or in the trash.
    """
    paths = view.checkpoint_paths
    _refuse_links(view)
    with FileLock(paths.lock):
        view = read_again(view)  # what was resumed, saved or deleted since the plan was shown counts
        decided = plan_prune(view, policies)
        entries = _put_in_trash(view, [item.info for item in decided.deleted], fs)
        if entries:
            _tell(view, "pruned", [entry.home for entry in entries], freed_bytes=decided.deleted_bytes)
    return decided, entries


def delete_checkpoints(
    view: RunView, checkpoints: Iterable[CheckpointInfo], fs: FileSystem = LOCAL
) -> list[TrashEntry]:
    """Move chosen checkpoints to the trash.

    One that is gone already, has another under its name or was abandoned by going back meanwhile is passed over.

    Raises:
        StoreError: One is pinned, or a live attempt or a fork began from it; nothing was deleted.
        OSError: The disk refused; each checkpoint is whole, here or in the trash.
    """
    chosen = list(checkpoints)
    _refuse_links(view)
    with FileLock(view.checkpoint_paths.lock):
        view = read_again(view)
        attempts = view.record.attempts if view.record is not None else ()
        now = [found for info in chosen if (found := as_it_is_now(info)) is not None]
        wanted = [info for info in now if is_live(info, attempts)]
        require_deletable(view, wanted)
        entries = _put_in_trash(view, wanted, fs)
        if entries:
            _tell(view, "deleted", [entry.home for entry in entries])
    return entries


def _put_in_trash(view: RunView, wanted: Sequence[CheckpointInfo], fs: FileSystem) -> list[TrashEntry]:
    """Move the links away, then the checkpoints: no link ever points at what is gone."""
    _refresh_links(view, fs, without={info.key for info in wanted})
    try:
        return delete(view.checkpoint_paths, wanted, fs)
    except OSError:
        with suppress(OSError):
            _refresh_links(view, fs)  # to what is still here
        raise


def require_deletable(view: RunView, wanted: Iterable[CheckpointInfo]) -> None:
    """Return if none of these is pinned, and no live attempt or fork began from one.

    Raises:
        StoreError: One is, or did.
        Damaged: run.json is unreadable, and the run may be live.
    """
    if view.status is None or view.status.phase in LIVE_PHASES:
        _require_record(view)
    started_from = live_start(view.record, view.status)
    for info in wanted:
        if info.pinned:
            raise StoreError(f"{info.key} is pinned; `ckptop unpin` first")
        if info.key in started_from:
            raise StoreError(f"{info.key}: the running attempt of {view.name} began here; stop it first")
        if forks := _forks(view, [info]):
            raise StoreError(f"{info.key}: {', '.join(sorted(forks))} began here; delete that run first")


def restore_checkpoints(view: RunView, entries: Sequence[TrashEntry], fs: FileSystem = LOCAL) -> list[CheckpointInfo]:
    """Take checkpoints back from the trash.

    Raises:
        NotFound: One was purged meanwhile.
        StoreError: One of that name exists again, or the run has gone back behind it; none was restored.
        OSError: The disk refused; each checkpoint is whole, here or in the trash.
    """
    _refuse_links(view)
    with FileLock(view.checkpoint_paths.lock):
        view = read_again(view)
        for entry in entries:
            if view.record is not None and not is_live(entry.info, view.record.attempts):
                raise StoreError(f"{entry.home} is of an abandoned attempt of {view.name}; it was left in the trash")
        restored = restore(view.checkpoint_paths, entries, fs)
        _refresh_links(view, fs)
        _tell(view, "restored", [info.key for info in restored])
    return restored


def read_again(view: RunView) -> RunView:
    """The same run as it is now."""
    return read_standalone(view.root) if view.is_standalone else read_run(view.root)


def _refuse_links(view: RunView) -> None:
    """A stranger's store may hold links that lead out of it: nothing is changed through one."""
    paths = view.checkpoint_paths
    refuse_links(view.root, paths.root, *paths.directories)


def _refresh_links(view: RunView, fs: FileSystem, without: Container[str] = ()) -> None:
    attempts = view.record.attempts if view.record else ()
    live = read_checkpoints(view.checkpoint_paths, attempts)
    refresh_links(fs, view.checkpoint_paths, [info for info in live if info.key not in without])


def _tell(view: RunView, event: str, checkpoints: list[str], **details: Any) -> None:
    if view.record is not None:
        with suppress(OSError):  # what was done is done, told or not
            append_event(view.paths, event, checkpoints=checkpoints, **details)
