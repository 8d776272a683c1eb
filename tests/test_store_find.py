"""From what a person types to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_model import HASTY, find, make_run, manager_of, save, tiny_model

from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import NotFound, UsageError
from ckptop.store.events import current_actor
from ckptop.store.find import find_checkpoint, find_release, is_release
from ckptop.store.layout import RunPaths, StorePaths
from ckptop.store.registry import ReleaseLine, append_release, append_yank
from ckptop.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("find")
    make_run(root)
    return Store.open(root)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mine", "training/5"),
        ("mine:latest", "training/5"),
        ("mine:best", "training/3"),
        ("mine:best=val/loss", "milestone/3"),
        ("mine:epoch=4", "training/4"),
        ("mine:step=200", "training/2"),
        ("mine:checkpoint_epoch_0002_step_00000200.pt", "training/2"),
        ("mine:milestone/best_accuracy_0.6000_epoch_0002.pt", "milestone/2"),
    ],
)
def test_a_checkpoint_is_found_by_what_a_person_types(store: Store, text: str, wanted: str) -> None:
    view, info = find_checkpoint(store, text)

    assert view.name == "mine"
    assert f"{info.tier}/{info.epoch}" == wanted


def test_a_checkpoint_is_found_by_its_path(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = find(store.root / "mine", "training", 2)
    monkeypatch.chdir(wanted.path.parent)

    for text in (str(wanted.path), wanted.name, f"../training/{wanted.name}"):
        assert find_checkpoint(store, text)[1].inode == wanted.inode


def test_a_link_names_what_it_points_at(store: Store) -> None:
    _, info = find_checkpoint(store, str(store.root / "mine/checkpoints/training/latest.pt"))

    assert info.epoch == 5


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("nobody:latest", NotFound, "no run 'nobody'.*there: mine"),
        ("mine:epoch=77", NotFound, "epoch 77"),
        ("mine:best=f1", NotFound, "recorded f1"),
        ("mine:nonsense", NotFound, "say latest, best"),
        ("mine:epoch=x", NotFound, "say latest, best"),
        ("no/such/file.pt", NotFound, "does not exist"),
        ("/etc/hostname", NotFound, "not a live checkpoint"),
        ("../mine", NotFound, "does not exist"),
    ],
)
def test_what_is_not_there_is_said(store: Store, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        find_checkpoint(store, text)


def test_an_ambiguous_epoch_lists_the_candidates(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine", HASTY)
    (tmp_path / "mine" / "run.json").write_text('{"id":"1","name":"mine","task":"t","created":1}')
    for step in (10, 20):
        manager.save_training_checkpoint(tiny_model(), None, 1, step, {})

    with pytest.raises(UsageError, match=r"epoch_0001_step_00000010.*step_00000020"):
        find_checkpoint(Store.open(tmp_path), "mine:epoch=1")


def test_the_runs_own_mode_counts_for_its_metric(tmp_path: Path) -> None:
    """A metric whose name tells nothing, minimised by run.json."""
    manager = manager_of(tmp_path / "mine", HASTY)
    RunPaths(tmp_path / "mine").record.write_text(
        '{"id":"1","name":"mine","task":"t","created":1,"metric":{"name":"val/cost","mode":"min"}}'
    )
    for epoch, cost in ((1, 5.0), (2, 3.0), (3, 4.0)):
        manager.save_training_checkpoint(tiny_model(), None, epoch, epoch, {"val/cost": cost})

    assert find_checkpoint(Store.open(tmp_path), "mine:best=val/cost")[1].epoch == 2


def test_a_stand_alone_managers_directory_is_a_store_of_one_run(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "mine", fs=HASTY)
    path = manager.save_training_checkpoint(torch.nn.Linear(1, 1), None, 1, 1, {})
    store = Store.open(tmp_path / "mine")

    assert store.run_names() == ["mine"]
    assert find_checkpoint(store, "mine:latest")[1].path == Path(path)
    assert find_checkpoint(store, path)[0].name == "mine"


@pytest.mark.parametrize("name", ["my dir", "ten: eleven", "plain"])
def test_a_directory_names_its_set_whatever_its_name_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager(name, fs=HASTY)
    for epoch in (1, 2):
        save(manager, epoch)

    for store in (Store(tmp_path / name), Store(tmp_path / "runs")):
        for text in (f"{name}:latest", name, str(tmp_path / name), f"{tmp_path / name}:epoch=2"):
            view, info = find_checkpoint(store, text)
            assert (view.name, info.epoch) == (name, 2), text
        assert find_checkpoint(store, f"{name}:epoch=1")[1].epoch == 1
        assert find_checkpoint(store, f"{name}/training/{info.name}")[1].epoch == 2


def test_a_directory_names_its_run_and_a_run_of_the_store_comes_first(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = find_checkpoint(Store(tmp_path), f"{store.root}/mine:epoch=4")
    assert (elsewhere[0].name, elsewhere[1].step) == ("mine", 400)
    monkeypatch.chdir(tmp_path)
    save(CheckpointManager("mine", fs=HASTY), 9)

    assert find_checkpoint(store, "mine:latest")[1].epoch == 5
    assert find_checkpoint(Store(tmp_path), "mine:latest")[1].epoch == 9


@pytest.mark.parametrize("text", ["my dir:latest", "my dir", ":latest", "", ":", "a b:c d"])
def test_what_is_no_directory_of_a_set_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my dir").mkdir()

    with pytest.raises(NotFound):
        find_checkpoint(Store(tmp_path / "runs"), text)


@pytest.fixture
def released(tmp_path: Path) -> Store:
    """Three releases of `cnn`, the last of them yanked, and one of `gone`, which is yanked too."""
    paths = StorePaths(tmp_path)
    paths.production.mkdir()
    for model, version in (("cnn", "1.0.0"), ("cnn", "1.1.0"), ("cnn", "2.0.0"), ("gone", "1.0.0")):
        line = ReleaseLine(
            time=1.0, model=model, version=version, file=f"{model}_v{version}.pt", sha256="", size_bytes=1, run="mine",
            run_id="", checkpoint="training/a.pt", epoch=1, global_step=1, metrics={}, actor=current_actor(),
        )  # fmt: skip
        append_release(paths, line, HASTY)
    append_yank(paths, "cnn", "2.0.0", fs=HASTY)
    append_yank(paths, "gone", "1.0.0", fs=HASTY)
    return Store.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "version"),
    [("cnn@1.0.0", "1.0.0"), ("cnn@v1.0.0", "1.0.0"), ("cnn@latest", "1.1.0"), ("cnn@2.0.0", "2.0.0")],
)
def test_a_release_is_named_by_model_and_version(released: Store, text: str, version: str) -> None:
    assert is_release(text)
    assert find_release(released, text).version == version


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("cnn@3.0.0", NotFound, r"cnn has no release 3\.0\.0; there: 1\.0\.0, 1\.1\.0, 2\.0\.0"),
        ("dog@latest", NotFound, "no model 'dog' is released here; there: cnn, gone"),
        ("gone@latest", NotFound, "every release of gone is yanked"),
        ("cnn@best", UsageError, "is not a version"),
        ("cnn", UsageError, "write it like digits@1.2.0"),
    ],
)
def test_a_release_that_is_not_there_is_said(released: Store, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        find_release(released, text)


def test_a_release_is_no_checkpoint(released: Store) -> None:
    with pytest.raises(UsageError, match=r"cnn@1\.0\.0 is a release; name a checkpoint of a run"):
        find_checkpoint(released, "cnn@1.0.0")


@pytest.mark.parametrize("text", ["cnn", "cnn:best=a@b", "a/cnn@1.0.0", "cnn@1.0.0.pt", "@1.0.0", "ada@box:latest"])
def test_what_only_holds_an_at_sign_is_no_release(text: str) -> None:
    assert not is_release(text)


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cnn@1.0.0").touch()

    assert not is_release("cnn@1.0.0")
