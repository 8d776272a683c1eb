"""The same metrics as TensorBoard event files, written behind the loop.

A step is one event that holds all its values. The loop only appends to a queue; a thread makes and writes
the events, and gives the interpreter back after each: a burst would hold the loop up at every operation.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_PAUSE_SECONDS = 0.5
"""Between looks at the queue."""


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
        self._records = RecordWriter((directory / name).open("xb"))
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        start: Any = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=now, step=from_step + 1, session_log=start))
        self._queue: queue.SimpleQueue[tuple[float, int, Mapping[str, float]]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptop-tensorboard", daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queue the values of a step; `metrics` must not change afterwards."""
        self._queue.put((time.time(), step, metrics))

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._closing.set()
        self._thread.join()
        self._records.close()

    def _run(self) -> None:
        closing = False
        try:
            while not closing:
                closing = self._closing.wait(_PAUSE_SECONDS)
                self._drain()
        except OSError as error:
            self.problem = f"TensorBoard's event file is incomplete: {error.strerror}"

    def _drain(self) -> None:
        while not self._queue.empty():
            wall_time, step, metrics = self._queue.get()
            values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
            self._write(Event(wall_time=wall_time, step=step, summary=Summary(value=values)))
            time.sleep(0)  # not a pause: hands the interpreter lock to the loop
        self._records.flush()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
