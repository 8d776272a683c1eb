"""A checkpoint that is verified to be chosen is not verified again to be read: of a large one that would be minutes.

Only by the process that chose it, once, and only while device, inode, size and times of the file are what they were.
"""

from __future__ import annotations

from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.verify import Finding, Progress, verify_checkpoint

Stamp = tuple[int, ...]

_verified: set[Stamp] = set()


def verify_to_read(info: CheckpointInfo, progress: Progress | None = None) -> Finding | None:
    """As `verify_checkpoint`; the read that follows in this process does not do it again."""
    before = _stamp(info.path)
    finding = verify_checkpoint(info, progress)
    if finding is None and before is not None and before == _stamp(info.path):
        _verified.add(before)
    return finding


def was_verified_to_read(path: Path) -> bool:
    """Whether these very bytes were just verified for the read that is asking; it is told once."""
    stamp = _stamp(path)
    if stamp is None or stamp not in _verified:
        return False
    _verified.discard(stamp)
    return True


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
