"""The last save of a run is never silently lost: it waits for room, then goes to a spill directory, then raises.

A spilled checkpoint stands in `<spill>/<run>-<run id>/`, a set of its own that any viewer shows; whoever takes the
run up next, with the same spill directory, brings it home first.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.host.units import format_duration
from ckptop.store.checkpoint_info import CheckpointInfo, is_live, scan_tier
from ckptop.store.commit import commit, link_or_copy, read_index
from ckptop.store.errors import StoreError
from ckptop.store.fs import LOCAL, NO_SPACE, FileSystem
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.links import refresh_links
from ckptop.store.locks import FileLock
from ckptop.store.moving import remove
from ckptop.store.names import training_name
from ckptop.store.records import RunRecord
from ckptop.store.staging import removed_on_error
from ckptop.store.verify import verify_checkpoint

if TYPE_CHECKING:
    from ckptop.store.checkpoints import CheckpointManager

SPILL_VARIABLE = "CKPTOP_SPILL"
"""Names a directory on another disk."""
PATIENCE_SECONDS = 600.0
"""How long the last save waits for room: for somebody to be told, and to come."""
_LOOK_SECONDS = 5.0

Say = Callable[[str], None]


def spill_directory(said: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The spill directory that was said, else `$CKPTOP_SPILL`, else None."""
    text = said or environ.get(SPILL_VARIABLE)
    return Path(text).expanduser() if text else None


def save_at_last(
    manager: CheckpointManager,
    save: Callable[[CheckpointManager], str],
    *,
    spill: Path | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    say: Say = lambda _line: None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] | None = None,
) -> str:
    """Save with `manager`; where its disk is full wait, try again, and at last save under `spill` instead.

    Args:
        manager: Where the checkpoint belongs.
        save: Saves with whichever manager it is given; returns the path.
        spill: A directory on another disk.
        patience_seconds: How long to wait for room.
        say: Told what is waited for, and where the checkpoint went.
        clock: Monotonic seconds.
        wait: Waits that many seconds.

    Returns:
        The path of the committed file.

    Raises:
        OSError: The disk refused for another reason, or there was no room here nor there; nothing was saved.
    """
    deadline, told = clock() + patience_seconds, False
    pause = wait or threading.Event().wait
    while True:
        try:
            return save(manager)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            left_seconds = deadline - clock()
            if left_seconds <= 0:
                if spill is None:
                    raise
                break
            if not told:
                told = True
                after = f", then it goes to {spill}" if spill is not None else ""
                say(f"{error}; trying for {format_duration(left_seconds)}{after}: delete something")
        pause(min(_LOOK_SECONDS, left_seconds))
    path = save(manager.in_directory(_spilled_set(spill, manager.run_name, manager.run_id)))
    say(f"No room: the last checkpoint is {path}; resuming with {SPILL_VARIABLE}={spill} brings it home")
    return path


def _spilled_set(spill: Path, name: str, run_id: str) -> Path:
    return spill / f"{name or 'checkpoints'}-{run_id or 'alone'}"


def bring_home(paths: RunPaths, record: RunRecord, spill: Path, fs: FileSystem = LOCAL) -> list[str]:
    """Move what was spilled of a run back into it; returns the names. Only one's own files that verify are taken.

    Raises:
        OSError: The disk refused; each checkpoint is whole, here or there.
    """
    away = CheckpointPaths(_spilled_set(spill, record.name, record.id))
    try:
        if away.root.is_symlink() or away.root.stat().st_uid != os.geteuid():
            return []
    except OSError:
        return []
    brought = []
    with FileLock(paths.checkpoints.lock):
        for info in sorted(scan_tier(away.training, "training"), key=lambda info: info.order):
            if info.manifest is None or info.manifest.run_id != record.id or not is_live(info, record.attempts):
                continue
            if verify_checkpoint(info) is None:
                brought.append(_bring(paths.checkpoints, info, fs))
                with FileLock(away.lock):
                    remove(info, fs)
        if brought:
            home = scan_tier(paths.checkpoints.training, "training")
            refresh_links(fs, paths.checkpoints, [info for info in home if is_live(info, record.attempts)])
    with suppress(OSError, StoreError):
        _tidy(away)
    return brought


def _bring(paths: CheckpointPaths, info: CheckpointInfo, fs: FileSystem) -> str:
    """Commit a copy of a spilled checkpoint; one that came home already, before we were cut off, is not doubled."""
    assert info.manifest is not None  # noqa: S101 - the caller looked
    digest = info.manifest.xxh3_128
    for there in scan_tier(paths.training, "training"):
        if there.manifest is not None and there.manifest.xxh3_128 == digest:
            return there.name
    fs.mkdir(paths.training)
    staged = link_or_copy(fs, paths, info.path)
    with removed_on_error(staged, fs):
        return commit(
            fs, paths, staged, paths.training, lambda copy: training_name(info.epoch, info.step, copy), info.manifest,
            read_index(info.path),
        ).name  # fmt: skip


def _tidy(away: CheckpointPaths) -> None:
    """Remove the spilled set's directories where nothing is left in them."""
    for link in (*away.training.glob("latest.*"), away.lock):
        link.unlink(missing_ok=True)
    metadata = away.root / "metadata"
    for directory in (
        away.training, away.milestone, away.staging, away.root / "production", metadata, away.root,
    ):  # fmt: skip
        directory.rmdir()
