"""What a manager keeps: retention after each save, and room for a save that the disk refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ckptop.host.units import format_bytes
from ckptop.store.cleanup import apply_retention
from ckptop.store.errors import DiskError, Held
from ckptop.store.fs import NO_SPACE
from ckptop.store.layout import StorePaths
from ckptop.store.manifest import Ranking
from ckptop.store.retention import Plan, Policy, Protection
from ckptop.store.room import NoRoom, purge_for
from ckptop.store.saving import Saver
from ckptop.store.trash import TrashLimit, list_trash, past_limit, purge

T = TypeVar("T")

OnEvent = Callable[[str, int, dict[str, Any]], None]


@dataclass(slots=True)
class Keeper:
    """The rules of one manager, and how they are carried out."""

    saver: Saver
    store_root: Path | None
    """Where other runs and forks are; None for a stand-alone set."""
    max_training: int
    max_milestones: int | None
    policies: tuple[Policy, ...]
    trash_limit: TrashLimit | None
    on_event: OnEvent

    def settle(self, step: int, final: Path, ranking: Ranking | None = None) -> None:
        """What follows a commit: its link, then the rules.

        A disk that refuses these has not refused the save: it is told as an `alert`, never raised, or the caller
        would save again what is saved.
        """
        tier = final.parent.name
        what = "its link was not moved"
        try:
            self.saver.move_link(ranking)
            what = "old ones were not deleted"
            self.retain(step, f"{tier}/{final.name}")
        except (OSError, Held) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{tier}/{final.name} is saved, but {what}: {reason}"
            self.on_event("alert", step, {"kind": "disk", "message": message})

    def retain(self, step: int, just_saved: str) -> None:
        """Delete what the rules do not keep, after a save.

        Raises:
            OSError: The disk refused; every checkpoint is either whole or gone.
        """
        policies = [*self._for_training(self.max_training), *self._for_milestones()]
        if policies:
            done = self.apply(policies, just_saved)
            if done.deleted:
                names = [item.info.key for item in done.deleted]
                self.on_event("pruned", step, {"checkpoints": names, "freed_bytes": done.unshared_bytes})
        if self.trash_limit is not None:
            paths = self.saver.paths
            purge(paths, past_limit(list_trash(paths), self.trash_limit, time.time()), self.saver.fs)

    def apply(self, policies: Sequence[Policy], just_saved: str | None = None) -> Plan:
        """Delete at once what `policies` do not keep; the newest, the best and the like stay whatever they say."""
        run = self.saver.run
        protection = Protection(
            metric=run.metric, started_from=run.started_from, promoted=True, just_saved=just_saved
        )  # fmt: skip
        return apply_retention(
            self.saver.paths, policies, protection, run.attempts, self.saver.fs, store_root=self.store_root
        )

    def with_room(self, step: int, save: Callable[[], T]) -> T:
        """Save; where the disk is full make room and try again, giving up as little as will do.

        The trash goes first, no more of it than is needed; then what the rules would delete once this save is there.
        Each is told as an `alert`.

        Raises:
            DiskError: There is still no room, or the disk refused for another reason; nothing was saved.
        """
        while True:
            try:
                return save()
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                done = self._purge(error) or self._retain_early()
                if not done and isinstance(error, DiskError):
                    raise
                if not done:
                    where = self.saver.paths.root
                    raise DiskError(error.errno, f"{where}: {error.strerror}; nothing was saved") from error
            message = f"Disk full: {done} to make room for a save"
            self.on_event("alert", step, {"kind": "disk", "message": message})

    def _purge(self, refused: OSError) -> str:
        short_bytes = refused.short_bytes if isinstance(refused, NoRoom) else None
        store = StorePaths(self.store_root) if self.store_root is not None else None
        count, freed = purge_for(short_bytes, self.saver.paths, store, self.saver.fs)
        return f"purged {count} from the trash ({format_bytes(freed)})" if count else ""

    def _retain_early(self) -> str:
        policies = self._for_training(max(1, self.max_training - 1))
        done = self.apply(policies) if policies and self.max_training > 0 else Plan()
        return f"deleted {len(done.deleted)} old ({format_bytes(done.unshared_bytes)})" if done.deleted else ""

    def _for_training(self, keep_last: int) -> list[Policy]:
        """None where all are kept: then further rules delete nothing either."""
        return [Policy(keep_last=keep_last), *self.policies] if self.max_training > 0 else []

    def _for_milestones(self) -> list[Policy]:
        if self.max_milestones is None:
            return []
        made_for = {c.manifest.ranking.name: c.manifest.ranking.mode for c in self.saver.live("milestone")
                    if c.manifest and c.manifest.ranking}  # fmt: skip
        return [Policy(keep_best=self.max_milestones, metric=name, mode=mode, tiers=("milestone",))
                for name, mode in made_for.items()]  # fmt: skip
