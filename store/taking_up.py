"""Beginning a run, taking one up where it stopped, or forking it: what `Run.create` does under the lease.

A run is taken up in this order: torn writes of dead trainers go, a going-back that was cut off is completed, what was
spilled to another disk comes home, and then the checkpoint to start from is chosen and verified. One whose bytes
differ is moved to `.quarantine/`, and the next older is taken.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo, scan_tier
from ckptop.store.commit import change_manifest, commit, link_or_copy, read_index
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.events import append_event
from ckptop.store.files import read_json, refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.going_back import discard_abandoned, recorded_attempts, write_record
from ckptop.store.last_save import bring_home
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest
from ckptop.store.names import training_name
from ckptop.store.quarantining import put_away_damaged
from ckptop.store.records import Parent, RunRecord
from ckptop.store.resume import Start, choose_start
from ckptop.store.staging import remove_stale, removed_on_error
from ckptop.store.store import Store
from ckptop.store.views import read_run


def require_new_or_resumed(paths: RunPaths, resume: str | None) -> None:
    """Return if the run is there where it shall be resumed, and not where it shall be new.

    Raises:
        UsageError: The name is taken and nobody said to resume.
        NotFound: There is nothing to resume.
    """
    exists = paths.record.exists()
    if exists and resume is None:
        raise UsageError(f"run {paths.root.name} exists in {paths.root.parent}; --resume auto goes on with it")
    if not exists and resume not in (None, "auto"):
        raise NotFound(f"no run {paths.root.name} in {paths.root.parent} to resume")


def take_up(
    paths: RunPaths,
    new: RunRecord,
    resume: str | None = None,
    fork_of: str | None = None,
    spill: Path | None = None,
    fs: FileSystem = LOCAL,
) -> tuple[RunRecord, Start]:
    """The record and the start of an attempt; the caller holds the lease.

    Args:
        paths: The run.
        new: Its record where it is new.
        resume: `auto`, `latest`, `best`, `epoch=N`, `step=N` or a file name.
        fork_of: `RUN` or `RUN:CHECKPOINT` that a new run begins from.
        spill: Where the last save of an earlier attempt may have gone.
        fs: The seam.

    Raises:
        NotFound: There is no such run or checkpoint.
        Damaged: The record, or every checkpoint that may be meant, is unreadable or differs from what was written.
        StoreError: A directory of the run is a symbolic link; nothing was changed.
        OSError: The disk refused; whoever takes the run up next completes what was begun.
    """
    refuse_links(paths.root, paths.control, paths.checkpoints.root, *paths.checkpoints.directories)
    for directory in (paths.root, paths.control, paths.checkpoints.staging):
        remove_stale(directory, fs)
    if paths.record.exists():
        return _go_on(paths, resume or "auto", spill, fs)
    if fork_of is not None:
        return begin_fork(paths, new, fork_of, fs)
    write_record(paths, new, fs)
    return new, Start()


def _go_on(paths: RunPaths, resume: str, spill: Path | None, fs: FileSystem) -> tuple[RunRecord, Start]:
    view = read_run(paths.root)
    if view.record is None:
        raise Damaged(f"{paths.root.name}: {view.problem}; restore it from a backup to resume")
    record = recorded_attempts(paths, view.record)
    if record is not view.record:
        write_record(paths, record, fs)
    discard_abandoned(paths, record, fs)
    notes: list[str] = []
    if spill is not None:
        notes += [f"{name} was brought home from {spill}" for name in bring_home(paths, record, spill, fs)]
    start = choose_start(read_run(paths.root), resume)
    _put_away(paths, record, start, fs)
    return record, replace(start, notes=(*notes, *start.notes))


def _put_away(paths: RunPaths, record: RunRecord, start: Start, fs: FileSystem) -> None:
    """Move what was passed over for its bytes out of the way, and say so in the run's events."""
    moved = put_away_damaged(paths.checkpoints, start.damaged, record.attempts, fs)
    if moved:
        with suppress(OSError):
            append_event(
                paths, "alert", message=f"{', '.join(moved)} damaged: moved to .quarantine/", checkpoints=moved
            )


def begin_fork(paths: RunPaths, new: RunRecord, fork_of: str, fs: FileSystem = LOCAL) -> tuple[RunRecord, Start]:
    """Make a run that starts from a checkpoint of another: its first checkpoint is a link to that one's bytes.

    The parent's lock is held until the fork is a run, so that no rule deletes the checkpoint in between. A fork that
    was cut off here has no run.json, is no run, and can be begun again.

    Raises:
        NotFound: There is no such run or checkpoint.
        UsageError: It is a stand-alone set, or the fork's own name.
        Damaged: The checkpoint does not verify.
        OSError: The disk refused; the parent is as it was, but for the mark.
    """
    name, _, selector = fork_of.partition(":")
    parent = Store(paths.root.parent).run(name)
    if parent.record is None or name == paths.root.name:
        raise UsageError(f"{name} cannot be forked as {paths.root.name}: {parent.problem or 'they are the same run'}")
    start = choose_start(parent, selector or "latest")
    if start.from_checkpoint is None or start.manifest is None:
        raise NotFound(f"{name} has no checkpoint to fork from; the first comes with its first save")
    own = paths.checkpoints
    record = msgspec.structs.replace(
        new, parent=Parent(run=name, checkpoint=start.key or ""), config=new.config or parent.record.config,
        metric=new.metric or parent.record.metric,
    )  # fmt: skip
    with FileLock(parent.checkpoint_paths.lock):
        now = read_json(manifest_path(start.from_checkpoint), Manifest)
        if now.id != start.manifest.id:
            raise NotFound(f"{name}:{start.key} is gone, and another has its name; nothing was forked")
        marks = [*now.forks, paths.root.name]
        change_manifest(fs, parent.checkpoint_paths, start.from_checkpoint, forks=list(dict.fromkeys(marks)))
        with FileLock(own.lock):
            first = _first_checkpoint(paths, new, start, fs)
            refresh_links(fs, own, scan_tier(own.training, "training"))
        write_record(paths, record, fs)  # a mark counts from here on; whoever prunes the parent has waited for it
    forked = (f"forked from {name}, step {start.from_step:,}",)
    return record, Start(start.from_step, first.path, first.manifest, start.notes + forked)


def _first_checkpoint(paths: RunPaths, new: RunRecord, start: Start, fs: FileSystem) -> CheckpointInfo:
    """The parent's checkpoint under the fork's own roof; of a fork begun before and cut off, the one there is."""
    assert start.manifest is not None and start.from_checkpoint is not None  # noqa: S101, PT018 - the caller looked
    own, before = paths.checkpoints, start.manifest
    fs.mkdir(own.training)
    there = _same_bytes(paths, before)
    if there is None:
        manifest = msgspec.structs.replace(
            before, run=new.name, run_id=new.id, tier="training", attempt=0, ranking=None, pinned=None, promoted=None,
            forks=[], logs={},
        )  # fmt: skip
        staged = link_or_copy(fs, own, start.from_checkpoint)
        with removed_on_error(staged, fs):
            commit(
                fs, own, staged, own.training, lambda copy: training_name(before.epoch, before.global_step, copy),
                manifest, read_index(start.from_checkpoint),
            )  # fmt: skip
        there = _same_bytes(paths, before)
    assert there is not None  # noqa: S101 - it was committed above
    return there


def _same_bytes(paths: RunPaths, manifest: Manifest) -> CheckpointInfo | None:
    found = scan_tier(paths.checkpoints.training, "training")
    return next((info for info in found if info.manifest and info.manifest.xxh3_128 == manifest.xxh3_128), None)
