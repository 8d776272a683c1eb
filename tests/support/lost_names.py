"""Names that a disk forgets: those made, moved or removed in a directory that was not fsynced since.

Each change is noted with what the name stood for before it. That is held by an O_PATH descriptor, which needs no second
name in the file system (a purge goes by the number of names) and drops no POSIX lock when it is closed.

A rename is all or nothing, as a journal makes it, and durable with the directory it goes to. Where only the directory
it left was synced, the name is in neither.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

Loss = Literal["data", "everything"] | random.Random
"""What goes with the power: unsynced bytes; unsynced names as well; some of each, of a directory's changes the last."""


@dataclass(eq=False, slots=True)
class _Change:
    """A name that came to stand for something else."""

    directory: int
    """Its inode: the directory may be renamed itself."""
    name: str
    before: int | None
    """A descriptor of what it stood for."""
    is_durable: bool = False


class NameJournal:
    """The changes of names since all of them were durable."""

    def __init__(self) -> None:
        self._calls: list[list[_Change]] = []
        """Oldest first; of a rename the new name first."""
        self._directories: dict[int, int] = {}
        """Inode to a descriptor."""

    def note(self, *paths: Path) -> None:
        """Remember what these names stand for, which one call is about to change; of a rename the new name first."""
        self._calls.append([self._change(path, _hold(path)) for path in paths])

    def note_made(self, path: Path) -> None:
        """Remember that this name was made just now."""
        self._calls.append([self._change(path, None)])

    def _change(self, path: Path, before: int | None) -> _Change:
        inode = path.parent.stat().st_ino
        if inode not in self._directories:
            self._directories[inode] = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        return _Change(inode, path.name, before)

    def sync(self, directory: Path) -> None:
        """The names in a directory are durable."""
        inode = directory.stat().st_ino
        for changes in self._calls:
            for change in changes:
                change.is_durable |= change.directory == inode
            _settle(changes)
        if all(change.is_durable for changes in self._calls for change in changes):
            self._forget()

    def lose(self, loss: Loss) -> int:
        """Let each name stand for what the disk knows of it; returns how many it might not have known of."""
        at_stake = len(list(self._undone()))
        if isinstance(loss, random.Random):
            self._keep_some(loss)
        if loss != "data":
            self._undo(list(self._undone()))
        self._forget()
        return at_stake

    def _keep_some(self, chance: random.Random) -> None:
        """Of the changes in each directory the first ones: a disk keeps their order, but not that among directories."""
        pending: dict[int, list[list[_Change]]] = {}
        for changes in self._calls:
            pending.setdefault(changes[0].directory, []).append(changes)
        for calls in pending.values():
            for changes in calls[: chance.randint(0, len(calls))]:
                changes[0].is_durable = True
                _settle(changes)

    def _undone(self) -> Iterator[_Change]:
        """Of each name whose last changes are not durable the first of those; what was changed last comes first."""
        chains: dict[tuple[int, str], list[_Change]] = {}
        for changes in reversed(self._calls):
            for change in changes:
                chains.setdefault((change.directory, change.name), []).append(change)
        for newest_first in chains.values():
            if lost := list(takewhile(lambda change: not change.is_durable, newest_first)):
                yield lost[-1]

    def _undo(self, changes: list[_Change]) -> None:
        """Files go, directories come back with all they hold, made ones go, and then files come back."""
        for change in changes:
            path = self._path_of(change)
            if path is not None and os.path.lexists(path) and not _is_real_directory(path):
                path.unlink()
        for change in changes:
            if change.before is not None and _kind(change.before) == stat.S_IFDIR:
                self._put_directory(change, change.before)
        for change in changes:
            path = self._path_of(change)
            if change.before is None and path is not None and _is_real_directory(path):
                shutil.rmtree(path)
        copies: dict[int, Path] = {}
        for change in changes:
            path = self._path_of(change)
            if change.before is not None and path is not None and _kind(change.before) != stat.S_IFDIR:
                _put_file(path, change.before, copies)

    def _put_directory(self, change: _Change, held: int) -> None:
        path, now = self._path_of(change), _path_held(held)
        if path is None or path == now:
            return
        if now is not None:
            now.rename(path)
            return
        path.mkdir()
        inode = os.fstat(held).st_ino
        if inode in self._directories:
            os.close(self._directories[inode])
            self._directories[inode] = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def _path_of(self, change: _Change) -> Path | None:
        """Where the name is now; None if its directory is gone."""
        directory = _path_held(self._directories[change.directory])
        return directory / change.name if directory is not None else None

    def _forget(self) -> None:
        held = [change.before for changes in self._calls for change in changes if change.before is not None]
        for descriptor in [*held, *self._directories.values()]:
            os.close(descriptor)
        self._calls.clear()
        self._directories.clear()


def _settle(changes: list[_Change]) -> None:
    """A rename that is durable where it went to is durable where it came from."""
    if changes[0].is_durable:
        for change in changes:
            change.is_durable = True


def _hold(path: Path) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def _kind(held: int) -> int:
    return stat.S_IFMT(os.fstat(held).st_mode)


def _path_held(held: int) -> Path | None:
    text = os.readlink(f"/proc/self/fd/{held}")
    return None if text.endswith(" (deleted)") else Path(text)


def _is_real_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _put_file(path: Path, held: int, copies: dict[int, Path]) -> None:
    """Give a file or link its name back; names of one inode share it again."""
    facts, here = os.fstat(held), f"/proc/self/fd/{held}"
    if stat.S_ISLNK(facts.st_mode):
        path.symlink_to(os.readlink("", dir_fd=held))
    elif facts.st_nlink > 0:
        os.link(here, path, src_dir_fd=held)  # to say src_dir_fd makes it follow the link under /proc
    elif facts.st_ino in copies:
        path.hardlink_to(copies[facts.st_ino])
    else:
        shutil.copy2(here, path)
        copies[facts.st_ino] = path
