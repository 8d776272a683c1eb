"""Which mount a path lies on, and whether its changes can be watched.

inotify sees only what is written through this kernel, so everything that another machine, a host of ours or a
program in user space may write behind it counts as "network" and wants polling. The mount is found as the
kernel finds it, by walking from parent to child: the order of lines in mountinfo says nothing, and a mount
over a parent folder hides those below it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

# autofs stands for what is not mounted yet; cluster file systems are written by their other nodes.
_REMOTE = ("9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "glusterfs", "lustre", "ncpfs")
_CLUSTER = ("acfs", "gfs2", "gpfs", "ocfs2", "orangefs", "panfs", "pvfs2", "wekafs")
_FROM_OUR_HOST = ("prl_fs", "vboxsf", "virtiofs")
NETWORK_TYPES = frozenset(_REMOTE + _CLUSTER + _FROM_OUR_HOST)
"""Types that are written from elsewhere, beside the prefixes below."""

NETWORK_PREFIXES = ("nfs", "smb", "fuse")
"""nfs4, smb3, fuse.sshfs …; but fuseblk is a local disk (NTFS)."""

UNKNOWN_TYPE = "unknown"
"""The type where no mount is listed for a path, as in some chroots: polled, to be safe."""

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system, as far as a watcher or a writer must know it."""

    point: Path
    fs_type: str
    is_network: bool
    """Changes may come from elsewhere, unseen by inotify."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of mountinfo."""

    mount_id: int
    parent_id: int
    mount: Mount


def mount_of(path: str | os.PathLike[str], mountinfo: Path = MOUNTINFO) -> Mount:
    """The mount that `path` lies on, links resolved; `path` need not exist yet.

    Raises:
        RuntimeError: `mountinfo` cannot be read, as on anything but Linux.
    """
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError as error:
        raise RuntimeError(f"{mountinfo} cannot be read; mounts are known on Linux only") from error
    target = Path(os.path.realpath(path))
    entries = [entry for entry in map(_parse, lines) if entry is not None]
    above = [entry for entry in entries if target.is_relative_to(entry.mount.point)]
    listed = {entry.mount_id for entry in entries}

    tops = [entry for entry in above if entry.parent_id not in listed or entry.parent_id == entry.mount_id]
    found = max(reversed(tops), key=_depth, default=None)
    if found is None:
        return Mount(Path("/"), UNKNOWN_TYPE, is_network=True, read_only=False)
    while True:
        above.remove(found)  # each is passed once, so a damaged table cannot lead us in a circle
        below = [entry for entry in above if entry.parent_id == found.mount_id]
        if not below:
            return found.mount
        found = min(reversed(below), key=_depth)


def is_network_type(fs_type: str) -> bool:
    """Whether files of this type may change without this kernel's knowledge."""
    return fs_type in NETWORK_TYPES or (fs_type.startswith(NETWORK_PREFIXES) and fs_type != "fuseblk")


def _depth(entry: _Entry) -> int:
    return len(entry.mount.point.parts)


def _parse(line: bytes) -> _Entry | None:
    """`36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda rw`; None for anything else."""
    head, _, tail = line.partition(b" - ")
    fields, super_fields = head.split(b" "), tail.split(b" ")
    if len(fields) < 6 or len(super_fields) < 3 or not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    point = os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[4]))
    fs_type = os.fsdecode(super_fields[0])
    read_only = b"ro" in fields[5].split(b",") or b"ro" in super_fields[2].split(b",")
    mount = Mount(Path(point), fs_type, is_network_type(fs_type), read_only)
    return _Entry(int(fields[0]), int(fields[1]), mount)
