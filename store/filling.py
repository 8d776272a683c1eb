"""Whether a store's disk is filling: told once, while there is still room to do something about it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ckptop.host.units import format_bytes
from ckptop.store.notices import Notice

LOW_SAVES = 3
"""Fewer saves than this fitting is a filling disk: one may stand in staging beside those that are kept."""
LOW_BYTES = 512 << 20
"""So is less than this, whatever a save takes: logs and other users write too."""
LOOK_SECONDS = 15.0

_BACK = 1.25
"""Room for so much more than that is enough again; else a disk at the edge would be told again and again."""


def free_bytes(root: Path) -> int | None:
    """What a process without privileges may still write there; None where that cannot be told."""
    try:
        found = os.statvfs(root)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


class DiskWatch:
    """Follows the free space of one store."""

    def __init__(self, root: Path, *, from_now: bool = False, free: Callable[[Path], int | None] = free_bytes) -> None:
        """A disk that is low at the first look is no news if `from_now`."""
        self._root, self._free = root, free
        self._is_first = from_now
        self._is_low = False
        self._next_look = 0.0
        self._save_bytes: dict[str, int] = {}

    def note(self, notice: Notice) -> None:
        """Take up how large a run's newest checkpoint is."""
        size = notice.details.get("size_bytes")
        if notice.kind == "saved" and isinstance(size, int):
            self._save_bytes[notice.run] = size

    def look(self, live: Collection[str]) -> Notice | None:
        """An alert of the live run that saves most, when the disk has become low; costs nothing in between.

        Args:
            live: Runs that may write; with none of them there is nobody to tell it of.
        """
        if not live or time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + LOOK_SECONDS
        largest = max(live, key=lambda name: self._save_bytes.get(name, 0))
        size, free = self._save_bytes.get(largest, 0), self._free(self._root)
        if free is None:
            return None
        needed = max(LOW_BYTES, LOW_SAVES * size)
        was_low, self._is_low = self._is_low, free < needed * (_BACK if self._is_low else 1)
        is_first, self._is_first = self._is_first, False
        if was_low or is_first or not self._is_low:
            return None
        room = f"; a save takes {format_bytes(size)}" if size else ""
        message = f"the disk of {self._root} is filling: {format_bytes(free)} free{room}"
        return Notice(time.time(), largest, "alert", details={"kind": "disk", "message": message})
