"""One committed checkpoint as a reader sees it, and which of many is latest, best and live."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import CheckpointPaths, manifest_path
from ckptop.store.manifest import Manifest, Tier
from ckptop.store.names import parse_checkpoint_name
from ckptop.store.records import Attempt, Mode

_LOWER_IS_BETTER = frozenset({
    "loss", "losses", "error", "errors", "err", "smape", "mape", "mae", "mse", "rmse", "msle", "rmsle", "perplexity",
    "ppl", "nll", "bpb", "bpc", "entropy", "ce", "bce", "kl", "kld", "wer", "cer", "eer", "ece", "fid", "lpips",
    "distance", "divergence", "deviance", "brier", "latency", "seconds",
})  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""Of `val/MeanSquaredError` as of `val_loss`."""
_RUN_TIERS: tuple[Tier, ...] = ("training", "milestone")


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A committed `.pt` and its manifest; `problem` says in one line why the manifest is not to be had."""

    path: Path
    tier: Tier
    manifest: Manifest | None
    problem: str | None
    inode: tuple[int, int]
    """(device, inode): a milestone linked to a training checkpoint shares it, and its bytes."""
    size_bytes: int
    modified: float
    link_count: int = 1
    """Names the inode has, wherever they are."""

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.name

    @property
    def key(self) -> str:
        """Identity within the run: `training/<file name>`."""
        return f"{self.tier}/{self.path.name}"

    @property
    def epoch(self) -> int:
        """Epoch, from 1; read off the name where the manifest is unreadable, 0 if neither says."""
        if self.manifest is not None:
            return self.manifest.epoch
        parsed = parse_checkpoint_name(self.name)
        return parsed.epoch if parsed else 0

    @property
    def step(self) -> int:
        """Optimizer steps done; 0 if nothing says."""
        if self.manifest is not None:
            return self.manifest.global_step
        parsed = parse_checkpoint_name(self.name)
        return (parsed.step or 0) if parsed else 0

    @property
    def time(self) -> float:
        """When it was committed, seconds since the epoch."""
        return self.manifest.time if self.manifest is not None else self.modified

    @property
    def attempt(self) -> int:
        """The attempt that saved it; 0 outside a run."""
        return self.manifest.attempt if self.manifest is not None else 0

    @property
    def pinned(self) -> bool:
        """Whether a person marked it."""
        return self.manifest is not None and self.manifest.pinned is not None

    @property
    def label(self) -> str:
        """`training 62`, `milestone 58`: tier and epoch."""
        return f"{self.tier} {self.epoch}"

    @property
    def order(self) -> tuple[int, int, float, str]:
        """Sort key: (epoch, step), then commit time, as numbers."""
        return (self.epoch, self.step, self.time, self.key)

    def metric(self, name: str) -> float | None:
        """The value of a metric, NaN included; None where it is missing."""
        return self.manifest.metric(name) if self.manifest is not None else None

    def exists(self) -> bool:
        """Whether the file is still there."""
        return self.path.exists()

    def __fspath__(self) -> str:
        return str(self.path)


def scan_tier(directory: Path, tier: Tier) -> list[CheckpointInfo]:
    """The committed checkpoints of one directory, unordered; links and strangers' files are passed over.

    A directory that is not there holds none. One file that cannot be read never hides the others.

    Raises:
        OSError: The directory is there and cannot be read.
    """
    found = []
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    for entry in entries:
        if not entry.name.endswith(".pt") or entry.name.startswith("."):
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # deleted between the listing and the look
        if stat.S_ISREG(facts.st_mode):
            info = _read_info(directory / entry.name, tier, facts)
            if info.problem is None or info.exists():  # else deleted while its manifest was looked for
                found.append(info)
    return found


def read_info(path: Path, tier: Tier) -> CheckpointInfo:
    """One checkpoint; FileNotFoundError if it is gone."""
    return _read_info(path, tier, path.lstat())


def as_it_is_now(info: CheckpointInfo) -> CheckpointInfo | None:
    """The same checkpoint, read again; None if it is gone, or if another took its name since.

    A run that goes back and trains on saves other bytes under a name that somebody may still be looking at.
    """
    try:
        found = read_info(info.path, info.tier)
    except FileNotFoundError:
        return None
    if info.manifest is None or found.manifest is None:
        return found if found.inode == info.inode else None
    return found if found.manifest.id == info.manifest.id else None


def _read_info(path: Path, tier: Tier, facts: os.stat_result) -> CheckpointInfo:
    manifest, problem = None, None
    try:
        manifest = read_json(manifest_path(path), Manifest)
        if manifest.file != path.name:
            manifest, problem = None, f"{path.name}: its manifest names another file; it was not followed"
    except StoreError as error:
        problem = f"{path.name}: {error}".replace(f"{path.parent}/", "")
    except OSError as error:
        problem = f"{path.name}: its manifest cannot be read: {error.strerror}"
    inode = (facts.st_dev, facts.st_ino)
    return CheckpointInfo(path, tier, manifest, problem, inode, facts.st_size, facts.st_mtime, facts.st_nlink)


def read_checkpoints(
    paths: CheckpointPaths, attempts: Sequence[Attempt] = (), *, problems: list[str] | None = None
) -> tuple[CheckpointInfo, ...]:
    """A run's live checkpoints of both tiers, oldest first, abandoned ones left out.

    Until a going-back is complete, abandoned files may still stand beside live ones; lineage decides.

    Args:
        paths: The set of checkpoints.
        attempts: The run's attempts.
        problems: Told, by one who only looks, which tier cannot be read. One who changes must not take such a
            tier for empty, so without a list it raises.

    Raises:
        OSError: A tier is there and cannot be read.
    """
    found: list[CheckpointInfo] = []
    for tier in _RUN_TIERS:
        try:
            found += scan_tier(paths.tier(tier), tier)
        except OSError as error:
            if problems is None:
                raise
            problems.append(f"{paths.root.name}/{tier} cannot be read: {error.strerror}")
    live = [info for info in found if is_live(info, attempts)]
    return tuple(sorted(live, key=lambda info: info.order))


def is_live(info: CheckpointInfo, attempts: Iterable[Attempt]) -> bool:
    """Whether a checkpoint belongs to the run's present line; one whose manifest is unreadable is shown, and kept."""
    return info.manifest is None or in_lineage(info.attempt, info.step, attempts)


def in_lineage(attempt: int, step: int, attempts: Iterable[Attempt]) -> bool:
    """Whether what `attempt` did at `step` belongs to the run's present line.

    Each later attempt that started at step S abandons everything of earlier attempts past S.
    """
    return all(step <= later.from_step for later in attempts if later.attempt > attempt)


def latest_of(checkpoints: Iterable[CheckpointInfo]) -> CheckpointInfo | None:
    """The newest committed training checkpoint with a readable manifest."""
    training = [info for info in checkpoints if info.tier == "training" and info.manifest is not None]
    return max(training, key=lambda info: info.order, default=None)


def best_of(checkpoints: Iterable[CheckpointInfo], metric: str, mode: Mode) -> CheckpointInfo | None:
    """The best committed checkpoint by `metric`; ties go to the earlier, NaN never wins.

    Of a milestone and a training checkpoint of the same step, the milestone is meant: it is kept longer.
    """
    sign = 1.0 if mode == "min" else -1.0
    ranked = []
    for info in checkpoints:
        value = info.metric(metric)
        if value is not None and not math.isnan(value):
            ranked.append((sign * value, info.epoch, info.step, info.tier != "milestone", info.time, info.key, info))
    return min(ranked)[-1] if ranked else None


def metric_mode(name: str) -> Mode:
    """Whether lower or higher is better, by the words of a metric's name; higher where none tells."""
    words = [word.lower() for word in _WORD.findall(name)]
    return "min" if any(word in _LOWER_IS_BETTER or word.endswith(("loss", "error")) for word in words) else "max"
