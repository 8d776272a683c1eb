"""The runs of a store as read last, each read again only where something of it changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.records import LIVE_PHASES, Status
from ckptop.store.state import derive_state
from ckptop.store.store import Store
from ckptop.store.views import RunView

Stamps = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update did."""

    read: frozenset[str]
    """Runs whose view is another one now."""
    gone: frozenset[str]


class RunViews:
    """Views by run name; an exception stands where a run could not even be looked at."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.problem: str | None = None
        """Why the store cannot be listed."""
        self._views: dict[str, RunView | Exception] = {}
        self._stamps: dict[str, tuple[Stamps, int]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the runs, sorted."""
        return list(self._views)

    def get(self, name: str) -> RunView | Exception | None:
        """A run's view; None where there is none of that name."""
        return self._views.get(name)

    def update(self, changed: frozenset[str]) -> Changes:
        """Read what changed: those named, all where the empty name or an unknown one is among them."""
        names, gone = list(self._views), frozenset[str]()
        everything = bool(changed - self._views.keys())
        if everything:
            names = self._list()
            gone = frozenset(self._views.keys() - set(names))
            self._views = {name: self._views[name] for name in names if name in self._views}
        read = set()
        for name in names:
            known = name in self._views
            if not known or everything or name in changed:
                fresh = self._look(name, is_named=name in changed)
            else:
                fresh = self._with_time_passed(name)
            if fresh is not None:
                self._views[name] = fresh
                read.add(name)
        self._views = {name: self._views[name] for name in names if name in self._views}
        return Changes(frozenset(read), gone)

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
        root = self.store.root if self.store.is_standalone else self.store.root / name
        stamps = self._stamps[name] = _slow_stamps(root), _stamp(RunPaths(root).status)
        if isinstance(old, RunView) and old_stamps is not None and old_stamps[0] == stamps[0]:
            if old_stamps[1] != stamps[1]:
                return self._with_status(old)
            if not is_named:
                return self._with_time_passed(name)
        try:
            return self.store.run(name)
        except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
            return error

    def _with_status(self, old: RunView) -> RunView | Exception:
        """The view with its status read anew; all of it where the phase changed, for an end brings results."""
        try:
            status = read_json(old.paths.status, Status)
            if old.status is not None and status.phase == old.status.phase and old.problem is None:
                return replace(old, status=status, state=derive_state(status))
            return self.store.run(old.name)
        except Exception:  # noqa: BLE001  the full reading says what is wrong
            try:
                return self.store.run(old.name)
            except Exception as error:  # noqa: BLE001  a viewer outlives every corrupt file
                return error

    def _with_time_passed(self, name: str) -> RunView | None:
        """The view of a live run whose process is gone, or which has stalled; None where it is as it was."""
        old = self._views.get(name)
        if not isinstance(old, RunView) or old.status is None or old.status.phase not in LIVE_PHASES:
            return None
        if old.state == "unreadable":
            return None
        state = derive_state(old.status)
        return replace(old, state=state) if state != old.state else None


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
