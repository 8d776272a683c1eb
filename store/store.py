"""A store: a root directory of runs. Opening one to look changes nothing in it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.errors import NotFound, StoreError, UsageError
from ckptop.store.layout import RunPaths, StorePaths
from ckptop.store.names import is_run_name
from ckptop.store.views import RunHead, RunView, read_head, read_run, read_standalone


@dataclass(frozen=True, slots=True)
class Store:
    """The runs under one root."""

    root: Path

    @classmethod
    def open(cls, path: Path | str, *, missing_ok: bool = False) -> Store:
        """Open the store at `path`.

        Args:
            path: Its root directory.
            missing_ok: A store that is not there yet counts as empty.

        Raises:
            UsageError: `path` is a file, or of a run.
            NotFound: Nothing is there.
            StoreError: It cannot be listed.
        """
        root = Path(path).expanduser()
        if root.exists() and not root.is_dir():
            raise UsageError(f"{path} is a file; name the directory that holds the runs")
        if not root.exists() and not missing_ok:
            raise NotFound(f"{path} does not exist; `ckptop train` makes a store, --store names another")
        run = run_directory(root)
        if run is not None:
            raise UsageError(f"{path} is of the run {run.name}; its store is {run.parent}")
        if root.exists() and not os.access(root, os.R_OK | os.X_OK):
            raise StoreError(f"{path} cannot be read; its owner may grant it with chmod")
        return cls(root)

    @property
    def paths(self) -> StorePaths:
        """The store's own files."""
        return StorePaths(self.root)

    @property
    def writable(self) -> bool:
        """Whether this user may change the store."""
        return not self.root.exists() or os.access(self.root, os.W_OK)

    @property
    def problem(self) -> str | None:
        """One line about what cannot be done here, None if all can."""
        if self.writable:
            return None
        return f"{self.root} is read-only: looking works, actions are off."

    @property
    def is_standalone(self) -> bool:
        """Whether this is a stand-alone CheckpointManager's directory, shown as one run.

        A run's own checkpoints are none: without their run nobody knows what they protect.
        """
        has_tiers = (self.root / "training").is_dir() and (self.root / "milestone").is_dir()
        return has_tiers and run_directory(self.root) is None

    def run_names(self) -> list[str]:
        """Names of the runs, sorted. A directory is a run if it holds run.json, or if it does not let us see."""
        if self.is_standalone:
            return [self.root.resolve().name]
        try:
            entries = list(os.scandir(self.root))
        except FileNotFoundError:
            return []
        of_runs = [entry for entry in entries if is_run_name(entry.name) and not entry.is_symlink()]
        return sorted([entry.name for entry in of_runs if _is_run(entry.path)])

    def run(self, name: str) -> RunView:
        """One run.

        Raises:
            NotFound: There is none of that name; the message lists those there are.
        """
        if self.is_standalone and name == self.root.resolve().name:
            return read_standalone(self.root)
        self._require(name)
        return read_run(self.root / name)

    def head(self, name: str) -> RunHead:
        """Who one run is and how it does, without its checkpoints.

        Raises:
            NotFound: There is none of that name; the message lists those there are.
        """
        if self.is_standalone:
            return self.run(name)
        self._require(name)
        return read_head(self.root / name)

    def heads(self) -> list[RunHead]:
        """All runs without their checkpoints, by name: 0.05 s for a thousand."""
        if self.is_standalone:
            return list(self.runs())
        return [read_head(self.root / name) for name in self.run_names()]

    def runs(self) -> list[RunView]:
        """All runs, by name."""
        if self.is_standalone:
            return [read_standalone(self.root)]
        roots = [self.root / name for name in self.run_names()]
        # One that has no record now was deleted since it was listed.
        return [view for root in roots if (view := read_run(root)).record is not None or _is_run(root)]

    def _require(self, name: str) -> None:
        root = self.root / name
        if not is_run_name(name) or root.is_symlink() or not _is_run(root):
            if not self.root.exists():
                raise NotFound(f"no run {name!r}: the store {self.root} does not exist; --store names another")
            names = self.run_names()
            there = ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none yet"
            raise NotFound(f"no run {name!r} in {self.root}; there: {there}")


def run_directory(directory: Path) -> Path | None:
    """The run's directory, if this is it or its `checkpoints/`; a link is not followed."""
    root = Path(os.path.abspath(directory))  # noqa: PTH100 - `..` goes, links stay
    for run in (RunPaths(root), RunPaths(root.parent)):
        with suppress(OSError):  # closed to us
            if root in (run.root, run.checkpoints.root) and run.record.exists():
                return run.root
    return None


def _is_run(root: str | Path) -> bool:
    try:
        os.stat(f"{root}/run.json")  # noqa: PTH116  # of a thousand runs, paths would take longer than the look
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # somebody else's, and closed to us: shown as unreadable
        return error.errno != errno.ELOOP
    return True
