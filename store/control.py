"""Requests to a running trainer: small files in `control/`, answered by an event, then removed.

Whoever may write the directory could ask; so a request counts only if its author owns the run or belongs to its group.
`pending` keeps nothing between calls: until a request is answered it is listed again, and the caller remembers which it
has taken up.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import secrets
import stat
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.errors import DiskError
from ckptop.store.events import Event, append_event, current_actor, parse_event
from ckptop.store.files import write_quickly
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import RunPaths
from ckptop.store.lines import reversed_lines, to_json
from ckptop.store.records import ControlRequest

MAX_REQUEST_BYTES = 64 * 1024

_NAME = re.compile(r"(\d{1,20}-[0-9a-f]{8})\.json")
_LOOK_SECONDS = 0.05
_LOOK_BACK_BYTES = 64 * 1024
"""An answer is among the newest events when it is waited for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file in `control/` that is not to be obeyed, and why."""

    id: str
    """From its name, so that it can be answered."""
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """What lies in `control/`, oldest first."""

    requests: tuple[ControlRequest, ...] = ()
    refused: tuple[Refused, ...] = ()


def send_request(
    paths: RunPaths,
    action: str,
    args: Mapping[str, Any] | None = None,
    *,
    user: str | None = None,
    fs: FileSystem = LOCAL,
) -> ControlRequest:
    """Ask the trainer of a run for `action`; it sees the request whole or not at all, within about a second.

    Args:
        paths: The run.
        action: stop, save, pause, continue or set.
        args: What the action needs, as JSON can hold it.
        user: Who asks; the user of this process by default. Shown, not trusted.
        fs: The seam.

    Raises:
        DiskError: The request cannot be written, as in somebody else's run.
    """
    now_ns = time.time_ns()
    request = ControlRequest(
        id=f"{now_ns}-{secrets.token_hex(4)}",
        time=now_ns / 10**9,
        user=user if user is not None else current_actor().user,
        action=action,
        args=to_json(args or {}),
    )
    try:
        fs.mkdir(paths.control)
        write_quickly(_path_of(paths, request.id), msgspec.json.encode(request) + b"\n", fs)
    except OSError as error:
        raise DiskError(error.errno, f"run {paths.root.name} cannot be asked: {error.strerror}") from error
    return request


def pending(paths: RunPaths, *, older: Collection[str] = ()) -> Pending:
    """The requests that wait, and what else lies there in their place; an empty directory costs 5 µs.

    Args:
        paths: The run.
        older: Ids of those that lay there when this attempt began, which were meant for another. What they say of
            their time proves nothing: clocks differ between hosts, and are set.

    Raises:
        OSError: The directory is there and cannot be read.
    """
    read = [_read(paths, request_id, older) for request_id in ids_of(paths)]
    return Pending(
        tuple(one for one in read if isinstance(one, ControlRequest)),
        tuple(one for one in read if isinstance(one, Refused)),
    )


def ids_of(paths: RunPaths) -> list[str]:
    """The ids of what lies in `control/`, oldest first.

    Raises:
        OSError: The directory is there and cannot be read.
    """
    try:
        names = os.listdir(paths.control)  # noqa: PTH208  # sorted by name, and mostly empty
    except FileNotFoundError:
        return []
    found = sorted((int(match[1].split("-")[0]), match[1]) for match in map(_NAME.fullmatch, names) if match)
    return [request_id for _, request_id in found]


def answer(
    paths: RunPaths,
    request: ControlRequest | Refused,
    ok: bool,
    message: str,
    *,
    attempt: int | None = None,
    step: int | None = None,
    fs: FileSystem = LOCAL,
) -> None:
    """Tell by a `control` event what was asked and what became of it, then remove the request's file.

    Raises:
        OSError: The event could not be written, or the file could not be removed.
    """
    asked = request if isinstance(request, ControlRequest) else None
    what: dict[str, Any] = {"action": asked.action, "args": asked.args, "user": asked.user} if asked else {}
    append_event(paths, "control", attempt=attempt, step=step, id=request.id, ok=ok, message=message, **what)
    path = _path_of(paths, request.id)
    try:
        fs.unlink(path)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        fs.rmdir(path)


def wait_for_answer(paths: RunPaths, request_id: str, timeout_seconds: float) -> Event | None:
    """The `control` event that answers a request; None if none came in time."""
    deadline = time.monotonic() + timeout_seconds
    pause, seen = threading.Event(), None
    while True:
        try:
            found = paths.events.stat()
            state = (found.st_ino, found.st_size)
            if state != seen and (event := _find_answer(paths.events, request_id)) is not None:
                return event
            seen = state
        except FileNotFoundError:
            pass  # nothing happened yet
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            return None
        pause.wait(min(_LOOK_SECONDS, left_seconds))


def _find_answer(path: Path, request_id: str) -> Event | None:
    spelled = f'"{request_id}"'.encode()
    for line in reversed_lines(path, limit_bytes=_LOOK_BACK_BYTES):
        if spelled in line:
            event = parse_event(line)
            if event is not None and event.event == "control" and event.details.get("id") == request_id:
                return event
    return None


def _path_of(paths: RunPaths, request_id: str) -> Path:
    return paths.control / f"{request_id}.json"


def _read(paths: RunPaths, request_id: str, older: Collection[str]) -> ControlRequest | Refused | None:
    """The request of one file; None if it is gone meanwhile."""
    path = _path_of(paths, request_id)
    try:
        # O_NONBLOCK: a FIFO would stop the trainer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        is_link = error.errno == errno.ELOOP
        reason = "it is not a regular file" if is_link else f"it cannot be read: {error.strerror}"
        return Refused(request_id, path, reason)
    try:
        checked = _check_and_decode(paths, descriptor, request_id, older)
    finally:
        os.close(descriptor)
    return Refused(request_id, path, checked) if isinstance(checked, str) else checked


def _check_and_decode(
    paths: RunPaths, descriptor: int, request_id: str, older: Collection[str]
) -> ControlRequest | str:
    """The request, or why it is refused."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_size > MAX_REQUEST_BYTES:
        return f"it is larger than {MAX_REQUEST_BYTES // 1024} KiB"
    if not _may_ask(found.st_uid, paths.root.stat()):
        return f"user {found.st_uid} neither owns the run nor belongs to its group"
    try:
        request = _decoder.decode(os.read(descriptor, MAX_REQUEST_BYTES))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"it is malformed: {error}"
    if request.id != request_id:
        return "its id is not its file name"
    if request_id in older:
        return "it is older than this attempt"
    return request


def _may_ask(user_id: int, run: os.stat_result) -> bool:
    if user_id in {run.st_uid, 0}:
        return True
    try:
        user = pwd.getpwuid(user_id)
        return run.st_gid == user.pw_gid or user.pw_name in grp.getgrgid(run.st_gid).gr_mem
    except KeyError:  # an unknown user or group belongs to nothing
        return False


_decoder = msgspec.json.Decoder(ControlRequest)
