"""Exporting weights from the dashboard: a child for each checkpoint or release, which checks the bytes first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ckptop.host.units import format_bytes, format_count
from ckptop.store.registry import ReleaseLine
from ckptop.tui.child import Answer, run_ckptop
from ckptop.tui.front import Front, counted
from ckptop.tui.model import CheckpointRow


class Source(NamedTuple):
    """What is exported."""

    name: str
    """As `ckptop export` takes it: `digits:training/<file>` or `digits@1.2.0`."""
    label: str
    """For a person."""
    stem: str
    """What a file of it is called, without its suffix."""


class Exporting:
    """Exports from one main screen."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def checkpoints(self, rows: Sequence[CheckpointRow]) -> None:
        """Export checkpoints of the selected run."""
        view = self._front.view()
        kept = [row for row in rows if row.tier != "production"]
        if rows and not kept:
            self._front.say("A release is exported where it is listed: 5, then e.", "warning")
        elif view is not None and kept:
            self._front.start(self._export([
                Source(
                    f"{view.name}:{row.info.key}",
                    f"{row.info.label}, step {format_count(row.step)}, of {view.name}",
                    f"{view.name}_{row.info.path.stem.removeprefix('checkpoint_')}",
                )
                for row in kept
            ]))  # fmt: skip

    def releases(self, lines: Sequence[ReleaseLine]) -> None:
        """Export releases."""
        if lines:
            self._front.start(self._export([
                Source(f"{line.model}@{line.version}", f"{line.model} {line.version}", Path(line.file).stem)
                for line in lines
            ]))  # fmt: skip

    async def _export(self, sources: Sequence[Source]) -> None:
        from ckptop.tui.screens.export import ExportScreen

        commands = await self._front.ask(ExportScreen(sources, self._front.reader.look.root))
        if commands is None:
            return
        answers: list[Answer] = []
        for place, arguments in enumerate(commands, 1):
            self._front.say("Exporting…" if len(commands) == 1 else f"Exporting {place:,} of {len(commands):,}…")
            answers.append(await run_ckptop(arguments))
        failed = [answer for answer in answers if not answer.ok]
        if failed:
            self._front.say(failed[0].error, "error")
        if len(commands) > 1:
            self._front.say(f"Exported {len(commands) - len(failed):,} of {len(commands):,}.")
        elif not failed:
            facts = answers[0].facts
            size, tensors = format_bytes(int(facts["size_bytes"])), counted(int(facts["tensors"]), "tensor")
            self._front.say(f"Exported {tensors}, {size}, to {facts['path']}.")
