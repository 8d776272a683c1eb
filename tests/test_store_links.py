"""`latest.pt` and `best_<metric>.pt`: conveniences, made again from the manifests."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from power_cut import HastyFileSystem
from tiny_model import HASTY, clone, find, make_run, manager_of, save, tiny_model

from ckptop.store.checkpoint_info import read_checkpoints
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.layout import CheckpointPaths, RunPaths
from ckptop.store.links import point, refresh_links
from ckptop.store.manifest import encode
from ckptop.store.records import RunRecord
from ckptop.store.verify import verify_run
from ckptop.store.views import read_run


class NoLinks(HastyFileSystem):
    """A file system without symbolic links, such as vfat."""

    def symlink(self, text: str, path: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("links") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


@pytest.fixture
def paths(root: Path) -> CheckpointPaths:
    return RunPaths(root).checkpoints


def links(paths: CheckpointPaths) -> dict[str, str]:
    found = [*paths.training.iterdir(), *paths.milestone.iterdir()]
    return {path.name: os.readlink(path) for path in found if path.is_symlink()}


def test_links_are_relative_and_say_what_the_manifests_say(paths: CheckpointPaths) -> None:
    for path in [*paths.training.glob("latest.pt"), *paths.milestone.glob("best_*.pt")]:
        if path.is_symlink():
            path.unlink()

    refresh_links(HASTY, paths, read_checkpoints(paths))

    assert links(paths) == {
        "latest.pt": "checkpoint_epoch_0005_step_00000500.pt",
        "best_accuracy.pt": "best_accuracy_0.6000_epoch_0002.pt",
        "best_loss.pt": "best_loss_0.3000_epoch_0003.pt",
    }


def test_links_to_what_is_gone_go_and_a_persons_stay(root: Path, paths: CheckpointPaths) -> None:
    (paths.training / "mine.pt").symlink_to("nowhere.pt")
    for info in (find(root, "milestone", 3), find(root, "training", 5)):
        info.path.unlink()

    refresh_links(HASTY, paths, read_checkpoints(paths))

    assert links(paths) == {
        "latest.pt": "checkpoint_epoch_0004_step_00000400.pt",
        "best_accuracy.pt": "best_accuracy_0.6000_epoch_0002.pt",
        "mine.pt": "nowhere.pt",
    }


def test_a_right_link_is_not_touched(paths: CheckpointPaths) -> None:
    before = (paths.training / "latest.pt").lstat().st_ino

    refresh_links(HASTY, paths, read_checkpoints(paths))

    assert (paths.training / "latest.pt").lstat().st_ino == before


def test_a_small_file_stands_in_where_links_are_refused(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine", NoLinks())
    record = RunRecord(id="1", name="mine", task="t", created=1.0)
    (tmp_path / "mine" / "run.json").write_bytes(encode(record))

    saved = save(manager, 1, 0.5)
    made = manager.save_milestone_checkpoint(tiny_model(), 0.5, "accuracy", 1, step=100)

    assert made is not None
    assert json.loads((manager.training_dir / "latest.json").read_text()) == {"file": saved.name}
    assert json.loads((manager.milestone_dir / "best_accuracy.json").read_text()) == {"file": Path(made).name}
    assert manager.get_latest_checkpoint() == saved
    assert os.listdir(manager.paths.staging) == []
    assert verify_run(read_run(tmp_path / "mine")).findings == (), "a stand-in is no leftover"


def test_a_refusal_for_another_reason_is_told(paths: CheckpointPaths) -> None:
    class Full(HastyFileSystem):
        def symlink(self, text: str, path: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        point(Full(), paths.staging, paths.training / "latest.pt", "x.pt")

    assert links(paths)["latest.pt"] == "checkpoint_epoch_0005_step_00000500.pt"


def test_a_link_never_takes_the_place_of_a_committed_file(tmp_path: Path) -> None:
    """A metric may be called like a milestone's file."""
    manager = CheckpointManager(tmp_path)
    first = manager.save_milestone_checkpoint(tiny_model(), 0.85, "accuracy", 7)
    assert first is not None
    before = Path(first).read_bytes()

    manager.save_milestone_checkpoint(tiny_model(), 0.9, "accuracy_0.8500_epoch_0007", 8)

    assert not Path(first).is_symlink()
    assert Path(first).read_bytes() == before
