"""Promoting checkpoints from the dashboard, by a child each."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.host.units import format_count
from ckptop.tui.child import Answer, run_ckptop
from ckptop.tui.front import Front, counted

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView
    from ckptop.tui.screens.promote import Promotion


class Judging:
    """Promotions from one main screen."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def promote(self, infos: Sequence[CheckpointInfo] | None) -> None:
        """Make milestones or releases of checkpoints; of the run's best where none is given."""
        view = self._front.view_to_change()
        if view is None:
            return
        found = view.best or view.latest
        chosen = infos if infos is not None else [found] if found is not None else []
        kept = [info for info in chosen if info.tier != "production"]
        if chosen and not kept:
            self._front.say("This one is released already.", "warning")
        elif not kept or any(info.manifest is None for info in kept):
            self._front.say("No checkpoint to promote here.", "warning")
        else:
            self._front.start(self._promote(view, sorted(kept, key=lambda info: info.order)))

    async def _promote(self, view: RunView, infos: Sequence[CheckpointInfo]) -> None:
        from ckptop.tui.screens.promote import PromoteScreen

        asked = await self._front.ask(PromoteScreen(view, infos, self._front.reader.look.root))
        if asked is None:
            return
        if asked.to_production:
            self._front.say("Releasing…")
        answers = await self._carry_out(asked)
        self._front.wake(["", view.name])
        failed = [answer for answer in answers if not answer.ok]
        if failed:
            self._front.say(failed[0].error, "error")
        if len(infos) > 1:
            noun = "release" if asked.to_production else "milestone"
            self._front.say(f"{counted(len(answers) - len(failed), noun)} of {len(infos):,}.")
        elif not failed and asked.to_production:
            self._front.say(f"Released {answers[0].facts.get('model')} {answers[0].facts.get('version')}.")
        elif not failed:
            self._front.say(f"Milestone of step {format_count(infos[0].step)}.")

    async def _carry_out(self, asked: Promotion) -> list[Answer]:
        """One after another, so that versions count up; after a failure no more."""
        with tempfile.TemporaryDirectory(prefix="ckptop-") as folder:
            card = []
            if asked.card:
                path = Path(folder) / "card.json"
                await asyncio.to_thread(path.write_text, json.dumps({"intended_use": asked.card}), encoding="utf-8")
                card = ["--card", str(path)]
            answers: list[Answer] = []
            for arguments in asked.commands:
                answers.append(await run_ckptop([*arguments, *card]))
                if not answers[-1].ok:
                    break
            return answers
