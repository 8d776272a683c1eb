"""What is done to a checkpoint that stays: its bytes are verified, or it is promoted by a child."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptop.host.units import format_bytes, format_count
from ckptop.tui.child import run_ckptop
from ckptop.tui.front import Front, bytes_of, counted
from ckptop.tui.model import CheckpointRow
from ckptop.tui.presenting import short_problem

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView

SLOW_BYTES = 256 * 1024**2
"""Verifying more than this is announced."""


class Judging:
    """Verifying and promoting for one main screen."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def verify(self, rows: Sequence[CheckpointRow]) -> None:
        """Compare the bytes of these checkpoints with their manifests."""
        view = self._front.view()
        rows = [row for row in rows if row.tier != "production"]
        if view is not None and rows:
            self._front.start(self._verify(view, rows))

    async def _verify(self, view: RunView, rows: Sequence[CheckpointRow]) -> None:
        size = bytes_of([row.info for row in rows])
        if size > SLOW_BYTES:
            self._front.say(f"Verifying {counted(len(rows), 'checkpoint')}, {format_bytes(size)}…")
        found = await self._front.in_thread(_verify_all, [row.info for row in rows])
        if found is None:
            return
        sound = [row.key for row in rows if row.key not in found]
        self._front.reader.mark_damaged(view.name, found, sound)
        if not found:
            self._front.say(f"Verified {len(rows):,}: all good.")
            return
        bad = next(row for row in rows if row.key in found)
        self._front.say(f"Verified {len(rows):,}: {len(sound):,} good, {len(found):,} damaged.", "error")
        self._front.say(
            f"Checkpoint {format_count(bad.step)}: {short_problem(found[bad.key], bad.info)}. d deletes.", "error"
        )

    def promote(self, info: CheckpointInfo | None) -> None:
        """Make a checkpoint a milestone or a release; the run's best where none is given."""
        view = self._front.view_to_change()
        chosen = info or (view.best or view.latest if view is not None else None)
        if view is None:
            return
        if chosen is None or chosen.manifest is None:
            self._front.say("No checkpoint to promote here.", "warning")
            return
        if chosen.tier == "production":
            self._front.say("This one is released already.", "warning")
            return
        self._front.start(self._promote(view, chosen))

    async def _promote(self, view: RunView, info: CheckpointInfo) -> None:
        from ckptop.tui.screens.promote import PromoteScreen

        arguments = await self._front.ask(PromoteScreen(view, info, self._front.reader.look.root))
        if arguments is None:
            return
        if "production" in arguments:
            self._front.say("Releasing…")
        answer = await run_ckptop(arguments)
        self._front.wake(["", view.name])
        if not answer.ok:
            self._front.say(answer.error, "error")
        elif "version" in answer.facts:
            self._front.say(f"Released {answer.facts.get('model')} {answer.facts['version']}.")
        else:
            self._front.say(f"Milestone of step {format_count(info.step)}.")


def _verify_all(infos: Sequence[CheckpointInfo]) -> dict[str, str]:
    from ckptop.store.verify import verify_checkpoint

    hashes: dict[tuple[int, int], str] = {}
    found = {}
    for info in infos:
        finding = verify_checkpoint(info, hashes=hashes)
        if finding is not None and finding.severe:
            found[info.key] = finding.message
    return found
