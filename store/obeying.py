"""What is asked of a running loop, obeyed between two steps: save, pause, continue, stop, set.

`Run.obey` calls this only when something came. A pause is a wait in here: the loop's thread stands still between two
steps, the heartbeat beats on, and whatever comes meanwhile is answered as ever. A stop ends a pause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckptop.store.errors import CkptopError
from ckptop.store.records import ControlRequest

if TYPE_CHECKING:
    from ckptop.store.run import Run

PAUSE_LOOK_SECONDS = 0.25
"""A signal has no way to end the wait of a pause, so it looks this often whether one asked for something."""

Save = Callable[[], str | None]
"""Saves a checkpoint of this step; returns what to answer, None where the disk refused."""
Change = Callable[[Mapping[str, Any]], str]
"""Changes configuration keys; returns what to answer. A CkptopError is the reason of a refusal."""


def obey(run: Run, save: Save | None, change: Change | None, tell: Callable[[str], None]) -> None:
    """Obey and answer everything that came; on return the run is not paused, unless it shall stop."""
    desk = _Desk(run, save, change, tell)
    while True:
        desk.serve()
        if run.stop_reason is not None or not desk.is_paused:
            break
        run.inbox.wait(PAUSE_LOOK_SECONDS)
    if desk.is_paused:
        run.set_phase("running")


class _Desk:
    """Answers what came during one call of `obey`."""

    def __init__(self, run: Run, save: Save | None, change: Change | None, tell: Callable[[str], None]) -> None:
        self._run, self._save, self._change, self._tell = run, save, change, tell
        self.is_paused = False
        self._actions: dict[str, Callable[[ControlRequest], tuple[bool, str]]] = {
            "pause": self._pause, "continue": self._continue, "stop": self._stop,
        }  # fmt: skip
        if save is not None:
            self._actions["save"] = self._save_now
        if change is not None:
            self._actions["set"] = self._set

    def serve(self) -> None:
        requests = self._run.inbox.take()
        asked_by = self._run.inbox.take_save_request()
        if asked_by is not None:
            done = self._save() if self._save is not None else None
            self._tell(f"{asked_by} asked for a save: {done or 'nothing was saved'}")
        for request in requests:
            ok, message = self._obey(request)
            self._run.inbox.answer(request, ok, message)
            self._tell(f"{request.user} asked for {request.action}: {message}")

    def _obey(self, request: ControlRequest) -> tuple[bool, str]:
        action = self._actions.get(request.action)
        if action is None:
            known = ", ".join(sorted(self._actions))
            return False, f"{request.action} is not something this trainer does; it knows {known}"
        if request.args and request.action != "set":
            return False, f"{request.action} takes no values; nothing was done"
        return action(request)

    def _pause(self, _request: ControlRequest) -> tuple[bool, str]:
        step = f"step {self._run.step:,}"
        if self.is_paused:
            return True, f"paused already, after {step}"
        self.is_paused = True
        self._run.set_phase("paused")
        return True, f"paused after {step}; continue goes on"

    def _continue(self, _request: ControlRequest) -> tuple[bool, str]:
        if not self.is_paused:
            return True, "it is not paused"
        self.is_paused = False
        self._run.set_phase("running")
        return True, f"going on from step {self._run.step:,}"

    def _stop(self, request: ControlRequest) -> tuple[bool, str]:
        self._run.request_stop(f"{request.user} asked for it")
        return True, f"stopping at step {self._run.step:,}"

    def _save_now(self, _request: ControlRequest) -> tuple[bool, str]:
        assert self._save is not None  # noqa: S101 - the table above has the action only then
        done = self._save()
        return done is not None, done or "the disk refused; the newest checkpoint is as it was"

    def _set(self, request: ControlRequest) -> tuple[bool, str]:
        assert self._change is not None  # noqa: S101 - as above
        if not request.args:
            return False, "set needs a value, such as lr=1e-4"
        try:
            return True, self._change(request.args)
        except CkptopError as error:
            return False, f"{error}; nothing was changed"
