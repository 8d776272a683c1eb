"""One save: the state staged, hashed and fsynced, then committed under the lock and pointed at.

What decides about saves (names, what improved, what is kept) is `checkpoints`; how one is made durable is `commit`.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, is_live, latest_of, scan_tier
from ckptop.store.commit import commit, link_or_copy, read_index
from ckptop.store.files import refuse_links
from ckptop.store.fs import FileSystem
from ckptop.store.layout import CheckpointPaths
from ckptop.store.links import point
from ckptop.store.locks import FileLock
from ckptop.store.manifest import LogMark, Manifest, Ranking, Tier, stored_metrics
from ckptop.store.names import file_safe_metric
from ckptop.store.records import Attempt, Metric
from ckptop.store.staging import removed_on_error, staged_name
from ckptop.store.state_dicts import State
from ckptop.store.tensor_index import index_tensors
from ckptop.store.tensors import refuse_unsafe, write_state

NameOf = Callable[[int], str]
"""File names by copy, from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLink:
    """What a manager needs to know of the run it saves for; a stand-alone one has only a metric, if that."""

    name: str = ""
    id: str = ""
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    metric: Metric | None = None
    started_from: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SavePoint:
    """Where the run stands when something is saved."""

    step: int = 0
    """The newest step that was logged; 0 where nothing says."""
    sync_logs: Callable[[], Mapping[str, LogMark]] = dict
    """Makes the run's logs durable and tells how far; called before the checkpoint commits."""


class Surpassed(Exception):
    """A milestone as good was committed while this one was written; nothing was committed."""


@dataclass(slots=True)
class Saver:
    """Writes checkpoints of one set."""

    paths: CheckpointPaths
    run: RunLink
    model_name: str
    compress: bool
    fs: FileSystem

    def write(
        self, state: State, tier: Tier, name_of: NameOf, at: SavePoint, ranking: Ranking | None = None
    ) -> tuple[Path, int]:
        """Commit a new file; returns its path and bytes.

        Raises:
            DiskError: The disk or a quota cannot hold it; nothing was written.
            OSError: The disk refused; nothing was committed.
            UsageError: The state holds more than tensors and plain data.
            Surpassed: It is a milestone, and another made meanwhile is as good.
            StoreError: A directory of the set is a symbolic link; nothing was written.
        """
        refuse_links(*self.paths.directories)
        metric = self.run.metric
        if ranking is None and metric is not None and not self.run.name:
            ranking = Ranking(name=metric.name, mode=metric.mode)  # there is no run.json to say what best means
        staged = self.paths.staging / staged_name(name_of(1))
        self.fs.mkdir(self.paths.staging)  # somebody may have tidied up
        with removed_on_error(staged, self.fs):
            written = write_state(staged, state, self.fs, compress=self.compress)
            refuse_unsafe(staged)
            manifest = Manifest(
                id=secrets.token_hex(8), file="", tier=tier, run=self.run.name, run_id=self.run.id,
                model_name=self.model_name, attempt=self.run.attempt, epoch=state["epoch"],
                global_step=state["global_step"], time=time.time(), metrics=stored_metrics(state["metrics"]),
                ranking=ranking, config=state["config"], environment=state["metadata"],
                git_commit=state["git_commit"], size_bytes=written.size_bytes, xxh3_128=written.xxh3_128,
                logs=dict(at.sync_logs()),
            )  # fmt: skip
            index = index_tensors(staged)
            with FileLock(self.paths.lock):
                self._require_improvement(manifest)
                self.fs.mkdir(self.paths.tier(tier))
                final = commit(self.fs, self.paths, staged, self.paths.tier(tier), name_of, manifest, index)
                return final, written.size_bytes

    def link(
        self, source: CheckpointInfo, ranking: Ranking, metrics: Mapping[str, float | str], name_of: NameOf
    ) -> Path | None:
        """Commit a milestone that shares the bytes of a training checkpoint; None if that was just deleted.

        Raises:
            Surpassed: Another made meanwhile is as good.
            StoreError: A directory of the set is a symbolic link; nothing was written.
            OSError: The disk refused; nothing was committed.
        """
        refuse_links(*self.paths.directories)
        assert source.manifest is not None  # noqa: S101 - callers choose from readable ones
        manifest = msgspec.structs.replace(
            source.manifest, id=secrets.token_hex(8), tier="milestone", ranking=ranking, time=time.time(),
            metrics=source.manifest.metrics | dict(metrics), pinned=None, forks=[],
        )  # fmt: skip
        index = read_index(source.path)
        with FileLock(self.paths.lock):
            if not source.path.exists():
                return None
            self._require_improvement(manifest)
            self.fs.mkdir(self.paths.milestone)
            staged = link_or_copy(self.fs, self.paths, source.path)
            with removed_on_error(staged, self.fs):
                return commit(self.fs, self.paths, staged, self.paths.milestone, name_of, manifest, index)

    def live(self, tier: Tier) -> list[CheckpointInfo]:
        """Committed checkpoints of the run's present line, unordered."""
        return [info for info in scan_tier(self.paths.tier(tier), tier) if is_live(info, self.run.attempts)]

    def improves(self, ranking: Ranking, value: float) -> bool:
        """Whether `value` is better than every live milestone made for the metric; NaN never is."""
        if math.isnan(value):
            return False
        best = self._best_milestone(ranking)
        before = best.metric(ranking.name) if best is not None else None
        return before is None or (value < before if ranking.mode == "min" else value > before)

    def _best_milestone(self, ranking: Ranking) -> CheckpointInfo | None:
        made = [info for info in self.live("milestone") if _is_ranked_by(info, ranking.name)]
        return best_of(made, ranking.name, ranking.mode)

    def _require_improvement(self, manifest: Manifest) -> None:
        """Look again, under the lock, for a milestone that another process or thread made meanwhile."""
        if manifest.tier == "milestone" and manifest.ranking is not None:
            value = manifest.metric(manifest.ranking.name)
            if value is None or not self.improves(manifest.ranking, value):
                raise Surpassed

    def move_link(self, ranking: Ranking | None) -> None:
        """Let `latest` mean the newest training checkpoint, or the link of a metric its best milestone.

        Raises:
            OSError: The disk refused; the link is as it was.
        """
        with FileLock(self.paths.lock):
            if ranking is None:
                link, meant = self.paths.training / "latest.pt", latest_of(self.live("training"))
            else:
                link = self.paths.milestone / f"best_{file_safe_metric(ranking.name)}.pt"
                meant = self._best_milestone(ranking)
            if meant is not None:  # a person may have deleted it since
                point(self.fs, self.paths.staging, link, meant.name)


def _is_ranked_by(info: CheckpointInfo, metric: str) -> bool:
    return info.manifest is not None and info.manifest.ranking is not None and info.manifest.ranking.name == metric
