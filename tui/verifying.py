"""Verifying from the dashboard: the bytes of checkpoints against their manifests, in a thread, with its progress."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptop.host.units import format_bytes_pair, format_count
from ckptop.tui.front import Front, bytes_of
from ckptop.tui.model import CheckpointRow, Verdict
from ckptop.tui.presenting import short_problem

if TYPE_CHECKING:
    from ckptop.store.checkpoint_info import CheckpointInfo
    from ckptop.store.views import RunView

LOOK_SECONDS = 0.25
"""How often the progress is shown while it goes on."""


class _StoppedEarly(Exception):
    """Somebody wants no more of it."""


class _Pass:
    """One verification; the thread counts and the screen looks."""

    def __init__(self, infos: Sequence[CheckpointInfo]) -> None:
        self._infos = infos
        self.stopping = threading.Event()
        self.verdicts: dict[str, Verdict] = {}
        self.read_bytes = 0

    @property
    def text(self) -> str:
        """How far it is."""
        done = format_bytes_pair(self.read_bytes, max(1, bytes_of(self._infos)))
        return f"verifying {min(len(self.verdicts) + 1, len(self._infos)):,} of {len(self._infos):,} · {done}"

    def run(self) -> None:
        """Verify all, or until it is stopped; for a thread."""
        from ckptop.store.verify import verify_checkpoint

        hashes: dict[tuple[int, int], str] = {}
        try:
            for info in self._infos:
                self._count(0)
                finding = verify_checkpoint(info, self._count, hashes)
                problem = finding.message if finding is not None and finding.severe else None
                self.verdicts[info.key] = Verdict(time.time(), problem)
        except _StoppedEarly:
            return

    def _count(self, read_bytes: int) -> None:
        if self.stopping.is_set():
            raise _StoppedEarly
        self.read_bytes += read_bytes


class Verifying:
    """Verifications of one main screen, one at a time."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._pass: _Pass | None = None

    def verify(self, rows: Sequence[CheckpointRow]) -> None:
        """Compare the bytes of these checkpoints with their manifests."""
        view = self._front.view()
        kept = [row for row in rows if row.tier != "production"]
        if self._pass is not None:
            self._front.say("Verifying already; Esc stops that.", "warning")
        elif rows and not kept:
            self._front.say("A release has a sum of its own: `ckptop verify` checks it.", "warning")
        elif view is not None and kept:
            self._front.start(self._verify(view, kept))

    def stop(self) -> bool:
        """Stop what goes on; False where nothing does."""
        if self._pass is not None:
            self._pass.stopping.set()
        return self._pass is not None

    async def _verify(self, view: RunView, rows: Sequence[CheckpointRow]) -> None:
        going = self._pass = _Pass([row.info for row in rows])
        try:
            thread = asyncio.ensure_future(asyncio.to_thread(going.run))
            while not (await asyncio.wait({thread}, timeout=LOOK_SECONDS))[0]:
                self._front.show_progress(going.text)
            thread.result()
        finally:
            going.stopping.set()  # left early: the thread shall not keep the process
            self._pass = None
            self._front.show_progress("")
        self._front.reader.judge(view.name, going.verdicts)
        self._tell(rows, going.verdicts, stopped=len(going.verdicts) < len(rows))

    def _tell(self, rows: Sequence[CheckpointRow], verdicts: dict[str, Verdict], *, stopped: bool) -> None:
        bad = [(row, problem) for row in rows if (problem := _problem(verdicts.get(row.key))) is not None]
        done = f"Verified {len(verdicts):,} of {len(rows):,}, then stopped" if stopped else f"Verified {len(rows):,}"
        if not bad:
            self._front.say(f"{done}: all good.")
            return
        self._front.say(f"{done}: {len(verdicts) - len(bad):,} good, {len(bad):,} damaged.", "error")
        row, problem = bad[0]
        what = f"Checkpoint {format_count(row.step)}: {short_problem(problem, row.info)}"
        self._front.say(f"{what}. Resume skips it. d deletes.", "error")


def _problem(verdict: Verdict | None) -> str | None:
    return verdict.problem if verdict is not None else None
