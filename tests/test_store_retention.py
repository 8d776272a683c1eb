"""Retention: what a policy keeps and deletes, with reasons, and what no policy may ever delete."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, latest_of
from ckptop.store.errors import UsageError
from ckptop.store.manifest import Manifest, Pin, Ranking, Tier, to_stored
from ckptop.store.names import milestone_name, training_name
from ckptop.store.records import Actor, Metric, Mode
from ckptop.store.retention import Plan, Policy, Protection, plan

ACCURACY = Metric(name="val/accuracy", mode="max")
PIN = Pin(time=1.0, actor=Actor(user="ada", host="box1", pid=1))


def checkpoint(
    epoch: int, accuracy: float | None = None, *, tier: Tier = "training", inode: int | None = None,
    pinned: bool = False, forks: tuple[str, ...] = (), readable: bool = True, step: int | None = None,
    size_bytes: int = 100,
) -> CheckpointInfo:  # fmt: skip
    step = epoch * 10 if step is None else step
    name = training_name(epoch, step) if tier == "training" else milestone_name("val/accuracy", accuracy or 0, epoch)
    manifest = Manifest(
        id=name, file=name, tier=tier, run="mine", run_id="1", model_name="m", attempt=1, epoch=epoch,
        global_step=step, time=float(epoch), size_bytes=size_bytes, xxh3_128="",
        metrics={} if accuracy is None else {"val/accuracy": to_stored(accuracy)},
        pinned=PIN if pinned else None, forks=list(forks),
    )  # fmt: skip
    identity = (1, epoch if inode is None else inode)
    directory = Path("/run") / tier
    return CheckpointInfo(
        directory, name, tier, manifest if readable else None, None, identity, size_bytes, float(epoch)
    )


def kept(decided: Plan) -> list[int]:
    return sorted(item.info.epoch for item in decided.kept)


def reason_of(decided: Plan, epoch: int) -> tuple[str, ...] | str:
    for item in decided.kept:
        if item.info.epoch == epoch:
            return item.reasons
    return next(item.reason for item in decided.deleted if item.info.epoch == epoch)


def test_the_newest_are_kept_by_number_not_by_name() -> None:
    decided = plan([checkpoint(epoch) for epoch in (9_998, 10_000, 9_999, 10_001)], [Policy(keep_last=2)], Protection())

    assert kept(decided) == [10_000, 10_001]
    assert reason_of(decided, 10_001) == ("latest", "in the last 2")
    assert reason_of(decided, 9_999) == "past the last 2"


def test_the_last_of_every_kth_epoch_stands_for_it() -> None:
    found = [checkpoint(epoch, step=epoch * 10 + part) for epoch in range(1, 9) for part in (1, 2)]

    decided = plan(found, [Policy(keep_every_epochs=4)], Protection())

    assert [(item.info.epoch, item.info.step) for item in decided.kept] == [(8, 82), (4, 42)]


def test_every_kth_step_is_kept() -> None:
    found = [checkpoint(1, step=step) for step in (0, 50, 100, 150, 200, 201)]

    decided = plan(found, [Policy(keep_every_steps=100)], Protection())

    assert [item.info.step for item in decided.kept] == [201, 200, 100]


def test_the_best_are_kept_ties_to_the_earlier_and_nan_never() -> None:
    values = {1: 0.9, 2: 0.5, 3: 0.9, 4: math.nan, 5: 0.8, 6: 0.1}

    decided = plan(
        [checkpoint(e, v) for e, v in values.items()], [Policy(keep_best=2, metric="val/accuracy")], Protection()
    )

    assert kept(decided) == [1, 3, 6]
    assert reason_of(decided, 1) == ("best val/accuracy",)
    assert reason_of(decided, 3) == ("in the best 2 by val/accuracy",)
    assert reason_of(decided, 4) == "val/accuracy NaN is not in the best 2"


@pytest.mark.parametrize("epochs", [(1, 2, 3), (3, 2, 1), (2, 1, 3)], ids=str)
def test_nan_is_never_best_wherever_it_is_listed(epochs: tuple[int, ...]) -> None:
    """It compares as neither less nor more, so that an order of listing could let it win."""
    values = {1: math.nan, 2: 0.5, 3: 0.4}

    best = best_of([checkpoint(epoch, values[epoch]) for epoch in epochs], ACCURACY.name, ACCURACY.mode)

    assert best is not None
    assert best.epoch == 2
    assert best_of([checkpoint(1, math.nan)], ACCURACY.name, ACCURACY.mode) is None


def test_what_did_not_record_the_metric_is_kept_when_it_ranks() -> None:
    decided = plan(
        [checkpoint(1), checkpoint(2, 0.9), checkpoint(3, 0.1), checkpoint(4, 0.2)],
        [Policy(keep_best=1, metric="val/accuracy")], Protection(),
    )  # fmt: skip

    assert kept(decided) == [1, 2, 4]
    assert reason_of(decided, 1) == ("val/accuracy is not recorded",)


def test_rules_are_joined_by_or() -> None:
    decided = plan(
        [checkpoint(epoch, 1 / epoch) for epoch in range(1, 8)],
        [Policy(keep_last=1, keep_every_epochs=3, keep_best=1, metric="val/accuracy")], Protection(),
    )  # fmt: skip

    assert kept(decided) == [1, 3, 6, 7]


@pytest.mark.parametrize(
    ("special", "protection", "reason"),
    [
        ({"pinned": True}, Protection(), "pinned"),
        ({"forks": ("child",)}, Protection(), "child began here"),
        ({"readable": False}, Protection(), "its manifest is unreadable"),
        ({"accuracy": 0.99}, Protection(metric=ACCURACY), "best val/accuracy"),
        ({}, Protection(started_from=frozenset({"training/" + training_name(2, 20)})), "this attempt began here"),
        ({}, Protection(just_saved="training/" + training_name(2, 20)), "just saved"),
    ],
    ids=["pinned", "forked", "unreadable", "best", "started-from", "just-saved"],
)  # fmt: skip
def test_what_is_protected_stays_and_says_why(special: dict[str, Any], protection: Protection, reason: str) -> None:
    found = [checkpoint(1, 0.1), checkpoint(2, **{"accuracy": 0.2} | special), checkpoint(3, 0.3), checkpoint(4, 0.4)]

    decided = plan(found, [Policy(keep_last=0)], protection)

    assert kept(decided) == [2, 4]
    assert reason in reason_of(decided, 2)


def test_of_milestones_the_best_of_each_metric_they_were_made_for_stays() -> None:
    """Whatever the run's metric: a rule for milestones that takes the best loss takes what that one is for."""

    def made_for(epoch: int, metric: str, mode: Mode, value: float) -> CheckpointInfo:
        info = checkpoint(epoch, tier="milestone")
        assert info.manifest is not None
        changes = {"metrics": {metric: to_stored(value)}, "ranking": Ranking(name=metric, mode=mode)}
        return msgspec.structs.replace(info, manifest=msgspec.structs.replace(info.manifest, **changes))

    found = [
        made_for(1, "acc", "max", 0.9), made_for(2, "val/loss", "min", 0.1), made_for(3, "val/loss", "min", 0.2),
        made_for(4, "acc", "max", math.nan), made_for(5, "acc", "max", 0.8),
    ]  # fmt: skip

    decided = plan(found, [Policy(keep_last=1, tiers=("milestone",))], Protection())

    assert kept(decided) == [1, 2, 5]
    assert (reason_of(decided, 1), reason_of(decided, 2)) == (("best acc",), ("best val/loss",))


def test_milestones_stay_unless_their_tier_is_named() -> None:
    found = [checkpoint(1, 0.1, tier="milestone"), checkpoint(1, 0.1, inode=50), checkpoint(2, 0.2)]

    unnamed = plan(found, [Policy(keep_last=1)], Protection())
    named = plan(found, [Policy(keep_last=0, tiers=("training", "milestone"))], Protection())

    assert [item.info.tier for item in unnamed.deleted] == ["training"]
    assert unnamed.kept[1].reasons == ("milestones are kept",)
    assert {item.info.tier for item in named.deleted} == {"training", "milestone"}


def test_bytes_count_each_inode_once_and_what_is_held_frees_nothing() -> None:
    held = checkpoint(1, 0.5, inode=1)
    holder = checkpoint(1, 0.5, tier="milestone", inode=1)
    twin_a, twin_b = checkpoint(2, 0.4, inode=2, size_bytes=70), checkpoint(3, 0.3, inode=2, size_bytes=70)

    decided = plan([held, holder, twin_a, twin_b, checkpoint(9)], [Policy(keep_last=1)], Protection())

    assert decided.deleted_bytes == 70
    assert decided.kept_bytes == 200


@pytest.mark.parametrize(
    "rules",
    [{}, {"keep_last": -1}, {"keep_every_epochs": 0}, {"keep_every_steps": 0}, {"keep_best": 3}],
    ids=["no-rule", "negative", "every-0-epochs", "every-0-steps", "best-without-metric"],
)
def test_a_policy_without_meaning_is_refused(rules: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Policy(**rules)  # type: ignore[arg-type]  # numbers only


# Properties, over any set of checkpoints and any policies

VALUES = st.one_of(st.none(), st.floats(allow_nan=True, width=16))


@st.composite
def any_set(draw: st.DrawFn) -> list[CheckpointInfo]:
    found = {}
    for epoch in draw(st.lists(st.integers(1, 30), max_size=12)):
        info = checkpoint(
            epoch, draw(VALUES), tier=draw(st.sampled_from(["training", "milestone"])),
            inode=draw(st.integers(1, 8)), pinned=draw(st.booleans()) and draw(st.booleans()),
            forks=draw(st.sampled_from([(), (), ("child",)])), readable=draw(st.integers(0, 5)) > 0,
        )  # fmt: skip
        found[info.key] = info
    return list(found.values())


POLICIES = st.lists(
    st.builds(
        Policy,
        keep_last=st.integers(0, 5),
        keep_every_epochs=st.one_of(st.none(), st.integers(1, 5)),
        keep_every_steps=st.one_of(st.none(), st.integers(1, 100)),
        keep_best=st.one_of(st.none(), st.integers(0, 4)),
        metric=st.just("val/accuracy"),
        tiers=st.sampled_from([("training",), ("milestone",), ("training", "milestone")]),
    ),
    max_size=3,
)


@st.composite
def any_protection(draw: st.DrawFn, found: list[CheckpointInfo]) -> Protection:
    started = draw(st.sets(st.sampled_from([info.key for info in found]), max_size=2)) if found else set()
    return Protection(metric=draw(st.sampled_from([None, ACCURACY])), started_from=frozenset(started))


@given(st.data())
def test_nothing_protected_is_ever_deleted(data: st.DataObject) -> None:
    found = data.draw(any_set())
    policies = data.draw(POLICIES)
    protection = data.draw(any_protection(found))

    gone = {item.info.key: item.info for item in plan(found, policies, protection).deleted}

    latest = latest_of(found)
    best = best_of(found, ACCURACY.name, ACCURACY.mode) if protection.metric else None
    assert latest is None or latest.key not in gone
    assert best is None or best.key not in gone
    assert not gone.keys() & protection.started_from
    named = {tier for policy in policies for tier in policy.tiers}
    ranked = {tier for policy in policies if policy.keep_best is not None for tier in policy.tiers}
    for info in gone.values():
        assert info.manifest is not None
        assert not info.pinned
        assert not info.manifest.forks
        assert info.tier in named
        assert info.tier not in ranked or info.metric("val/accuracy") is not None


@given(st.data())
def test_every_checkpoint_is_kept_or_deleted_and_every_byte_counted_once(data: st.DataObject) -> None:
    found = data.draw(any_set())

    decided = plan(found, data.draw(POLICIES), data.draw(any_protection(found)))

    stays = [item.info for item in decided.kept]
    goes = [item.info for item in decided.deleted]
    assert sorted(info.key for info in stays + goes) == sorted(info.key for info in found)
    assert decided.deleted_keys == {info.key for info in goes}
    inodes_kept = {info.inode for info in stays}
    assert decided.kept_bytes == 100 * len(inodes_kept)
    assert decided.deleted_bytes == 100 * len({info.inode for info in goes} - inodes_kept)
    assert all(item.reasons for item in decided.kept)
    assert all(item.reason for item in decided.deleted)


@given(st.data())
def test_the_order_of_the_listing_changes_nothing(data: st.DataObject) -> None:
    found = data.draw(any_set())
    policies, protection = data.draw(POLICIES), data.draw(any_protection(found))
    shuffled = data.draw(st.permutations(found))

    assert plan(shuffled, policies, protection) == plan(found, policies, protection)


@given(st.data())
def test_a_second_look_deletes_nothing_more(data: st.DataObject) -> None:
    """Carrying a plan out and planning again is at rest: no checkpoint is lost bit by bit to one policy.

    Rules that count among what is left (the last of an epoch) see the same winners again.
    """
    found = data.draw(any_set())
    policies, protection = data.draw(POLICIES), data.draw(any_protection(found))

    first = plan(found, policies, protection)
    second = plan([item.info for item in first.kept], policies, protection)

    assert second.deleted == ()


# Spacing


def saved_at(*times: float) -> list[CheckpointInfo]:
    """Epochs 1, 2, … saved at these seconds."""
    found = []
    for epoch, when in enumerate(times, start=1):
        info = checkpoint(epoch)
        assert info.manifest is not None
        found.append(msgspec.structs.replace(info, manifest=msgspec.structs.replace(info.manifest, time=when)))
    return found


def test_one_is_kept_every_so_often_counted_from_the_oldest() -> None:
    decided = plan(saved_at(0, 50, 100, 130, 199, 200, 310), [Policy(keep_spacing_seconds=100)], Protection())

    assert kept(decided) == [1, 3, 6, 7]
    assert reason_of(decided, 3) == ("one every 2 min",)
    assert reason_of(decided, 2) == "no rule keeps it"


def test_what_was_thinned_out_stays_as_it_is() -> None:
    """Applied after every save, the rule comes to the same as applied once."""
    left: list[CheckpointInfo] = []
    times = [17.0 * n for n in range(60)]
    for info in saved_at(*times):
        left = [item.info for item in plan([*left, info], [Policy(keep_spacing_seconds=100)], Protection()).kept]

    once = plan(saved_at(*times), [Policy(keep_spacing_seconds=100)], Protection())
    assert sorted(info.epoch for info in left) == kept(once)
    assert len(left) == 11


def test_a_clock_that_went_backwards_costs_no_checkpoint() -> None:
    decided = plan(saved_at(1000, 1100, 200, 250, 300, 1050), [Policy(keep_spacing_seconds=100)], Protection())

    assert kept(decided) == [1, 2, 3, 5, 6]


@pytest.mark.parametrize("spacing", [0, -1.0, math.inf, math.nan])
def test_a_spacing_without_meaning_is_refused(spacing: float) -> None:
    with pytest.raises(UsageError):
        Policy(keep_spacing_seconds=spacing)


# What is freed


def test_bytes_that_something_else_holds_are_freed_later_or_never() -> None:
    """A name in the trash holds them until it is purged, a live milestone for good."""
    alone, linked, shared = checkpoint(1), checkpoint(2), checkpoint(3, inode=33)
    milestone = checkpoint(3, 0.5, tier="milestone", inode=33)
    in_trash_too = [
        alone,
        msgspec.structs.replace(linked, link_count=2),
        msgspec.structs.replace(shared, link_count=2),
        milestone,
        checkpoint(4),
    ]

    decided = plan(in_trash_too, [Policy(keep_last=1)], Protection())

    assert kept(decided) == [3, 4]
    assert (decided.deleted_bytes, decided.unshared_bytes) == (200, 100)


def test_two_names_that_both_go_are_freed_once_and_at_once() -> None:
    training = msgspec.structs.replace(checkpoint(1, inode=7), link_count=2)
    milestone = msgspec.structs.replace(checkpoint(1, 0.1, tier="milestone", inode=7), link_count=2)
    rules = [Policy(keep_last=1, tiers=("training", "milestone"))]

    decided = plan(
        [training, milestone, checkpoint(2), checkpoint(2, 0.2, tier="milestone", inode=8)], rules, Protection()
    )

    assert len(decided.deleted) == 2
    assert (decided.deleted_bytes, decided.unshared_bytes) == (100, 100)


def test_only_forks_that_exist_protect() -> None:
    marked = [checkpoint(1, forks=("gone", "there")), checkpoint(2, forks=("gone",)), checkpoint(3)]

    decided = plan(marked, [Policy(keep_last=1)], Protection(forks=frozenset({"there"})))

    assert kept(decided) == [1, 3]
    assert reason_of(decided, 1) == ("there began here",)


def test_a_limit_of_one_keeps_the_newest_and_the_best() -> None:
    decided = plan(
        [checkpoint(1, 0.5), checkpoint(2, 0.9), checkpoint(3, 0.7), checkpoint(4, 0.6)],
        [Policy(keep_last=1)], Protection(metric=ACCURACY),
    )  # fmt: skip

    assert kept(decided) == [2, 4]
