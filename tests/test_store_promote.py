"""Promotion: a training checkpoint becomes a milestone, a link, or a release, a stripped copy."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest
import torch
from tiny_model import HASTY, clone, find, make_run, save, tiny_model, trained_pair
from tiny_model import manager_of as manager_of_run

from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged, NotFound, StoreError, UsageError
from ckptop.store.events import read_events
from ckptop.store.layout import RunPaths, StorePaths, release_config_path, tensors_path
from ckptop.store.names import Version
from ckptop.store.promote import (
    promote_to_milestone,
    promote_to_production,
)
from ckptop.store.registry import read_registry, release_path
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.requirement import Requirement, RequirementNotMet
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("promote") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def release(root: Path, version: str, epoch: int = 3, card: dict[str, str] | None = None) -> Path:
    paths = StorePaths(root.parent)
    line = promote_to_production(
        paths, read_run(root), find(root, "training", epoch), model="tiny", version=Version.parse(version), card=card,
        fs=HASTY,
    )  # fmt: skip
    return release_path(paths, line)


def test_a_milestone_is_a_link_named_after_the_runs_metric(root: Path) -> None:
    source = find(root, "training", 4)

    made = promote_to_milestone(read_run(root), source)

    assert made.name == "best_accuracy_0.5500_epoch_0004.pt"
    assert made.inode == source.inode
    assert verify_checkpoint(made) is None
    assert tensors_path(made.path).exists()
    assert os.readlink(made.path.parent / "best_accuracy.pt") == "best_accuracy_0.6000_epoch_0002.pt"
    told = read_events(RunPaths(root).events)[-1]
    assert (told.event, told.step, told.details["to"]) == ("promoted", 400, f"milestone/{made.name}")


def test_a_pin_and_its_forks_stay_with_the_training_checkpoint(root: Path) -> None:
    made = promote_to_milestone(read_run(root), find(root, "training", 1))

    assert not made.pinned
    assert find(root, "training", 1).pinned


def test_what_cannot_become_a_milestone_says_why(root: Path) -> None:
    view = read_run(root)

    with pytest.raises(UsageError, match="is a milestone already"):
        promote_to_milestone(view, find(root, "milestone", 2))
    with pytest.raises(NotFound, match="recorded no f1; it recorded val/accuracy"):
        promote_to_milestone(view, find(root, "training", 3), "f1")


def test_a_damaged_checkpoint_is_not_promoted(root: Path) -> None:
    info = find(root, "training", 3)
    os.truncate(info.path, 100)

    with pytest.raises(Damaged, match="nothing was promoted"):
        promote_to_milestone(read_run(root), info)
    with pytest.raises(Damaged, match="nothing was promoted"):
        release(root, "1.0.0")

    assert not StorePaths(root.parent).registry.exists()


def test_one_that_went_meanwhile_is_not_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = find(root, "training", 3)
    monkeypatch.setattr("ckptop.store.promote.verify_checkpoint", lambda _: os.unlink(info.path))

    with pytest.raises(NotFound, match="nothing was promoted"):
        promote_to_milestone(read_run(root), info)


def test_a_release_holds_weights_config_metrics_and_card_only(tmp_path: Path) -> None:
    model, optimizer = trained_pair()
    run_root = tmp_path / "store" / "mine"
    manager = manager_of_run(run_root, HASTY)
    source = manager.save_training_checkpoint(
        model, optimizer, 1, 10, {"val/accuracy": 0.9}, {"lr": 0.1}, extra={"rng": torch.arange(9), "loader": {"at": 3}}
    )
    (run_root / "run.json").write_text('{"id":"1","name":"mine","task":"t","created":1}')

    path = release(run_root, "1.0.0", 1, {"intended use": "tests"})

    state = torch.load(path, weights_only=True)
    assert set(state) == {
        "version", "checkpoint_type", "timestamp", "git_commit", "model_state_dict", "epoch", "global_step", "metrics",
        "config", "metadata", "model_card",
    }  # fmt: skip
    assert (state["checkpoint_type"], state["model_card"]) == ("production", {"intended use": "tests"})
    assert torch.equal(state["model_state_dict"]["weight"], model.weight)
    assert not os.path.samefile(path, source)
    config = msgspec.json.decode(release_config_path(path).read_bytes(), type=ReleaseConfig)
    assert config.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (config.config, config.metrics) == ({"lr": 0.1}, {"val/accuracy": 0.9})
    assert (config.checkpoint, config.card) == (f"training/{Path(source).name}", {"intended use": "tests"})
    card = msgspec.json.decode((tmp_path / "store/metadata/model_cards/tiny/v1.0.0.json").read_bytes())
    assert (card["intended use"], card["sha256"]) == ("tests", config.sha256)


def test_links_follow_the_registry(root: Path) -> None:
    first, second = release(root, "1.0.0"), release(root, "1.1.0", 5)

    production = first.parent
    assert os.readlink(production / "latest.pt") == second.name
    assert os.readlink(production / "tiny_latest.pt") == second.name
    registry = read_registry(StorePaths(root.parent))
    assert registry.latest("tiny") == "1.1.0"
    assert registry.release("tiny", "1.1.0").checkpoint == find(root, "training", 5).key


def test_a_released_version_is_never_changed(root: Path) -> None:
    path = release(root, "1.0.0")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"tiny 1\.0\.0 is released already; a release is never changed"):
        release(root, "1.0.0", 5)

    assert path.read_bytes() == before
    assert len(read_registry(StorePaths(root.parent)).releases) == 1
    assert os.listdir(path.parent / ".staging") == []


def test_a_file_without_a_line_is_no_release_and_makes_way(root: Path) -> None:
    """What a cut-off release left behind."""
    paths = StorePaths(root.parent)
    paths.production.mkdir(exist_ok=True)
    torn = paths.production / "tiny_v1.0.0.pt"
    torn.write_bytes(b"cut off")

    assert read_registry(paths).releases == ()
    path = release(root, "1.0.0")

    assert path == torn
    assert hashlib.sha256(path.read_bytes()).hexdigest() == read_registry(paths).releases[0].sha256


@pytest.mark.parametrize("model", ["", "../x", "a/b", ".x", "a b"])
def test_a_model_that_cannot_name_a_file_is_refused(root: Path, model: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        promote_to_production(
            StorePaths(root.parent), read_run(root), find(root, "training", 3), model=model, version=Version(1, 0, 0)
        )


def test_a_stand_alone_manager_releases_beside_its_checkpoints(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, model_name="cnn", fs=HASTY)

    path = manager.save_production_checkpoint(tiny_model(2), "1.0.0", {"lr": 0.1}, {"accuracy": 0.9}, {"by": "ada"})

    assert path == str(tmp_path / "production" / "cnn_v1.0.0.pt")
    assert (tmp_path / "metadata" / "model_cards" / "v1.0.0.json").exists()
    assert (tmp_path / "production" / "cnn_v1.0.0.config.json").exists()
    assert manager.get_latest_checkpoint("production") == Path(path)
    assert [item.name for item in manager.list_checkpoints("production")["production"]] == ["cnn_v1.0.0.pt"]
    with pytest.raises(StoreError, match="released already"):
        manager.save_production_checkpoint(tiny_model(3), "1.0.0", {}, {})
    with pytest.raises(UsageError, match="is not a version"):
        manager.save_production_checkpoint(tiny_model(3), "one", {}, {})


def test_a_stand_alone_manager_refuses_a_model_name_that_is_a_path(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "a", model_name="../../outside", fs=HASTY)

    with pytest.raises(UsageError, match="cannot name a model"):
        manager.save_production_checkpoint(tiny_model(), "1.0.0", {}, {})


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("val/accuracy>=0.9", True), ("val/accuracy >= 0.9", True), ("val/accuracy>0.9", False),
        ("val/accuracy<1", True), ("val/accuracy<=8.9e-1", False), ("val/accuracy==0.9", True),
    ],
)  # fmt: skip
def test_a_requirement_is_met_or_the_answer_is_no(root: Path, text: str, met: bool) -> None:
    info = find(root, "training", 3)
    requirement = Requirement.parse(text)

    if met:
        requirement.check(info)
        return
    with pytest.raises(RequirementNotMet, match=r"has val/accuracy 0\.9, not .*; nothing was promoted") as caught:
        requirement.check(info)
    assert caught.value.exit_code == 1


def test_nan_meets_no_requirement(tmp_path: Path) -> None:
    save(manager_of_run(tmp_path / "mine", HASTY), 1, float("nan"))

    for sign in (">=", "<=", "==", "<", ">"):
        with pytest.raises(RequirementNotMet):
            Requirement.parse(f"val/accuracy{sign}0").check(find(tmp_path / "mine", "training", 1))


def test_a_requirement_of_what_was_not_recorded_is_not_found(root: Path) -> None:
    with pytest.raises(NotFound, match=r"recorded no f1; it recorded val/accuracy"):
        Requirement.parse("f1>=0.9").check(find(root, "training", 3))


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy>=", ">=0.9", "accuracy=0.9", "accuracy>=high", "a>=1.2.3"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it like"):
        Requirement.parse(text)


def test_a_file_that_an_unreadable_line_may_release_is_not_replaced(tmp_path: Path) -> None:
    """A release whose line was damaged later looks like a cut-off one; its file must survive."""
    manager = CheckpointManager(tmp_path)
    model = torch.nn.Linear(2, 1)
    released = Path(manager.save_production_checkpoint(model, "1.0.0", {}, {}))
    before = released.read_bytes()
    registry = tmp_path / "production" / "registry.jsonl"
    registry.write_bytes(registry.read_bytes().replace(b"{", b""))

    with pytest.raises(Damaged, match="unreadable"):
        manager.save_production_checkpoint(model, "1.0.0", {}, {})

    assert released.read_bytes() == before
