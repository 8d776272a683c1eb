"""How the dashboard was left, by store: `$XDG_STATE_HOME/ckptop/dashboard/<store>.json`; never in the store itself.

A file of its own for each store, so that two dashboards do not take each other's place. What cannot be read counts as
nothing remembered, and what cannot be written is forgotten: neither is worth a word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import xxhash

MOST_NAMES = 10_000
"""Of runs that are hidden or folded."""
LARGEST_FILE_BYTES = 8 << 20

Names = Annotated[list[str], msgspec.Meta(max_length=MOST_NAMES)]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back with the next start."""

    store: str = ""
    """Absolute path, so that a person who looks at the file knows whose it is."""
    pane: str = "runs"
    """The one that had the keys."""
    full: str | None = None
    """The one that was shown alone."""
    run_sort: int = 0
    run_reversed: bool = False
    grouped: bool = False
    folded: Names = []
    hidden: Names = []
    checkpoint_sort: int = 0
    checkpoint_reversed: bool = False
    smoothing: int | None = None
    axis: int = 0
    log_axes: dict[str, bool] = {}
    """Logarithmic or not, of the charts whose y axis somebody turned."""
    theme: str | None = None
    """Chosen in the palette."""


def layout_path(store: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the layout of a store is kept."""
    home = environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "ckptop" / "dashboard" / f"{xxhash.xxh3_64_hexdigest(os.fsencode(store.absolute()))}.json"


def read_layout(path: Path) -> Layout | None:
    """What is remembered; None where nothing is, or it cannot be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LARGEST_FILE_BYTES), type=Layout)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def write_layout(path: Path, layout: Layout) -> None:
    """Remember it; in silence not, where the disk refuses."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(msgspec.json.encode(layout))
        staged.replace(path)
    except OSError:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
