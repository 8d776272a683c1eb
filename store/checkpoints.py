"""CheckpointManager: saving, loading and keeping checkpoints, in ckptop's runs and in anybody's script.

manager = CheckpointManager("checkpoints", max_training_checkpoints=3)
manager.save_training_checkpoint(model, optimizer, epoch, step, {"val/loss": 0.31})
manager.save_milestone_checkpoint(model, 0.85, "accuracy", epoch)      # None unless it improved
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ckptop.store import tensors
from ckptop.store.checkpoint_info import (
    CheckpointInfo,
    best_of,
    is_live,
    latest_of,
    metric_mode,
    scan_tier,
)
from ckptop.store.cleanup import apply_retention
from ckptop.store.commit import commit, link_or_copy, read_index
from ckptop.store.environment import git_commit
from ckptop.store.errors import UsageError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import CheckpointPaths, StorePaths
from ckptop.store.links import point
from ckptop.store.loading import load_checkpoint, resume_training
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, Ranking, Tier, stored_metrics
from ckptop.store.names import Version, file_safe_metric, milestone_name, training_name
from ckptop.store.promote import release_state
from ckptop.store.records import Attempt, Metric, Mode
from ckptop.store.retention import Plan, Policy, Protection
from ckptop.store.staging import remove_stale, removed_on_error, staged_name
from ckptop.store.tensor_index import index_tensors

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLink:
    """What a manager needs to know of the run it saves for; a stand-alone one has none."""

    name: str = ""
    id: str = ""
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    metric: Metric | None = None
    started_from: frozenset[str] = frozenset()


OnEvent = Callable[[str, int, dict[str, Any]], None]


def _ignore(_event: str, _step: int, _details: dict[str, Any]) -> None:
    """A stand-alone manager tells nobody."""


class CheckpointManager:
    """Checkpoints in a local directory: staged, synced, then renamed into place.

    Args:
        checkpoint_dir: Made at once, with its tiers.
        max_training_checkpoints: Newest training checkpoints kept, beside best and pinned; 0 keeps all.
        save_optimizer: Save the optimizer's state where one is given.
        save_scheduler: Save the scheduler's state where one is given.
        compress: Deflate inside the `.pt`.
        model_name: Names releases and is recorded in every manifest.
        max_milestones: Best milestones kept of each metric; None keeps all.
        store_root: Where `production/` and `metadata/` stand; `checkpoint_dir` if not said.
        run: The run saved for.
        on_event: Told what was done: `saved`, `milestone` or `pruned`, the step, and details.
        before_save: Called before anything is saved.
        fs: The seam under every change to the disk.

    Raises:
        OSError: The directories cannot be made.
        UsageError: `checkpoint_dir` is a file.
    """

    def __init__(
        self,
        checkpoint_dir: str | Path = "checkpoints",
        max_training_checkpoints: int = 3,
        save_optimizer: bool = True,
        save_scheduler: bool = True,
        compress: bool = False,
        model_name: str = "model",
        *,
        max_milestones: int | None = None,
        store_root: str | Path | None = None,
        run: RunLink | None = None,
        on_event: OnEvent | None = None,
        before_save: Callable[[], object] = lambda: None,
        fs: FileSystem = LOCAL,
    ) -> None:
        self.checkpoint_dir = Path(checkpoint_dir)
        if self.checkpoint_dir.exists() and not self.checkpoint_dir.is_dir():
            raise UsageError(f"{self.checkpoint_dir} is a file; name a directory for the checkpoints")
        self.max_training_checkpoints = max_training_checkpoints
        self.max_milestones = max_milestones
        self.save_optimizer, self.save_scheduler = save_optimizer, save_scheduler
        self.compress, self.model_name = compress, model_name
        self._paths = CheckpointPaths(self.checkpoint_dir)
        self._store = StorePaths(Path(store_root) if store_root is not None else self.checkpoint_dir)
        self._is_alone = store_root is None
        self._run, self._fs = run or RunLink(), fs
        self._on_event, self._before_save = on_event or _ignore, before_save
        wanted = (self.training_dir, self.milestone_dir, self.production_dir, self.metadata_dir)
        for directory in (*wanted, self._paths.staging):
            fs.mkdir(directory)
        remove_stale(self._paths.staging, fs)

    @property
    def training_dir(self) -> Path:
        """Directory of training checkpoints."""
        return self._paths.training

    @property
    def milestone_dir(self) -> Path:
        """Directory of milestones."""
        return self._paths.milestone

    @property
    def production_dir(self) -> Path:
        """Directory of releases."""
        return self._store.production

    @property
    def metadata_dir(self) -> Path:
        """Directory of model cards and other metadata."""
        return self._store.metadata

    @property
    def paths(self) -> CheckpointPaths:
        """Where this set stands."""
        return self._paths

    def bind(self, run: RunLink) -> None:
        """Save for `run` from now on; its attempt and lineage go into every manifest."""
        self._run = run

    # Saving

    def save_training_checkpoint(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None,
        epoch: int,
        step: int,
        metrics: Mapping[str, Any] | None,
        config: Mapping[str, Any] | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Commit a training checkpoint; on return it survives a power cut and retention has run.

        Args:
            model: Its `state_dict` is saved, without the prefixes of DDP and `torch.compile`.
            optimizer: Saved where `save_optimizer` says so; its key is absent from the file otherwise.
            epoch: From 1.
            step: Optimizer steps done. May start again in each epoch: the order is (epoch, step).
            metrics: Numbers, 0-d tensors included; NaN and infinities are kept as such.
            config: Any mapping; what is not JSON is stored as text.
            scheduler: Saved where `save_scheduler` says so.
            scaler: An AMP gradient scaler.
            extra: More keys at the top of the file: tensors and plain data.

        Returns:
            The path of the committed file.

        Raises:
            OSError: The disk refused. What was committed before is whole; the new one is there whole, or not at all.
            UsageError: The state holds more than tensors and plain data, or `extra` repeats a key.
        """
        self._before_save()
        state = tensors.build_state(
            "training", model, epoch=epoch, global_step=step, metrics=metrics, config=config,
            git_commit=git_commit(), optimizer=optimizer if self.save_optimizer else None,
            scheduler=scheduler if self.save_scheduler else None, scaler=scaler, extra=extra,
        )  # fmt: skip
        began = time.monotonic()
        final, size_bytes = self._write_and_commit(state, "training", lambda copy: training_name(epoch, step, copy))
        seconds = round(time.monotonic() - began, 6)
        details = {"checkpoint": f"training/{final.name}", "size_bytes": size_bytes, "seconds": seconds}
        self._on_event("saved", step, details)
        self._retain(step, just_saved=f"training/{final.name}")
        return str(final)

    def save_milestone_checkpoint(
        self,
        model: torch.nn.Module,
        metric_value: float,
        metric_name: str,
        epoch: int,
        config: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        extra: Mapping[str, Any] | None = None,
        mode: Mode | None = None,
    ) -> str | None:
        """Commit a milestone if the metric improved on every milestone made for it; None if it did not.

        Of a step that has a training checkpoint of this attempt no bytes are copied: the file is linked.

        Args:
            model: As for a training checkpoint, which the arguments not named here follow too.
            metric_value: NaN never improves.
            metric_name: `accuracy` or `val/accuracy`; several can be tracked.
            epoch: From 1.
            config: As for a training checkpoint.
            metadata: Added to the file's `metadata`.
            optimizer: As for a training checkpoint.
            step: Optimizer steps done; 0 where it is not said.
            metrics: Other metrics of this step; `metric_name` is added.
            scheduler: As for a training checkpoint.
            scaler: As for a training checkpoint.
            extra: As for a training checkpoint.
            mode: Whether lower or higher is better; by the metric's name where it is not said.

        Returns:
            The path of the committed milestone, or None.

        Raises:
            OSError: The disk refused. What was committed before is whole; the new one is there whole, or not at all.
        """
        self._before_save()
        ranking = Ranking(name=metric_name, mode=mode or metric_mode(metric_name))
        value = float(metric_value)
        if not self._improves(ranking, value):
            return None
        every_metric = {**(metrics or {}), metric_name: value}

        def name_of(copy: int) -> str:
            return milestone_name(metric_name, value, epoch, copy)

        source = self._training_at(epoch, step) if step is not None else None
        final = self._link_and_commit(source, ranking, stored_metrics(every_metric), name_of) if source else None
        if final is None:
            state = tensors.build_state(
                "milestone", model, epoch=epoch, global_step=step or 0, metrics=every_metric, config=config,
                git_commit=git_commit(), optimizer=optimizer if self.save_optimizer else None,
                scheduler=scheduler if self.save_scheduler else None, scaler=scaler, metadata=metadata,
                extra=extra,
            )  # fmt: skip
            final, _size_bytes = self._write_and_commit(state, "milestone", name_of, ranking)
        details = {"checkpoint": f"milestone/{final.name}", "metric": metric_name, "value": value}
        self._on_event("milestone", step or 0, details)
        self._retain(step or 0, just_saved=f"milestone/{final.name}")
        return str(final)

    def save_production_checkpoint(
        self,
        model: torch.nn.Module,
        version: str,
        config: Mapping[str, Any] | None,
        metrics: Mapping[str, Any] | None,
        model_card: Mapping[str, Any] | None = None,
    ) -> str:
        """Release a model's weights, config and metrics under a version; returns the path of the file.

        Args:
            model: Its weights are released, nothing of the optimizer.
            version: MAJOR.MINOR.PATCH.
            config: Any mapping.
            metrics: Numbers.
            model_card: Intended use and the like, kept in the file and under `metadata/model_cards/`.

        Raises:
            UsageError: The version or the model's name cannot be one.
            StoreError: That version is released already.
            OSError: The disk refused; nothing was released.
        """
        state = tensors.build_state(
            "production", model, epoch=0, global_step=0, metrics=metrics, config=config, git_commit=git_commit(),
            extra={"model_card": tensors.plain(model_card or {})},
        )  # fmt: skip
        manifest = Manifest(
            id=secrets.token_hex(8), file="", tier="production", run=self._run.name, run_id=self._run.id,
            model_name=self.model_name, attempt=self._run.attempt, epoch=0, global_step=0, time=time.time(),
            metrics=stored_metrics(state["metrics"]), config=state["config"], size_bytes=0, xxh3_128="",
        )  # fmt: skip
        release = release_state(
            self._store, state, manifest, None, None, model=self.model_name, version=Version.parse(version),
            card=model_card, alone=self._is_alone, fs=self._fs,
        )  # fmt: skip
        return str(self.production_dir / release.file)

    def _improves(self, ranking: Ranking, value: float) -> bool:
        made = [info for info in self._live("milestone") if _is_ranked_by(info, ranking.name)]
        best = best_of(made, ranking.name, ranking.mode)
        if math.isnan(value):
            return False
        if best is None:
            return True
        before = best.metric(ranking.name)
        return before is None or (value < before if ranking.mode == "min" else value > before)

    def _training_at(self, epoch: int, step: int) -> CheckpointInfo | None:
        same = [c for c in self._live("training") if (c.epoch, c.step) == (epoch, step) and c.manifest]
        same = [info for info in same if info.attempt == self._run.attempt]
        return max(same, key=lambda info: info.order, default=None)

    def _write_and_commit(
        self, state: tensors.State, tier: Tier, name_of: Any, ranking: Ranking | None = None
    ) -> tuple[Path, int]:
        staged = self._paths.staging / staged_name(name_of(1))
        with removed_on_error(staged, self._fs):
            written = tensors.write_state(staged, state, self._fs, compress=self.compress)
            tensors.refuse_unsafe(staged)
            manifest = Manifest(
                id=secrets.token_hex(8), file="", tier=tier, run=self._run.name, run_id=self._run.id,
                model_name=self.model_name, attempt=self._run.attempt, epoch=state["epoch"],
                global_step=state["global_step"], time=time.time(), metrics=stored_metrics(state["metrics"]),
                ranking=ranking, config=state["config"], environment=state["metadata"],
                git_commit=state["git_commit"], size_bytes=written.size_bytes, xxh3_128=written.xxh3_128,
            )  # fmt: skip
            index = index_tensors(staged)
            with FileLock(self._paths.lock):
                final = commit(self._fs, self._paths, staged, self._paths.tier(tier), name_of, manifest, index)
                self._point_at(final, ranking)
                return final, written.size_bytes

    def _link_and_commit(
        self, source: CheckpointInfo, ranking: Ranking, metrics: dict[str, float | str], name_of: Any
    ) -> Path | None:
        """A milestone that shares the bytes of a training checkpoint; None if a person just deleted that one."""
        assert source.manifest is not None  # noqa: S101 - _training_at returns none without
        manifest = msgspec.structs.replace(
            source.manifest, id=secrets.token_hex(8), tier="milestone", ranking=ranking, time=time.time(),
            metrics=source.manifest.metrics | metrics, pinned=None, forks=[],
        )  # fmt: skip
        index = read_index(source.path)
        with FileLock(self._paths.lock):
            if not source.path.exists():
                return None
            staged = link_or_copy(self._fs, self._paths, source.path)
            with removed_on_error(staged, self._fs):
                final = commit(self._fs, self._paths, staged, self.milestone_dir, name_of, manifest, index)
            self._point_at(final, ranking)
            return final

    def _point_at(self, final: Path, ranking: Ranking | None) -> None:
        """Move the link that a save moves, under the lock of its commit."""
        if ranking is not None:
            link, target = self.milestone_dir / f"best_{file_safe_metric(ranking.name)}.pt", final
        else:
            link, target = self.training_dir / "latest.pt", self.get_latest_checkpoint() or final
        point(self._fs, self._paths.staging, link, target.name)

    # Keeping

    def _retain(self, step: int, just_saved: str) -> None:
        policies = []
        if self.max_training_checkpoints > 0:
            policies.append(Policy(keep_last=self.max_training_checkpoints))
        if self.max_milestones is not None:
            made_for = {c.manifest.ranking.name: c.manifest.ranking.mode for c in self._live("milestone")
                        if c.manifest and c.manifest.ranking}  # fmt: skip
            policies += [Policy(keep_best=self.max_milestones, metric=name, mode=mode, tiers=("milestone",))
                         for name, mode in made_for.items()]  # fmt: skip
        if policies:
            protection = self._protection(just_saved)
            done = apply_retention(self._paths, policies, protection, self._run.attempts, self._fs)
            if done.deleted:
                names = [item.info.key for item in done.deleted]
                self._on_event("pruned", step, {"checkpoints": names, "freed_bytes": done.deleted_bytes})

    def _protection(self, just_saved: str | None = None) -> Protection:
        return Protection(
            metric=self._run.metric, started_from=self._run.started_from, promoted=True, just_saved=just_saved
        )

    def cleanup_old_checkpoints(self, tier: Tier = "training", keep: int = 3) -> Plan:
        """Delete all but the newest `keep` of a tier for good; protected ones stay. Returns what was done."""
        policy = Policy(keep_last=keep, tiers=(tier,))
        return apply_retention(self._paths, [policy], self._protection(), self._run.attempts, self._fs)

    # Reading

    load_checkpoint = staticmethod(load_checkpoint)
    resume_training = staticmethod(resume_training)

    def list_checkpoints(self, tier: Tier | None = None) -> dict[Tier, list[CheckpointInfo]]:
        """Committed checkpoints by tier, oldest first; links are not counted."""
        directories: dict[Tier, Path] = {
            "training": self.training_dir,
            "milestone": self.milestone_dir,
            "production": self.production_dir,
        }
        wanted = directories if tier is None else {tier: directories[tier]}
        return {name: sorted(self._live(name), key=lambda info: info.order) for name in wanted}

    def _live(self, tier: Tier) -> list[CheckpointInfo]:
        directory = self.production_dir if tier == "production" else self._paths.tier(tier)
        found = scan_tier(directory, tier)
        return [info for info in found if is_live(info, self._run.attempts)]

    def has_step(self, epoch: int, step: int) -> bool:
        """Whether this attempt committed a training checkpoint of that step."""
        return self._training_at(epoch, step) is not None

    def get_latest_checkpoint(self, tier: Tier = "training") -> Path | None:
        """The newest committed checkpoint of a tier, None where there is none yet."""
        if tier == "training":
            latest = latest_of(self._live("training"))
        else:
            latest = max(self._live(tier), key=lambda info: info.order, default=None)
        return latest.path if latest is not None else None


def _is_ranked_by(info: CheckpointInfo, metric: str) -> bool:
    return info.manifest is not None and info.manifest.ranking is not None and info.manifest.ranking.name == metric
