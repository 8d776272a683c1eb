"""What is done to releases from the dashboard: shown, verified, and `latest` moved back and forth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ckptop.host.units import format_bytes
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.tui.front import Front, counted
from ckptop.tui.registry_rows import Fact, ReleaseRow, card_facts, history_facts
from ckptop.tui.text import Span

if TYPE_CHECKING:
    from ckptop.store.registry import ReleaseLine
    from ckptop.tui.widgets.registry_pane import RegistryPane

SLOW_BYTES = 256 * 1024**2
"""Verifying more than this is announced."""


class Releases:
    """The releases of one main screen's store."""

    def __init__(self, front: Front, pane: Callable[[], RegistryPane]) -> None:
        self._front, self._pane = front, pane
        self._undos: list[tuple[str, str]] = []
        """Model and the version that `latest` meant before."""

    @property
    def _paths(self) -> StorePaths:
        return StorePaths(self._front.reader.look.root)

    @property
    def _current(self) -> ReleaseRow | None:
        row = self._pane().current
        if row is None:
            self._front.say("No release here.", "warning")
        return row

    # Pages.

    def card(self) -> None:
        """Show all that is known of the release under the cursor."""
        if (row := self._current) is not None:
            mark = [(Span(row.mark, "success" if row.mark == "latest" else "warning"),)] if row.mark else []
            self._front.start(self._show(f"{row.model} {row.version}", card_facts, row.release, mark))

    def audit(self) -> None:
        """Show who did what to its model."""
        if (row := self._current) is not None:
            self._front.start(self._show(f"History of {row.model}", history_facts, row.release.model, []))

    async def _show(
        self, title: str, read: Callable[..., list[Fact]], about: object, mark: Sequence[tuple[Span, ...]]
    ) -> None:
        from ckptop.tui.screens.page import PageScreen

        facts = await self._front.in_thread(read, self._paths, about)
        if facts is not None:
            await self._front.ask(PageScreen(title, facts, mark))

    # Bytes.

    def verify(self) -> None:
        """Compare the bytes of the marked releases, or of this one, with the registry."""
        if rows := self._pane().selection():
            self._front.start(self._verify(rows))

    async def _verify(self, rows: Sequence[ReleaseRow]) -> None:
        size = sum(row.release.size_bytes for row in rows)
        if size > SLOW_BYTES:
            self._front.say(f"Verifying {counted(len(rows), 'release')}, {format_bytes(size)}…")
        found = await self._front.in_thread(_verify_all, self._paths, [row.release for row in rows])
        if found is None:
            return
        verdicts = dict(zip([row.key for row in rows], found, strict=True))
        self._pane().mark_verified(verdicts)
        damaged = [key for key, problem in verdicts.items() if problem is not None]
        if damaged:
            good = len(rows) - len(damaged)
            self._front.say(f"Verified {len(rows):,}: {good:,} good, {len(damaged):,} damaged.", "error")
        else:
            self._front.say(f"Verified {len(rows):,}: all good.")

    # What latest means.

    def roll_back(self) -> None:
        """Let `latest` mean the release under the cursor, once confirmed."""
        row = self._current
        if row is None:
            return
        refusal = self._front.refusal() or self._why_not(row)
        if refusal is not None:
            self._front.say(refusal, "warning")
        else:
            self._front.start(self._roll_back(row))

    def _why_not(self, row: ReleaseRow) -> str | None:
        if row.mark == "latest":
            return f"{row.model} {row.version} is latest already; B on another version lets latest mean that."
        if row.mark == "yanked":
            return f"{row.model} {row.version} is yanked; latest never means it."
        return None

    async def _roll_back(self, row: ReleaseRow) -> None:
        from ckptop.tui.screens.confirm import Confirm
        from ckptop.tui.screens.dialog import shown_command

        latest = self._pane().latest_of(row.release.model)
        now, way = (latest.version, _way(latest, row)) if latest is not None else ("none", "forward")
        confirmed = await self._front.ask(
            Confirm(
                f"Roll {row.model} {way} from {now} to {row.version}?",
                no=f"Keep {now}",
                yes=f"Roll {way}",
                undoable=latest is not None,
                command=shown_command(["rollback", row.release.model, row.release.version], self._paths.root),
            )
        )
        if confirmed:
            await self._let_latest_mean(row.release.model, row.release.version, is_undo=False)

    async def _let_latest_mean(self, model: str, version: str, *, is_undo: bool) -> None:
        from ckptop.store.releases import rollback

        moved = await self._front.in_thread(rollback, self._paths, model, Version.parse(version))
        self._pane().look_again()
        self._front.wake([""])
        if moved is None:
            return
        if not moved.changed:
            self._front.say(f"{model} latest is {moved.after} already.", "warning")
            return
        if moved.before is not None and not is_undo:
            self._undos.append((model, moved.before))
        self._front.say(f"{model} latest is {moved.after} now.{'' if is_undo else ' u undoes.'}")

    def undo(self) -> None:
        """Let `latest` mean again what it did before the last roll-back of this session."""
        if self._undos:
            self._front.start(self._let_latest_mean(*self._undos.pop(), is_undo=True))
        else:
            self._front.say("Nothing to undo.", "warning")


def _way(latest: ReleaseRow, row: ReleaseRow) -> str:
    older = Version.parse(row.release.version) < Version.parse(latest.release.version)
    return "back" if older else "forward"


def _verify_all(paths: StorePaths, releases: Sequence[ReleaseLine]) -> list[str | None]:
    from ckptop.store.releases import release_problem

    return [release_problem(paths, release, hashed=True) for release in releases]
