"""Alerts of the run that this process writes: told where the environment asks for it, with no viewer open.

Heard where events are appended, not read back from the file: an alert of a full disk must not depend on the disk.
The follower ends itself with the run's last event, and the end of the process waits for it for a few seconds at most.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckptop.store import events
from ckptop.store.alert_settings import AlertSettings, alert_settings
from ckptop.store.layout import RunPaths

if TYPE_CHECKING:
    from ckptop.store.alert_outbox import Outbox
    from ckptop.store.filling import DiskWatch
    from ckptop.store.notices import Notice

_LAST = frozenset({"finished", "stopped", "failed"})

_followers: list[RunFollower] = []


def alert_of_run(paths: RunPaths, environ: Mapping[str, str] = os.environ, *, trains: bool = True) -> None:
    """Tell of what happens to a run from now on, until its attempt ends; nothing where nobody is to be told.

    Call it in the process that appends the run's events, at the beginning of an attempt; a second call does nothing.

    Args:
        paths: The run.
        environ: Where the settings are.
        trains: Whether this process trains; of a supervisor nothing but its own events is told, to its end.

    Raises:
        UsageError: The settings in the environment are wrong.
    """
    settings = alert_settings(environ)
    if settings is not None and not any(follower.follows(paths) for follower in _followers):
        RunFollower(paths, settings, trains=trains)


def drain_alerts(seconds: float) -> None:
    """Wait for what is still to be delivered, so long at most in all; to be called before `os._exit`."""
    deadline = time.monotonic() + seconds
    for follower in _followers.copy():
        follower.close(max(0.0, deadline - time.monotonic()))


class RunFollower:
    """Hears the events that this process appends to one run, and looks for a stall and a filling disk."""

    def __init__(self, paths: RunPaths, settings: AlertSettings, *, trains: bool) -> None:
        """`trains` is whether this process does; see `alert_of_run`."""
        from ckptop.store.alert_outbox import Outbox
        from ckptop.store.filling import DiskWatch

        self._paths, self._trains = paths, trains
        self._pid = os.getpid()
        self._disk: DiskWatch = DiskWatch(paths.root.parent)
        self._was_stalled = self._is_over = False
        self._outbox: Outbox = Outbox(settings, self._say, self._look)
        events.listeners.append(self._hear)
        _followers.append(self)
        atexit.register(self.close)

    def follows(self, paths: RunPaths) -> bool:
        """Whether it tells of this run still."""
        return not self._is_over and paths.root == self._paths.root

    def close(self, seconds: float | None = None) -> None:
        """Hear nothing more, and wait for what is to be delivered: `DRAIN_SECONDS` by default."""
        from ckptop.store.alert_outbox import DRAIN_SECONDS

        if os.getpid() != self._pid:  # a fork has no thread to wait for
            return
        self._forget()
        self._outbox.close(DRAIN_SECONDS if seconds is None else seconds)
        if self in _followers:
            _followers.remove(self)
            atexit.unregister(self.close)

    def _forget(self) -> None:
        if self._hear in events.listeners:
            events.listeners.remove(self._hear)

    def _hear(self, paths: RunPaths, event: events.Event) -> None:
        from ckptop.store.notices import Notice

        if not self.follows(paths) or os.getpid() != self._pid:
            return
        notice = Notice(event.time, paths.root.name, event.event, event.step, None, event.details)
        self._disk.note(notice)
        self._tell(notice)
        if event.event in _LAST and self._trains:
            self._is_over = True
            self._forget()
            self._outbox.close_soon()

    def _look(self) -> None:
        """Called on the outbox's thread, beside a loop that may hang."""
        from ckptop.store.notices import Notice
        from ckptop.store.views import read_head

        if self._is_over or not self._trains:
            return
        head = read_head(self._paths.root)
        was_stalled, self._was_stalled = self._was_stalled, head.state == "stalled"
        if self._was_stalled and not was_stalled and head.status is not None:
            self._tell(Notice(time.time(), head.name, "state", head.status.step, None, {"state": "stalled"}))
        low = self._disk.look((head.name,))
        if low is not None:
            self._tell(low)

    def _tell(self, notice: Notice) -> None:
        from ckptop.store.alerts import kind_of, make_alert
        from ckptop.store.views import read_head

        kind = kind_of(notice)
        if kind is not None and self._outbox.wants(kind):
            self._outbox.put(make_alert(kind, notice, read_head(self._paths.root)))

    def _say(self, line: str) -> None:
        """Into train.log, and on stderr where that is another file."""
        line = f"ckptop: {line}\n"
        with contextlib.suppress(OSError), self._paths.log.open("a", encoding="utf-8") as log:
            if not _is_stderr(log.fileno()):
                log.write(line)
        if sys.stderr is not None:
            sys.stderr.write(line)
            sys.stderr.flush()


def _is_stderr(descriptor: int) -> bool:
    try:
        return os.path.sameopenfile(sys.stderr.fileno(), descriptor)
    except (AttributeError, OSError, ValueError):  # there is none, or it is no real file
        return False
