"""What is drawn where the terminal's font has no more than ASCII: one character for one, so that widths stay."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ckptop.tui.theme import GLYPHS

ASCII_VARIABLE = "CKPTOP_ASCII"
"""Set to anything but nothing: draw in ASCII."""

_LINES = {"━": "=", "─": "-", "╸": "-", "┈": ".", "▌": ">", "▸": ">", "◂": "<", "└": "`", "·": "-", "…": "~",
          "—": "-", "°": " ", "←": "<", "→": ">", "↑": "^", "↓": "v", "⇧": "^", "×": "x"}  # fmt: skip
_BRAILLE_ROWS = ((0x01 | 0x08, "'"), (0x02 | 0x10, "-"), (0x04 | 0x20, "."), (0x40 | 0x80, "_"))


def _braille() -> dict[str, str]:
    """Each braille cell by its highest dot."""
    cells = {"\u2800": " "}
    for dots in range(1, 256):
        cells[chr(0x2800 + dots)] = next(character for row, character in _BRAILLE_ROWS if dots & row)
    return cells


TO_ASCII = str.maketrans(_LINES | _braille() | dict(GLYPHS.values()))


def wants_ascii(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to draw in ASCII: asked for, or the locale names a character set other than UTF-8."""
    if environ.get(ASCII_VARIABLE):
        return True
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    charset = locale.partition(".")[2].partition("@")[0].lower().replace("-", "")
    return charset not in ("", "utf8")
