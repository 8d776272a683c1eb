"""Foreign text made safe for a terminal: it must not move the cursor, reach the clipboard or lie.

Escape sequences go whole, with their payload; so does everything invisible (bidi controls, zero-width
characters, tags, variation selectors, lone surrogates). A run of any other control characters, newlines and
NUL among them, becomes one space, so that words stay apart. What is left are characters that show; an emoji
joined of several comes apart into these. Long logs are cleaned line by line.
"""

from __future__ import annotations

import re

ELLIPSIS = "…"
"""Stands where text was cut."""

_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
"""C0, DEL, C1, and the two separators that some terminals take for a newline."""

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, fillers, Mongolian selectors
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # zero width, bidi marks, overrides and isolates
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # fillers, variation selectors, byte order mark
    "\ud800-\udfff"  # lone surrogates: no encoder takes them
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # format controls of scripts and music
    "\U000e0000-\U000e0fff"  # tags, more selectors
)

_STRING = rf"(?:\x1b[PX^_\]]|[\x90\x98\x9d-\x9f])[^{_CONTROLS}]*(?:\x07|\x1b\\|\x9c)?"
"""DCS, SOS, OSC, PM and APC up to their end, or to the next control character where the end is missing."""
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_SHORT_ESCAPE = r"\x1b[ -/]*[0-~]"

_REMOVED = re.compile(f"{_STRING}|{_CSI}|{_SHORT_ESCAPE}|[{_INVISIBLE}]+")
_CONTROL_RUN = re.compile(f"[{_CONTROLS}]+")


def clean(text: str, limit: int | None = None) -> str:
    """`text` without anything that acts on a terminal or hides in it; cleaning twice changes nothing more.

    Args:
        text: Any string; printable ASCII comes back as it is.
        limit: At most this many characters (not terminal cells), the last an ellipsis where something was
            cut.
    """
    if not (text.isascii() and text.isprintable()):  # 0.1 µs, and nearly every string ends here
        # Controls go second: what is left of a broken sequence cannot form a new one without its ESC.
        text = _CONTROL_RUN.sub(" ", _REMOVED.sub("", text))
    if limit is not None and len(text) > limit:
        return text[: limit - 1] + ELLIPSIS if limit > 0 else ""
    return text


def shown_line(line: bytes) -> str:
    """What a terminal would show in the end of a printed line, cleaned: of a bar painted over and over, the last."""
    painted = [part for part in line.rstrip(b"\r").split(b"\r") if part.strip()]
    return clean((painted[-1] if painted else b"").decode(errors="replace").expandtabs())
