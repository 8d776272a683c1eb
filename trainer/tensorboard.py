"""The same metrics as TensorBoard event files, written behind the loop.

A step is one event that holds all its values. The loop only appends to a queue; every few seconds a thread makes the
events and writes them together. It gives the interpreter back now and then: a burst would hold the loop up at every
operation, and to hand it over costs more than an event does. What a kill takes with it is past the newest checkpoint,
since `flush` stands beside each save: a resume trains it again. metrics.jsonl is the truth.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from ckptop.trainer.event_records import encode_records
from ckptop.trainer.scalar_events import ScalarEvents

_PAUSE_SECONDS = 5.0
"""Between writes; TensorBoard itself looks every 30 s."""
_EVENTS_AT_ONCE = 100
"""About 0.2 ms of work."""


class EventWriter:
    """Appends to a new event file in a directory.

    Args:
        directory: Made if missing.
        from_step: Events of earlier files past this step are abandoned: TensorBoard drops them.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, directory: Path, from_step: int) -> None:
        self.problem: str | None = None
        """What the disk said; nothing is written after that."""
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = (directory / name).open("xb", buffering=0)
        start: Any = SessionLog(status=SessionLog.START)
        first = Event(wall_time=now, file_version="brain.Event:2")
        self._write([first.SerializeToString(), _encode(now, from_step + 1, session_log=start)])
        self._scalars = ScalarEvents()
        self._queue: deque[tuple[float, int, Mapping[str, float] | Summary]] = deque()
        self._wake, self._is_closing = threading.Event(), False
        self._flushes: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, name="ckptop-tensorboard", daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queue the values of a step; `metrics` must not change afterwards."""
        if self.problem is None:
            self._queue.append((time.time(), step, metrics))

    def add(self, step: int, summary: Summary) -> None:
        """Queue anything else TensorBoard can show."""
        if self.problem is None:
            self._queue.append((time.time(), step, summary))

    def flush(self) -> threading.Event:
        """Have everything queued so far written now; the event is set when it is, or when the disk refused."""
        written = threading.Event()
        self._flushes.append(written)
        if self.problem is not None:
            written.set()
        self._wake.set()
        return written

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        is_last = False
        try:
            while not is_last:
                self._wake.wait(_PAUSE_SECONDS)
                self._wake.clear()
                is_last, flushes = self._is_closing, len(self._flushes)
                self._write(self._queued_events())
                self._told(flushes)
        except OSError as error:
            self.problem = f"TensorBoard's event file is incomplete: {error.strerror}"
            self._told(len(self._flushes))

    def _told(self, count: int) -> None:
        for written in self._flushes[:count]:
            written.set()
        del self._flushes[:count]

    def _queued_events(self) -> list[bytes]:
        events: list[bytes] = []
        while self._queue:
            wall_time, step, said = self._queue.popleft()
            if isinstance(said, Mapping):
                events.append(self._scalars.encode(wall_time, step, said))
            else:
                events.append(_encode(wall_time, step, summary=said))
            if len(events) % _EVENTS_AT_ONCE == 0:
                time.sleep(0)  # not a pause: hands the interpreter lock to the loop
        return events

    def _write(self, events: list[bytes]) -> None:
        data = memoryview(encode_records(events))
        while data:
            data = data[self._file.write(data) :]


def _encode(wall_time: float, step: int, **content: Any) -> bytes:
    encoded: bytes = Event(wall_time=wall_time, step=step, **content).SerializeToString()
    return encoded
