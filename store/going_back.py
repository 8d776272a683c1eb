"""Going back: a run that starts again at step S leaves what it did past S behind.

The attempt line in metrics.jsonl commits it; what follows (run.json, the moves to `.discarded/`) is
completed by whoever opens the run for writing next, if the trainer died in between.
"""

from __future__ import annotations

import msgspec

from ckptop.store.attempts import attempt_lines
from ckptop.store.checkpoint_info import is_live, read_checkpoints, scan_tier
from ckptop.store.files import refuse_links, write_durably
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.manifest import TIERS, encode
from ckptop.store.moving import move
from ckptop.store.records import Attempt, RunRecord


def recorded_attempts(paths: RunPaths, record: RunRecord) -> RunRecord:
    """`record` with the attempts that metrics.jsonl knows and it does not: their trainer died in between."""
    known = {attempt.attempt for attempt in record.attempts}
    missing = [
        Attempt(attempt=line.attempt, from_step=line.from_step, time=line.time)
        for line in attempt_lines(paths.metrics)
        if line.attempt not in known
    ]
    if not missing:
        return record
    attempts = sorted([*record.attempts, *missing], key=lambda attempt: attempt.attempt)
    return msgspec.structs.replace(record, attempts=attempts)


def write_record(paths: RunPaths, record: RunRecord, fs: FileSystem = LOCAL) -> None:
    """Replace run.json, durably."""
    write_durably(paths.record, encode(record), fs)


def discard_past(paths: CheckpointPaths, epoch: int, step: int, fs: FileSystem = LOCAL) -> int:
    """Move what a stand-alone set holds past (`epoch`, `step`) to `.discarded/<n>/`; returns how many.

    Raises:
        StoreError: A directory of the set is a symbolic link; nothing was moved.
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    refuse_links(*paths.directories)
    with FileLock(paths.lock):
        everything = read_checkpoints(paths)
        past = [info for info in everything if (info.epoch, info.step) > (epoch, step)]
        if not past:
            return 0
        refresh_links(fs, paths, [info for info in everything if info not in past])
        number = max((int(path.name) for path in paths.discarded.glob("*") if path.name.isdecimal()), default=0) + 1
        for info in past:
            directory = paths.discarded / str(number) / info.tier
            fs.mkdir(directory)
            move(fs, paths, info.path, directory / info.name)
    return len(past)


def discard_abandoned(paths: RunPaths, record: RunRecord, fs: FileSystem = LOCAL) -> int:
    """Move checkpoints of abandoned stretches to `.discarded/<attempt that went back>/`; returns how many.

    Raises:
        StoreError: A directory of the run is a symbolic link; nothing was moved.
        OSError: The disk refused; each checkpoint is whole, here or there, and lineage hides those still here.
    """
    checkpoints = paths.checkpoints
    refuse_links(paths.root, checkpoints.root, *checkpoints.directories)
    moved = 0
    with FileLock(checkpoints.lock):
        # Links first, so that none points at what is gone; always, so that opening a run puts them right.
        refresh_links(fs, checkpoints, read_checkpoints(checkpoints, record.attempts))
        for tier in TIERS[:2]:
            for info in scan_tier(checkpoints.tier(tier), tier):
                if is_live(info, record.attempts):
                    continue
                later = next(
                    item for item in record.attempts if item.attempt > info.attempt and info.step > item.from_step
                )
                directory = checkpoints.discarded / str(later.attempt) / tier
                fs.mkdir(directory)
                move(fs, checkpoints, info.path, directory / info.name)
                moved += 1
    return moved
