"""Numbers and words as people read them, the same on the command line and in the dashboard.

Pure functions. A figure never takes more than three significant digits (table cells aside), its unit stands
after a space, and what is missing is a dash. Widths are terminal cells: a Chinese character takes two, an
accent none.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime

from ckptop.host.terminal import ELLIPSIS

MISSING = "—"
"""Stands for a value nobody recorded."""

BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

CELL_DECIMALS, MOST_CELL_DECIMALS = 4, 6
"""Decimals of a table cell in 0–1, and how far they grow to tell two apart."""

MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3_600, 86_400
_AGE_AS_DATE_SECONDS = 30 * DAY_SECONDS


def format_count(count: int) -> str:
    """`1,488`."""
    return f"{count:,}"


def format_percent(fraction: float | None) -> str:
    """`62 %` of a fraction of 1; `100 %` means all of it, so 0.999 is still `99 %`."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    percent = round(fraction * 100)
    return f"{99 if percent == 100 and fraction < 1 else percent} %"


def format_bytes(size_bytes: float) -> str:
    """`0 B`, `6.1 MiB`, `140 MiB`: at most three digits, so 1,000 KiB reads `1.0 MiB`."""
    sign = "-" if size_bytes < 0 else ""
    scaled, unit = _scale_bytes(abs(size_bytes))
    return f"{sign}{_scaled_figure(scaled, unit)} {unit}"


def format_bytes_pair(used_bytes: float, total_bytes: float) -> str:
    """`61.0 / 80.0 GiB`: both in the unit and with the decimals of the total."""
    total, unit = _scale_bytes(abs(total_bytes))
    decimals = _byte_decimals(total, unit)
    used = used_bytes / 1024 ** BYTE_UNITS.index(unit)
    return f"{used:,.{decimals}f} / {total:,.{decimals}f} {unit}"


def format_value(value: float | None) -> str:
    """A metric in three significant digits: `0.0414`, `41.2`, `1,488`, `8.6e-4`, `NaN`, `+Inf`, `-Inf`.

    Whole digits are never rounded away: 123,456 stays that. Below 1e-3 and from 1e6 it is scientific.
    """
    return _format_significant(value, 3)


def format_cell(value: float | None, decimals: int = CELL_DECIMALS) -> str:
    """A metric in a table column: `0.9812`; outside of 0–1 `41.2`, as `format_value` says it.

    Args:
        value: None where nothing was recorded.
        decimals: From `distinct_decimals`. Values outside of 0–1 get as many digits more as this exceeds
            four.
    """
    if value is not None and (value == 0 or 1e-3 <= value <= 1):
        return f"{value:.{decimals}f}"
    return _format_significant(value, 3 + max(0, decimals - CELL_DECIMALS))


def distinct_decimals(best: float | None, runner_up: float | None) -> int:
    """The decimals, four to six, at which `format_cell` first tells the best from the runner-up.

    Four where one is missing or both are equal; six where even these look alike.
    """
    if best is None or runner_up is None or best == runner_up:
        return CELL_DECIMALS
    for decimals in range(CELL_DECIMALS, MOST_CELL_DECIMALS):
        if format_cell(best, decimals) != format_cell(runner_up, decimals):
            return decimals
    return MOST_CELL_DECIMALS


def format_age(seconds: float | None, *, live: bool = True, now: float | None = None) -> str:
    """How long ago, in one unit rounded down: `3 s`, `8 min`, `3 h`, `2 d`; never below `0 s`.

    Args:
        seconds: The age.
        live: Whether seconds may show. Else it is `<1 min`, so that an idle screen changes once a minute.
        now: Unix time. With it, more than 30 days is a local date, `2025-11-21`.
    """
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < MINUTE_SECONDS:
        return f"{max(0, int(seconds))} s" if live else "<1 min"
    if seconds < HOUR_SECONDS:
        return f"{int(seconds // MINUTE_SECONDS)} min"
    if seconds < DAY_SECONDS:
        return f"{int(seconds // HOUR_SECONDS)} h"
    if now is not None and _AGE_AS_DATE_SECONDS < seconds <= now:
        return datetime.fromtimestamp(now - seconds).strftime("%Y-%m-%d")
    return f"{int(seconds // DAY_SECONDS):,} d"


def format_duration(seconds: float | None) -> str:
    """A stretch of time or an ETA, in one unit rounded to the nearest: `41 s`, `2 min`, `1 h`, `3 d`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    seconds = max(0.0, seconds)
    for unit, unit_seconds, limit in (("s", 1, 60), ("min", MINUTE_SECONDS, 60), ("h", HOUR_SECONDS, 24)):
        if (count := round(seconds / unit_seconds)) < limit:
            return f"{count} {unit}"
    return f"{round(seconds / DAY_SECONDS):,} d"


def cell_width(text: str) -> int:
    """How many terminal cells `text` takes, once `terminal.clean` has been over it."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def shorten_middle(name: str, width: int) -> str:
    """`resnet…seed3`: a name in at most `width` cells, both ends kept."""
    if cell_width(name) <= width:
        return name
    tail = _tail(name, (width - 1) // 2)
    return (_head(name, width - 1 - cell_width(tail)) + ELLIPSIS + tail) if width > 0 else ""


def shorten_left(path: str, width: int) -> str:
    """`…/runs`: a path in at most `width` cells, its end kept, cut before a folder where one fits."""
    if cell_width(path) <= width:
        return path
    tail = _tail(path, width - 1)
    return (ELLIPSIS + tail[max(0, tail.find("/")) :]) if width > 0 else ""


def shorten_right(message: str, width: int) -> str:
    """`metrics.jsonl line 1,2…`: a message in at most `width` cells, its beginning kept."""
    if cell_width(message) <= width:
        return message
    return (_head(message, width - 1) + ELLIPSIS) if width > 0 else ""


def _scale_bytes(size_bytes: float) -> tuple[float, str]:
    """`size_bytes` in the largest unit that needs no fourth digit, and that unit."""
    scaled = float(size_bytes)
    for unit in BYTE_UNITS[:-1]:
        if round(scaled) < 1000:
            return scaled, unit
        scaled /= 1024
    return scaled, BYTE_UNITS[-1]


def _byte_decimals(scaled: float, unit: str) -> int:
    return 1 if unit != "B" and round(scaled, 1) < 100 else 0


def _scaled_figure(scaled: float, unit: str) -> str:
    return f"{scaled:,.{_byte_decimals(scaled, unit)}f}"


def _format_significant(value: float | None, digits: int) -> str:
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    if value != 0 and (abs(value) < 1e-3 or round(abs(value)) >= 1_000_000):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    # The exponent after rounding: 0.9996 is 1.00, not 1.000.
    exponent_rounded = int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{value:,.{max(0, digits - 1 - exponent_rounded)}f}" if value != 0 else "0"


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _head(text: str, width: int) -> str:
    """The longest beginning of `text` that fits `width` cells."""
    used = 0
    for index, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:index]
    return text


def _tail(text: str, width: int) -> str:
    """The longest end of `text` that fits `width` cells, without an accent that lost its letter."""
    used, start = 0, len(text)
    for index in range(len(text) - 1, -1, -1):
        cells = _character_width(text[index])
        used += cells
        if used > width:
            break
        if cells > 0:
            start = index
    return text[start:]
