"""Everything known of a checkpoint or a run, gathered from all over the store."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny_model import ACCURACIES, HASTY, METRIC, clone, find, make_run, manager_of, save, tiny_model

from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.facts import (
    checkpoint_facts,
    registry_of,
    releases_of,
    run_facts,
    store_of,
    typed,
)
from ckptop.store.flatten import MOST_LEVELS, flatten
from ckptop.store.layout import StorePaths
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.records import Command
from ckptop.store.registry import read_registry
from ckptop.store.views import read_run, read_standalone


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("facts") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def release(root: Path, tier: str, epoch: int, version: Version) -> None:
    paths, info = StorePaths(root.parent), find(root, tier, epoch)
    promote_to_production(paths, read_run(root), info, model="tiny", version=version, fs=HASTY)


@pytest.mark.parametrize(("epoch", "best"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3)])
def test_the_best_so_far_is_that_of_the_checkpoints_up_to_one(base: Path, epoch: int, best: int) -> None:
    view = read_run(base / "mine")

    found = checkpoint_facts(view, find(base / "mine", "training", epoch)).best_so_far

    assert found is not None
    assert found.epoch == best
    assert found.metric(METRIC.name) == ACCURACIES[best]


def test_without_a_metric_nothing_is_best(tmp_path: Path) -> None:
    CheckpointManager(tmp_path, fs=HASTY).save_training_checkpoint(tiny_model(), None, 1, 1, {"val/accuracy": 0.5})
    view = read_standalone(tmp_path)

    assert checkpoint_facts(view, view.checkpoints[0]).best_so_far is None


def test_the_names_of_the_same_bytes_are_known_both_ways(root: Path) -> None:
    view = read_run(root)
    training, milestone = find(root, "training", 2), find(root, "milestone", 2)

    assert checkpoint_facts(view, training).same_bytes == (milestone.key,)
    assert checkpoint_facts(view, milestone).same_bytes == (training.key,)
    assert checkpoint_facts(view, find(root, "training", 4)).same_bytes == ()


def test_a_name_in_the_trash_and_one_elsewhere_count_too(root: Path) -> None:
    """The milestone of epoch 1 lies in the trash; a fork may hold a link under its own roof."""
    info = find(root, "training", 1)
    (root.parent / "fork.pt").hardlink_to(info.path)

    facts = checkpoint_facts(read_run(root), find(root, "training", 1))

    (name,) = facts.same_bytes
    assert name.startswith(".trash/")
    assert name.endswith("/best_accuracy_0.5000_epoch_0001.pt")
    assert facts.other_names == 1


def test_releases_are_those_of_any_name_of_the_bytes(root: Path) -> None:
    release(root, "training", 3, Version(1, 0, 0))
    release(root, "milestone", 2, Version(1, 1, 0))
    view = read_run(root)

    def versions(tier: str, epoch: int) -> list[str]:
        return [line.version for line in checkpoint_facts(view, find(root, tier, epoch)).releases]

    assert versions("training", 3) == ["1.0.0"]
    assert versions("training", 2) == versions("milestone", 2) == ["1.1.0"]
    assert versions("training", 4) == []
    assert [line.version for line in run_facts(view).releases] == ["1.0.0", "1.1.0"]


def test_a_release_of_an_earlier_run_of_that_name_is_not_its_own(root: Path) -> None:
    release(root, "training", 3, Version(1, 0, 0))
    (root / "run.json").write_text((root / "run.json").read_text().replace("id-mine", "id-another"))
    view = read_run(root)

    assert view.record is not None
    assert releases_of(view, registry_of(view)) == []
    assert checkpoint_facts(view, find(root, "training", 3)).releases == ()


def test_the_releases_of_a_stand_alone_set_are_its_own(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "alone", fs=HASTY)
    manager.save_training_checkpoint(tiny_model(), None, 1, 1, {})
    view = read_standalone(tmp_path / "alone")
    promote_to_production(
        StorePaths(view.root), view, view.checkpoints[0], model="tiny", version=Version(1, 0, 0), fs=HASTY
    )

    assert store_of(view).root == view.root
    assert [line.version for line in checkpoint_facts(view, view.checkpoints[0]).releases] == ["1.0.0"]


def test_a_registry_that_cannot_be_read_hides_nothing_else(root: Path) -> None:
    paths = StorePaths(root.parent)
    paths.registry.mkdir(parents=True)

    facts = checkpoint_facts(read_run(root), find(root, "training", 2))

    assert facts.releases == ()
    assert len(facts.same_bytes) == 1


def test_bytes_of_a_tier_count_an_inode_once(root: Path) -> None:
    """Two milestones of one checkpoint, made under two ideas of best."""
    save(manager_of(root, HASTY), 8, 0.4)
    view = read_run(root)
    info = find(root, "training", 8)
    promote_to_milestone(view, info, "val/accuracy", HASTY)
    before = run_facts(read_run(root)).tiers["milestone"]

    (root / "run.json").write_text((root / "run.json").read_text().replace('"mode": "max"', '"mode": "min"'))
    promote_to_milestone(read_run(root), find(root, "training", 8), "val/accuracy", HASTY)

    after = run_facts(read_run(root)).tiers["milestone"]
    assert after.count == before.count + 1
    assert after.size_bytes == before.size_bytes


def test_a_run_knows_what_was_put_away(root: Path) -> None:
    away = run_facts(read_run(root)).put_away

    assert away["deleted"].count == 2
    assert set(away) == {"deleted"}


def test_a_configuration_is_flat_with_dotted_keys() -> None:
    tree = {"lr": 0.1, "model": {"hidden": 8, "layers": [1, 2], "act": {"name": "gelu"}}, "none": None, "empty": {}}

    assert flatten(tree) == {
        "lr": 0.1, "model.hidden": 8, "model.layers": [1, 2], "model.act.name": "gelu", "none": None, "empty": {},
    }  # fmt: skip


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_what_a_stranger_nested_too_deeply_is_left_out(opening: str) -> None:
    closing = "}" if opening.startswith("{") else "]"
    nested = msgspec.json.decode(opening * 150 + "1" + closing * 150)

    flat = flatten({"lr": 0.1, "deep": nested})

    assert flat.pop("lr") == 0.1
    assert list(flat.values()) == ["…"]
    assert all(key.count(".") < MOST_LEVELS for key in flat)


@pytest.mark.parametrize(
    ("python", "argv", "line"),
    [
        ("/venv/bin/python", ["-m", "ckptop.cli", "train", "t", "--name", "a b"], "ckptop train t --name 'a b'"),
        ("/venv/bin/python3.11", ["train.py", "--lr", "0.1"], "python3.11 train.py --lr 0.1"),
    ],
)
def test_a_command_is_shown_as_it_is_typed(python: str, argv: list[str], line: str) -> None:
    assert typed(Command(python=python, argv=argv, cwd="/")) == line


def test_gathering_facts_changes_nothing(root: Path) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.parent.rglob("*")}

    before = everything()
    view = read_run(root)

    for info in view.checkpoints:
        checkpoint_facts(view, info)
    run_facts(view)

    assert everything() == before
    assert read_registry(store_of(view)).releases == ()
