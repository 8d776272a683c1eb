"""Whatever trainers and persons do to a run, in whatever order and wherever the power goes, its store is what a plain
model says: each rule acts on the store and on the model, then the disk is read and compared.

A step may be cut off at any call to the disk. Then each checkpoint, link, attempt and release is as before the step or
as after it, and the model goes on from what the disk says. Persons act on what they saw when they last looked.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lost_names import Loss
from power_cut import Call, CutFileSystem, PowerCut, die_before_reopening
from store_model import (
    MODES,
    RUN_METRIC,
    Attempt,
    Item,
    Model,
    checkpoint_files,
    link_of,
    milestone_stem,
    places_of,
    ranked,
    read_disk,
    registry_lines,
    training_stem,
)
from tiny_model import FIRST_ATTEMPT, METRIC, tiny_model

from ckptop.store import records
from ckptop.store.actions import delete_checkpoints, prune, restore_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo, scan_tier
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import CkptopError
from ckptop.store.going_back import discard_abandoned, recorded_attempts, write_record
from ckptop.store.layout import RunPaths, StorePaths, manifest_path
from ckptop.store.manifest import Tier
from ckptop.store.names import Version
from ckptop.store.pins import pin, unpin
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.retention import Policy
from ckptop.store.saving import RunLink, SavePoint
from ckptop.store.staging import remove_stale
from ckptop.store.trash import TrashEntry, list_trash, purge
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import RunView, read_run

T = TypeVar("T")

Cut = tuple[int, Loss]

TIERS: tuple[Tier, ...] = ("training", "milestone")
VALUES = st.sampled_from([0.1, 0.25, 0.5, 0.9, math.nan, math.inf, -math.inf])
"""Few, so that there are ties."""
METRICS = st.fixed_dictionaries(dict.fromkeys(MODES, VALUES)) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(MODES, VALUES)
)
EPOCHS = st.lists(METRICS, min_size=1, max_size=5)
"""What some epochs of training measured."""
CALLS = st.integers(0, 12) | st.integers(0, 50)
LOSSES = st.sampled_from(["everything", "data"]) | st.integers(0, 99).map(random.Random)
CUTS = st.none() | st.none() | st.tuples(CALLS, LOSSES)
"""The call at which the power goes, if it does, and what goes with it: few steps make more than 50."""


def _policies(*, min_size: int, max_size: int, tiers: Iterable[tuple[Tier, ...]]) -> st.SearchStrategy[list[Policy]]:
    rules = {
        "keep_last": st.integers(0, 3),
        "keep_every_epochs": st.integers(1, 4),
        "keep_every_steps": st.sampled_from([50, 100, 150]),
        "keep_best": st.integers(0, 2),
    }

    def policy(rules: Mapping[str, Any], metric: str, tiers: tuple[Tier, ...]) -> Policy:
        return Policy(metric=metric, tiers=tiers, **rules)

    some_rules = st.fixed_dictionaries({}, optional=rules).filter(bool)
    one = st.builds(policy, some_rules, st.sampled_from(list(MODES)), st.sampled_from(list(tiers)))
    return st.lists(one, min_size=min_size, max_size=max_size)


POLICIES = _policies(min_size=1, max_size=2, tiers=[("training",), ("milestone",), TIERS])
FURTHER_POLICIES = _policies(min_size=0, max_size=1, tiers=[("training",)])


class Disk(CutFileSystem):
    """The one disk under the trainer and every person, which loses power at a call it is armed for.

    It does not wait, and a run of writes to one file is one call: else most cuts would fall among the tensors.
    """

    def __init__(self) -> None:
        super().__init__(sys.maxsize)

    def arm(self, cut: Cut | None) -> None:
        """Let the power go at a call from now, or after the last."""
        self.calls.clear()
        self._at, self.loss = cut or (sys.maxsize, "everything")

    def before(self, call: Call) -> None:
        has_power = len(self.calls) <= self._at
        if not (has_power and call.name == "write" and self.calls[-1:] == [call]):
            super().before(call)


class StoreMachine(RuleBasedStateMachine):
    """One run with a trainer and persons, and a model of what there must be."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "mine"
        self.paths = RunPaths(self.root)
        self.disk = Disk()
        self.model = Model(attempts=(Attempt(1, 0, None),))
        self.logged = self.model.attempts
        """What metrics.jsonl says, which counts even where run.json does not say so yet."""
        self.manager: CheckpointManager | None = None
        """The trainer's; None while no trainer lives."""
        self.epoch, self.step = 1, 50
        self.count = 0
        self.was_cut = False
        """Since a trainer last opened the run."""

    @initialize(
        keep=st.sampled_from([0, 0, 1, 3]), max_milestones=st.none() | st.integers(1, 2), further=FURTHER_POLICIES,
        epochs=EPOCHS, pruned=st.booleans(),
    )  # fmt: skip
    def begin(
        self,
        keep: int,
        max_milestones: int | None,
        further: list[Policy],
        epochs: list[dict[str, float]],
        pruned: bool,
    ) -> None:
        self.keep, self.max_milestones, self.further = keep, max_milestones, further
        self.root.mkdir()
        record = records.RunRecord(
            id="id-mine", name="mine", task="tiny", created=FIRST_ATTEMPT.time, metric=METRIC, attempts=[FIRST_ATTEMPT]
        )
        write_record(self.paths, record, self.disk)
        self._open()
        self.look()
        self.train(1, epochs)
        if pruned:
            self.prune([Policy(keep_last=1)], None)

    def teardown(self) -> None:
        shutil.rmtree(self.root.parent)

    # What the trainer does

    @rule(
        leap=st.sampled_from(["step", "epoch", "again", "anew"]), by=st.sampled_from([1, 9]), metrics=METRICS, cut=CUTS
    )
    def save(self, leap: str, by: int, metrics: dict[str, float], cut: Cut | None) -> None:
        manager = self._trainer()
        if leap == "anew":  # a training begun anew in an old directory
            self.epoch, self.step = 1, 50
        elif leap != "again":
            self.epoch, self.step = self.epoch + (by if leap == "epoch" else 0), self.step + 50 * by
        content = self._next()
        item = Item(
            tier="training", name=self.model.free_name("training", training_stem(self.epoch, self.step)),
            attempt=self.model.attempts[-1].number, epoch=self.epoch, step=self.step, metrics=_spelled(metrics),
            content=content, born=content,
        )  # fmt: skip
        after = self.model.adding(item)
        assert after.latest is not None
        own = [i for i in self.model.live_in("training") if i.attempt == item.attempt]
        counts_on = not any(i.epoch < item.epoch and i.step > item.step for i in own)
        self._do(
            lambda: manager.save_training_checkpoint(
                tiny_model(content), None, self.epoch, self.step, metrics, {"content": content}
            ),
            self._retained(after.linking("training/latest.pt", after.latest.name), item) if counts_on else None,
            cut,
        )

    @rule(by=st.sampled_from([1, 9]), epochs=EPOCHS)
    def train(self, by: int, epochs: list[dict[str, float]]) -> None:
        for metrics in epochs:
            self.save("epoch", by, metrics, None)
            if RUN_METRIC in metrics:
                self.save_milestone(RUN_METRIC, metrics[RUN_METRIC], {}, True, True, None)

    @rule(
        metric=st.sampled_from(list(MODES)), value=VALUES, others=METRICS, says_step=st.booleans(), same=st.booleans(),
        cut=CUTS,
    )  # fmt: skip
    def save_milestone(
        self, metric: str, value: float, others: dict[str, float], says_step: bool, same: bool, cut: Cut | None
    ) -> None:
        """Linked where the step is said and this attempt has a training checkpoint of it, of these weights."""
        manager = self._trainer()
        content, number = self._next(), self.model.attempts[-1].number
        own = [item for item in self.model.live_in("training") if item.attempt == number]
        newest_step = max([self.step] + [item.step for item in own if item.epoch <= self.epoch])
        source = Item(
            tier="training", name="", attempt=number, epoch=self.epoch, metrics={}, content=content,
            step=self.step if says_step else newest_step,
        )  # fmt: skip
        if says_step and same:
            source = next((i for i in reversed(own) if (i.epoch, i.step) == (self.epoch, self.step)), source)
        metrics = _spelled(others | {metric: value})
        item = self._milestone_of(source, metric, value, metrics={**source.metrics, **metrics}, born=content)
        before = next(ranked((i for i in self.model.live_in("milestone") if i.ranking == metric), metric), None)
        improves = next(ranked([item] if before is None else [before, item], metric), None) is item and (
            before is None or before.value(metric) != value
        )
        after = self.model.adding(item).linking(link_of(metric), item.name)
        saved = self._do(
            lambda: manager.save_milestone_checkpoint(
                tiny_model(item.content), value, metric, self.epoch, {"content": item.content}, metrics=others,
                step=self.step if says_step else None, mode=METRIC.mode if metric == RUN_METRIC else "min",
            ),
            self._retained(after, item) if improves else self.model,
            cut,
        )  # fmt: skip
        assert saved is None or (improves and Path(saved).name == item.name)

    @precondition(lambda self: self.model.live)
    @rule(tier=st.sampled_from(TIERS), keep=st.integers(0, 2), cut=CUTS)
    def retain(self, tier: Tier, keep: int, cut: Cut | None) -> None:
        manager = self._trainer()
        doomed = self.model.doomed([Policy(keep_last=keep, tiers=(tier,))], by_manager=True)
        after = self.model.without(doomed).relinked() if doomed else self.model
        plan = self._do(lambda: manager.cleanup_old_checkpoints(tier, keep), after, cut)
        assert plan is None or plan.deleted_keys == {item.key for item in doomed}

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), cut=CUTS)
    def go_back(self, data: st.DataObject, cut: Cut | None) -> None:
        """An attempt begins at an earlier checkpoint; its line in metrics.jsonl commits it."""
        self._trainer()
        start = _draw_one(data, {item.key: item for item in self.model.live})
        attempt = Attempt(len(self.logged) + 1, start.step, start.key)
        after = replace(self.model, attempts=(*self.model.attempts, attempt)).putting_away_abandoned().relinked()
        self.logged = (*self.logged, attempt._replace(began_at=None))
        self.epoch, self.step = start.epoch, start.step

        def begin() -> None:
            line = {"attempt": attempt.number, "from_step": attempt.from_step, "time": FIRST_ATTEMPT.time}
            with self.paths.metrics.open("a") as log:
                log.write(json.dumps(line) + "\n")
            new = msgspec.convert(line | {"from_checkpoint": start.key}, records.Attempt)
            old = self._record()
            record = msgspec.structs.replace(old, attempts=[*old.attempts, new])
            write_record(self.paths, record, self.disk)
            discard_abandoned(self.paths, record, self.disk)
            self.manager = self._new_manager()

        self._do(begin, after, cut)

    @precondition(lambda self: self.was_cut)
    @rule(cut=CUTS)
    def reopen(self, cut: Cut | None) -> None:
        self._open(cut)

    # What persons do

    @rule()
    def look(self) -> None:
        self.view: RunView = read_run(self.root)
        self.trash: list[TrashEntry] = list_trash(self.paths.checkpoints)

    @precondition(lambda self: self.model.live)
    @rule(policies=POLICIES, cut=CUTS)
    def prune(self, policies: list[Policy], cut: Cut | None) -> None:
        doomed = self.model.doomed(policies, by_manager=False)
        after = self.model.changed(doomed, place="trash").relinked()
        done = self._do(lambda: prune(self.view, policies, self.disk), after, cut)
        if done is not None:
            assert done[0].deleted_keys == {entry.home for entry in done[1]} == {item.key for item in doomed}

    @precondition(lambda self: self.model.live_in("training"))
    @rule(data=st.data(), policies=POLICIES, cut=CUTS)
    def prune_while_a_manifest_is_unreadable(
        self, data: st.DataObject, policies: list[Policy], cut: Cut | None
    ) -> None:
        """A bit of it flips, and flips back."""
        item = _draw_one(data, {item.key: item for item in self.model.live_in("training")})
        path = manifest_path(self.paths.checkpoints.root / item.key)
        written = path.read_bytes()
        path.write_bytes(written.replace(b'"schema": 1', b'"schema": 3'))
        self.model = self.model.changed([item], readable=False)
        self.prune(policies, cut)
        path.write_bytes(written)
        self.model = self.model.changed(self.model.items, readable=True)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), looks=st.booleans(), cut=CUTS)
    def delete(self, data: st.DataObject, looks: bool, cut: Cut | None) -> None:
        """What is another checkpoint by now, of the same name, was not meant."""
        infos = _draw_some(data, self._seen(looks))
        chosen = self._still_live(infos)
        is_refused = any(item.pinned or item.key == self.model.began_at for item in chosen)
        after = self.model.changed(chosen, place="trash").relinked()
        self._do(lambda: delete_checkpoints(self.view, infos, self.disk), None if is_refused else after, cut)

    @precondition(lambda self: self.model.at("trash"))
    @rule(data=st.data(), looks=st.booleans(), wants_all=st.booleans(), cut=CUTS)
    def restore(self, data: st.DataObject, looks: bool, wants_all: bool, cut: Cut | None) -> None:
        """All or none: one that was purged or left behind, or whose name is taken, is refused with the others."""
        seen = self._seen_trash(looks)
        entries = list(seen.values()) if wants_all else _draw_some(data, seen)
        trashed = {item.id: item for item in self.model.at("trash")}
        chosen = [trashed[_id_of(entry.info)] for entry in entries if _id_of(entry.info) in trashed]
        keys = [item.key for item in self.model.at("tier") + chosen]
        is_refused = (
            len(chosen) < len(entries)
            or len(set(keys)) < len(keys)
            or any(self.model.left_behind_by(item) is not None for item in chosen)
        )
        after = self.model.changed(chosen, place="tier").relinked()
        self._do(lambda: restore_checkpoints(self.view, entries, self.disk), None if is_refused else after, cut)

    @precondition(lambda self: self.model.at("trash"))
    @rule(data=st.data(), looks=st.booleans(), wants_all=st.booleans(), cut=CUTS)
    def purge(self, data: st.DataObject, looks: bool, wants_all: bool, cut: Cut | None) -> None:
        seen = self._seen_trash(looks)
        entries = None if wants_all else _draw_some(data, seen) if seen else []
        ids = {_id_of(entry.info) for entry in entries or ()}
        gone = [item for item in self.model.at("trash") if entries is None or item.id in ids]
        after = self.model.without(gone)
        size_bytes = {_id_of(entry.info): entry.info.size_bytes for entry in list_trash(self.paths.checkpoints)}
        held = {item.content for item in after.items}
        freed_bytes = sum({item.content: size_bytes[item.id] for item in gone if item.content not in held}.values())
        freed = self._do(lambda: purge(self.paths.checkpoints, entries, self.disk), after, cut)
        if freed is not None:
            assert freed == freed_bytes or self.was_cut, "only a torn milestone may still hold bytes"
            assert entries is not None or not list(self.paths.checkpoints.trash.glob("*"))

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), looks=st.booleans(), mark=st.booleans(), cut=CUTS)
    def pin_or_unpin(self, data: st.DataObject, looks: bool, mark: bool, cut: Cut | None) -> None:
        info = _draw_one(data, self._seen(looks))
        stands = [item for item in self.model.at("tier") if item.id == _id_of(info)]
        act = pin if mark else unpin
        after = self.model.changed(stands, pinned=mark) if stands else None
        has_changed = self._do(lambda: act(self.view, info, self.disk), after, cut)
        assert has_changed is None or has_changed == (stands[0].pinned != mark)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), looks=st.booleans(), metric=st.none() | st.sampled_from(list(MODES)), cut=CUTS)
    def promote(self, data: st.DataObject, looks: bool, metric: str | None, cut: Cut | None) -> None:
        info, name = _draw_one(data, self._seen(looks)), metric or RUN_METRIC
        after = None
        for item in self._still_live([info]):
            made = [(i.content, i.ranking) for i in self.model.at("tier") if i.tier == "milestone"]
            value = item.value(name)
            if item.tier == "training" and value is not None and (item.content, name) not in made:
                new = self._milestone_of(item, name, value, promoted=True)
                after = self.model.adding(new).relinked()
        self._do(lambda: promote_to_milestone(self.view, info, metric, self.disk), after, cut)

    @precondition(lambda self: self.model.live)
    @rule(data=st.data(), looks=st.booleans(), patch=st.integers(0, 3), cut=CUTS)
    def release(self, data: st.DataObject, looks: bool, patch: int, cut: Cut | None) -> None:
        info, version = _draw_one(data, self._seen(looks)), Version(1, 0, patch)
        store, name = StorePaths(self.root.parent), f"tiny_v{version}.pt"
        stands = any(item.id == _id_of(info) for item in self.model.at("tier"))
        # A torn line may be the release of the file that stands there: that is not written again.
        is_doubtful = (store.production / name).exists() and None in registry_lines(store.production)
        after = None
        if stands and str(version) not in self.model.releases and not is_doubtful:
            after = replace(self.model, releases={**self.model.releases, str(version): info.key})
            after = after.linking("production/latest.pt", name).linking("production/tiny_latest.pt", name)
        self._do(
            lambda: promote_to_production(store, self.view, info, model="tiny", version=version, fs=self.disk),
            after,
            cut,
        )

    # What holds after each

    @invariant()
    def every_checkpoint_verifies_and_shares_its_bytes_with_its_links_alone(self) -> None:
        content = {item.id: item.content for item in self.model.items}
        inodes = set()
        for place in places_of(self.root):
            infos = scan_tier(place.directory, "training" if place.tier == "training" else "milestone")
            assert {info.path for info in infos} == set(checkpoint_files(place.directory))
            for info in infos:
                assert verify_checkpoint(info) is None, info.key
                inodes.add((content[_id_of(info)], info.inode))
        assert len({inode for _, inode in inodes}) == len(inodes) == len({of for of, _ in inodes})

    @invariant()
    def links_dangle_nowhere(self) -> None:
        for directory in (self.paths.checkpoints.training, self.paths.checkpoints.milestone):
            assert [path.name for path in directory.glob("*.pt") if not path.exists()] == []

    @invariant()
    def only_dead_writers_leave_torn_writes(self) -> None:
        staged = os.listdir(self.paths.checkpoints.staging)
        beside = [name for name in os.listdir(self.root) if name.startswith(".")]
        assert all(name.endswith(".tmp") for name in staged + beside)
        assert self.was_cut or staged + beside == []

    @invariant()
    def readers_see_the_models_latest_best_and_order(self) -> None:
        view = read_run(self.root)
        assert view.problem is None
        assert _ids_of(view.checkpoints) == [item.id for item in self.model.live]
        assert _ids_of([view.latest]) == [self.model.latest.id if self.model.latest else None]
        assert _ids_of([view.best]) == [self.model.best.id if self.model.best else None]
        homes = sorted(entry.home for entry in list_trash(self.paths.checkpoints))
        assert homes == sorted(item.key for item in self.model.at("trash"))
        assert view.trash_count == len(homes)
        for tier, infos in self.manager.list_checkpoints().items() if self.manager is not None else ():
            assert tier == "production" or _ids_of(infos) == [item.id for item in self.model.live_in(tier)]

    # Inside

    def _do(self, act: Callable[[], T], after: Model | None, cut: Cut | None) -> T | None:
        """Act on the store, which must then be as `after` says; None for what must be refused.

        Returns what `act` did; None if it was refused or cut off.
        """
        done, died, refused = None, False, ""
        self.disk.arm(cut)
        with pytest.MonkeyPatch.context() as patch:
            if cut is not None:
                die_before_reopening(patch)
            try:
                done = act()
            except PowerCut:
                died = True
            except CkptopError as error:
                refused = str(error)
        self.disk.lose_power()  # what was done must be durable as well
        if died:
            self.manager, self.was_cut = None, True
        else:
            assert bool(refused) == (after is None), refused or "not refused"
        self.model = _settled(self.model, after or self.model, read_disk(self.root), died=died)
        return done

    def _trainer(self) -> CheckpointManager:
        if self.manager is None:
            self._open()
        assert self.manager is not None
        return self.manager

    def _open(self, cut: Cut | None = None) -> None:
        """Open the run as a trainer does: torn writes of the dead go, a going-back that was cut off is completed."""
        known = {attempt.number for attempt in self.model.attempts}
        late = [attempt for attempt in self.logged if attempt.number not in known]
        after = replace(self.model, attempts=(*self.model.attempts, *late)).putting_away_abandoned().relinked()

        def take_up() -> CheckpointManager:
            for directory in (self.root, self.paths.checkpoints.staging):
                remove_stale(directory, self.disk)
            record = self._record()
            completed = recorded_attempts(self.paths, record)
            if completed is not record:
                write_record(self.paths, completed, self.disk)
            self.disk.mkdir(self.paths.checkpoints.staging)
            discard_abandoned(self.paths, completed, self.disk)
            return self._new_manager()

        self.manager = self._do(take_up, after, cut)
        self.was_cut = self.manager is None

    def _record(self) -> records.RunRecord:
        record = read_run(self.root).record
        assert record is not None
        return record

    def _new_manager(self) -> CheckpointManager:
        record = self._record()
        last = record.attempts[-1]
        link = RunLink(
            name="mine", id=record.id, attempt=last.attempt, attempts=tuple(record.attempts), metric=METRIC,
            started_from=frozenset({last.from_checkpoint} if last.from_checkpoint else ()),
        )  # fmt: skip
        return CheckpointManager(
            self.paths.checkpoints.root, self.keep, max_milestones=self.max_milestones, policies=self.further,
            store_root=self.root.parent, run=link, before_save=lambda: SavePoint(self.step), fs=self.disk,
        )  # fmt: skip

    def _retained(self, saved: Model, item: Item) -> Model:
        """After the retention that follows the save of `item`."""
        policies = [Policy(keep_last=self.keep), *self.further] if self.keep else []
        if self.max_milestones is not None:
            policies += [
                Policy(keep_best=self.max_milestones, metric=metric, tiers=("milestone",))
                for metric in MODES
                if any(made.ranking == metric for made in saved.live_in("milestone"))
            ]
        doomed = saved.doomed(policies, by_manager=True, just_saved=item.key)
        return saved.without(doomed).relinked() if doomed else saved

    def _milestone_of(self, source: Item, metric: str, value: float, **changes: Any) -> Item:
        name = self.model.free_name("milestone", milestone_stem(metric, value, source.epoch))
        return replace(source, tier="milestone", name=name, ranking=metric, pinned=False, id="", **changes)

    def _seen(self, looks: bool) -> dict[str, CheckpointInfo]:
        if looks or not self.view.checkpoints:
            self.look()
        return {info.key: info for info in self.view.checkpoints}

    def _seen_trash(self, looks: bool) -> dict[str, TrashEntry]:
        if looks or not self.trash:
            self.look()
        return {f"{number}: {entry.home}": entry for number, entry in enumerate(self.trash)}

    def _still_live(self, infos: Iterable[CheckpointInfo]) -> list[Item]:
        live = {item.id: item for item in self.model.live}
        return [live[_id_of(info)] for info in infos if _id_of(info) in live]

    def _next(self) -> int:
        self.count += 1
        return self.count


def _settled(before: Model, after: Model, disk: Model, *, died: bool) -> Model:
    """The model that agrees with the disk: `after`, or for who died on the way anything between the two."""
    found, old = disk.by_id, before.by_id
    assert len(found) == len(disk.items), "a checkpoint stands in two places"
    fresh = [item for item in disk.items if item.id not in old]
    expected = [item for item in after.items if not item.id]
    if fresh and expected:
        (made,), (new,) = fresh, expected
        after = after.changed([new], id=made.id)
    if not died:
        assert found == after.by_id
        assert disk == replace(after, items=disk.items)
        return after
    new_by_id = {one: item for one, item in after.by_id.items() if one}
    for one in {**old, **new_by_id, **found}:
        assert found.get(one) in (old.get(one), new_by_id.get(one)), "neither as before nor as after"
    assert disk.attempts in (before.attempts, after.attempts)
    if len(fresh) < len(expected) or disk.attempts != after.attempts:
        assert found == old, "something happened before the commit"
    for part in ("links", "releases"):
        now, then, later = (getattr(model, part) for model in (disk, before, after))
        for one in {**now, **then, **later}:
            assert now.get(one) in (then.get(one), later.get(one)), one
    known = [item for item in {**old, **new_by_id}.values() if item.id in found]
    return replace(
        disk, items=tuple(replace(item, place=found[item.id].place, pinned=found[item.id].pinned) for item in known)
    )


def _spelled(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: repr(value) for name, value in metrics.items()}


def _id_of(info: CheckpointInfo) -> str:
    assert info.manifest is not None, info.problem
    return info.manifest.id


def _ids_of(infos: Iterable[CheckpointInfo | None]) -> list[str | None]:
    return [_id_of(info) if info is not None else None for info in infos]


def _draw_one(data: st.DataObject, named: Mapping[str, T]) -> T:
    return named[data.draw(st.sampled_from(list(named)))]


def _draw_some(data: st.DataObject, named: Mapping[str, T]) -> list[T]:
    names = data.draw(st.lists(st.sampled_from(list(named)), min_size=1, max_size=3, unique=True))
    return [named[name] for name in names]


SETTINGS = settings(max_examples=25, stateful_step_count=40, deadline=None)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the machines, which hypothesis makes, have their runs: in memory where there is some."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield


def test_a_run_is_what_the_model_says_whatever_is_done_to_it_and_wherever_the_power_goes() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, derandomize=True))


@pytest.mark.slow
def test_a_run_is_what_the_model_says_at_length_and_otherwise_each_time() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, max_examples=600, print_blob=True))
