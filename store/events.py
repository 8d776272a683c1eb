"""events.jsonl: what happened to a run, one line each, told by whoever did it.

Several processes append to it, the trainer and every viewer that acts, so an event is appended under the lock of the
run's checkpoints: the change and the line that tells of it belong together, and no two lines ever mix.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ckptop.host.process import current_process
from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read
from ckptop.store.layout import RunPaths
from ckptop.store.lines import append_line, reversed_lines, to_json
from ckptop.store.locks import FileLock
from ckptop.store.records import Actor, Count, Time
from ckptop.store.seal import check_seal, seal
from ckptop.store.tail import LineTail

LOOK_BACK_BYTES = 1 << 20
"""How far `last_event` searches: thousands of events, in a few milliseconds."""

listeners: list[Callable[[RunPaths, Event], None]] = []
"""Told of each event that this process appends, before it is written: what a full disk refuses is heard too.

They must return at once and not raise."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    time: float
    event: str
    """started, saved, milestone, promoted, evaluated, pinned, unpinned, deleted, restored, pruned, control, alert,
    stopped, finished, failed."""
    attempt: int | None = None
    step: int | None = None
    actor: Actor | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """Everything else on the line; non-finite numbers are the strings "NaN", "Infinity", "-Infinity"."""

    def to_line(self) -> bytes:
        """The line of events.jsonl, newline included."""
        fields: dict[str, Any] = {"time": self.time, "event": self.event}
        if self.attempt is not None:
            fields["attempt"] = self.attempt
        if self.step is not None:
            fields["step"] = self.step
        if self.actor is not None:
            fields["actor"] = msgspec.to_builtins(self.actor)
        details = {key: value for key, value in self.details.items() if key not in _OWN_FIELDS}
        return seal(msgspec.json.encode(fields | to_json(details)) + b"\n")


_OWN_FIELDS = frozenset({"time", "event", "attempt", "step", "actor", "checksum"})


def current_actor() -> Actor:
    """This process as the one who acts."""
    process = current_process()
    return Actor(user=process.user, host=process.host, pid=process.pid)


def append_event(
    paths: RunPaths,
    event: str,
    *,
    actor: Actor | None = None,
    attempt: int | None = None,
    step: int | None = None,
    sync: bool = False,
    **details: Any,
) -> Event:
    """Append an event of now to a run, under the lock of its checkpoints; a thread that holds it may call this.

    Args:
        paths: The run; its directory exists.
        event: What happened.
        actor: Who did it; this process by default.
        attempt: The attempt it belongs to.
        step: The step it belongs to.
        sync: Wait until it is durable.
        details: More fields, in this order.

    Raises:
        Held: Somebody kept the lock; nothing was written.
        DiskError: The lock cannot be taken; nothing was written.
        OSError: The disk refused; part of the line may be there, which readers skip.
    """
    told = Event(time.time(), event, attempt, step, actor or current_actor(), details)
    for listener in listeners.copy():
        listener(paths, told)
    paths.checkpoints.root.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.checkpoints.lock):
        append_line(paths.events, told.to_line(), sync=sync)
    return told


def parse_event(line: bytes) -> Event | None:
    """The event of one line; None if it is not one, or was changed. Only a line that has a checksum is held to it."""
    try:
        fields = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if fields.pop("checksum", None) is not None and check_seal(line) != "whole":
        return None
    when, event = fields.pop("time", None), fields.pop("event", None)
    if not isinstance(event, str):
        return None
    try:
        told_at = msgspec.convert(when, Time)
    except msgspec.ValidationError:
        return None
    attempt, step, actor = (fields.pop(name, None) for name in ("attempt", "step", "actor"))
    return Event(told_at, event, _or_none(attempt, Count), _or_none(step, Count), _or_none(actor, Actor), fields)


class EventLog:
    """Incremental reader of one events.jsonl."""

    def __init__(self, path: Path, kinds: Collection[str] = ()) -> None:
        """Nothing is read yet; of `kinds` alone, which costs a tenth of reading all, where some are named."""
        self.tail = LineTail(path)
        """Where reading stands; its `generation` changes when the file was replaced and is read anew."""
        self._kinds = frozenset(kinds)
        self._spelled = [f'"{kind}"'.encode() for kind in kinds]
        self.bad_lines = 0
        """Lines that are no events; they were skipped."""

    def poll(self) -> list[Event]:
        """The events appended since the last call, oldest first."""
        events = []
        while lines := self.tail.poll():
            events += self._parsed(lines)
        return events

    def begin(self, limit_bytes: int = LOOK_BACK_BYTES) -> list[Event]:
        """The events within the last `limit_bytes`, oldest first, whatever the size of the file; `poll` goes on."""
        self.tail.skip_to_end()
        end = self.tail.offset
        begin = max(0, end - limit_bytes)
        try:
            with open_to_read(self.tail.path) as file:
                data = os.pread(file.fileno(), end - begin, begin)
        except (StoreError, OSError):  # not there, or for `poll` to tell
            return []
        return self._parsed(data[data.find(b"\n") + 1 :] if begin else data)

    def _parsed(self, lines: bytes) -> list[Event]:
        events = []
        for line in lines.splitlines():
            if self._spelled and not any(kind in line for kind in self._spelled):
                continue
            event = parse_event(line)
            if event is None:
                self.bad_lines += bool(line.strip())
            elif not self._kinds or event.event in self._kinds:
                events.append(event)
        return events


def read_events(path: Path) -> list[Event]:
    """All events of a file, oldest first; none where there is no file. Bad lines are skipped: see `EventLog`."""
    return EventLog(path).poll()


def last_event(path: Path, kinds: Collection[str], *, limit_bytes: int = LOOK_BACK_BYTES) -> Event | None:
    """The newest event of one of `kinds` within the last `limit_bytes`, read from the end; None if there is none.

    Raises:
        Damaged: It is no file.
        OSError: The file is there and cannot be read.
    """
    spelled = [f'"{kind}"'.encode() for kind in kinds]
    try:
        for line in reversed_lines(path, limit_bytes=limit_bytes):
            if any(kind in line for kind in spelled):
                event = parse_event(line)
                if event is not None and event.event in kinds:
                    return event
    except FileNotFoundError:
        return None
    return None


_decoder = msgspec.json.Decoder(dict[str, Any])


def _or_none(value: object, kind: Any) -> Any:
    """`value` as `kind`; None if it is not one."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
