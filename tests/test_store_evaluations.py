"""Evaluations: numbers written beside a checkpoint later, by which everything that ranks ranks."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import msgspec
import pytest
from power_cut import RecordingFileSystem
from store_fixture import RunPlan, build_store

from ckptop.cli.main import run
from ckptop.store.actions import plan_prune
from ckptop.store.checkpoint_info import CheckpointInfo, best_of
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.evaluations import (
    evaluation_name,
    evaluations_of,
    made_on_other_data,
    mode_of,
    name_of_file,
    record_evaluation,
)
from ckptop.store.events import read_events
from ckptop.store.files import decode
from ckptop.store.find import find_checkpoint
from ckptop.store.fs import FileSystem
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import Manifest, Ranking
from ckptop.store.promote import promote_to_milestone
from ckptop.store.records import DataSource
from ckptop.store.requirement import Requirement, RequirementNotMet
from ckptop.store.retention import Policy
from ckptop.store.seal import seal
from ckptop.store.store import Store
from ckptop.store.views import RunView

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=6, milestones=(9,))
DATA = DataSource(path="photos.csv", hash="00ff")
GOLDEN = Path(__file__).parent / "golden" / "manifest.json"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    root = build_store(tmp_path / "runs", [CNN])
    monkeypatch.setenv("CKPTOP_STORE", str(root))
    return Store.open(root)


def training(view: RunView) -> list[CheckpointInfo]:
    return [info for info in view.checkpoints if info.tier == "training"]


def evaluate(store: Store, *accuracies: float, name: str = "photos") -> list[CheckpointInfo]:
    """Record an accuracy for each of the oldest training checkpoints; returns all of them as they are now."""
    view = store.run("cnn")
    for info, accuracy in zip(training(view), accuracies, strict=False):
        record_evaluation(view, info, name, {"accuracy": accuracy, "loss": 1 - accuracy}, DATA)
    return training(store.run("cnn"))


def manifest_of(info: CheckpointInfo) -> Manifest:
    assert info.manifest is not None
    return info.manifest


def test_an_evaluation_stands_beside_the_metrics_with_the_hash_of_its_data(store: Store) -> None:
    before = manifest_of(training(store.run("cnn"))[0])

    after = manifest_of(evaluate(store, 0.5)[0])

    assert after.evaluations == {
        "eval/photos/accuracy": 0.5, "eval/photos/loss": 0.5, "eval/photos/data_hash": "00ff",
    }  # fmt: skip
    assert msgspec.structs.replace(after, evaluations={}) == before
    assert evaluations_of(after) == ["photos"]


def test_repeating_one_replaces_it_whole_and_leaves_the_others(store: Store) -> None:
    evaluate(store, 0.5, name="photos")
    evaluate(store, 0.6, name="photos.2")
    view = store.run("cnn")

    record_evaluation(view, training(view)[0], "photos", {"accuracy": 0.7}, DataSource(path="new.csv", hash="11"))

    manifest = manifest_of(training(store.run("cnn"))[0])
    assert manifest.evaluated == {
        "eval/photos.2/accuracy": 0.6, "eval/photos.2/loss": 0.4, "eval/photos/accuracy": 0.7,
    }  # fmt: skip
    assert manifest.evaluations["eval/photos/data_hash"] == "11"


def test_metrics_come_first_and_a_fact_is_no_metric(store: Store) -> None:
    info = evaluate(store, math.nan)[0]

    assert info.metric("val/accuracy") == manifest_of(info).metrics["val/accuracy"]
    assert math.isnan(info.metric("eval/photos/accuracy") or 0)
    assert info.metric("eval/photos/data_hash") is None
    assert info.metric("eval/other/accuracy") is None


def test_a_manifest_written_before_there_were_evaluations_is_read() -> None:
    fields = msgspec.json.decode(GOLDEN.read_bytes())
    del fields["evaluations"], fields["checksum"]

    manifest = decode(seal(msgspec.json.encode(fields)), Manifest, GOLDEN)

    assert manifest.evaluations == {}
    assert manifest.metric("val/accuracy") == 0.85


def test_it_is_told_in_events(store: Store) -> None:
    info = evaluate(store, 0.5)[0]

    event = read_events(store.run("cnn").paths.events)[-1]

    assert (event.event, event.step) == ("evaluated", info.step)
    assert event.details["checkpoint"] == info.key
    assert event.details["data"] == {"path": "photos.csv", "hash": "00ff"}
    assert event.details["metrics"] == {"eval/photos/accuracy": 0.5, "eval/photos/loss": 0.5}


def test_best_by_an_evaluation_is_found(store: Store) -> None:
    infos = evaluate(store, 0.5, 0.9, 0.7, math.nan)

    _view, found = find_checkpoint(store, "cnn:best=eval/photos/accuracy")
    _view, lowest = find_checkpoint(store, "cnn:best=eval/photos/loss")

    assert found.key == infos[1].key == lowest.key


def test_what_better_means_is_the_run_s_word_on_other_data_too(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run may want the lowest of what by its name would be the highest."""
    infos = evaluate(store, 0.5, 0.9, 0.7)
    record = RunPaths(store.root / "cnn").record
    fields = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode(fields | {"metric": {"name": "val/accuracy", "mode": "min"}}))
    view = store.run("cnn")

    assert (mode_of(view, "eval/photos/accuracy"), mode_of(view, "eval/photos/f1")) == ("min", "max")
    assert find_checkpoint(store, "cnn:best=eval/photos/accuracy")[1].key == infos[0].key
    milestone = promote_to_milestone(view, infos[1], "eval/photos/accuracy")
    assert manifest_of(milestone).ranking == Ranking(name="eval/photos/accuracy", mode="min")
    run(["prune", "cnn", "--keep-best", "1", "--metric", "eval/photos/accuracy", "--dry-run", "--json"])
    gone = {item["checkpoint"] for item in json.loads(capsys.readouterr().out)["deleted"]}
    assert gone == {infos[1].key, infos[2].key}


def test_retention_keeps_the_best_by_an_evaluation_and_what_was_not_evaluated(store: Store) -> None:
    infos = evaluate(store, 0.5, 0.9, 0.7)

    plan = plan_prune(store.run("cnn"), [Policy(keep_best=1, metric="eval/photos/accuracy")])

    reasons = {kept.info.key: kept.reasons for kept in plan.kept}
    assert plan.deleted_keys == {infos[0].key, infos[2].key}
    assert "best eval/photos/accuracy" in reasons[infos[1].key]
    assert "eval/photos/accuracy is not recorded" in reasons[infos[3].key]


def test_prune_ranks_by_an_evaluation(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    infos = evaluate(store, 0.5, 0.9, 0.7)

    code = run(["prune", "cnn", "--keep-best", "1", "--metric", "eval/photos/accuracy", "--json"])

    gone = {item["checkpoint"] for item in json.loads(capsys.readouterr().out)["deleted"]}
    assert code == 0
    assert gone == {infos[0].key, infos[2].key}
    assert {info.key for info in training(store.run("cnn"))} == {info.key for info in infos} - gone


def test_promote_requires_an_evaluation(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    infos = evaluate(store, 0.5, 0.95)
    wanted = ["--to", "milestone", "--require", "eval/photos/accuracy>=0.9"]

    assert run(["promote", f"cnn:{infos[0].key}", *wanted]) == RequirementNotMet.exit_code
    assert "has eval/photos/accuracy 0.5, not >= 0.9" in capsys.readouterr().err
    assert run(["promote", f"cnn:{infos[2].key}", *wanted]) == NotFound.exit_code
    assert run(["promote", f"cnn:{infos[1].key}", *wanted]) == 0

    Requirement.parse("eval/photos/loss<0.1").check(training(store.run("cnn"))[1])


def test_a_milestone_made_by_hand_takes_its_evaluations_along(store: Store) -> None:
    infos = evaluate(store, 0.5, 0.95)
    view = store.run("cnn")

    milestone = promote_to_milestone(view, infos[1], "eval/photos/accuracy")

    assert milestone.name.startswith("best_eval_photos_accuracy_0.9500")
    assert milestone.metric("eval/photos/accuracy") == 0.95
    best = best_of(store.run("cnn").checkpoints, "eval/photos/accuracy", "max")
    assert best is not None
    assert best.key == milestone.key


def test_ls_shows_a_column_for_each_evaluation(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(store, 0.5, 0.8125)

    assert run(["ls", "cnn"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "eval/photos/accuracy" in head
    assert "eval/photos/loss" not in head
    assert sum("0.8125" in row for row in rows) == 1

    run(["ls", "cnn", "--json"])
    listed = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [item["evaluations"].get("eval/photos/accuracy") for item in listed if item["tier"] == "training"][:3] == [
        0.5, 0.8125, None,
    ]  # fmt: skip


def test_ls_of_a_store_without_evaluations_is_as_it_was(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run(["ls", "cnn"])

    assert capsys.readouterr().out.splitlines()[0].split() == [
        "tier", "mark", "epoch", "step", "val/accuracy", "size", "age", "file",
    ]  # fmt: skip


class Refusing(FileSystem):
    """A disk that takes nothing."""

    def create(self, path: Path) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def test_a_disk_that_refuses_leaves_the_manifest_as_it_was(store: Store) -> None:
    view = store.run("cnn")
    info = training(view)[0]
    before = manifest_path(info.path).read_bytes()

    with pytest.raises(OSError, match="Read-only"):
        record_evaluation(view, info, "photos", {"accuracy": 0.5}, DATA, Refusing())

    assert manifest_path(info.path).read_bytes() == before


def test_whoever_writes_an_evaluation_holds_the_lock(store: Store) -> None:
    view = store.run("cnn")

    record_evaluation(view, training(view)[0], "photos", {"accuracy": 0.5}, DATA, RecordingFileSystem())


def test_what_was_replaced_since_it_was_scored_is_not_written_to(store: Store) -> None:
    view = store.run("cnn")
    first, second = training(view)[:2]
    manifest_path(first.path).write_bytes(
        seal(msgspec.json.encode(msgspec.structs.replace(manifest_of(second), file=first.name)))
    )

    with pytest.raises(NotFound, match="is gone"):
        record_evaluation(view, first, "photos", {"accuracy": 0.5}, DATA)
    second.path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        record_evaluation(view, second, "photos", {"accuracy": 0.5}, DATA)
    manifest_path(first.path).write_bytes(b"{")
    with pytest.raises(Damaged, match="truncated"):
        record_evaluation(view, first, "photos", {"accuracy": 0.5}, DATA)


def test_the_same_name_on_other_data_is_found(store: Store) -> None:
    infos = evaluate(store, 0.5, 0.6)
    view = store.run("cnn")
    record_evaluation(view, infos[0], "photos", {"accuracy": 0.1}, DataSource(path="photos.csv", hash="11"))

    view = store.run("cnn")

    assert [info.key for info in made_on_other_data(view, "photos", "11")] == [infos[1].key]
    assert made_on_other_data(view, "nothing", "11") == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos.csv", "photos"),
        ("a/test.csv", "test.csv"),
        ("two words.npy", "two_words"),
        ("…", "data"),
        ("v1.2.csv", "v1.2"),
    ],
)
def test_a_file_names_its_evaluation(path: str, name: str) -> None:
    assert name_of_file(Path(path)) == name
    assert evaluation_name(name, ["accuracy", "loss"]) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test", "the task's own test part"),
        ("a/b", "cannot name data"),
        ("", "cannot name data"),
        (".hidden", "cannot name data"),
        ("hard-error", "reads like a loss"),
    ],
)
def test_a_name_that_would_mislead_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        evaluation_name(name, ["accuracy"])
