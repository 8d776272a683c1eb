"""CheckpointManager as anybody's script uses it: its names, its defaults, and what it refuses."""

from __future__ import annotations

import argparse
import enum
import inspect
import math
import os
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy
import pytest
import torch
from tiny_model import HASTY, METRIC, find, make_run, manager_of, save, tiny_model, trained_pair

from ckptop.store.actions import prune
from ckptop.store.checkpoint_info import metric_mode
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged, NotFound, UsageError
from ckptop.store.files import read_json
from ckptop.store.layout import StorePaths, manifest_path
from ckptop.store.loading import load_checkpoint, resume_training
from ckptop.store.manifest import Manifest, encode
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_milestone
from ckptop.store.releases import rollback
from ckptop.store.retention import Policy
from ckptop.store.run import Run
from ckptop.store.steps import training_at
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import read_run, read_standalone

EMPTY = inspect.Parameter.empty


class Colour(enum.IntEnum):
    RED = 1


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", fs=HASTY)


def save_at(manager: CheckpointManager, epoch: int, step: int, **metrics: Any) -> Path:
    return Path(manager.save_training_checkpoint(tiny_model(epoch), None, epoch, step, metrics))


def names(manager: CheckpointManager, tier: Any = "training") -> list[str]:
    return [item.name for item in manager.list_checkpoints(tier)[tier]]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (
            CheckpointManager,
            {"checkpoint_dir": "checkpoints", "max_training_checkpoints": 3, "save_optimizer": True,
             "save_scheduler": True, "compress": False, "model_name": "model"},
        ),
        (
            CheckpointManager.save_training_checkpoint,
            {"self": EMPTY, "model": EMPTY, "optimizer": EMPTY, "epoch": EMPTY, "step": EMPTY, "metrics": EMPTY,
             "config": None, "scheduler": None, "scaler": None, "extra": None},
        ),
        (
            CheckpointManager.save_milestone_checkpoint,
            {"self": EMPTY, "model": EMPTY, "metric_value": EMPTY, "metric_name": EMPTY, "epoch": EMPTY,
             "config": None, "metadata": None, "optimizer": None},
        ),
        (
            CheckpointManager.save_production_checkpoint,
            {"self": EMPTY, "model": EMPTY, "version": EMPTY, "config": EMPTY, "metrics": EMPTY, "model_card": None},
        ),
        (
            CheckpointManager.load_checkpoint,
            {"path": EMPTY, "model": EMPTY, "optimizer": None, "scheduler": None, "scaler": None,
             "device": None},
        ),
        (CheckpointManager.list_checkpoints, {"self": EMPTY, "tier": None}),
        (
            CheckpointManager.resume_training,
            {"path": EMPTY, "model": EMPTY, "optimizer": None, "scheduler": None},
        ),
        (resume_training, {"path": EMPTY, "model": EMPTY, "optimizer": None, "scheduler": None}),
    ],
)  # fmt: skip
def test_names_order_and_defaults_are_fixed(function: Any, wanted: dict[str, Any]) -> None:
    """Scripts call these by position and by keyword."""
    parameters = inspect.signature(function).parameters.values()

    by_position = {item.name: item.default for item in parameters if item.kind == item.POSITIONAL_OR_KEYWORD}

    assert list(by_position.items()) == list(wanted.items())


def test_the_directories_are_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    manager = CheckpointManager()

    assert manager.checkpoint_dir == Path("checkpoints").absolute()
    made = (manager.training_dir, manager.milestone_dir, manager.production_dir, manager.metadata_dir)
    assert [path.name for path in made] == ["training", "milestone", "production", "metadata"]
    assert all(path.is_dir() and path.parent == manager.checkpoint_dir for path in made)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UsageError, match="is a file"):
        CheckpointManager(tmp_path / "file")


def test_everything_by_position_and_by_keyword_comes_back(manager: CheckpointManager) -> None:
    model, optimizer = trained_pair()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu")
    first = manager.save_training_checkpoint(
        model, optimizer, 2, 20, {"val/loss": 0.25}, {"lr": 0.01}, scheduler, scaler, {"rng": torch.arange(3)}
    )
    second = manager.save_training_checkpoint(
        model=model, optimizer=optimizer, epoch=2, step=21, metrics={"val/loss": 0.25}, config={"lr": 0.01},
        scheduler=scheduler, scaler=scaler, extra={"rng": torch.arange(3)},
    )  # fmt: skip
    fresh, fresh_optimizer = trained_pair()
    torch.nn.init.zeros_(fresh.weight)

    loaded = manager.load_checkpoint(
        first, fresh, fresh_optimizer, torch.optim.lr_scheduler.StepLR(fresh_optimizer, 1), scaler, "cpu"
    )

    assert torch.equal(fresh.weight, model.weight)
    assert str(fresh_optimizer.state_dict()) == str(optimizer.state_dict())
    assert {key: loaded[key] for key in ("epoch", "global_step", "metrics", "config")} == {
        "epoch": 2, "global_step": 20, "metrics": {"val/loss": 0.25}, "config": {"lr": 0.01},
    }  # fmt: skip
    assert loaded["rng"].tolist() == [0, 1, 2]
    assert set(loaded) == set(torch.load(second, weights_only=True))
    assert set(loaded["metadata"]) >= {"pytorch_version", "python_version", "hostname", "device", "cuda_version"}


def test_a_part_that_was_not_given_has_no_key(manager: CheckpointManager) -> None:
    state = torch.load(save_at(manager, 1, 1), weights_only=True)

    assert not {"optimizer_state_dict", "scheduler_state_dict", "scaler_state_dict"} & set(state)


def test_parts_can_be_left_out_by_choice(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_optimizer=False, save_scheduler=False, fs=HASTY)
    model, optimizer = trained_pair()

    path = manager.save_training_checkpoint(
        model, optimizer, 1, 1, {}, scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1)
    )

    assert not {"optimizer_state_dict", "scheduler_state_dict"} & set(torch.load(path, weights_only=True))


def test_a_missing_part_is_warned_of_and_starts_fresh(manager: CheckpointManager) -> None:
    model, optimizer = trained_pair()
    path = manager.save_training_checkpoint(model, optimizer, 1, 1, {})
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    with pytest.warns(UserWarning, match="holds no scheduler_state_dict; it starts fresh"):
        manager.load_checkpoint(path, model, optimizer, scheduler)


def test_loading_without_the_optimizer_says_nothing(manager: CheckpointManager) -> None:
    model, optimizer = trained_pair()
    path = manager.save_training_checkpoint(model, optimizer, 1, 1, {})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.load_checkpoint(path, model)


def test_a_missing_file_is_a_file_not_found_error(manager: CheckpointManager) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist") as caught:
        manager.load_checkpoint("none.pt", tiny_model())

    assert isinstance(caught.value, NotFound)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (torch.nn.Linear(3, 1, bias=False), r"weight is \(1, 2\) in the checkpoint, \(1, 3\) in the model"),
        (torch.nn.Linear(2, 1), "bias is missing in the checkpoint"),
        (torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False)), r"0\.weight is missing.*weight is not in the model"),
    ],
)
def test_another_model_is_refused_by_its_first_differences(
    manager: CheckpointManager, model: torch.nn.Module, words: str
) -> None:
    path = save_at(manager, 1, 1)
    before = [parameter.clone() for parameter in model.parameters()]

    with pytest.raises(RuntimeError, match=words):
        manager.load_checkpoint(path, model)

    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_no_more_than_three_differences_are_named(manager: CheckpointManager) -> None:
    other = torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(3)])

    with pytest.raises(RuntimeError, match=r"and 4 more$"):
        manager.load_checkpoint(save_at(manager, 1, 1), other)


def test_steps_that_begin_again_each_epoch_sort_by_epoch_first(manager: CheckpointManager) -> None:
    save_at(manager, 1, 900)
    second = save_at(manager, 2, 5)
    save_at(manager, 1, 901)

    assert manager.get_latest_checkpoint("training") == second
    assert [(item.epoch, item.step) for item in manager.list_checkpoints()["training"]] == [(1, 900), (1, 901), (2, 5)]


def test_numbers_are_not_sorted_as_strings(manager: CheckpointManager) -> None:
    big = save_at(manager, 10_000, 123_456_789)
    save_at(manager, 9_999, 99_999_999)

    assert manager.get_latest_checkpoint("training") == big
    assert names(manager)[-1] == "checkpoint_epoch_10000_step_123456789.pt"


def test_the_link_names_what_is_newest_not_what_came_last(manager: CheckpointManager) -> None:
    newest = save_at(manager, 5, 50)
    save_at(manager, 4, 40)

    assert os.readlink(manager.training_dir / "latest.pt") == newest.name


def test_a_checkpoint_that_was_just_saved_is_not_deleted_by_that_save(tmp_path: Path) -> None:
    """A training begun anew in an old directory counts from epoch 1: its saves must not vanish at once."""
    manager = CheckpointManager(tmp_path, max_training_checkpoints=2, fs=HASTY)
    for epoch in (50, 51):
        save_at(manager, epoch, epoch)

    again = save_at(manager, 1, 1)

    assert again.exists()


def test_the_newest_are_kept_and_links_are_not_counted(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, fs=HASTY)

    for epoch in range(1, 7):
        save_at(manager, epoch, epoch)

    listed = manager.list_checkpoints()
    assert [item.epoch for item in listed["training"]] == [4, 5, 6]
    assert set(listed) == {"training", "milestone", "production"}
    assert all(item.exists() and item.path.name == item.name for item in listed["training"])
    assert (manager.training_dir / "latest.pt").is_symlink()


def test_zero_keeps_all(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, 0, fs=HASTY)

    for epoch in range(1, 7):
        save_at(manager, epoch, epoch)

    assert len(names(manager)) == 6


def test_old_ones_are_cleaned_up_on_request(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, 0, fs=HASTY)
    for epoch in range(1, 7):
        save_at(manager, epoch, epoch)

    done = manager.cleanup_old_checkpoints("training", keep=2)

    assert [item.epoch for item in manager.list_checkpoints("training")["training"]] == [5, 6]
    assert len(done.deleted) == 4
    assert sorted(path.name for path in manager.training_dir.glob("*.json")) == sorted(
        name.replace(".pt", suffix) for name in names(manager) for suffix in (".json", ".tensors.json")
    )


def test_a_clean_up_of_milestones_leaves_the_best_of_each_metric_which_its_link_means(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, fs=HASTY)
    for epoch, (name, value) in enumerate([("accuracy", 0.5), ("accuracy", 0.9), ("loss", 0.2), ("loss", 0.1)], 1):
        manager.save_milestone_checkpoint(tiny_model(), value, name, epoch)

    manager.cleanup_old_checkpoints("milestone", keep=0)

    links = {path.name: path.readlink().name for path in manager.milestone_dir.iterdir() if path.is_symlink()}
    assert names(manager, "milestone") == sorted(links.values())
    assert links == {
        "best_accuracy.pt": "best_accuracy_0.9000_epoch_0002.pt", "best_loss.pt": "best_loss_0.1000_epoch_0004.pt",
    }  # fmt: skip


def test_a_persons_own_link_is_left_alone(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, 1, fs=HASTY)
    first = save_at(manager, 1, 1)
    mine = manager.training_dir / "good.pt"
    mine.symlink_to(first.name)

    save_at(manager, 2, 2)
    manager.cleanup_old_checkpoints(keep=1)

    assert mine.is_symlink()


def test_only_an_improvement_is_a_milestone(manager: CheckpointManager) -> None:
    saved = [manager.save_milestone_checkpoint(tiny_model(), value, "accuracy", epoch)
             for epoch, value in enumerate((0.5, 0.5, 0.4, math.nan, 0.6), start=1)]  # fmt: skip

    assert [path and Path(path).name for path in saved] == [
        "best_accuracy_0.5000_epoch_0001.pt", None, None, None, "best_accuracy_0.6000_epoch_0005.pt",
    ]  # fmt: skip
    assert os.readlink(manager.milestone_dir / "best_accuracy.pt") == "best_accuracy_0.6000_epoch_0005.pt"


def test_nan_is_no_milestone_though_there_is_none_yet(manager: CheckpointManager) -> None:
    assert manager.save_milestone_checkpoint(tiny_model(), math.nan, "accuracy", 1) is None
    assert manager.save_milestone_checkpoint(tiny_model(), 0.1, "accuracy", 2) is not None


@pytest.mark.parametrize("metric", ["loss", "val/loss", "train_loss", "val/RMSE", "perplexity", "word-error.wer"])
def test_what_is_minimised_is_known_by_its_name(manager: CheckpointManager, metric: str) -> None:
    assert manager.save_milestone_checkpoint(tiny_model(), 2.0, metric, 1) is not None
    assert manager.save_milestone_checkpoint(tiny_model(), 2.5, metric, 2) is None
    assert manager.save_milestone_checkpoint(tiny_model(), 2.0, metric, 2) is None, "ties go to the earlier"
    assert manager.save_milestone_checkpoint(tiny_model(), 1.5, metric, 3) is not None


def test_a_mode_that_is_said_wins_over_the_name(manager: CheckpointManager) -> None:
    assert manager.save_milestone_checkpoint(tiny_model(), 2.0, "loss", 1, mode="max") is not None
    assert manager.save_milestone_checkpoint(tiny_model(), 2.5, "loss", 2, mode="max") is not None


def test_milestones_of_two_metrics_do_not_compete(manager: CheckpointManager) -> None:
    assert manager.save_milestone_checkpoint(tiny_model(), 0.9, "accuracy", 1) is not None
    assert manager.save_milestone_checkpoint(tiny_model(), 0.2, "f1", 2) is not None


def test_best_goes_to_the_earlier_of_equals_and_never_to_nan(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine", HASTY, keep=1)

    for epoch, accuracy in ((1, 0.5), (2, 0.9), (3, 0.9), (4, math.nan), (5, 0.1)):
        save(manager, epoch, accuracy)

    assert [item.epoch for item in manager.list_checkpoints()["training"]] == [2, 5]


def test_milestones_may_be_limited_to_the_best(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, max_milestones=2, fs=HASTY)

    for epoch in range(1, 6):
        manager.save_milestone_checkpoint(tiny_model(), epoch / 10, "accuracy", epoch)

    assert [item.epoch for item in manager.list_checkpoints()["milestone"]] == [4, 5]


def test_a_name_too_long_for_a_file_is_shortened(manager: CheckpointManager) -> None:
    path = manager.save_milestone_checkpoint(tiny_model(), 1e300, "m" * 200, 1)

    assert path is not None
    assert manager.list_checkpoints()["milestone"][0].metric("m" * 200) == 1e300


def test_a_compressed_file_is_smaller_and_loads_as_any_other(tmp_path: Path) -> None:
    model = torch.nn.Linear(200, 200)
    torch.nn.init.zeros_(model.weight)
    plain = CheckpointManager(tmp_path / "plain", fs=HASTY)
    small = CheckpointManager(tmp_path / "small", compress=True, fs=HASTY)

    first = plain.save_training_checkpoint(model, None, 1, 1, {})
    second = small.save_training_checkpoint(model, None, 1, 1, {})

    assert os.path.getsize(second) * 10 < os.path.getsize(first)
    assert torch.equal(torch.load(second, weights_only=True)["model_state_dict"]["weight"], model.weight)
    assert zipfile.ZipFile(second).testzip() is None
    assert verify_checkpoint(small.list_checkpoints()["training"][0]) is None
    assert small.load_checkpoint(second, torch.nn.Linear(200, 200))["epoch"] == 1
    assert os.listdir(small.paths.staging) == []


def test_every_file_loads_with_plain_torch(tmp_path: Path) -> None:
    """Nobody needs ckptop to read what it wrote."""
    root = make_run(tmp_path / "store")
    manager = manager_of(root, HASTY)
    manager.save_production_checkpoint(tiny_model(1), "1.0.0", {"a": Path("b")}, {"acc": torch.tensor(0.9)})

    files = [path for path in (tmp_path / "store").rglob("*.pt") if path.is_file()]

    assert len(files) >= 10
    for path in files:
        assert "weight" in torch.load(path, weights_only=True)["model_state_dict"]


@pytest.mark.parametrize("wrap", ["DataParallel", "compiled", "both"])
def test_wrappers_leave_no_prefix_in_the_names(manager: CheckpointManager, wrap: str) -> None:
    class Compiled(torch.nn.Module):
        """As torch.compile wraps, without the seconds it takes."""

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    model: torch.nn.Module = tiny_model(3)
    wrapped = {
        "DataParallel": torch.nn.DataParallel(model),
        "compiled": Compiled(model),
        "both": torch.nn.DataParallel(Compiled(model)),
    }[wrap]

    path = manager.save_training_checkpoint(wrapped, None, 1, 1, {})

    assert list(torch.load(path, weights_only=True)["model_state_dict"]) == ["weight"]
    manager.load_checkpoint(path, wrapped)


@pytest.mark.parametrize("extra", [{"loader": Path("x")}, {"hook": lambda: None}], ids=["object", "function"])
def test_what_needs_a_pickle_is_refused_and_leaves_nothing(manager: CheckpointManager, extra: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        manager.save_training_checkpoint(tiny_model(), None, 1, 1, {}, extra=extra)

    assert names(manager) == []
    assert os.listdir(manager.paths.staging) == []


def test_extra_may_not_hide_the_files_own_keys(manager: CheckpointManager) -> None:
    with pytest.raises(UsageError, match="epoch"):
        manager.save_training_checkpoint(tiny_model(), None, 1, 1, {}, extra={"epoch": 3})


def test_a_configuration_of_any_kind_is_stored(manager: CheckpointManager) -> None:
    config = {"path": Path("a/b"), "big": 2**80, "set": {1}, "name": "caf\u00e9 \udcff", "size": torch.Size([1, 2]),
              "dtype": torch.float32, "nan": math.nan, "number": torch.tensor(3),
              "numpy": numpy.float64(0.5), "enum": Colour.RED, "array": numpy.arange(2)}  # fmt: skip

    path = manager.save_training_checkpoint(tiny_model(), None, 1, 1, {}, config)

    stored = torch.load(path, weights_only=True)["config"]
    listed = manager.list_checkpoints()["training"][0].manifest
    assert stored["path"] == "a/b"
    assert (stored["number"], stored["numpy"], stored["enum"], stored["array"]) == (3, 0.5, 1, "[0 1]")
    assert listed is not None
    assert listed.config["set"] == [1]


def test_metrics_of_any_number_type_are_stored(manager: CheckpointManager) -> None:
    save_at(manager, 1, 1, a=torch.tensor(0.5), b=math.inf, c=-math.inf, d=math.nan, e=2)

    info = manager.list_checkpoints()["training"][0]

    assert [info.metric(name) for name in "abce"] == [0.5, math.inf, -math.inf, 2.0]
    assert math.isnan(info.metric("d") or 0.0)
    assert info.metric("f") is None


def test_resume_training_returns_where_to_go_on(manager: CheckpointManager) -> None:
    model, optimizer = trained_pair()
    path = manager.save_training_checkpoint(model, optimizer, 3, 30, {"val/loss": 0.5}, {"lr": 0.01})

    by_function = resume_training(path, model, optimizer)
    by_method = manager.resume_training(path, model, optimizer=optimizer)

    for state in (by_function, by_method):
        assert (state["epoch"], state["global_step"], state["metrics"]) == (3, 30, {"val/loss": 0.5})
        assert not any(key.endswith("_state_dict") for key in state)


def test_loading_through_a_link_is_verified_too(manager: CheckpointManager) -> None:
    path = save_at(manager, 1, 1)
    flip(path, path.stat().st_size // 2)

    with pytest.raises(Damaged):
        load_checkpoint(manager.training_dir / "latest.pt", tiny_model())


def test_a_strangers_file_without_a_manifest_loads(tmp_path: Path) -> None:
    torch.save({"model_state_dict": tiny_model(4).state_dict()}, tmp_path / "theirs.pt")
    model = tiny_model()

    load_checkpoint(tmp_path / "theirs.pt", model)

    assert model.weight.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"], ids=["empty", "text", "torn zip"])
def test_what_is_no_checkpoint_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)

    with pytest.raises(Damaged):
        load_checkpoint(tmp_path / "x.pt", tiny_model())


def test_a_damaged_release_is_not_loaded(manager: CheckpointManager) -> None:
    path = Path(manager.save_production_checkpoint(tiny_model(1), "1.0.0", {}, {}))
    manager.load_checkpoint(path, tiny_model())
    flip(path, path.stat().st_size // 2)

    with pytest.raises(Damaged, match="sha256"):
        manager.load_checkpoint(path, tiny_model())


@pytest.mark.parametrize("part", range(24))
def test_a_flipped_byte_anywhere_is_found_and_refused(part: int, tmp_path: Path) -> None:
    """Header, pickle, tensor data, padding, central directory: 24 places over the file."""
    manager = manager_of(tmp_path / "mine", HASTY)
    path = save(manager, 1, 0.5)
    size = path.stat().st_size
    flip(path, min(size - 1, part * size // 23))

    finding = verify_checkpoint(find(tmp_path / "mine", "training", 1))

    assert finding is not None
    assert finding.severe
    with pytest.raises(Damaged, match="bytes differ"):
        manager.load_checkpoint(path, tiny_model())


def test_a_truncated_file_is_found_by_its_size(manager: CheckpointManager) -> None:
    path = save_at(manager, 1, 1)
    os.truncate(path, 100)

    finding = verify_checkpoint(manager.list_checkpoints()["training"][0])

    assert finding is not None
    assert "100 bytes on disk" in finding.message


def test_a_hostile_pickle_is_not_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {canary}",))

    torch.save({"model_state_dict": Hostile()}, tmp_path / "hostile.pt")

    with pytest.raises(Damaged, match="not plain tensors"):
        load_checkpoint(tmp_path / "hostile.pt", tiny_model())

    assert not canary.exists()
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert canary.exists(), "the file is harmless, and the test proves nothing"


@pytest.mark.parametrize("name", ["other.pt", "../../outside.pt", "/etc/passwd"])
def test_a_manifest_that_names_another_file_is_refused(manager: CheckpointManager, name: str) -> None:
    path = save_at(manager, 1, 1)
    manifest = read_json(manifest_path(path), Manifest)
    manifest_path(path).write_bytes(encode(msgspec.structs.replace(manifest, file=name)))

    (info,) = manager.list_checkpoints()["training"]

    assert info.manifest is None
    assert info.problem == f"{path.name}: its manifest names another file; it was not followed"


def test_a_truncated_manifest_marks_that_checkpoint_alone(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "mine", HASTY)
    first, second = save(manager, 1, 0.5), save(manager, 2, 0.6)
    os.truncate(manifest_path(second), 40)

    listed = manager.list_checkpoints()["training"]

    assert [item.name for item in listed] == [first.name, second.name]
    assert listed[0].problem is None
    assert listed[1].problem == f"{second.name}: {manifest_path(second).name} is truncated"
    assert (listed[1].epoch, listed[1].step) == (2, 200)
    assert manager.get_latest_checkpoint("training") == first
    with pytest.raises(Damaged):
        manager.load_checkpoint(second, tiny_model())


def flip(path: Path, offset: int) -> None:
    """Change one bit of one byte, in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_metric_of_the_run_decides_what_best_is(tmp_path: Path) -> None:
    """The run's best is protected from the manager's own retention; another metric's is not."""
    manager = manager_of(tmp_path / "mine", HASTY, keep=1)
    for epoch, (accuracy, f1) in enumerate([(0.9, 0.1), (0.2, 0.9), (0.3, 0.3)], start=1):
        manager.save_training_checkpoint(tiny_model(), None, epoch, epoch, {METRIC.name: accuracy, "f1": f1})

    assert [item.epoch for item in manager.list_checkpoints()["training"]] == [1, 3]


def test_a_milestone_made_by_hand_outlives_three_better_ones(tmp_path: Path) -> None:
    """A person's choice is not the trainer's to delete."""
    with Run.create(tmp_path, name="mine", task="toy", metric=("acc", "max"), max_milestones=1) as run:
        run.checkpoints.save_training_checkpoint(tiny_model(), None, 1, 1, {"acc": 0.1})
        view = read_run(run.root)
        chosen = promote_to_milestone(view, view.checkpoints[0])
        for epoch in range(2, 6):
            run.checkpoints.save_milestone_checkpoint(tiny_model(), epoch / 10, "acc", epoch, step=epoch)

    assert chosen.exists()
    assert {info.epoch for info in read_run(run.root).checkpoints if info.tier == "milestone"} == {1, 5}


def test_a_training_checkpoint_deleted_meanwhile_costs_the_milestone_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer may delete between the save and the link."""
    manager = CheckpointManager(tmp_path)
    path = manager.save_training_checkpoint(tiny_model(), None, 1, 1, {})
    listed = training_at(manager._saver, 1, 1)
    Path(path).unlink()
    monkeypatch.setattr("ckptop.store.checkpoints.training_at", lambda *_: listed)  # as seen just before

    made = manager.save_milestone_checkpoint(tiny_model(), 0.5, "acc", 1, step=1)

    assert made is not None
    assert Path(made).exists()


def test_the_latest_release_is_the_one_that_latest_means(manager: CheckpointManager) -> None:
    assert manager.get_latest_checkpoint("production") is None
    first = Path(manager.save_production_checkpoint(tiny_model(1), "1.0.0", {}, {}))
    second = Path(manager.save_production_checkpoint(tiny_model(2), "1.1.0", {}, {}))
    assert manager.get_latest_checkpoint("production") == second

    rollback(StorePaths(manager.checkpoint_dir), "model", Version(1, 0, 0), HASTY)

    assert manager.get_latest_checkpoint("production") == first
    assert sorted(names(manager, "production")) == [first.name, second.name]


def test_a_release_that_was_cut_off_before_its_line_is_none(manager: CheckpointManager) -> None:
    path = Path(manager.save_production_checkpoint(tiny_model(1), "1.0.0", {}, {}))
    path.with_name("model_v2.0.0.pt").write_bytes(path.read_bytes())

    assert names(manager, "production") == [path.name]
    assert manager.get_latest_checkpoint("production") == path


def test_a_release_whose_registry_is_gone_is_put_aside_and_never_deleted(manager: CheckpointManager) -> None:
    """It looks like one that was cut off; the next release takes its name all the same."""
    path = Path(manager.save_production_checkpoint(tiny_model(1), "1.0.0", {}, {}))
    before = path.read_bytes()
    (manager.production_dir / "registry.jsonl").unlink()

    again = Path(manager.save_production_checkpoint(tiny_model(2), "1.0.0", {}, {}))

    assert again == path
    assert path.read_bytes() != before
    assert [aside.read_bytes() for aside in (manager.production_dir / ".unregistered").iterdir()] == [before]


# What scripts do, and mean otherwise


def test_a_milestone_of_other_weights_than_its_step_s_checkpoint_holds_those(manager: CheckpointManager) -> None:
    """As of an averaged model: same epoch, same step, other weights."""
    averaged = tiny_model(9)
    save_at(manager, 1, 10, acc=0.5)

    path = manager.save_milestone_checkpoint(averaged, 0.5, "acc", 1, step=10)

    assert path is not None
    loaded = tiny_model(2)
    state = load_checkpoint(path, loaded)
    assert state["checkpoint_type"] == "milestone"
    assert all(torch.equal(one, averaged.state_dict()[name]) for name, one in loaded.state_dict().items())


@pytest.mark.parametrize("said", [{"config": {"lr": 1}}, {"metadata": {"by": "ada"}}, {"extra": {"ema": 0.9}}])
def test_a_milestone_holds_what_was_said_of_it(manager: CheckpointManager, said: dict[str, Any]) -> None:
    save_at(manager, 1, 10, acc=0.5)

    path = manager.save_milestone_checkpoint(tiny_model(1), 0.5, "acc", 1, step=10, **said)

    assert path is not None
    state = load_checkpoint(path, tiny_model(2))
    for value in said.values():
        for key, one in value.items():
            assert one in (state.get(key), state["config"].get(key), state["metadata"].get(key))


def test_a_milestone_of_the_same_state_shares_the_bytes(manager: CheckpointManager) -> None:
    saved = save_at(manager, 1, 10, acc=0.5)
    same = manager.save_milestone_checkpoint(tiny_model(1), 0.5, "acc", 1, step=10)
    unseen = manager.save_milestone_checkpoint(tiny_model(9), 0.6, "acc", 1, step=10, same_as=saved)

    assert [os.stat(str(path)).st_ino for path in (same, unseen)] == [saved.stat().st_ino] * 2


@pytest.mark.parametrize("kind", [argparse.Namespace, types.SimpleNamespace, dict])
def test_a_configuration_may_be_what_parsers_make(manager: CheckpointManager, kind: Any) -> None:
    path = manager.save_training_checkpoint(tiny_model(1), None, 1, 10, {}, kind(lr=0.1, data=Path("x")))

    assert read_json(manifest_path(Path(path)), Manifest).config == {"lr": 0.1, "data": "x"}
    assert manager.get_latest_checkpoint() == Path(path)


@pytest.mark.parametrize(
    ("epoch", "step", "config", "message"),
    [
        (1, 10, "lr=0.1", "config is a str; pass a mapping"),
        (1, 10, [("lr", 0.1)], "config is a list"),
        (-1, 10, {}, "epoch is -1; it is counted from 0"),
        (1, 1.5, {}, "step is 1.5, which is no whole number"),
        (1, "10", {}, "step is '10', which is no whole number"),
    ],
)
def test_what_no_reader_could_read_is_refused_before_anything_is_written(
    manager: CheckpointManager, epoch: Any, step: Any, config: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        manager.save_training_checkpoint(tiny_model(1), None, epoch, step, {}, config)

    assert list(manager.checkpoint_dir.rglob("*.pt*")) == []


def test_whole_numbers_of_any_kind_count(manager: CheckpointManager) -> None:
    epoch, step, whole = cast(Any, (numpy.int64(1), torch.tensor(10), 2.0))  # as strangers have them
    manager.save_training_checkpoint(tiny_model(1), None, epoch, step, {})
    manager.save_training_checkpoint(tiny_model(1), None, whole, 20, {})

    assert [(info.epoch, info.step) for info in manager.list_checkpoints("training")["training"]] == [(1, 10), (2, 20)]


@pytest.mark.parametrize("call", ["list_checkpoints", "get_latest_checkpoint", "cleanup_old_checkpoints"])
def test_a_tier_that_there_is_not_is_refused(manager: CheckpointManager, call: str) -> None:
    with pytest.raises(UsageError, match="there is no tier 'trainig'; use training, milestone, production"):
        getattr(manager, call)("trainig")


def test_none_keeps_all_and_less_than_none_is_refused(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "all", max_training_checkpoints=None, fs=HASTY)
    for epoch in range(1, 6):
        save_at(manager, epoch, epoch)
    assert len(names(manager)) == 5

    with pytest.raises(UsageError, match="max_milestones is -1"):
        CheckpointManager(tmp_path / "none", max_milestones=-1)


def test_a_script_that_changes_its_directory_goes_on_in_the_same_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager("c", fs=HASTY)
    first = save_at(manager, 1, 1)
    with Run.create("runs", name="mine", task="tiny") as run:
        run.begin()

        monkeypatch.chdir("elsewhere")
        second = save_at(manager, 2, 2)
        third = Path(run.checkpoints.save_training_checkpoint(tiny_model(1), None, 1, 1, {}))

    assert second.parent == first.parent == tmp_path / "c" / "training"
    assert third.parent == tmp_path / "runs" / "mine" / "checkpoints" / "training"
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_script_that_loads_an_older_checkpoint_and_trains_on_has_gone_back(manager: CheckpointManager) -> None:
    """What came after is put aside: neither the rules nor the next resume take it for the newest."""
    paths = {epoch: save_at(manager, epoch, epoch * 10) for epoch in (8, 9, 10)}

    resume_training(paths[8], tiny_model(1))
    saved = save_at(manager, 9, 85)

    assert manager.get_latest_checkpoint() == saved
    assert names(manager) == [paths[8].name, saved.name]
    assert sorted(path.name for path in manager.paths.discarded.glob("*/training/*.pt")) == [
        paths[9].name,
        paths[10].name,
    ]
    assert os.readlink(manager.training_dir / "latest.pt") == saved.name


def test_a_script_that_only_looks_at_an_older_checkpoint_has_not_gone_back(manager: CheckpointManager) -> None:
    for epoch in (1, 2, 3):
        save_at(manager, epoch, epoch * 10)

    manager.load_checkpoint(manager.list_checkpoints("training")["training"][0], tiny_model(1))
    save_at(manager, 4, 40)
    save_at(manager, 3, 35)

    assert [info.epoch for info in manager.list_checkpoints("training")["training"]] == [3, 3, 4]
    assert not manager.paths.discarded.exists()


def test_steps_of_a_run_count_on_from_epoch_to_epoch(tmp_path: Path) -> None:
    """Else going back, which is told by steps, would abandon what it goes on from."""
    with Run.create(tmp_path, name="mine", task="tiny") as run:
        run.checkpoints.save_training_checkpoint(tiny_model(1), None, 1, 10, {})

        with pytest.raises(UsageError, match="step 5 of epoch 2 is less than step 10 of epoch 1"):
            run.checkpoints.save_training_checkpoint(tiny_model(1), None, 2, 5, {})


def test_the_best_of_a_set_without_a_run_is_kept_by_anybody_s_rule(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "c", 0, metric="val/loss", fs=HASTY)
    for epoch, loss in ((1, 0.5), (2, 0.1), (3, 0.4)):
        save_at(manager, epoch, epoch, **{"val/loss": loss})

    done, _ = prune(read_standalone(tmp_path / "c"), [Policy(keep_last=1)], HASTY)

    assert done.deleted_keys == {"training/checkpoint_epoch_0001_step_00000001.pt"}


@pytest.mark.parametrize(
    "name",
    ["val/loss", "MeanSquaredError", "val/WordErrorRate", "KLDivergence", "cross_entropy", "losses", "valError", "WER",
     "val/ece"],
)  # fmt: skip
def test_lower_is_better_of_what_reads_like_an_error(name: str) -> None:
    assert metric_mode(name) == "min"


@pytest.mark.parametrize("name", ["val/accuracy", "BLEU", "mIoU", "MulticlassF1Score", "reward"])
def test_higher_is_better_of_anything_else(name: str) -> None:
    assert metric_mode(name) == "max"
