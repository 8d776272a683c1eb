"""One committed checkpoint as a reader sees it, and which of many is latest, best and live."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ckptop.store.layout import CheckpointPaths
from ckptop.store.manifest import Manifest, Tier
from ckptop.store.manifest_reading import FoundFile, read_manifest, read_manifests
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


class CheckpointInfo(msgspec.Struct, frozen=True, gc=False):
    """A committed `.pt` and its manifest; `problem` says in one line why the manifest is not to be had.

    Directory and name are apart, and this is no data class: of ten thousand, the paths alone would take 30 ms to make.
    """

    directory: Path
    name: str
    """The file name."""
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
    def path(self) -> Path:
        """The file."""
        return self.directory / self.name

    @property
    def key(self) -> str:
        """Identity within the run: `training/<file name>`."""
        return f"{self.tier}/{self.name}"

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
    def order(self) -> tuple[int, int, float, str, str]:
        """Sort key: (epoch, step), then commit time, as numbers."""
        manifest = self.manifest
        if manifest is None:
            return (self.epoch, self.step, self.modified, self.tier, self.name)
        return (manifest.epoch, manifest.global_step, manifest.time, self.tier, self.name)

    def metric(self, name: str) -> float | None:
        """The value of a metric, NaN included; None where it is missing."""
        return self.manifest.metric(name) if self.manifest is not None else None

    def exists(self) -> bool:
        """Whether the file is still there."""
        return self.path.exists()

    def __fspath__(self) -> str:
        return str(self.path)


_ORDER = operator.attrgetter("order")


def scan_tier(directory: Path, tier: Tier) -> list[CheckpointInfo]:
    """The committed checkpoints of one directory, unordered; links and strangers' files are passed over.

    A directory that is not there holds none. One file that cannot be read never hides the others.

    Raises:
        OSError: The directory is there and cannot be read.
    """
    found = [_info_of(directory, tier, one) for one in read_manifests(directory)]
    # A file without its manifest may have been deleted while that was looked for.
    return [info for info in found if info.problem is None or info.exists()]


def read_info(path: Path, tier: Tier) -> CheckpointInfo:
    """One checkpoint; FileNotFoundError if it is gone."""
    facts = path.lstat()
    return _info_of(path.parent, tier, FoundFile(path.name, facts, *read_manifest(path)))


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


def _info_of(directory: Path, tier: Tier, found: FoundFile) -> CheckpointInfo:
    name, facts, manifest, problem = found
    inode = (facts.st_dev, facts.st_ino)
    return CheckpointInfo(
        directory, name, tier, manifest, problem, inode, facts.st_size, facts.st_mtime, facts.st_nlink
    )


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
    saved_by = {info.manifest.attempt for info in found if info.manifest is not None}
    limits = {attempt: _lineage_limit(attempt, attempts) for attempt in saved_by}
    if min(limits.values(), default=math.inf) < math.inf:  # of most runs nothing was ever abandoned
        found = [one for one in found if one.manifest is None or one.step <= limits[one.attempt]]
    found.sort(key=_ORDER)
    return tuple(found)


def is_live(info: CheckpointInfo, attempts: Iterable[Attempt]) -> bool:
    """Whether a checkpoint belongs to the run's present line; one whose manifest is unreadable is shown, and kept."""
    return info.manifest is None or in_lineage(info.attempt, info.step, attempts)


def in_lineage(attempt: int, step: int, attempts: Iterable[Attempt]) -> bool:
    """Whether what `attempt` did at `step` belongs to the run's present line.

    Each later attempt that started at step S abandons everything of earlier attempts past S.
    """
    return step <= _lineage_limit(attempt, attempts)


def _lineage_limit(attempt: int, attempts: Iterable[Attempt]) -> float:
    """The last step of `attempt` that belongs to the present line."""
    return min((later.from_step for later in attempts if later.attempt > attempt), default=math.inf)


def latest_of(checkpoints: Iterable[CheckpointInfo]) -> CheckpointInfo | None:
    """The newest committed training checkpoint with a readable manifest."""
    training = [info for info in checkpoints if info.tier == "training" and info.manifest is not None]
    return max(training, key=lambda info: info.order, default=None)


def best_of(checkpoints: Iterable[CheckpointInfo], metric: str, mode: Mode) -> CheckpointInfo | None:
    """The best committed checkpoint by `metric`; ties go to the earlier, NaN never wins.

    Of a milestone and a training checkpoint of the same step, the milestone is meant: it is kept longer.
    """
    return next(iter(best_first(checkpoints, metric, mode, 1)), None)


def best_first(checkpoints: Iterable[CheckpointInfo], metric: str, mode: Mode, count: int) -> list[CheckpointInfo]:
    """The best `count` committed checkpoints by `metric`, in the order that `best_of` would find them one by one."""
    sign = 1.0 if mode == "min" else -1.0
    valued: list[CheckpointInfo] = []
    values: list[float] = []  # apart: ten thousand pairs would set the garbage collector going
    for info in checkpoints:
        if (manifest := info.manifest) is not None:
            value = manifest.metrics.get(metric)
            if type(value) is not float:  # nearly all are, and need no call
                value = manifest.metric(metric)
            if value is not None and not math.isnan(value):
                valued.append(info)
                values.append(sign * value)
    if not values or not count:
        return []
    last = sorted(values)[:count][-1]  # few are compared in full
    ranked = sorted(
        (value, info.epoch, info.step, info.tier != "milestone", info.time, info.key, info)
        for value, info in zip(values, valued, strict=True)
        if value <= last
    )
    return [one[-1] for one in ranked[:count]]


def metric_mode(name: str) -> Mode:
    """Whether lower or higher is better, by the words of a metric's name; higher where none tells."""
    words = [word.lower() for word in _WORD.findall(name)]
    return "min" if any(word in _LOWER_IS_BETTER or word.endswith(("loss", "error")) for word in words) else "max"
