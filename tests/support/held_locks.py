"""Which lock a name stands under, and whether this process holds it.

`/proc/locks` says so without a descriptor of the file: closing one would drop the lock that is asked about.
"""

from __future__ import annotations

import os
from pathlib import Path

_OF_A_SET = frozenset({"training", "milestone", ".trash", ".discarded", ".quarantine"})


def require_locks(*paths: Path) -> None:
    """Fail unless the lock over each of these names is held."""
    for path in paths:
        lock = lock_over(path)
        assert lock is None or _is_held(lock), f"{path} is changed by somebody who does not hold {lock}"


def lock_over(path: Path) -> Path | None:
    """What whoever changes this name must hold; None where nobody else does, as among torn writes and deleted runs."""
    if "model_cards" in path.parts:
        return path.parents[path.parts[::-1].index("model_cards") + 1] / "production" / ".lock"
    if (path / "checkpoints" / ".staging").is_dir():  # a whole run
        return None if ".trash" in path.parts else path / "checkpoints" / ".lock"
    for root in path.parents:
        if (root / ".staging").is_dir():
            parts = path.relative_to(root).parts
            is_in_set = len(parts) > 1 and parts[0] in _OF_A_SET
            is_released = root.name == "production" and parts[0] != ".staging"
            return root / ".lock" if (is_in_set or is_released) and ".trash" not in root.parts else None
    return None


def _is_held(lock: Path) -> bool:
    try:
        inode = str(lock.stat().st_ino)
    except FileNotFoundError:
        return False
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(fields[1] == "POSIX" and fields[4] == str(os.getpid()) and fields[5].endswith(f":{inode}")
               for fields in lines)  # fmt: skip
