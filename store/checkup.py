"""Whether a file system does what a store relies on: each thing is really tried, in a directory that is then removed.

What cannot be known from one machine is said and not claimed: whether locks reach the other hosts of a shared folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ckptop.host.checkup import Finding
from ckptop.host.inotify import WatchLimits, try_watch, watch_limits
from ckptop.host.machine import disk_space
from ckptop.host.mounts import Mount, mount_of
from ckptop.host.quota import user_quota
from ckptop.host.units import format_bytes, format_count, format_duration, format_percent
from ckptop.store.errors import StoreError
from ckptop.store.fs import LOCAL
from ckptop.store.locks import FileLock

SCRATCH_PREFIX = ".doctor-"
"""No run's name begins with a dot."""
LITTLE_BYTES = 512 * 2**20
LITTLE_INODES = 1000
SKEW_SECONDS = 5.0
COUNTED_DIRECTORIES = 500_000

_TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""
_REFUSED = 3


def check_store(root: Path) -> Iterator[Finding]:
    """The place of a store, which need not exist yet."""
    place = _existing(root)
    try:
        mount = mount_of(place)
    except RuntimeError as error:
        mount = Mount(place, "unknown", is_network=True, read_only=False)
        yield Finding("mount", "note", str(error), "the store is looked at every second, not watched")
    else:
        yield _check_mount(root, mount)
    yield _check_space(place)
    yield from _check_quota(place)
    yield _check_inotify_limits(root, mount, watch_limits())
    if mount.read_only or not os.access(place, os.W_OK):
        yield Finding("writing", "note", f"{place} is read-only for you", "looking works; training and actions do not")
        return
    yield from _tried(place, mount)


def _existing(root: Path) -> Path:
    """The store, or the nearest directory above that is there."""
    place = root.expanduser().absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def _check_mount(root: Path, mount: Mount) -> Finding:
    later = "" if root.is_dir() else f"; {root} is not there yet"
    found = f"{mount.fs_type} at {mount.point}{later}"
    if mount.fs_type in ("tmpfs", "ramfs"):
        return Finding("mount", "note", found, "this is memory: what is kept here is lost when the machine restarts")
    if mount.fs_type == "overlay":
        return Finding("mount", "note", found, "a container's own layer goes with the container: mount a volume there")
    if mount.is_network:
        advice = "other hosts' changes are looked for every second; a lock of another host may not be seen from here"
        return Finding("mount", "note", found, advice)
    return Finding("mount", "ok", found)


def _check_space(place: Path) -> Finding:
    try:
        space, facts = disk_space(place), os.statvfs(place)
    except OSError as error:
        return Finding("space", "problem", f"cannot be asked for: {error.strerror}", "is the mount still there?")
    if not space.total_bytes:
        return Finding("space", "ok", "the file system does not say")
    share = space.free_bytes / space.total_bytes
    found = f"{format_bytes(space.free_bytes)} free of {format_bytes(space.total_bytes)}, {format_percent(share)}"
    advice = "`ckptop trash --empty` and `ckptop prune` make room"
    if space.free_bytes < LITTLE_BYTES:
        return Finding("space", "problem", found, advice)
    if facts.f_files and facts.f_favail < LITTLE_INODES:
        return Finding("space", "problem", f"{found}; {format_count(facts.f_favail)} inodes", advice)
    return Finding("space", "ok" if share > 0.05 else "note", found, "" if share > 0.05 else advice)


def _check_quota(place: Path) -> Iterator[Finding]:
    quota = user_quota(place)
    if quota is None:
        return
    found = f"{format_bytes(quota.left_bytes)} left of {format_bytes(quota.limit_bytes)}"
    if quota.left_bytes < LITTLE_BYTES:
        yield Finding("quota", "problem", found, "`ckptop trash --empty` and `ckptop prune` make room")
    else:
        yield Finding("quota", "ok", found)


def _check_inotify_limits(root: Path, mount: Mount, limits: WatchLimits | None) -> Finding:
    if limits is None:
        return Finding("inotify", "note", "no limits to be read", "the store is looked at every second, not watched")
    found = f"{format_count(limits.watches)} watches, {format_count(limits.instances)} instances a user"
    if mount.is_network:
        return Finding("inotify", "ok", f"{found}; not used on {mount.fs_type}")
    needed = _count_directories(root)
    found += f"; this store needs {format_count(needed)}"
    if needed > limits.watches:
        advice = f"the rest is looked at every second; sysctl fs.inotify.max_user_watches={2 * needed} watches all"
        return Finding("inotify", "note", found, advice)
    return Finding("inotify", "ok", found)


def _count_directories(root: Path) -> int:
    count = 0
    for _ in os.walk(root):  # it passes over what it may not read
        count += 1
        if count >= COUNTED_DIRECTORIES:
            break
    return count


# What is tried


def _tried(place: Path, mount: Mount) -> Iterator[Finding]:
    try:
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=place))
    except OSError as error:
        yield Finding("writing", "problem", f"{place}: {error.strerror}", "nothing can be saved here")
        return
    try:
        for subject, attempt in _ATTEMPTS.items():
            try:
                yield attempt(scratch)
            except (OSError, StoreError) as error:
                said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                yield Finding(subject, "problem", f"refused: {said}", _RELIED_ON[subject])
        if not mount.is_network:
            yield _try_watch(scratch)
    finally:
        with suppress(OSError):
            shutil.rmtree(scratch)


def _try_sync(scratch: Path) -> Finding:
    descriptor = LOCAL.create(scratch / "file")
    try:
        LOCAL.write_all(descriptor, b"x" * 65_536)
        LOCAL.fsync(descriptor)
    finally:
        LOCAL.close(descriptor)
    began = time.perf_counter()
    LOCAL.fsync_dir(scratch)
    return Finding("fsync", "ok", f"of files and directories, {(time.perf_counter() - began) * 1e3:.1f} ms")


def _try_rename(scratch: Path) -> Finding:
    old, new = scratch / "old", scratch / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    LOCAL.rename(new, old)
    if old.read_bytes() != b"new" or new.exists():
        return Finding("rename", "problem", "does not replace", _RELIED_ON["rename"])
    return Finding("rename", "ok", "replaces a file at once")


def _try_lock(scratch: Path) -> Finding:
    path = scratch / "lock"
    with FileLock(path):
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY_LOCK, str(path)], check=False, capture_output=True
        )
    if child.returncode != _REFUSED:
        return Finding("locks", "problem", "exclude nobody: two processes had one lock", _RELIED_ON["locks"])
    return Finding("locks", "ok", "exclude another process")


def _try_hard_link(scratch: Path) -> Finding:
    (scratch / "linked").write_bytes(b"x")
    try:
        LOCAL.link(scratch / "linked", scratch / "link")
    except OSError as error:
        return Finding("hard links", "note", f"refused: {error.strerror}", "milestones are copies, and take their room")
    return Finding("hard links", "ok", "a milestone takes no room of its own")


def _try_symlink(scratch: Path) -> Finding:
    try:
        LOCAL.symlink("file", scratch / "latest")
    except OSError as error:
        return Finding("links", "note", f"refused: {error.strerror}", "a small latest.json stands in for latest.pt")
    return Finding("links", "ok", "latest.pt is a link")


def _try_reserve(scratch: Path) -> Finding:
    descriptor = LOCAL.create(scratch / "reserved")
    try:
        reserved = LOCAL.reserve(descriptor, 65_536)
    finally:
        LOCAL.close(descriptor)
    if reserved:
        return Finding("reserving", "ok", "a save that does not fit is refused before it is written")
    return Finding("reserving", "note", "not offered", "a quota that is used up is noticed in the middle of a save")


def _try_time(scratch: Path) -> Finding:
    path = scratch / "time"
    before = time.time()
    path.touch()
    skew = path.stat().st_mtime - before
    if abs(skew) > SKEW_SECONDS:
        found = f"{format_duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this machine's clock"
        return Finding("file times", "note", found, "keep both in time (NTP): ages of files read wrong")
    return Finding("file times", "ok", "agree with this machine's clock")


def _try_watch(scratch: Path) -> Finding:
    problem = try_watch(scratch)
    if problem is None:
        return Finding("watching", "ok", "a new file is told of at once")
    advice = "the store is looked at every second instead; sysctl fs.inotify.max_user_instances=1024 may help"
    return Finding("watching", "note", problem, advice)


_ATTEMPTS: dict[str, Callable[[Path], Finding]] = {
    "fsync": _try_sync,
    "rename": _try_rename,
    "locks": _try_lock,
    "hard links": _try_hard_link,
    "links": _try_symlink,
    "reserving": _try_reserve,
    "file times": _try_time,
}
_RELIED_ON = {
    "fsync": "a checkpoint would not survive a power cut; keep the store on another file system",
    "rename": "a checkpoint could be seen half-written; keep the store on another file system",
    "locks": "two trainers could write one run; mount it with locks, or keep the store on another file system",
    "hard links": "keep the store on another file system",
    "links": "keep the store on another file system",
    "reserving": "a save cannot be made; is the disk or the quota full?",
    "file times": "is the disk or the quota full?",
}
