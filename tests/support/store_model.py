"""A run's checkpoints as a person would tell of them: what `test_store_state_machine` holds the store to.

Nothing here calls the code under test. Order, best, lineage, links, names and policies are told again in a few lines of
their own, and the disk is read with `os` and `json`, manifests of the store being plain files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ckptop.store.retention import Policy

MODES = {"val/accuracy": "max", "val/loss": "min"}
"""Every metric there is."""
RUN_METRIC = "val/accuracy"
TIERS = ("training", "milestone")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One checkpoint, wherever it is."""

    tier: str
    name: str
    attempt: int
    epoch: int
    step: int
    metrics: Mapping[str, str]
    """As spelled by `repr`, so that NaN equals NaN."""
    content: int
    """Which bytes: a linked milestone has those of its training checkpoint."""
    ranking: str | None = None
    """The metric a milestone was made for."""
    pinned: bool = False
    promoted: bool = False
    place: str = "tier"
    """`tier`, `trash`, or `discarded/2` after the attempt that left it behind."""
    id: str = field(default="", compare=False)
    """The manifest's; empty until the disk has told it."""
    readable: bool = field(default=True, compare=False)
    """Whether the manifest is; a flipped bit leaves it JSON that is not believed."""
    born: int = field(default=0, compare=False)
    """Counts commits. What was promoted was committed when its training checkpoint was."""

    @property
    def key(self) -> str:
        return f"{self.tier}/{self.name}"

    @property
    def order(self) -> tuple[int, int, int, str]:
        return (self.epoch, self.step, self.born, self.key)

    def value(self, metric: str) -> float | None:
        """NaN where it was; None where it was not recorded."""
        return float(self.metrics[metric]) if metric in self.metrics else None


class Attempt(NamedTuple):
    """A stretch of the run."""

    number: int
    from_step: int
    began_at: str | None
    """The key of the checkpoint it began from."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything a run has, at one moment."""

    items: tuple[Item, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Those of run.json."""
    links: Mapping[str, str] = field(default_factory=dict)
    """`training/latest.pt` and what it says."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """Version and the key of its checkpoint."""

    @property
    def by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}

    def at(self, place: str) -> list[Item]:
        return [item for item in self.items if item.place == place]

    def left_behind_by(self, item: Item) -> int | None:
        """The first later attempt that began before it."""
        return next((a.number for a in self.attempts if a.number > item.attempt and item.step > a.from_step), None)

    @property
    def live(self) -> list[Item]:
        """In the run's present line, oldest first."""
        standing = [item for item in self.at("tier") if self.left_behind_by(item) is None]
        return sorted(standing, key=lambda item: item.order)

    def live_in(self, tier: str) -> list[Item]:
        return [item for item in self.live if item.tier == tier]

    @property
    def latest(self) -> Item | None:
        return next((item for item in reversed(self.live_in("training")) if item.readable), None)

    @property
    def best(self) -> Item | None:
        return next(ranked(self.live, RUN_METRIC), None)

    @property
    def began_at(self) -> str | None:
        return self.attempts[-1].began_at

    def free_name(self, tier: str, stem: str) -> str:
        """`stem.pt`, or `stem_2.pt` where that is taken."""
        taken = {item.name for item in self.at("tier") if item.tier == tier}
        names = (f"{stem}_{copy}.pt" if copy > 1 else f"{stem}.pt" for copy in range(1, 1000))
        return next(name for name in names if name not in taken)

    def changed(self, items: Sequence[Item], **changes: Any) -> Model:
        """With these very items changed; links as they were."""
        chosen = {id(item) for item in items}
        return replace(
            self, items=tuple(replace(item, **changes) if id(item) in chosen else item for item in self.items)
        )

    def without(self, items: Sequence[Item]) -> Model:
        gone = {id(item) for item in items}
        return replace(self, items=tuple(item for item in self.items if id(item) not in gone))

    def adding(self, item: Item) -> Model:
        return replace(self, items=(*self.items, item))

    def linking(self, link: str, target: str) -> Model:
        return replace(self, links={**self.links, link: target})

    def relinked(self) -> Model:
        """With every link saying what the checkpoints say."""
        links = {link: target for link, target in self.links.items() if link.startswith("production/")}
        if self.latest is not None:
            links["training/latest.pt"] = self.latest.name
        for metric in MODES:
            made = [item for item in self.live_in("milestone") if item.ranking == metric]
            if best := next(ranked(made, metric), None):
                links[link_of(metric)] = best.name
        return replace(self, links=links)

    def putting_away_abandoned(self) -> Model:
        """With what no longer belongs to the run's line in `.discarded/`."""
        standing = [item for item in self.at("tier") if self.left_behind_by(item) is not None]
        model = self
        for item in standing:
            model = model.changed([item], place=f"discarded/{self.left_behind_by(item)}")
        return model

    def doomed(self, policies: Sequence[Policy], *, by_manager: bool, just_saved: str | None = None) -> list[Item]:
        """What these policies, joined by OR, would have deleted."""
        kept = {key for policy in policies for key in self._kept_by(policy)}
        named = {tier for policy in policies for tier in policy.tiers}
        protected = {item.key for item in (self.latest, self.best) if item is not None}
        for metric in MODES:
            made = [item for item in self.live_in("milestone") if item.ranking == metric]
            protected |= {item.key for item in list(ranked(made, metric))[:1]}
        protected |= {key for key in (just_saved, self.began_at) if key is not None}
        return [
            item
            for item in self.live
            if item.tier in named
            and item.key not in kept | protected
            and item.readable
            and not item.pinned
            and not (by_manager and item.promoted)
        ]

    def _kept_by(self, policy: Policy) -> Iterator[str]:
        for tier in policy.tiers:
            members = self.live_in(tier)
            if policy.keep_last:
                yield from (item.key for item in members[-policy.keep_last :])
            if (every := policy.keep_every_epochs) is not None:
                last_of_epoch = {item.epoch: item.key for item in members}
                yield from (key for epoch, key in last_of_epoch.items() if epoch % every == 0)
            if (every := policy.keep_every_steps) is not None:
                yield from (item.key for item in members if item.step > 0 and item.step % every == 0)
            if policy.keep_best is not None and policy.metric is not None:
                yield from (item.key for item in members if item.value(policy.metric) is None)
                yield from [item.key for item in ranked(members, policy.metric)][: policy.keep_best]


def ranked(items: Iterable[Item], metric: str) -> Iterator[Item]:
    """Best first: ties go to the earlier, of one step to the milestone; NaN and the unreadable are not among them."""
    sign = -1 if MODES[metric] == "max" else 1

    def rank(item: Item) -> tuple[float, int, int, bool, int, str]:
        return (sign * (item.value(metric) or 0.0), item.epoch, item.step, item.tier == "training", item.born, item.key)

    able = (i for i in items if i.readable and not math.isnan(float(i.metrics.get(metric, "nan"))))
    return iter(sorted(able, key=rank))


def link_of(metric: str) -> str:
    return f"milestone/best_{metric.removeprefix('val/')}.pt"


def training_stem(epoch: int, step: int) -> str:
    return f"checkpoint_epoch_{epoch:04d}_step_{step:08d}"


def milestone_stem(metric: str, value: float, epoch: int) -> str:
    return f"best_{metric.removeprefix('val/')}_{value:.4f}_epoch_{epoch:04d}"


class Place(NamedTuple):
    """A directory that holds checkpoints."""

    directory: Path
    tier: str
    name: str


def places_of(root: Path) -> list[Place]:
    """Every directory of a run where a committed checkpoint may stand."""
    checkpoints = root / "checkpoints"
    trashed = [Place(path, path.name.split("-")[1], "trash") for path in (checkpoints / ".trash").glob("*")]
    discarded = [
        Place(path, path.name, f"discarded/{path.parent.name}") for path in (checkpoints / ".discarded").glob("*/*")
    ]
    return [*(Place(checkpoints / tier, tier, "tier") for tier in TIERS), *trashed, *discarded]


def checkpoint_files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.suffix == ".pt" and not path.is_symlink()]


def read_disk(root: Path) -> Model:
    """What the disk says, whatever ckptop makes of it."""
    record = json.loads((root / "run.json").read_bytes())
    links = {
        f"{directory.name}/{path.name}": str(path.readlink())
        for directory in (*(root / "checkpoints" / tier for tier in TIERS), root.parent / "production")
        for path in directory.glob("*.pt")
        if path.is_symlink()
    }
    return Model(
        items=tuple(_read_item(path, place) for place in places_of(root) for path in checkpoint_files(place.directory)),
        attempts=tuple(Attempt(a["attempt"], a["from_step"], a.get("from_checkpoint")) for a in record["attempts"]),
        links=links,
        releases=dict(_read_releases(root.parent / "production")),
    )


def _read_item(path: Path, place: Place) -> Item:
    manifest = json.loads(path.with_name(f"{path.name[:-3]}.json").read_bytes())
    index = json.loads(path.with_name(f"{path.name[:-3]}.tensors.json").read_bytes())
    assert (manifest["tier"], manifest["file"], index["file"]) == (place.tier, path.name, path.name), path
    ranking = manifest["ranking"]
    assert ranking is None or ranking["mode"] == MODES[ranking["name"]], path
    return Item(
        tier=manifest["tier"],
        name=path.name,
        attempt=manifest["attempt"],
        epoch=manifest["epoch"],
        step=manifest["global_step"],
        metrics={name: repr(float(value)) for name, value in manifest["metrics"].items()},
        content=manifest["config"]["content"],
        ranking=ranking["name"] if ranking is not None else None,
        pinned=manifest["pinned"] is not None,
        promoted=manifest["promoted"] is not None,
        place=place.name,
        id=manifest["id"],
    )


def _read_releases(production: Path) -> Iterator[tuple[str, str]]:
    """A release whose file is not what its line says is no release but a broken promise."""
    for line in registry_lines(production):
        if line is not None and line["event"] == "released":
            path = production / line["file"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == line["sha256"], path
            assert os.stat(path).st_nlink == 1, f"{path} is no copy"
            yield line["version"], line["checkpoint"]


def registry_lines(production: Path) -> Iterator[dict[str, Any] | None]:
    """The whole lines of the registry, None for one that was cut off and ended by the next writer."""
    if not (production / "registry.jsonl").exists():
        return
    for line in (production / "registry.jsonl").read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:
            yield None
