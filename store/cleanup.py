"""Retention carried out: the plan is made again under the lock, then files go.

Automatic retention removes at once; what a person asks for moves to the trash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo, read_checkpoints
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.moving import remove
from ckptop.store.names import is_run_name
from ckptop.store.records import LIVE_PHASES, Attempt, RunRecord, Status
from ckptop.store.retention import Plan, Policy, Protection, plan


def live_start(record: RunRecord | None, status: Status | None = None) -> frozenset[str]:
    """Key of the checkpoint that a live attempt started from; without a status the last attempt may be live."""
    is_live = status is None or status.phase in LIVE_PHASES
    start = record.attempts[-1].from_checkpoint if record is not None and record.attempts else None
    return frozenset({start} if is_live and start else ())


def forks_that_live(store_root: Path, checkpoints: Iterable[CheckpointInfo]) -> frozenset[str]:
    """Names of the runs of the store that began from one of these checkpoints; one that was deleted counts no more."""
    marked = {fork for info in checkpoints if info.manifest for fork in info.manifest.forks}
    return frozenset(name for name in marked if is_run_name(name) and RunPaths(store_root / name).record.exists())


def apply_retention(
    paths: CheckpointPaths,
    policies: Sequence[Policy],
    protection: Protection,
    attempts: Sequence[Attempt] = (),
    fs: FileSystem = LOCAL,
    *,
    store_root: Path | None = None,
) -> Plan:
    """Delete at once what the policies do not keep; returns the plan that was carried out.

    `store_root` is where forks of this run are looked for; None for a set that can have none.

    Raises:
        StoreError: A directory of the set is a symbolic link; nothing was deleted.
        OSError: The disk refused; every file is either whole or gone.
    """
    refuse_links(*paths.directories)
    with FileLock(paths.lock):
        checkpoints = read_checkpoints(paths, attempts)
        forks = forks_that_live(store_root, checkpoints) if store_root is not None else frozenset()
        decided = plan(checkpoints, policies, replace(protection, forks=forks))
        if decided.deleted:
            refresh_links(fs, paths, [item.info for item in decided.kept])  # no link ever points at what is gone
        for item in decided.deleted:
            remove(item.info, fs)
        for directory in {item.info.path.parent for item in decided.deleted}:
            fs.fsync_dir(directory)
    return decided
