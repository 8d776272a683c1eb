"""status.json kept alive: a thread that writes it once a second and looks for control requests.

It beats on while the loop hangs, so a stall is told by `last_step_time`, never by the heartbeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ckptop.store.files import write_durably, write_in_place, write_quickly
from ckptop.store.fs import NO_SPACE
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Exit, Phase, Status

BEAT_SECONDS = 1.0
"""How often status.json is replaced, at most."""

_Step = tuple[int, int, float | None]
"""Epoch, optimizer steps done, and mean seconds of one."""


class Heartbeat:
    """Owns status.json. `update` notes what has changed and never waits for the disk; the thread does the rest.

    A beat that the disk refuses is dropped and the next one tried: training goes on.
    """

    def __init__(self, paths: RunPaths, status: Status, on_beat: Callable[[], None]) -> None:
        self._paths, self._status, self._on_beat = paths, status, on_beat
        self._changes: dict[str, Any] = {}
        """Fields that `_status` does not have yet."""
        self._newest: _Step | None = None
        self._taken: _Step | None = None
        """The one of `_newest` that `_changes` or `_status` has."""
        self._stepped: float | None = None
        """When the newest step was, on the monotonic clock."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptop-heartbeat", daemon=True)
        self.problem: str | None = None
        """What the disk said to the newest beat, None if it took it."""

    @property
    def status(self) -> Status:
        """The state as the next beat will write it."""
        with self._lock:
            newest = self._newest
            if newest is not None and newest is not self._taken:
                self._taken = newest
                epoch, step, step_seconds = newest
                self._changes |= {"epoch": epoch, "step": step, "step_seconds": step_seconds}
            if self._changes:
                self._status = msgspec.structs.replace(self._status, **self._changes)
                self._changes.clear()
            return self._status

    def start(self) -> None:
        """Write the first status and begin to beat."""
        write_quickly(self._paths.status, encode(self.status))
        self._thread.start()

    def update(self, **changes: Any) -> None:
        """Change fields of the status; the next beat writes them."""
        with self._lock:
            self._changes.update(changes)

    def step_done(self, epoch: int, step: int, step_seconds: float | None) -> None:
        """Note a step; no lock, no new status: between two steps of work nothing of ours is in the caches."""
        self._newest = (epoch, step, step_seconds)
        self._stepped = time.monotonic()

    def touch(self) -> None:
        """Note that the loop is alive."""
        self._stepped = time.monotonic()

    def write_now(self) -> None:
        """Write the status without waiting for the beat."""
        with self._writing:
            self._beat()
            try:
                self._write(encode(self.status))
            except OSError as error:
                self.problem = f"{self._paths.status} was not written: {error.strerror}"
            else:
                self.problem = None

    def _beat(self) -> None:
        now, stepped = time.time(), self._stepped
        self.update(heartbeat=now)
        if stepped is not None:
            age_seconds = time.monotonic() - stepped
            self.update(last_step_time=now - age_seconds, step_age_seconds=round(age_seconds, 3))

    def _write(self, data: bytes) -> None:
        try:
            write_quickly(self._paths.status, data)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            write_in_place(self._paths.status, data)  # or a trainer that goes on would seem to stand still

    def stop(self, phase: Phase, exit_: Exit) -> None:
        """End the thread and write the last status, durably.

        Raises:
            OSError: The disk refused; the file holds an older status, whole.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._beat()
        self.update(phase=phase, exit=exit_)
        data = encode(self.status)
        try:
            write_durably(self._paths.status, data)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            write_in_place(self._paths.status, data)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self.write_now()
            self._on_beat()
