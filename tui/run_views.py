"""The runs of a store as read last, each read again only where something of it changed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.records import LIVE_PHASES, Status
from ckptop.store.store import Store
from ckptop.store.views import RunView
from ckptop.tui.heartbeats import Heartbeats

Stamps = tuple[int, ...]

FIRST_READ_SECONDS = 0.15
"""Spent at first on runs met for the first time: of a thousand, the newest are on screen at once."""
NEXT_READ_SECONDS = 0.6
"""Spent on the rest in each later update; many small steps would repaint the list again and again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update did."""

    read: frozenset[str]
    """Runs whose view is another one now."""
    gone: frozenset[str]


class RunViews:
    """Views by run name; an exception stands where a run could not even be looked at."""

    def __init__(self, store: Store, heartbeats: Heartbeats | None = None) -> None:
        self.store = store
        self._heartbeats = heartbeats or Heartbeats()
        self.problem: str | None = None
        """Why the store cannot be listed."""
        self._views: dict[str, RunView | Exception] = {}
        self._stamps: dict[str, tuple[Stamps, int]] = {}
        self._unread: list[str] = []  # the newest last

    @property
    def names(self) -> list[str]:
        """Names of the runs read so far."""
        return list(self._views)

    @property
    def unread(self) -> int:
        """How many runs are still to be read for the first time."""
        return len(self._unread)

    def get(self, name: str) -> RunView | Exception | None:
        """A run's view; None where there is none of that name, or it is still to be read."""
        return self._views.get(name)

    def update(self, changed: frozenset[str]) -> Changes:
        """Read what changed: those named, all where the empty name or an unknown one is among them.

        Runs met for the first time are read newest first and for a while; the rest are `unread`.
        """
        gone: frozenset[str] = frozenset()
        everything = bool(changed - self._views.keys() - set(self._unread))
        if everything:
            gone = self._list_again()
        read = set()
        for name in list(self._views):
            is_named = name in changed
            fresh = self._look(name, is_named=is_named) if everything or is_named else self._with_time_passed(name)
            if fresh is not None:
                self._views[name] = fresh
                read.add(name)
        until = time.monotonic() + (NEXT_READ_SECONDS if self._views else FIRST_READ_SECONDS)
        while self._unread:
            name = self._unread.pop()
            fresh = self._look(name, is_named=True)
            if fresh is not None:
                self._views[name] = fresh
                read.add(name)
            if time.monotonic() >= until:
                break
        return Changes(frozenset(read), gone)

    def _list_again(self) -> frozenset[str]:
        """Find runs that are new; returns the names of those that are gone."""
        names = set(self._list())
        gone = frozenset(self._views.keys() - names)
        for name in gone:
            del self._views[name]
        self._heartbeats.forget(gone)
        new = names - self._views.keys()
        self._unread = sorted(new, key=lambda name: (_stamp(RunPaths(self._root_of(name)).record), name))
        return gone

    def _root_of(self, name: str) -> Path:
        return self.store.root if self.store.is_standalone else self.store.root / name

    def _list(self) -> list[str]:
        try:
            Store.open(self.store.root, missing_ok=True)
            names = self.store.run_names()
        except (StoreError, OSError, ValueError) as error:
            self.problem = str(error)
            return []
        self.problem = None
        return names

    def _look(self, name: str, *, is_named: bool) -> RunView | Exception | None:
        """A new view; None where the run is as it was."""
        old, old_stamps = self._views.get(name), self._stamps.get(name)
        root = self._root_of(name)
        stamps = self._stamps[name] = _slow_stamps(root), _stamp(RunPaths(root).status)
        if isinstance(old, RunView) and old_stamps is not None and old_stamps[0] == stamps[0]:
            if old_stamps[1] != stamps[1]:
                return self._with_status(old)
            if not is_named:
                return self._with_time_passed(name)
        try:
            return self._judged(self.store.run(name))
        except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
            return error

    def _judged(self, view: RunView) -> RunView:
        """The view with its state as the heartbeats seen here tell it; the very same where that changes nothing."""
        if view.status is None or view.status.phase not in LIVE_PHASES or view.state == "unreadable":
            return view
        state = self._heartbeats.state_of(view.name, view.status)
        if state == "crashed" and not self._is_known_crashed(view.name):
            status = read_json(view.paths.status, Status)
            if status != view.status:  # it ended well between our look at its status and the one at its process
                return self._judged(self.store.run(view.name))
        return replace(view, state=state) if state != view.state else view

    def _is_known_crashed(self, name: str) -> bool:
        known = self._views.get(name)
        return isinstance(known, RunView) and known.state == "crashed"

    def _with_status(self, old: RunView) -> RunView | Exception:
        """The view with its status read anew; all of it where the phase changed, for an end brings results."""
        try:
            status = read_json(old.paths.status, Status)
            if old.status is not None and status.phase == old.status.phase and old.problem is None:
                return self._judged(replace(old, status=status))
            return self._judged(self.store.run(old.name))
        except Exception:  # noqa: BLE001  the full reading says what is wrong
            try:
                return self._judged(self.store.run(old.name))
            except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
                return error

    def _with_time_passed(self, name: str) -> RunView | Exception | None:
        """The view of a live run whose process is gone, or which has stalled; None where it is as it was."""
        old = self._views.get(name)
        if not isinstance(old, RunView):
            return None
        try:
            judged = self._judged(old)
        except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
            return error
        return judged if judged is not old else None


def _slow_stamps(root: Path) -> Stamps:
    paths, alone = RunPaths(root), CheckpointPaths(root)
    checkpoints = paths.checkpoints
    looked_at = (paths.record, *(
        place for found in (checkpoints, alone) for place in (found.training, found.milestone, found.trash)
    ))  # fmt: skip
    return tuple(_stamp(path) for path in looked_at)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
