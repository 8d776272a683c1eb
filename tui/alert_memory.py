"""Which alerts of a store somebody has seen or dismissed, from one session to the next.

It is kept beside the other state of a user, never in the store: watching a read-only store works, and two people who
watch one store do not dismiss each other's alerts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import xxhash

from ckptop.store.errors import StoreError
from ckptop.store.files import read_json, write_quickly

MOST_DISMISSED = 2000
"""Keys kept; the oldest are forgotten, and so are their alerts."""


class Remembered(msgspec.Struct, frozen=True):
    """What one user did about the alerts of one store."""

    seen: float | None = None
    """Alerts up to this moment, in seconds since the epoch, were seen; None before the list was looked at once."""
    dismissed: tuple[str, ...] = ()
    """Keys, the oldest first."""

    def without(self, key: str) -> Remembered:
        """The same with an alert brought back."""
        return Remembered(self.seen, tuple(other for other in self.dismissed if other != key))

    def with_dismissed(self, key: str) -> Remembered:
        """The same with one alert more dismissed."""
        return Remembered(self.seen, (*self.without(key).dismissed, key)[-MOST_DISMISSED:])


def memory_path(store: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the alerts of a store are remembered."""
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "/nonexistent") / ".local" / "state")
    name = xxhash.xxh3_64_hexdigest(str(store.absolute()).encode(errors="surrogateescape"))
    return Path(home) / "ckptop" / "alerts" / f"{name}.json"


def read_memory(path: Path) -> Remembered:
    """What is remembered; nothing where that cannot be read."""
    with suppress(StoreError, OSError, ValueError):
        return read_json(path, Remembered)
    return Remembered()


def write_memory(path: Path, remembered: Remembered) -> None:
    """Remember it; where that cannot be written, it holds for this session."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_quickly(path, msgspec.json.encode(remembered))
