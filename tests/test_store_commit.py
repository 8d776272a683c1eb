"""The commit protocol: the power may go before any call, and every committed name is whole afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from power_cut import Call, CutFileSystem, PowerCut, RecordingFileSystem, die_before_reopening, each_cut
from tiny_model import (
    HASTY,
    METRIC,
    OPERATIONS,
    assert_whole,
    clone,
    find,
    keys_of,
    make_run,
    manager_of,
    names_in,
    save,
    tiny_model,
)

from ckptop.store.errors import StoreError
from ckptop.store.verify import verify_run
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that `tiny_model` describes; tests work on clones."""
    root = tmp_path_factory.mktemp("base") / "store"
    make_run(root)
    return root


LIKE_ANOTHER = {"save-compressed", "milestone-async"}
"""The calls to the disk are those of a save, or of one and a milestone linked to it."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_ANOTHER)) for name in OPERATIONS]
)
def test_a_power_cut_at_any_call_leaves_the_store_whole(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process dies, a fresh one finds only whole checkpoints, and goes on; what was done stays done."""
    operation = OPERATIONS[name]
    before = keys_of(store / "mine")
    whole = clone(store, tmp_path / "whole") / "mine"
    operation.act(whole, HASTY)

    for fs in each_cut():
        root = clone(store, tmp_path / "cut") / "mine"
        with monkeypatch.context() as dead:
            die_before_reopening(dead)
            is_cut = fs.dies(lambda: operation.act(root, fs))  # noqa: B023 - called at once
        assert is_cut or names_in(root) == names_in(whole)
        assert_whole(root, operation, before)
        shutil.rmtree(root.parent)


def test_a_save_is_durable_before_it_is_named_and_named_before_anything_goes(store: Path, tmp_path: Path) -> None:
    """Data, then manifest, then the commit, then the directory, then the link, and only then retention."""
    root = clone(store, tmp_path / "store") / "mine"
    fs = RecordingFileSystem()

    final = save(manager_of(root, fs, keep=2), 7, 0.2)

    def place(name: str, of: str) -> int:
        (found,) = (i for i, call in enumerate(fs.calls) if call.name == name and call.path.name.endswith(of))
        return i if (i := found) >= 0 else -1

    manifest = final.with_suffix(".json").name
    index = final.name.removesuffix(".pt") + ".tensors.json"
    committed = fs.calls.index(Call("rename", final))
    data_durable = place("fsync", f"{final.name}.tmp")
    manifest_durable = place("fsync", f"{manifest}.tmp")
    manifest_named = fs.calls.index(Call("rename", final.with_name(manifest)))
    index_named = fs.calls.index(Call("rename", final.with_name(index)))
    directory_syncs = [i for i, call in enumerate(fs.calls) if call == Call("fsync_dir", final.parent)]
    linked = fs.calls.index(Call("rename", final.parent / "latest.pt"))
    first_gone = next(i for i, call in enumerate(fs.calls) if call.name == "unlink")
    assert data_durable < index_named < manifest_named < committed < linked < first_gone
    assert manifest_durable < manifest_named
    assert any(manifest_named < sync < committed for sync in directory_syncs), "the manifest's name is durable first"
    assert any(committed < sync < linked for sync in directory_syncs), "the link never points at what may vanish"


def test_a_move_is_durable_on_the_other_side_before_its_manifest_goes(store: Path, tmp_path: Path) -> None:
    root = clone(store, tmp_path / "store") / "mine"
    fs = RecordingFileSystem()
    name = find(root, "training", 2).name

    OPERATIONS["delete"].act(root, fs)

    moved = next(i for i, call in enumerate(fs.calls) if call.name == "rename" and call.path.name == name)
    manifest_there = next(
        i for i, c in enumerate(fs.calls) if c.name == "rename" and c.path.name == name.replace(".pt", ".json")
    )
    there = fs.calls[moved].path.parent
    directory_durable = fs.calls.index(Call("fsync_dir", there), moved)
    manifest_gone = fs.calls.index(Call("unlink", root / "checkpoints" / "training" / name.replace(".pt", ".json")))
    assert manifest_there < moved < directory_durable < manifest_gone


def test_a_taken_name_is_never_written_again(store: Path, tmp_path: Path) -> None:
    """Two saves of one (epoch, step) stand beside each other."""
    manager = manager_of(tmp_path / "mine")

    first, second, third = (save(manager, 1, value) for value in (0.1, 0.2, 0.3))

    assert (second.name, third.name) == (first.name.replace(".pt", "_2.pt"), first.name.replace(".pt", "_3.pt"))
    assert [info.metric(METRIC.name) for info in manager.list_checkpoints("training")["training"]] == [0.1, 0.2, 0.3]


def test_a_link_in_a_committed_place_is_not_followed_or_replaced(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine")
    outside = tmp_path / "precious.pt"
    outside.write_bytes(b"precious")
    taken = manager.training_dir / "checkpoint_epoch_0001_step_00000100.pt"
    taken.symlink_to(outside)

    final = save(manager, 1, 0.5)

    assert final != taken
    assert outside.read_bytes() == b"precious"
    assert taken.is_symlink()


def test_a_milestone_of_a_saved_step_is_a_link_and_of_another_a_file(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine")
    training = save(manager, 1, 0.5)

    linked = manager.save_milestone_checkpoint(tiny_model(1), 0.5, METRIC.name, 1, step=100)
    written = manager.save_milestone_checkpoint(tiny_model(), 0.6, METRIC.name, 2, step=200)

    assert linked is not None
    assert written is not None
    assert os.path.samefile(training, linked)
    assert os.stat(written).st_nlink == 1


@pytest.mark.parametrize("refusal", ["EPERM", "ENOTSUP", "EMLINK", "EXDEV"])
def test_without_hard_links_a_milestone_is_a_durable_copy(tmp_path: Path, refusal: str) -> None:
    class NoHardLinks(RecordingFileSystem):
        def link(self, source: Path, target: Path) -> None:
            import errno

            raise OSError(getattr(errno, refusal), refusal)

    fs = NoHardLinks()
    manager = manager_of(tmp_path / "mine", fs)
    training = save(manager, 1, 0.5)
    fs.calls.clear()

    copied = manager.save_milestone_checkpoint(tiny_model(1), 0.5, METRIC.name, 1, step=100)

    assert copied is not None
    assert not os.path.samefile(training, copied)
    assert Path(copied).read_bytes() == training.read_bytes()
    synced = [call.path.name.endswith(".pt.tmp") for call in fs.calls if call.name == "fsync"]
    assert synced[0], "the copy is durable before its manifest is named"


def test_a_cut_off_save_leaves_nothing_that_a_verification_calls_severe(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifests without a checkpoint count for nothing and are told of."""
    root = clone(store, tmp_path / "store") / "mine"
    recording = RecordingFileSystem()
    save(manager_of(clone(store, tmp_path / "dry") / "mine", recording), 7, 0.2)
    commit_call = next(i for i, c in enumerate(recording.calls) if c.name == "rename" and c.path.suffix == ".pt")
    fs = CutFileSystem(commit_call)

    with pytest.raises(PowerCut):
        save(manager_of(root, fs), 7, 0.2)
    fs.lose_power()

    findings = verify_run(read_run(root)).findings
    assert [finding.severe for finding in findings] == [False, False]
    assert all("has no checkpoint" in finding.message for finding in findings)


def test_a_version_is_released_once(store: Path, tmp_path: Path) -> None:
    root = clone(store, tmp_path / "store") / "mine"
    OPERATIONS["release"].act(root, RecordingFileSystem())

    with pytest.raises(StoreError, match="released already"):
        OPERATIONS["release"].act(root, RecordingFileSystem())

    assert os.listdir(root.parent / "production" / ".staging") == []
