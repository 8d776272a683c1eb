"""A checkpoint whose bytes differ is put aside, never loaded, and the next older one that verifies is taken."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from power_cut import HastyFileSystem, RecordingFileSystem
from tiny_model import HASTY, clone, find, live, make_run, manager_of, save, tiny_model

from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.events import read_events
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.run import Run
from ckptop.store.taking_up import take_up
from ckptop.store.trash import list_quarantine
from ckptop.store.verify import verify_checkpoint, verify_run
from ckptop.store.views import read_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base") / "store"
    make_run(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    return clone(base, tmp_path / "store") / "mine"


def flip(path: Path, place: int = 300) -> bytes:
    """Change one byte in place; returns what the file holds then."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    return bytes(data)


def resume(root: Path, selector: str = "auto") -> Run:
    return Run.create(root.parent, name="mine", task="tiny", resume=selector)


def test_a_resume_puts_a_damaged_one_aside_says_so_and_takes_the_next_older(root: Path) -> None:
    newest = find(root, "training", 5)
    damaged = flip(newest.path)

    with resume(root) as run:
        start = run.start

    assert start.from_step == 400
    assert start.notes == (f"{newest.name}: bytes differ from its manifest; skipped",)
    (entry,) = list_quarantine(read_run(root).checkpoint_paths)
    assert (entry.kind, entry.home) == ("damaged", newest.key)
    assert entry.info.path.read_bytes() == damaged, "nothing of it is lost"
    assert entry.info.manifest == newest.manifest
    assert newest.key not in [info.key for info in read_run(root).checkpoints]
    assert os.readlink(newest.path.parent / "latest.pt") == find(root, "training", 4).name
    alerts = [event.details for event in read_events(root / "events.jsonl") if event.event == "alert"]
    assert [alert["message"] for alert in alerts] == [f"{newest.key} damaged: moved to .quarantine/"]
    assert verify_run(read_run(root)).damaged == 0


def test_bytes_with_two_names_are_put_aside_under_both(root: Path) -> None:
    """A milestone linked to the damaged checkpoint is as damaged."""
    for epoch in (3, 4, 5):
        find(root, "training", epoch).path.unlink()
    flip(find(root, "training", 2).path)

    with resume(root) as run:
        assert run.start.from_step == 100

    kept = sorted(entry.home for entry in list_quarantine(read_run(root).checkpoint_paths))
    assert [home.partition("/")[0] for home in kept] == ["milestone", "training"]


def test_what_was_asked_for_by_name_is_refused_and_left_where_it_is(root: Path) -> None:
    info = find(root, "training", 5)
    flip(info.path)

    with pytest.raises(Damaged, match="not resumed"):
        resume(root, info.name)

    assert info.path.exists()


def test_where_none_verifies_all_stay(root: Path) -> None:
    for info in live(root):
        os.truncate(info.path, 50)

    with pytest.raises(Damaged, match="no checkpoint of mine verifies"):
        resume(root)

    assert len(live(root)) == 7


@pytest.mark.parametrize("name", ["mkdir", "rename", "unlink", "create"])
def test_a_disk_that_refuses_to_put_it_aside_does_not_stop_the_resume(root: Path, name: str) -> None:
    """Each call of that name under `.quarantine/`, or of a link, is refused: the run goes on from the next older."""
    newest = find(root, "training", 5)
    flip(newest.path)
    record = read_run(root).record
    assert record is not None

    _record, start = take_up(RunPaths(root), record, "auto", fs=NoQuarantine(name))

    assert start.from_step == 400
    standing = [info.key for info in live(root)]
    assert (newest.key in standing) is (list_quarantine(read_run(root).checkpoint_paths) == [])
    latest = newest.path.parent / "latest.pt"
    assert latest.exists() or not latest.is_symlink(), "no link points at what is gone"


def test_links_are_gone_before_the_checkpoint_is(root: Path) -> None:
    newest, fs = find(root, "training", 5), RecordingFileSystem()
    flip(newest.path)
    record = read_run(root).record
    assert record is not None

    take_up(RunPaths(root), record, "auto", fs=fs)

    renamed = [call.path.name for call in fs.calls if call.name == "rename"]
    assert renamed.index("latest.pt") < renamed.index(newest.name)


def test_one_that_cannot_be_read_is_passed_over_and_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be there again tomorrow."""
    newest = find(root, "training", 5)

    def refuse(path: Path, *rest: object) -> str:
        if path == newest.path:
            raise PermissionError(13, "Permission denied")
        return original(path, *rest)  # type: ignore[arg-type]

    from ckptop.store import verify

    original = verify.xxh3_128_of  # type: ignore[attr-defined]  # the seam of this test
    monkeypatch.setattr(verify, "xxh3_128_of", refuse)
    with resume(root) as run:
        assert run.start.from_step == 400

    assert newest.path.exists()


class NoQuarantine(HastyFileSystem):
    """Refuses one kind of call under `.quarantine/`, and of removing or renaming wherever it is."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _look(self, name: str, path: Path) -> None:
        if name == self._name and (name in ("unlink", "create") or ".quarantine" in path.parts):
            raise OSError(errno.EIO, "Input/output error", str(path))

    def mkdir(self, path: Path) -> None:
        self._look("mkdir", path)
        super().mkdir(path)

    def create(self, path: Path) -> int:
        self._look("create", path)
        return super().create(path)

    def rename(self, source: Path, target: Path) -> None:
        self._look("rename", target)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._look("unlink", path)
        super().unlink(path)


# In a script of one's own


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    manager = CheckpointManager(tmp_path / "checkpoints", fs=HASTY)
    for epoch in (1, 2, 3):
        save(manager, epoch)
    return manager


def test_a_script_resumes_from_the_newest_that_verifies(manager: CheckpointManager) -> None:
    newest = manager.list_checkpoints("training")["training"][-1]
    flip(newest.path)
    model = tiny_model()

    with pytest.warns(UserWarning, match="bytes differ from its manifest; it was passed over and was moved"):
        state = manager.resume_latest(model)

    assert state is not None
    assert state["epoch"] == 2
    assert model.weight.flatten().tolist() == [2.0, 2.0]
    assert [info.epoch for info in manager.list_checkpoints("training")["training"]] == [1, 2]
    assert len(list_quarantine(manager.paths)) == 1


def test_the_links_of_a_script_follow_to_what_is_left(manager: CheckpointManager) -> None:
    newest = manager.list_checkpoints("training")["training"][-1]
    flip(newest.path)

    with pytest.warns(UserWarning, match="passed over"):
        manager.resume_latest(tiny_model())

    assert os.readlink(manager.training_dir / "latest.pt") == "checkpoint_epoch_0002_step_00000200.pt"


@pytest.mark.parametrize("name", ["mkdir", "rename", "unlink", "create"])
def test_a_script_resumes_where_the_disk_refuses_to_put_it_aside(tmp_path: Path, name: str) -> None:
    manager = CheckpointManager(tmp_path / "checkpoints", fs=HASTY)
    for epoch in (1, 2):
        save(manager, epoch)
    newest = manager.list_checkpoints("training")["training"][-1]
    flip(newest.path)
    refused = CheckpointManager(tmp_path / "checkpoints", fs=NoQuarantine(name))

    with pytest.warns(UserWarning, match="it was passed over"):
        state = refused.resume_latest(tiny_model())

    assert state is not None
    assert state["epoch"] == 1


def test_nothing_is_put_aside_through_a_link_out_of_the_set(manager: CheckpointManager, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (manager.checkpoint_dir / ".quarantine").symlink_to(outside)
    newest = manager.list_checkpoints("training")["training"][-1]
    flip(newest.path)

    with pytest.warns(UserWarning, match="passed over$"):
        state = manager.resume_latest(tiny_model())

    assert state is not None
    assert state["epoch"] == 2
    assert list(outside.iterdir()) == []
    assert newest.path.exists()


def test_a_script_whose_files_are_all_damaged_loses_none(manager: CheckpointManager) -> None:
    """A bad disk, or one mounted wrongly, may read well again."""
    infos = manager.list_checkpoints("training")["training"]
    for info in infos:
        flip(info.path)

    with pytest.warns(UserWarning, match="passed over$"), pytest.raises(Damaged, match="verifies"):
        manager.resume_latest(tiny_model())

    assert [info.name for info in manager.list_checkpoints("training")["training"]] == [info.name for info in infos]
    assert list_quarantine(manager.paths) == []


def test_nothing_is_put_aside_for_a_checkpoint_of_another_model(manager: CheckpointManager) -> None:
    flip(manager.list_checkpoints("training")["training"][-1].path)
    other = torch.nn.Linear(5, 5)

    with pytest.raises(RuntimeError, match="is of another model"):
        manager.resume_latest(other)

    assert list_quarantine(manager.paths) == []


def test_a_script_that_has_saved_nothing_begins_afresh(tmp_path: Path) -> None:
    assert CheckpointManager(tmp_path / "checkpoints").resume_latest(tiny_model()) is None


def test_a_script_whose_checkpoints_are_all_damaged_is_told(manager: CheckpointManager) -> None:
    for info in manager.list_checkpoints("training")["training"]:
        manifest_path(info.path).write_bytes(b"{")

    with pytest.warns(UserWarning, match="passed over$"), pytest.raises(Damaged, match="verifies"):
        manager.resume_latest(tiny_model())

    assert len(manager.list_checkpoints("training")["training"]) == 3


@pytest.mark.parametrize("name", ["load_checkpoint", "resume_training"])
def test_none_is_a_clear_line_and_no_type_error(tmp_path: Path, name: str) -> None:
    manager = CheckpointManager(tmp_path / "checkpoints")

    with pytest.raises(NotFound, match="there is no checkpoint yet"):
        getattr(manager, name)(manager.get_latest_checkpoint("training"), tiny_model())


def test_a_damaged_one_is_never_loaded(root: Path) -> None:
    info = find(root, "training", 5)
    flip(info.path)
    model = tiny_model(7)

    with pytest.raises(Damaged, match="not loaded"):
        manager_of(root, HASTY).load_checkpoint(info.path, model)

    assert model.weight.flatten().tolist() == [7.0, 7.0]
    assert verify_checkpoint(info) is not None
