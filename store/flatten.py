"""Nested configurations as flat names and values; apart from the other facts, for the dashboard needs no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_LEVELS = 32
"""Levels of a configuration that are shown; a stranger's may hold a thousand."""


def flatten(tree: Mapping[str, Any], prefix: str = "", levels: int = MOST_LEVELS) -> dict[str, Any]:
    """A configuration with dotted keys, `model.hidden`; what is nested too deeply is an ellipsis."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and levels > 1:
            flat |= flatten(value, f"{prefix}{key}.", levels - 1)
        else:
            flat[f"{prefix}{key}"] = value if _is_shallow(value, levels) else "…"
    return flat


def _is_shallow(value: object, levels: int) -> bool:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in items)
