"""What is drawn where the terminal's font has no more than ASCII: one character for one, so that widths stay."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from ckptop.tui.theme import GLYPHS

ASCII_VARIABLE = "CKPTOP_ASCII"
"""Set to anything but nothing: draw in ASCII."""

Marker = Literal["braille", "hd", "ascii"]
"""Braille dots; quadrant blocks ("hd" in plotext's words); one plain character a cell."""

MARKERS: dict[str, Marker] = {"braille": "braille", "quadrants": "hd", "ascii": "ascii"}
"""By the words of the settings."""

ASCII_TERMINALS = ("linux", "vt", "dumb")
"""Beginnings of `$TERM` where the font has little more: the console of the kernel, and real terminals."""
BLOCK_TERMINALS = ("putty", "cygwin")
"""Of those whose usual fonts have blocks and no braille."""

_LINES = {"━": "=", "─": "-", "╸": "-", "┈": ".", "▌": ">", "▸": ">", "◂": "<", "▾": "v", "└": "`", "·": "-", "…": "~",
          "—": "-", "–": "-", "°": " ", "←": "<", "→": ">", "↑": "^", "↓": "v", "⇧": "^", "×": "x",
          "≠": "!", "−": "-"}  # fmt: skip
_BRAILLE_ROWS = ((0x01 | 0x08, "'"), (0x02 | 0x10, "-"), (0x04 | 0x20, "."), (0x40 | 0x80, "_"))


def _braille() -> dict[str, str]:
    """Each braille cell by its highest dot."""
    cells = {"\u2800": " "}
    for dots in range(1, 256):
        cells[chr(0x2800 + dots)] = next(character for row, character in _BRAILLE_ROWS if dots & row)
    return cells


_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""By the quarters that are filled: 1 upper left, 2 upper right, 4 lower left, 8 lower right."""
_QUARTERS = ((1, 0x01 | 0x02), (2, 0x08 | 0x10), (4, 0x04 | 0x40), (8, 0x20 | 0x80))


def _quadrants() -> dict[str, str]:
    """Each braille cell by the quarters in which it has a dot."""
    return {
        chr(0x2800 + dots): _QUADRANTS[sum(quarter for quarter, mask in _QUARTERS if dots & mask)]
        for dots in range(256)
    }


TO_QUADRANTS = str.maketrans(_quadrants())
TO_ASCII = str.maketrans(_LINES | _braille() | dict(GLYPHS.values()))


def marker_of(environ: Mapping[str, str] = os.environ) -> Marker:
    """What curves are drawn with where nobody says: as fine as the fonts of such a terminal are known to be."""
    term = environ.get("TERM", "")
    if wants_ascii(environ) or term.startswith(ASCII_TERMINALS):
        return "ascii"
    return "hd" if term.startswith(BLOCK_TERMINALS) else "braille"


def wants_ascii(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to draw in ASCII: asked for, or the locale names a character set other than UTF-8."""
    if environ.get(ASCII_VARIABLE):
        return True
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    charset = locale.partition(".")[2].partition("@")[0].lower().replace("-", "")
    return charset not in ("", "utf8")
