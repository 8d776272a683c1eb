"""Long metric logs as columns in the user's cache, so that a log is decoded once and not at every look.

A cache is never needed, and never believed against the log: where it does not match, or is not whole, the log is read
as if there were none. It is replaced whole by a rename, so that viewers that have an old one mapped keep it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec
import xxhash

from ckptop.host.mounts import mount_of
from ckptop.store.column_file import is_ours, load, save
from ckptop.store.metric_log import LogState, MetricLog
from ckptop.store.staging import remove_stale

LEAST_BYTES = 4 * 1024 * 1024
"""Of a log, or of what came since: less than this is read as quickly without a cache."""
MOST_BYTES = 1024 * 1024 * 1024
"""All caches together; those used longest ago go first."""
ROOM_BYTES = 1024 * 1024 * 1024
"""Never written where less than this would be left on the disk."""

_SUFFIX = ".columns"


class MetricCache:
    """The caches of one user. Nothing here ever raises for what is on the disk, or for its being full."""

    def __init__(self, directory: Path | None = None) -> None:
        """Nothing is touched yet; `directory` is `$XDG_CACHE_HOME/ckptop/metrics` by default."""
        self._directory = directory or _default_directory()
        self._kept: dict[Path, tuple[int, int]] = {}
        """Of each log, how often it had been replaced, and the bytes that its cache holds."""

    def open(self, path: Path) -> MetricLog:
        """The log at `path` with what is known of it; what came since is still to be polled."""
        place = self._place_of(path)
        if place is not None:
            try:
                state = load(place, path)
            except (OSError, ValueError, msgspec.MsgspecError):
                state = None  # there is none, or it is not whole
            if state is not None:
                self._kept[path] = 0, state.place.offset
                with suppress(OSError):
                    os.utime(place)  # used now
                return MetricLog.going_on(path, state)
        self._kept.pop(path, None)
        return MetricLog(path)

    def keep(self, log: MetricLog) -> bool:
        """Write the cache of a log of which enough came since the last; whether that was done."""
        generation, kept_bytes = self._kept.get(log.path, (0, 0))
        new_bytes = log.read_bytes - (kept_bytes if generation == log.generation else 0)
        if new_bytes < max(LEAST_BYTES, log.read_bytes // 16) or log.is_behind:
            return False
        self._kept[log.path] = log.generation, log.read_bytes  # also where that fails: it is not tried at every look
        place, state = self._place_of(log.path), log.state
        if place is None or state is None:
            return False
        try:
            _make_private(place.parent)
            is_kept = _has_room(place.parent, state) and save(place, log.path, state)
            remove_stale(place.parent)
        except (OSError, ValueError):
            return False
        _remove_oldest(place)
        return is_kept

    def _place_of(self, path: Path) -> Path | None:
        if self._directory is None:
            return None
        try:
            whole = os.fsencode(path.resolve())
        except (OSError, RuntimeError):
            return None
        return self._directory / f"{xxhash.xxh3_128_hexdigest(whole)}{_SUFFIX}"


def _default_directory() -> Path | None:
    """None where there is no home, or it is on a network: a mapped file that goes away there ends its reader."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(named) if named.startswith("/") else Path.home() / ".cache"
        return None if mount_of(home).is_network else home / "ckptop" / "metrics"
    except (OSError, RuntimeError):
        return None


def _make_private(directory: Path) -> None:
    """Make the directory for us alone.

    Raises:
        OSError: It cannot be made, or it is somebody else's.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_ours(directory.lstat(), stat.S_IFDIR):
        raise PermissionError(f"{directory} is not ours alone")


def _has_room(directory: Path, state: LogState) -> bool:
    size_bytes = sum(array.nbytes for part in state.parts for array in part.arrays)
    disk = os.statvfs(directory)
    return size_bytes <= MOST_BYTES and size_bytes + ROOM_BYTES <= disk.f_bavail * disk.f_frsize


def _remove_oldest(kept: Path) -> None:
    """Remove what was used longest ago, while all together take too much."""
    found = []
    for path in kept.parent.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            facts = path.lstat()
            found.append((facts.st_mtime, facts.st_blocks * 512, path))
    total = 0
    for _, size_bytes, path in sorted(found, reverse=True):
        total += size_bytes
        if total > MOST_BYTES and path != kept:
            with suppress(OSError):
                path.unlink()
