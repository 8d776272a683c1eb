"""Retention carried out: the plan is made again under the lock, then files go.

Automatic retention removes at once; what a person asks for moves to the trash.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ckptop.store.checkpoint_info import CheckpointInfo, read_checkpoints
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths, manifest_path, tensors_path
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.records import LIVE_PHASES, Attempt, RunRecord, Status
from ckptop.store.retention import Plan, Policy, Protection, plan


def protection_of(record: RunRecord | None, status: Status | None = None) -> Protection:
    """What is protected in a run: its best, and what a live attempt started from."""
    if record is None:
        return Protection()
    started_from: set[str] = set()
    live = status is None or status.phase in LIVE_PHASES
    if live and record.attempts and record.attempts[-1].from_checkpoint:
        started_from.add(record.attempts[-1].from_checkpoint)
    return Protection(metric=record.metric, started_from=frozenset(started_from))


def apply_retention(
    paths: CheckpointPaths,
    policies: Sequence[Policy],
    protection: Protection,
    attempts: Sequence[Attempt] = (),
    fs: FileSystem = LOCAL,
) -> Plan:
    """Delete at once what the policies do not keep; returns the plan that was carried out.

    Raises:
        OSError: The disk refused; every file is either whole or gone.
    """
    with FileLock(paths.lock):
        decided = plan(read_checkpoints(paths, attempts), policies, protection)
        if decided.deleted:
            refresh_links(fs, paths, [item.info for item in decided.kept])  # no link ever points at what is gone
        for item in decided.deleted:
            remove(item.info, fs)
    return decided


def remove(info: CheckpointInfo, fs: FileSystem = LOCAL) -> None:
    """Remove a checkpoint for good, the `.pt` first: without it the rest counts for nothing.

    The caller holds the lock. What is gone already is no error.
    """
    for path in (info.path, manifest_path(info.path), tensors_path(info.path)):
        with suppress(FileNotFoundError):
            fs.unlink(path)
