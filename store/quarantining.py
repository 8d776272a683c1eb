"""Damaged checkpoints out of the way, once something that verifies was found: for runs and for scripts of one's own.

The disk may refuse, or the set may be read-only: then they stay where they are, and what resumes goes on all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now, read_checkpoints
from ckptop.store.errors import StoreError
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.records import Attempt
from ckptop.store.trash import quarantine


def put_away_damaged(
    paths: CheckpointPaths,
    damaged: Sequence[CheckpointInfo],
    attempts: Sequence[Attempt] = (),
    fs: FileSystem = LOCAL,
) -> list[str]:
    """Move checkpoints whose bytes differ to `.quarantine/`; returns the keys of those that were moved.

    The links go first, so that none ever points at what is gone. What is there no longer, or has another checkpoint
    under its name by now, is passed over. Never raises for the disk: what it refuses to move stays.

    Args:
        paths: The set of checkpoints.
        damaged: Those that did not verify.
        attempts: The run's, which say what is live; none of a set whose abandoned checkpoints are gone already.
        fs: The seam.
    """
    moved: list[str] = []
    if not damaged:
        return moved
    with suppress(StoreError, OSError):
        refuse_links(*paths.directories)
        with FileLock(paths.lock):
            _refresh(paths, attempts, fs, without={info.key for info in damaged})
            for info in damaged:
                with suppress(OSError):
                    if as_it_is_now(info) is not None and quarantine(paths, info, fs) is not None:
                        moved.append(info.key)
            if len(moved) < len(damaged):
                _refresh(paths, attempts, fs)  # to what is still here
    return moved


def _refresh(
    paths: CheckpointPaths, attempts: Sequence[Attempt], fs: FileSystem, without: Collection[str] = ()
) -> None:
    live = read_checkpoints(paths, attempts)
    refresh_links(fs, paths, [info for info in live if info.key not in without])
