"""Quantities as people type them, for options: `90s`, `12h`, `30d`; `500M`, `20G`."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|min|h|d|w)\s*", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?\s*", re.ASCII | re.IGNORECASE)


def duration(text: str) -> float:
    """A stretch of time, in seconds.

    Raises:
        click.BadParameter: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no stretch of time; write it like 90s, 15m, 12h or 30d")
    return float(match[1]) * _SECONDS[match[2].lower()]


def size(text: str) -> int:
    """An amount of data, in bytes; K, M, G and T are powers of 1,024.

    Raises:
        click.BadParameter: It is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no size; write it like 500M or 20G")
    return int(float(match[1]) * _BYTES[match[2].lower()])
