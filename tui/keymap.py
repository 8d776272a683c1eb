"""Every binding of the dashboard by its id, and whether keys that a person changed can stand beside one another.

Imports every screen, so it is asked only where a settings file changes keys.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, _character_to_key
from textual.screen import ModalScreen, Screen

from ckptop.tui import screens, widgets
from ckptop.tui.keys import key_name
from ckptop.tui.screens.main import MainScreen
from ckptop.tui.settings import nearest

_NAMED_KEYS = {key.value for key in Keys} | {"space", "enter", "escape", "tab", "backspace", "delete"}
_IS_NEVER_TYPED = re.compile(r"(ctrl|alt)\+.+|f\d+")


def owners() -> list[type[DOMNode]]:
    """Every class of ours that binds keys."""
    for package in (screens, widgets):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name != "chart":  # binds nothing, and brings NumPy and plotext
                importlib.import_module(f"{package.__name__}.{module.name}")
    found: list[type[DOMNode]] = []
    pending: list[type[DOMNode]] = [DOMNode]
    while pending:
        owner = pending.pop()
        pending += owner.__subclasses__()
        if owner.__module__.startswith("ckptop.") and owner not in found:
            found.append(owner)
    return found


def bindings_of(owner: type[DOMNode]) -> dict[str, Binding]:
    """The bindings that an owner has, its ancestors' included, by id."""
    found: dict[str, Binding] = {}
    for cls in reversed(owner.__mro__):
        for item in cls.__dict__.get("BINDINGS", ()):
            if isinstance(item, Binding) and item.id is not None and cls.__module__.startswith("ckptop."):
                found[item.id] = item
    return found


def what_is_wrong(keys: Mapping[str, str]) -> tuple[str, str] | None:
    """The first binding that cannot have the keys wanted for it, and why; None where all can.

    Args:
        keys: Comma-separated keys by id.
    """
    every = owners()
    ids = {name for owner in every for name in bindings_of(owner)}
    everywhere = _everywhere(every)
    for name, wanted in keys.items():
        if name not in ids:
            return name, f"{name!r} is no binding{nearest(name, ids)}"
        for key in wanted.split(","):
            if name in everywhere and not _IS_NEVER_TYPED.fullmatch(key):
                return name, f"{key!r} is no key for {name}, which works in text fields too; ctrl+ or a function key is"
            if len(key) > 1 and key.rpartition("+")[2] not in _NAMED_KEYS and len(key.rpartition("+")[2]) > 1:
                return name, f"{key!r} is no key{nearest(key, _NAMED_KEYS)}"
    for chain in _chains(every):
        clash = _clash(chain, keys)
        if clash is not None:
            return clash
    return None


def _chains(every: list[type[DOMNode]]) -> Iterator[dict[str, Binding]]:
    """What hears a key together: a widget with its screen and the app; a dialog with what works everywhere."""
    around, everywhere = _of_apps(every), _everywhere(every)
    main = bindings_of(MainScreen)
    for owner in every:
        own = bindings_of(owner)
        if issubclass(owner, ModalScreen):
            yield {**everywhere, **own}
        elif issubclass(owner, Screen):
            yield {**around, **own}
        elif own:
            yield {**around, **main, **own}


def _of_apps(every: list[type[DOMNode]]) -> dict[str, Binding]:
    apps = [bindings_of(owner) for owner in every if issubclass(owner, App)]
    return {name: item for found in apps for name, item in found.items()}


def _everywhere(every: list[type[DOMNode]]) -> dict[str, Binding]:
    return {name: item for name, item in _of_apps(every).items() if item.priority}


def _clash(chain: Mapping[str, Binding], keys: Mapping[str, str]) -> tuple[str, str] | None:
    taken: dict[str, str] = {}
    for name, item in chain.items():
        if name not in keys:
            taken |= dict.fromkeys(map(normal, item.key.split(",")), name)
    for name in chain:
        for key in map(normal, keys[name].split(",") if name in keys else ()):
            holder = taken.get(key)
            if holder is not None and holder != name:
                return name, f"{key_name(key)!r} is the key of {holder} already; give that another one too"
            taken[key] = name
    return None


def normal(key: str) -> str:
    """A key as Textual spells it: `question_mark` for `?`."""
    return _character_to_key(key) if len(key) == 1 else key
