"""What a policy would keep and delete, with reasons: pure functions, nothing happens here.

Rules are joined by OR: a checkpoint that any rule keeps is kept. Protected ones always are.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ckptop.host.units import format_duration
from ckptop.store.checkpoint_info import CheckpointInfo, best_first, best_of, metric_mode
from ckptop.store.errors import UsageError
from ckptop.store.manifest import Ranking, Tier
from ckptop.store.records import Metric, Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Rules for keeping checkpoints of some tiers; other tiers are not touched.

    At least one rule must be given: a policy of none would delete everything it may.
    """

    keep_last: int | None = None
    """The newest N of each tier named."""
    keep_every_epochs: int | None = None
    """Those of every Kth epoch; the last of an epoch stands for it."""
    keep_every_steps: int | None = None
    """Those whose step is a multiple of K."""
    keep_spacing_seconds: float | None = None
    """One every so many seconds of training, counted from the oldest there is, which stays."""
    keep_best: int | None = None
    """The best N by `metric`."""
    metric: str | None = None
    mode: Mode | None = None
    """By the metric's name where it is not said."""
    tiers: tuple[Tier, ...] = ("training",)

    def __post_init__(self) -> None:
        every = (self.keep_every_epochs, self.keep_every_steps, self.keep_spacing_seconds)
        rules = (self.keep_last, self.keep_best, *every)
        if all(rule is None for rule in rules):
            raise UsageError(
                "a policy needs a rule: keep the last N, every K epochs or steps, one every so often, or the best N"
            )
        if any(rule is not None and not 0 <= rule < math.inf for rule in rules):
            raise UsageError("a policy's numbers must be finite and not negative")
        if 0 in every:
            raise UsageError("keep every 0 epochs, steps or seconds has no meaning; leave the rule out")
        if self.keep_best is not None and self.metric is None:
            raise UsageError("keep the best N needs a metric to rank by")


@dataclass(frozen=True, kw_only=True, slots=True)
class Protection:
    """What no policy may delete, beside pins, the newest and the best."""

    metric: Metric | None = None
    """The run's metric; the best by it is protected."""
    started_from: frozenset[str] = frozenset()
    """Keys (`training/<name>`) a live attempt started from."""
    forks: frozenset[str] | None = None
    """Runs that exist, of those that manifests name as forks; None takes them all to exist."""
    promoted: bool = False
    """Whether milestones made by hand are; so they are from automatic retention."""
    just_saved: str | None = None
    """Key of the save that retention follows: a training begun anew in an old directory counts from epoch 1 again."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint that stays, and why."""

    info: CheckpointInfo
    reasons: tuple[str, ...]


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint that goes, and why."""

    info: CheckpointInfo
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen, before anything does. Both lists newest first."""

    kept: tuple[Kept, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    deleted_bytes: int = 0
    """Bytes that no kept one holds, each inode once: what is freed once the trash is purged too."""
    unshared_bytes: int = 0
    """Of these, what nothing else holds, such as a milestone in the trash: freed at once where files are removed."""
    kept_bytes: int = 0
    """Bytes the kept ones hold, each inode once."""
    pinned: int = 0

    @property
    def deleted_keys(self) -> frozenset[str]:
        """`tier/name` of those that go."""
        return frozenset(item.info.key for item in self.deleted)


def plan(checkpoints: Sequence[CheckpointInfo], policies: Sequence[Policy], protection: Protection) -> Plan:
    """Decide for each checkpoint whether it is kept, and say why.

    Args:
        checkpoints: The live checkpoints of one run, both tiers; the order does not matter.
        policies: Joined by OR. A tier that none names is kept whole.
        protection: Always kept.
    """
    newest_first = sorted(checkpoints, key=operator.attrgetter("order"), reverse=True)
    reasons: dict[int, list[str]] = {}  # by identity: ten thousand keys alone take a tenth of the plan's time
    for info, reason in _protected(newest_first, policies, protection):
        reasons.setdefault(id(info), []).insert(0, reason)
    for policy in policies:
        for info, reason in _kept_by(policy, newest_first):
            reasons.setdefault(id(info), []).append(reason)
    policy_of = {tier: policy for policy in reversed(policies) for tier in policy.tiers}
    kept = [Kept(info, tuple(dict.fromkeys(reasons[id(info)]))) for info in newest_first if id(info) in reasons]
    gone = [info for info in newest_first if id(info) not in reasons]
    return Plan(
        kept=tuple(kept),
        deleted=tuple([Deleted(info, _why_deleted(info, policy_of[info.tier])) for info in gone]),
        pinned=sum(item.info.pinned for item in kept),
        **_bytes_of([item.info for item in kept], gone),
    )


def _bytes_of(kept: Iterable[CheckpointInfo], gone: Sequence[CheckpointInfo]) -> dict[str, int]:
    """The plan's three sums, each inode once."""
    kept_inodes = {info.inode: info.size_bytes for info in kept}
    freed = {info.inode: info for info in gone if info.inode not in kept_inodes}.values()
    names = Counter([info.inode for info in gone if info.link_count > 1])
    unshared = [info for info in freed if info.link_count <= max(1, names[info.inode])]
    sums = [sum([info.size_bytes for info in infos]) for infos in (freed, unshared)]
    return {"deleted_bytes": sums[0], "unshared_bytes": sums[1], "kept_bytes": sum(kept_inodes.values())}


_Reasons = Iterator[tuple[CheckpointInfo, str]]


def _kept_by(policy: Policy, newest_first: Sequence[CheckpointInfo]) -> _Reasons:
    for tier in policy.tiers:
        members = [info for info in newest_first if info.tier == tier]
        if policy.keep_last:
            for info in members[: policy.keep_last]:
                yield info, f"in the last {policy.keep_last}"
        if policy.keep_every_epochs:
            yield from _every_epochs(members, policy.keep_every_epochs)
        if policy.keep_every_steps:
            for info in members:
                if info.step and info.step % policy.keep_every_steps == 0:
                    yield info, f"every {policy.keep_every_steps} steps"
        if policy.keep_spacing_seconds:
            yield from _spaced(reversed(members), policy.keep_spacing_seconds)
        if policy.keep_best is not None and policy.metric is not None:
            yield from _best(members, policy.keep_best, policy.metric, policy.mode)


def _every_epochs(newest_first: Iterable[CheckpointInfo], every: int) -> _Reasons:
    seen: set[int] = set()
    for info in newest_first:
        epoch = info.epoch
        if epoch and epoch % every == 0 and epoch not in seen:
            seen.add(epoch)
            yield info, f"every {every} epochs"


def _spaced(oldest_first: Iterable[CheckpointInfo], spacing_seconds: float) -> _Reasons:
    """The oldest, and then each that came `spacing_seconds` after the one kept before it.

    What was thinned out once stays as it is. A clock that went backwards begins a new count: it costs no checkpoint.
    """
    before: float | None = None
    for info in oldest_first:
        if before is None or not 0 <= info.time - before < spacing_seconds:
            before = info.time
            yield info, f"one every {format_duration(spacing_seconds)}"


def _best(members: Sequence[CheckpointInfo], n: int, metric: str, mode: Mode | None) -> _Reasons:
    for info in members:
        manifest = info.manifest
        if manifest is None or (metric not in manifest.metrics and manifest.metric(metric) is None):
            yield info, f"{metric} is not recorded"
    for place, best in enumerate(best_first(members, metric, mode or metric_mode(metric), n)):
        yield best, f"best {metric}" if place == 0 else f"in the best {n} by {metric}"


def _protected(newest_first: Sequence[CheckpointInfo], policies: Sequence[Policy], protection: Protection) -> _Reasons:
    tiers = {tier for policy in policies for tier in policy.tiers}
    latest = next((info for info in newest_first if info.tier == "training" and info.manifest is not None), None)
    if latest is not None:
        yield latest, "latest"
    if protection.metric is not None:
        best = best_of(newest_first, protection.metric.name, protection.metric.mode)
        if best is not None:
            yield best, f"best {protection.metric.name}"
    yield from _best_made_for(newest_first)
    for info in newest_first:
        for reason in _protected_by_itself(info, protection):
            yield info, reason
        if info.tier not in tiers:
            yield info, f"{info.tier}s are kept" if info.tier == "milestone" else f"{info.tier} is kept"


def _best_made_for(checkpoints: Sequence[CheckpointInfo]) -> _Reasons:
    """Of the milestones made for a metric the best, which its link means: to be the best is what it was made for."""
    made: dict[Ranking, list[CheckpointInfo]] = {}
    for info in checkpoints:
        if info.tier == "milestone" and info.manifest is not None and info.manifest.ranking is not None:
            made.setdefault(info.manifest.ranking, []).append(info)
    for ranking, members in made.items():
        if (best := best_of(members, ranking.name, ranking.mode)) is not None:
            yield best, f"best {ranking.name}"


def _protected_by_itself(info: CheckpointInfo, protection: Protection) -> list[str]:
    manifest, reasons = info.manifest, []
    if manifest is not None and manifest.promoted is not None and protection.promoted:
        reasons.append("promoted by hand")
    if manifest is not None and manifest.pinned is not None:
        reasons.append("pinned")
    if protection.just_saved is not None and info.key == protection.just_saved:
        reasons.append("just saved")
    if protection.started_from and info.key in protection.started_from:
        reasons.append("this attempt began here")
    if manifest is None:
        reasons.append("its manifest is unreadable")
    elif manifest.forks:
        present = [fork for fork in manifest.forks if protection.forks is None or fork in protection.forks]
        reasons += [f"{fork} began here" for fork in present]
    return reasons


def _why_deleted(info: CheckpointInfo, policy: Policy) -> str:
    if policy.keep_last:
        return f"past the last {policy.keep_last}"
    if policy.keep_best is not None and policy.metric is not None:
        value = info.metric(policy.metric)
        shown = "NaN" if value is None or math.isnan(value) else f"{value:.4g}"
        return f"{policy.metric} {shown} is not in the best {policy.keep_best}"
    return "no rule keeps it"
