"""The settings file, `$XDG_CONFIG_HOME/ckptop/settings.toml`: theme, palette, markers, mouse and keys.

Everything in it is checked before the dashboard opens, and an error names the file and the line. That is ours to do:
Textual ignores a binding that it does not know, and lets one key take the place of another without a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptop.host.terminal import clean
from ckptop.store.errors import UsageError

MARKERS = ("auto", "braille", "quadrants", "ascii")
PALETTES = ("standard", "red-green", "blue-yellow")
LARGEST_FILE_BYTES = 1 << 20

CheckKeys = Callable[[Mapping[str, str]], "tuple[str, str] | None"]
"""Finds what is wrong with changed keys: the binding it is about, and the reason with what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a person set."""

    theme: str | None = None
    """Name of a theme; None is our dark one."""
    palette: str = "standard"
    """One of `PALETTES`: hues for readers who do not tell red from green, or blue from yellow."""
    markers: str = "auto"
    """One of `MARKERS`: what curves are drawn with."""
    mouse: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys by the id of a binding, comma-separated."""


def settings_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is, there or not."""
    home = environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / "ckptop" / "settings.toml"


def read_settings(path: Path, *, themes: Collection[str], check_keys: CheckKeys) -> Settings:
    """What the file says; the defaults where there is none.

    Args:
        path: The file.
        themes: Names of themes there are.
        check_keys: Called only where keys are changed, for it imports every screen.

    Raises:
        UsageError: Something in it is wrong: `<file> line 4: …`, with the nearest name that would be right.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    import tomllib  # takes 5 ms that a start without such a file does not have to spend

    try:
        text = raw.decode()
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}{_toml_error(error, raw)}") from None
    return _Reader(path, text).settings(found, themes, check_keys)


def _toml_error(error: Exception, raw: bytes) -> str:
    """` line 3, column 8: Invalid value`, as the other errors go on."""
    said = clean(str(error), 200)
    place = re.search(r" \(at (line \d+, column \d+|end of document)\)$", said)
    if place is None:
        return f": {said}"
    last_line = len(raw.splitlines())
    where = place[1] if place[1].startswith("line") else f"line {last_line}"
    return f" {where}: {said[: place.start()]}"


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks one file."""

    path: Path
    text: str

    def settings(self, found: dict[str, Any], themes: Collection[str], check_keys: CheckKeys) -> Settings:
        known = ("theme", "palette", "markers", "mouse", "keys")
        for name in found:
            if name not in known:
                raise self._wrong(name, f"{clean(name, 40)!r} is no setting{nearest(name, known)}")
        keys = dict(self._keys(found.get("keys", {})))
        settings = Settings(
            theme=self._one_of(found, "theme", themes),
            palette=self._one_of(found, "palette", PALETTES) or Settings().palette,
            markers=self._one_of(found, "markers", MARKERS) or Settings().markers,
            mouse=self._switch(found, "mouse"),
            keys=keys,
        )
        problem = check_keys(keys) if keys else None
        if problem is not None:
            raise self._wrong(*problem)
        return settings

    def _one_of(self, found: Mapping[str, Any], name: str, words: Collection[str]) -> str | None:
        value = found.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or value not in words:
            close = nearest(str(value), words)
            there = close or f"; there are {', '.join(sorted(words)[:8])}"
            raise self._wrong(name, f"{clean(str(value), 40)!r} is no {name.removesuffix('s')}{there}")
        return value

    def _switch(self, found: Mapping[str, Any], name: str) -> bool:
        value = found.get(name, True)
        if not isinstance(value, bool):
            raise self._wrong(name, f"{name} must be true or false")
        return value

    def _keys(self, table: Any, above: str = "") -> Iterator[tuple[str, str]]:
        """Of `"runs.resume" = "R"` as of `runs.resume = "R"`."""
        if not isinstance(table, dict):
            raise self._wrong("keys", 'keys must be a table, such as [keys] and "runs.resume" = "R"')
        for name, value in table.items():
            full = f"{above}{name}"
            if isinstance(value, dict):
                yield from self._keys(value, f"{full}.")
            elif isinstance(value, str) and value.strip(" ,"):
                yield full, ",".join(part.strip() for part in value.split(",") if part.strip())
            else:
                raise self._wrong(full, f'{clean(full, 60)} must be a key in quotes, such as "R" or "ctrl+r"')

    def _wrong(self, name: str, what: str) -> UsageError:
        return UsageError(f"{self.path} line {self._line_of(name)}: {what}")

    def _line_of(self, name: str) -> int:
        """The line that sets `name`, the last part of which may stand in a table of its own; 1 where none is found."""
        for wanted in (name, name.rpartition(".")[2]):
            spelled = r"\s*\.\s*".join(rf"[\"']?{re.escape(part)}[\"']?" for part in wanted.split("."))
            pattern = re.compile(rf"\s*(\[\s*)?[\"']?{spelled}[\"']?\s*[=\].]")
            for number, line in enumerate(self.text.splitlines(), 1):
                if pattern.match(line):
                    return number
        return 1


def nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean 'theme'?`, or nothing where no name is near."""
    import difflib  # only where something is wrong

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
