"""Which runs of a store changed, told as it happens: by inotify, or by looking where inotify sees nothing.

inotify knows only what is written through this kernel, and watchdog says nothing of a directory that it could not
watch. So everything is also looked at every ten seconds, and a run whose changes were found that way only is looked at
every second from then on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from ckptop.host.mounts import mount_of
from ckptop.store.layout import STAGING
from ckptop.store.names import RESERVED_RUN_NAMES, is_run_name
from ckptop.store.scan import StoreScan

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

Mode = Literal["inotify", "poll"]

FAST_SECONDS = 1.0
"""How often runs that cannot be watched are looked at while they change."""
SLOW_SECONDS = 10.0
"""How often everything is looked at."""

_SILENT_FOLDERS = frozenset({"tensorboard", "control"})
"""Folders of a run that no viewer shows."""
_OF_ONE_MANAGER = frozenset({"training", "milestone", ".trash"})
"""Folders directly under the store where it is a single manager's."""


class StoreFeed:
    """Calls back with the names of runs that changed, the empty name standing for the store itself.

    What changed after `start` returned is told, sooner or later, at least once. The callback runs on threads of the
    feed and may be called often: gathering calls is up to the caller.
    """

    def __init__(
        self,
        root: Path,
        on_change: Callable[[frozenset[str]], None],
        *,
        mode: Mode | None = None,
        fast_seconds: float = FAST_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Prepare to follow the store at `root`, which need not exist yet.

        Args:
            root: The store.
            on_change: Told the names; must not raise.
            mode: How to learn of changes; by default inotify, except on network mounts.
            fast_seconds: See `FAST_SECONDS`.
            slow_seconds: See `SLOW_SECONDS`.
        """
        self.root = root
        self.problem: str | None = None
        """Why changes may be seen late, for a person."""
        self._on_change = on_change
        self._wanted = mode
        self._fast_seconds, self._slow_seconds = fast_seconds, slow_seconds
        self._scan = StoreScan(root)
        self._observer: BaseObserver | None = None
        self._watched: tuple[str, int, int] | None = None
        self._lock = threading.Lock()
        self._reported: set[str] = set()
        self._missed: set[str] = set()
        self._unseen: set[str] = set()
        self._again: set[str] = set()
        self._next_full = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-feed", daemon=True)

    @property
    def mode(self) -> Mode:
        """How changes are learned of now; "poll" until the watch stands."""
        return "inotify" if self._observer is not None else "poll"

    def start(self) -> None:
        """Begin; what the store looks like now is where changes count from."""
        self._scan.everything()
        self._thread.start()

    def stop(self) -> None:
        """End; no callback runs after this returned. Not to be called from the callback."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        if self._wanted is None:
            self._wanted = "poll" if _is_network(self.root) else "inotify"
        try:
            while not self._stopping.is_set():
                self._look()
                self._stopping.wait(self._pause_seconds())
        finally:
            self._unwatch()

    def _look(self) -> None:
        is_new = self._wanted == "inotify" and self._follow_root()
        if is_new or "" in self._again or time.monotonic() >= self._next_full:
            changed = self._look_at_everything(is_new)
        else:
            changed = self._scan.look({"", *(self._scan.recent() if self._observer is None else self._unseen)})
            if "" in changed:
                changed |= self._look_at_everything(is_new)
        told = changed | self._again
        # A second change within one tick of the file system's clock leaves no trace: tell what is not watched twice.
        self._again = changed if self._observer is None else changed & self._unseen
        if told:
            self._on_change(frozenset(told))

    def _look_at_everything(self, is_new: bool) -> set[str]:
        self._next_full = time.monotonic() + self._slow_seconds
        changed = self._scan.everything()
        with self._lock:
            reported, self._reported = self._reported, set()
        if self._observer is None or is_new:
            return changed
        missed = changed - reported - {""}
        # Once may be an event still under way; twice in a row, it is not watched.
        unseen = (missed & self._missed) - self._unseen
        self._missed = missed
        self._unseen &= self._scan.names  # in a week thousands of runs come and go
        if unseen:
            self._unseen |= unseen
            self.problem = (
                f"changes in {len(self._unseen)} of the runs cannot be watched and are looked for every "
                f"{self._fast_seconds:g} s; fs.inotify.max_user_watches may be too low"
            )
        return changed

    def _pause_seconds(self) -> float:
        if self._observer is None or self._unseen:
            return self._fast_seconds
        return max(0.0, self._next_full - time.monotonic())

    def _follow_root(self) -> bool:
        """Watch the directory that stands at the root now; True if that is another than before."""
        try:
            found = self.root.stat()
            now = (os.path.realpath(self.root), found.st_dev, found.st_ino)
        except OSError:
            now = None
        if now == self._watched:
            return False
        self._unwatch()
        self._watched = now
        if now is not None:
            self._watch(now[0])
        return True

    def _watch(self, path: str) -> None:
        # Takes 30 ms to import, and polling does without.
        from watchdog import events
        from watchdog.observers import Observer

        # Else what it says of a full queue, and of directories made in quick succession, is written over the screen.
        logging.getLogger("watchdog").addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        feed = self

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                feed._report(event, path)

        observer = Observer()
        try:
            # Without the filter, opening a file to read it is an event too: 22,000 directories then never come to rest.
            observer.schedule(
                Handler(),
                path,
                recursive=True,
                event_filter=[
                    events.FileModifiedEvent,
                    events.FileCreatedEvent,
                    events.FileDeletedEvent,
                    events.FileMovedEvent,
                    events.DirCreatedEvent,
                    events.DirDeletedEvent,
                    events.DirMovedEvent,
                ],
            )
            observer.start()
        except OSError as error:
            self.problem = f"the store is looked at every {self._fast_seconds:g} s, not watched: {error.strerror}"
            return
        self.problem = None
        self._observer = observer

    def _unwatch(self) -> None:
        observer, self._observer = self._observer, None
        self._unseen, self._missed = set(), set()
        if observer is not None:
            observer.stop()
            observer.join()

    def _report(self, event: FileSystemEvent, root: str) -> None:
        paths = (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))
        names = {name for path in paths if path for name in changed_names(path, root)}
        if names:
            with self._lock:
                self._reported |= names
            self._on_change(frozenset(names))


def changed_names(path: str, root: str) -> set[str]:
    """What a change of `path` in the store at `root` concerns; nothing where no viewer could show it."""
    parts = PurePosixPath(path.removeprefix(root).lstrip("/")).parts
    if not parts:
        return {""}
    is_silent = len(parts) > 1 and parts[1] in _SILENT_FOLDERS
    if is_silent or STAGING in parts or parts[-1].endswith(".tmp"):
        return set()
    name = parts[0]
    if name in RESERVED_RUN_NAMES:
        return {""}
    names = {name} if is_run_name(name) else set()
    if len(parts) == 1 or name in _OF_ONE_MANAGER:
        names.add("")  # the list of runs, or the one manager's
    return names


def _is_network(root: Path) -> bool:
    try:
        return mount_of(root).is_network
    except RuntimeError:  # no /proc: whether changes come from elsewhere cannot be told
        return True
