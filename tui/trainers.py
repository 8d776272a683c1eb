"""What is done to trainers from the dashboard: start, resume, fork, control and explain them.

A trainer is started by a child that runs the same command a person would type, so it outlives the dashboard and
is no different from one started without it. What is asked of a running one goes through the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptop.host.terminal import clean
from ckptop.host.units import format_count
from ckptop.store.reachable import may_answer
from ckptop.tui.child import run_ckptop
from ckptop.tui.front import Front
from ckptop.tui.model import LIVE_STATES, CheckpointRow, RunRow
from ckptop.tui.powers import Powers

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.events import Event
    from ckptop.store.records import ControlRequest
    from ckptop.store.views import RunHead, RunView
    from ckptop.tui.screens.resume_many import Source

ANSWER_SECONDS = 60.0
"""A trainer answers after the step it is in; a longer step is waited for no more."""
SLOW_SECONDS = 2.0
"""An answer that takes longer is announced."""
LOOK_SECONDS = 0.5
MOST_ERRORS = 3
"""Said one by one where several were started."""

Tasks = Callable[[], Sequence[str]]
"""Names the registered tasks; may take a while."""


class Trainers:
    """Starting and steering trainers for one main screen."""

    def __init__(self, front: Front, tasks: Tasks) -> None:
        self._front = front
        self._tasks = tasks

    # Starting.

    def train(self) -> None:
        """Ask what to train, and start it in the background."""
        refusal = self._front.refusal()
        if refusal is not None:
            self._front.say(refusal, "warning")
            return
        self._front.start(self._train())

    async def _train(self) -> None:
        from ckptop.tui.screens.train import TrainScreen

        tasks = await asyncio.to_thread(self._tasks)
        arguments = await self._front.ask(TrainScreen(tasks, self._front.run_names, self._front.reader.look.root))
        if arguments is None:
            return
        self._front.say(f"Starting {clean(arguments[1])}…")
        answer = await run_ckptop(arguments)
        self._front.wake([""])
        if not answer.ok:
            self._front.say(answer.error, "error")
            return
        facts = answer.facts
        self._front.say(f"Training {facts.get('run')} in the background (pid {facts.get('pid')}).")

    def resume(self, info: CheckpointInfo | None, settings: Mapping[str, str] | None = None) -> None:
        """Go on with the run in the background, from a checkpoint or the newest, or fork it."""
        view, powers = self._front.view_to_change(), self._powers()
        if view is None or powers is None:
            return
        if powers.resume is not None and powers.fork is not None:
            self._front.say(powers.resume, "warning")
            return
        chosen = info if info is not None and info.tier != "production" else None
        self._front.start(self._resume(view, chosen, powers, settings))

    async def _resume(
        self, view: RunView, info: CheckpointInfo | None, powers: Powers, settings: Mapping[str, str] | None
    ) -> None:
        from ckptop.tui.screens.resume import ResumeScreen

        taken, root = self._front.run_names, self._front.reader.look.root
        form = ResumeScreen(view, info, root, powers, taken=taken, settings=settings)
        arguments = await self._front.ask(form)
        if arguments is None:
            return
        name, fork = clean(view.name), _fork_of(arguments)
        self._front.say(f"Resuming {name}…" if fork is None else f"Forking {name}…")
        answer = await run_ckptop(arguments)
        self._front.wake(["", view.name])
        if not answer.ok:
            self._front.say(answer.error, "error")
            return
        step, pid = answer.facts.get("from_step", 0), answer.facts.get("pid", "?")
        done = f"Resumed {name}" if fork is None else f"Forked {name} as {fork}"
        self._front.say(f"{done} from step {format_count(int(step))} (pid {pid}).")

    def resume_runs(self, rows: Sequence[RunRow]) -> None:
        """Go on with several runs, each from its newest checkpoint."""
        from ckptop.tui.screens.resume_many import Source

        self._start_many([Source(row.name, "latest") for row in rows])

    def fork_checkpoints(self, rows: Sequence[CheckpointRow]) -> None:
        """Fork the selected run from several of its checkpoints."""
        from ckptop.tui.screens.resume_many import Source

        view, powers = self._front.view_to_change(), self._powers()
        if view is None or powers is None:
            return
        if powers.fork is not None:
            self._front.say(powers.fork, "warning")
            return
        by_step = {row.step: row for row in rows if row.tier != "production"}  # one step in two tiers is one fork
        self._start_many([Source(view.name, row.info.name, row.step) for row in by_step.values()])

    def _start_many(self, sources: Sequence[Source]) -> None:
        refusal = self._front.refusal()
        if refusal is not None or not sources:
            self._front.say(refusal or "A release cannot be forked; fork its run.", "warning")
            return
        self._front.start(self._resume_many(sources))

    async def _resume_many(self, sources: Sequence[Source]) -> None:
        from ckptop.tui.screens.resume_many import ResumeManyScreen

        root = self._front.reader.look.root
        commands = await self._front.ask(ResumeManyScreen(sources, root, taken=self._front.run_names))
        if commands is None:
            return
        errors = []
        for place, arguments in enumerate(commands, 1):
            self._front.say(f"Starting {place:,} of {len(commands):,}…")
            answer = await run_ckptop(arguments)
            self._front.wake(["", arguments[1]])
            if not answer.ok:
                errors.append(answer.error)
        done = len(commands) - len(errors)
        self._front.say(f"Started {done:,} of {len(commands):,}.", "warning" if errors else "information")
        for error in errors[:MOST_ERRORS]:
            self._front.say(error, "error")

    # Controlling.

    def control(self) -> None:
        """Show what can be asked of the run's trainer, and ask it."""
        view, powers = self._front.view(), self._powers()
        if view is not None and powers is not None:
            self._front.start(self._control(view, powers))

    async def _control(self, view: RunView, powers: Powers) -> None:
        from ckptop.tui.screens.control import ControlScreen
        from ckptop.tui.screens.steer import SteerScreen

        action = await self._front.ask(ControlScreen(view, powers))
        if action == "set":
            values = await self._front.ask(SteerScreen(view))
            if values is not None:
                await self._ask(view, "set", values)
        elif action in ("stop", "kill"):
            await self._stop(view, now=action == "kill")
        elif action is not None:
            await self._ask(view, action, {})

    async def _ask(self, view: RunView, action: str, values: Mapping[str, Any]) -> None:
        """Send a request and say what became of it."""
        from ckptop.store.control import send_request

        name = clean(view.name)
        request = await self._front.in_thread(send_request, view.paths, action, values)
        if request is None:
            return
        answer, head = await self._answer(view, request)
        self._front.wake([view.name])
        if answer is not None:
            ok = answer.details.get("ok") is True
            said = str(answer.details.get("message", ""))
            self._front.say(f"{name}: {said}", "information" if ok else "warning")
        elif may_answer(head):
            self._front.say(
                f"{name} is {head.state} and has not answered; the request stays. x, Stop now ends it.", "warning"
            )
        else:
            self._front.say(f"{name} is {head.state}; it ended before it answered.", "warning")

    async def _answer(self, view: RunView, request: ControlRequest) -> tuple[Event | None, RunHead]:
        """The answer, None if none came in time or the trainer ended; and the run as it was last.

        In short waits, so that the dashboard can be left at any moment.
        """
        from ckptop.store.control import wait_for_answer
        from ckptop.store.views import read_head

        began, is_told = time.monotonic(), False
        while True:
            # Looked at first: whatever an ended trainer answered was written by then.
            head = await asyncio.to_thread(read_head, view.root)
            seconds = LOOK_SECONDS if may_answer(head) else 0.0
            answer = await asyncio.to_thread(wait_for_answer, view.paths, request.id, seconds)
            waited = time.monotonic() - began
            if answer is not None or not seconds or waited > ANSWER_SECONDS:
                return answer, head
            if waited > SLOW_SECONDS and not is_told:
                is_told = True
                self._front.say(f"Asked {clean(view.name)}; it answers after the step it is in.")

    async def _stop(self, view: RunView, *, now: bool) -> None:
        """Ask once more, and let `ckptop stop` do it: it knows of signals, and waits for the end."""
        from ckptop.tui.screens.confirm import Confirm

        name = clean(view.name)
        question = f"Kill {name} now?" if now else f"Stop {name} after this step? It saves first."
        note = _what_is_lost(view) if now else ""
        if not await self._front.ask(
            Confirm(question, note=note, no="Keep running", yes="Kill now" if now else "Stop")
        ):
            return
        self._front.say(f"{'Killing' if now else 'Stopping'} {name}…")
        store = str(self._front.reader.look.root)
        answer = await run_ckptop(["stop", view.name, *(["--now"] if now else []), "--store", store])
        self._front.wake([view.name])
        state, step = answer.facts.get("state"), answer.facts.get("step") or 0
        if answer.ok:
            self._front.say(f"{name} {state} at step {format_count(int(step))}. r resumes.")
        else:
            self._front.say(f"{name} is {state} already." if state else answer.error, "warning")

    # Explaining.

    def why(self) -> None:
        """Show the post-mortem of the run."""
        view = self._front.view()
        if view is None:
            return
        if view.record is None:
            self._front.say(f"{clean(view.name)} has no run.json: nothing is known of how it ran.", "warning")
            return
        self._front.start(self._why())

    async def _why(self) -> None:
        from ckptop.tui.screens.why import WhyScreen

        detail, powers = self._front.detail, self._powers()
        if detail is None or powers is None:
            return
        settings = await self._front.ask(WhyScreen(detail.row, self._front.reader.look.root, powers.resume))
        if settings is not None:
            self.resume(None, settings)

    def _powers(self) -> Powers | None:
        return self._front.detail.powers if self._front.detail is not None else None


def _fork_of(arguments: Sequence[str]) -> str | None:
    return arguments[arguments.index("--fork") + 1] if "--fork" in arguments else None


def _what_is_lost(view: RunView) -> str:
    """What a kill costs."""
    step = view.status.step if view.status is not None else 0
    saved = view.latest.step if view.latest is not None else 0
    if view.state in LIVE_STATES and step <= saved:
        return "Its newest checkpoint is of this step."
    return f"{format_count(step - saved)} steps since its newest checkpoint are lost."
