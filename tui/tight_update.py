"""Partial repaints without the cells left of what changed.

Textual 8.2 writes each changed span from the left edge of its widget: for one new digit at the end of a table row
that is a whole row, 1.4 kB instead of 60 bytes, once a second. Here a span is cut on both sides, and a style is
only written where it differs from the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate
from textual.strip import Strip

RESET = "\x1b[m"


class TightUpdate(CompositorUpdate):
    """A `ChopsUpdate` that writes changed cells only."""

    def __init__(self, update: ChopsUpdate) -> None:
        self._update = update

    def render_segments(self, console: Console) -> str:
        """The escape sequences that bring the screen up to date."""
        return "".join(f"\x1b[{y + 1};{x + 1}H{render_cells(strip, console)}" for x, y, strip in self._changed())

    def __rich_console__(self, console: Console, options: object) -> Iterable[Segment]:
        """For Rich, which never asks: the app writes `render_segments`."""
        raise NotImplementedError

    def _changed(self) -> Iterator[tuple[int, int, Strip]]:
        update = self._update
        for y, start, end in update.spans:
            for chop_end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                first, last = max(x, start), min(chop_end, end)
                if strip is not None and first < last:
                    yield first, y, strip.crop(first - x, last - x)


def render_cells(strip: Strip, console: Console) -> str:
    """The text of `strip` with its colours, ending in the terminal's own."""
    system = COLOR_SYSTEMS[console.color_system] if console.color_system is not None else None
    parts: list[str] = []
    shown = ""
    for text, style, _control in strip:
        wanted = _prefix(style, system) if style is not None else ""
        if wanted != shown:
            parts.append((RESET if shown else "") + wanted)
            shown = wanted
        parts.append(text)
    return "".join(parts) + (RESET if shown else "")


@lru_cache(maxsize=1024)
def _prefix(style: Style, system: ColorSystem | None) -> str:
    """What `style` writes before its text."""
    return style.render("\0", color_system=system).partition("\0")[0]
