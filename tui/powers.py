"""What may be done to a run's trainer from here, and of everything else the reason why not.

Told by the reader thread with each look, so that a key or a menu never has to ask the disk.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ckptop.host.terminal import clean
from ckptop.store.errors import StoreError
from ckptop.store.reachable import may_answer
from ckptop.store.trust import require_own
from ckptop.tui.model import LIVE_STATES

if TYPE_CHECKING:
    from ckptop.store.views import RunView

NOBODY_YET = "Nothing is known of this run yet."


class Powers(msgspec.Struct, frozen=True):
    """Why not, one clean sentence each; None where it may be done."""

    resume: str | None = NOBODY_YET
    """To start its recorded command again."""
    fork: str | None = NOBODY_YET
    """To start it as another run, from one of its checkpoints."""
    ask: str | None = NOBODY_YET
    """To ask its trainer to save, pause, continue, stop or change."""
    kill: str | None = NOBODY_YET


def powers_of(view: RunView, refusal: str | None) -> Powers:
    """What may be done to `view`.

    Args:
        view: The run.
        refusal: Why nothing in its store may be changed; None where it may.
    """
    if refusal is not None:
        return Powers(*[clean(refusal)] * 4)
    name, own = clean(view.name), _why_not_own(view)
    start = own or _why_no_command(view, name)
    resume = f"{name} is {view.state} already." if view.state in LIVE_STATES else start
    fork = start or (None if view.checkpoints else f"{name} has no checkpoint to fork from yet.")
    nobody = _why_nobody(view, name)
    ask = nobody or _why_not_asked(view, name)
    return Powers(resume=resume, fork=fork, ask=ask, kill=nobody or own or _why_elsewhere(view))


def _why_no_command(view: RunView, name: str) -> str | None:
    has_command = view.record is not None and view.record.command is not None
    return None if has_command else f"{name} has no recorded command to resume with."


def _why_not_own(view: RunView) -> str | None:
    if view.record is None:
        return None
    try:
        require_own(view.paths)
    except StoreError as error:
        return clean(f"{error}.")
    except OSError as error:
        return clean(f"{view.name} cannot be looked at: {error.strerror}.")
    return None


def _why_nobody(view: RunView, name: str) -> str | None:
    if may_answer(view):
        return None
    if view.status is None:
        return f"Nobody holds {name}; there is nobody to ask."
    return f"{name} is {view.state}; there is nobody to ask."


def _why_not_asked(view: RunView, name: str) -> str | None:
    """Whether its trainer would honour a request of ours: of its owner, of its group, or of root."""
    with suppress(OSError):
        facts, me = view.root.stat(), os.geteuid()
        if me not in (0, facts.st_uid) and facts.st_gid not in (os.getegid(), *os.getgroups()):
            return f"{name} belongs to another user; only they and their group may ask."
    place: Path = view.paths.control
    if not os.access(place if place.exists() else view.root, os.W_OK):
        return f"{name} cannot be asked: its control folder is not writable."
    return None


def _why_elsewhere(view: RunView) -> str | None:
    host = view.status.process.host if view.status is not None else ""
    return None if host == os.uname().nodename else clean(f"It runs on {host} and cannot be killed from here.")
