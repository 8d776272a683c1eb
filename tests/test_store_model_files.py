"""From what a person types to a file that holds a model, and what is known of it unread."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from store_fixture import RunPlan, build_store

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.model_files import find_model, find_models
from ckptop.store.records import Command
from ckptop.store.seal import seal
from ckptop.store.store import Store

CNN = RunPlan(name="cnn", phase="stopped", epochs=12, checkpoints=3, milestones=(9,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(build_store(tmp_path / "runs", [CNN, RunPlan(name="empty", phase="failed", checkpoints=0)]))


def oldest(store: Store) -> CheckpointInfo:
    return next(info for info in store.run("cnn").checkpoints if info.tier == "training")


def trained_by(store: Store, argv: list[str]) -> None:
    """Let the run `cnn` have been started by this command."""
    record = RunPaths(store.root / "cnn").record
    fields = msgspec.json.decode(record.read_bytes())
    fields["command"] = msgspec.to_builtins(Command(python="/usr/bin/python3", argv=argv, cwd="/"))
    record.write_bytes(msgspec.json.encode(fields))


def test_a_carried_off_file_says_what_stands_beside_it(store: Store, tmp_path: Path) -> None:
    info = oldest(store)
    copy = tmp_path / "mine.pt"
    shutil.copy(info.path, copy)

    alone = find_model(store, str(copy))
    shutil.copy(manifest_path(info.path), tmp_path / "mine.json")
    (tmp_path / "link.pt").symlink_to(copy)
    beside = find_model(store, str(tmp_path / "link.pt"))
    live = find_model(store, f"cnn:{info.key}")

    assert info.manifest is not None
    assert (alone.config, alone.info) == (None, None)
    assert (beside.config, beside.step, beside.info) == (info.manifest.config, info.step, None)
    assert (live.label, live.info) == (f"cnn:{info.key}", info)
    with pytest.raises(NotFound, match="no run 'nowhere'"):
        find_model(store, "nowhere:best")


def test_a_record_that_was_changed_is_not_believed(store: Store, tmp_path: Path) -> None:
    shutil.copy(oldest(store).path, tmp_path / "mine.pt")
    (tmp_path / "mine.json").write_bytes(manifest_path(oldest(store).path).read_bytes().replace(b"0.001", b"0.002"))

    with pytest.raises(Damaged, match="checksum differs"):
        find_model(store, str(tmp_path / "mine.pt"))


def test_a_run_means_all_its_live_checkpoints_and_a_selector_one(store: Store) -> None:
    everything = [f"cnn:{info.key}" for info in store.run("cnn").checkpoints]

    assert [file.label for file in find_models(store, "cnn")] == everything
    assert [file.label for file in find_models(store, str(store.root / "cnn"))] == everything
    assert len(find_models(store, "cnn:latest")) == 1
    with pytest.raises(NotFound, match="empty has no checkpoint yet"):
        find_models(store, "empty")
    with pytest.raises(NotFound, match="no run 'nowhere'"):
        find_models(store, "nowhere")


def test_one_without_a_manifest_is_listed_for_whoever_verifies_it(store: Store) -> None:
    info = oldest(store)
    manifest_path(info.path).write_bytes(b"{")

    found = {file.path: file for file in find_models(store, "cnn")}

    assert found[info.path].config is None
    assert found[info.path].info is not None


@pytest.mark.parametrize(
    ("argv", "task"),
    [
        (["-m", "ckptop.cli", "train", "wine:Wine", "--lr", "0.1"], "wine:Wine"),
        (["-m", "ckptop.cli", "train", "--device", "cuda:0", "my.wine:Wine"], "my.wine:Wine"),
        (["-m", "ckptop.cli", "train", "digits", "--set", "a=b:c"], None),
        (["wine:Wine"], None),
    ],
)
def test_a_task_of_one_s_own_is_read_off_the_recorded_command(store: Store, argv: list[str], task: str | None) -> None:
    trained_by(store, argv)

    assert find_model(store, "cnn:latest").task == task


def test_code_is_not_named_by_a_record_that_others_can_write(store: Store) -> None:
    trained_by(store, ["-m", "ckptop.cli", "train", "evil:Task"])
    os.chmod(RunPaths(store.root / "cnn").record, 0o664)

    assert find_model(store, "cnn:latest").task is None


def test_the_configuration_of_a_checkpoint_names_its_task(store: Store) -> None:
    info = oldest(store)
    assert info.manifest is not None
    new = msgspec.structs.replace(info.manifest, config={"task": "digits"})
    manifest_path(info.path).write_bytes(seal(msgspec.json.encode(new)))

    assert find_model(store, f"cnn:{info.key}").task == "digits"
