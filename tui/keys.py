"""Keys shared by panes, and how a key is written on screen.

Every binding has an id, a description and a tooltip: footer and help are made from the bindings themselves,
so a key cannot be named where it does not work.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from textual.binding import Binding, BindingType
from textual.dom import DOMNode

_KEY_NAMES = {
    "enter": "Enter",
    "escape": "Esc",
    "space": "Space",
    "tab": "Tab",
    "shift+tab": "⇧Tab",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "asterisk": "*",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "full_stop": ".",
    "colon": ":",
}


def key_name(key: str) -> str:
    """How `key`, one of Textual's names, is written: `Ctrl-U`, `Esc`, `D`."""
    if key in _KEY_NAMES:
        return _KEY_NAMES[key]
    return f"Ctrl-{key[5:].upper()}" if key.startswith("ctrl+") else key


def shown_key(item: Binding, changed: Mapping[str, str] = MappingProxyType({})) -> str:
    """How the key of a binding is written in the footer: the first of its keys.

    Args:
        item: The binding; it may have words of its own for its key.
        changed: Keys that a person changed, by the id of the binding.
    """
    if item.id is not None and item.id in changed:
        return key_name(changed[item.id].split(",")[0])
    return item.key_display or key_name(item.key.split(",")[0])


def changed_keys(node: DOMNode) -> Mapping[str, str]:
    """Keys that a person changed, by the id of the binding; none where the app is not ours."""
    changed: Mapping[str, str] = getattr(node.app, "keys_by_id", {})
    return changed


def binding(
    keys: str,
    action: str,
    name: str,
    description: str,
    tooltip: str,
    *,
    show: bool = False,
    shown_as: str | None = None,
    everywhere: bool = False,
) -> Binding:
    """A binding with everything that footer and help need.

    Args:
        keys: Comma-separated; the first is the one shown in the footer.
        action: Textual's action string.
        name: The id, `pane.what`, which a keymap may refer to.
        description: One or two words for the footer.
        tooltip: One sentence for the help.
        show: Whether it has a place in the footer.
        shown_as: How the footer writes the key, where it stands for a neighbour too.
        everywhere: Whether it works over dialogs and in text fields too, before any of their keys; only for the app.
    """
    return Binding(
        keys, action, description, show=show, id=name, tooltip=tooltip, key_display=shown_as, priority=everywhere
    )


class Shown(NamedTuple):
    """A key in the footer."""

    binding: Binding
    text: str
    off: bool = False
    """Whether it can do nothing here but say why."""


MOVEMENT: list[BindingType] = [
    binding("j,down", "move(1)", "move.down", "Down", "Next row"),
    binding("k,up", "move(-1)", "move.up", "Up", "Previous row"),
    binding("g,home", "first", "move.first", "First", "First row"),
    binding("G,end", "last", "move.last", "Last", "Last row"),
    binding("pagedown", "page(2)", "move.page-down", "Page down", "A page down"),
    binding("pageup", "page(-2)", "move.page-up", "Page up", "A page up"),
    binding("ctrl+d", "page(1)", "move.half-down", "Half a page down", "Half a page down"),
    binding("ctrl+u", "page(-1)", "move.half-up", "Half a page up", "Half a page up"),
]
"""Moving in a list."""

SORTING: list[BindingType] = [
    binding("s", "sort", "list.sort", "Sort", "Sort by the next column"),
    binding("S", "reverse", "list.reverse", "Reverse", "Reverse the order"),
]

COPY = binding("y", "screen.copy", "pane.copy", "Copy", "Copy to the terminal's clipboard")


def marking(*, show: bool) -> list[BindingType]:
    """Marking in a list; `show` gives it a place in the footer."""
    return [
        binding("space", "mark", "list.mark", "Mark", "Mark this one and step on", show=show),
        binding("v", "range", "list.range", "Range", "Mark all from the last mark to here"),
        binding("asterisk", "mark_all", "list.mark-all", "All", "Mark all, or none"),
        binding("n", "next_mark(1)", "list.next-mark", "Next mark", "Go to the next marked one"),
        binding("N", "next_mark(-1)", "list.previous-mark", "Previous mark", "Go to the previous marked one"),
    ]
