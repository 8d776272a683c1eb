"""Loading: bytes nobody vouches for are told, and what does not fit is refused before anything was changed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import HASTY, save, tiny_model, trained_pair

from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.errors import Damaged
from ckptop.store.layout import manifest_path, release_config_path
from ckptop.store.loading import load_checkpoint


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", fs=HASTY, model_name="tiny")


def flip_weights(path: Path, model: torch.nn.Linear) -> None:
    """Change one weight in place, as a bad disk does: the zip stays whole."""
    weights = model.weight.detach().numpy().tobytes()
    place = path.read_bytes().index(weights)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([weights[0] ^ 64]))


# What vouches for the bytes


def test_a_release_without_its_facts_beside_it_is_still_held_to_the_registry(manager: CheckpointManager) -> None:
    trained = tiny_model(0.3)
    path = Path(manager.save_production_checkpoint(trained, "1.0.0", {}, {}))
    release_config_path(path).unlink()
    manager.load_checkpoint(path, tiny_model())
    flip_weights(path, trained)
    model = tiny_model(7)

    with pytest.raises(Damaged, match="sha256"):
        manager.load_checkpoint(path, model)

    assert model.weight.flatten().tolist() == [7.0, 7.0]


def test_facts_beside_a_release_that_lie_do_not_count_against_the_registry(manager: CheckpointManager) -> None:
    """Whoever can change the file can change what stands beside it."""
    first = Path(manager.save_production_checkpoint(tiny_model(1), "1.0.0", {}, {}))
    second = Path(manager.save_production_checkpoint(tiny_model(2), "2.0.0", {}, {}))
    first.write_bytes(second.read_bytes())
    release_config_path(first).write_bytes(release_config_path(second).read_bytes())

    with pytest.raises(Damaged, match="sha256"):
        manager.load_checkpoint(first, tiny_model())


def test_a_release_that_was_taken_elsewhere_is_held_to_the_facts_beside_it(
    manager: CheckpointManager, tmp_path: Path
) -> None:
    trained = tiny_model(0.3)
    path = Path(manager.save_production_checkpoint(trained, "1.0.0", {}, {}))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    release_config_path(copy).write_bytes(release_config_path(path).read_bytes())
    load_checkpoint(copy, tiny_model())
    flip_weights(copy, trained)

    with pytest.raises(Damaged, match="sha256"):
        load_checkpoint(copy, tiny_model())


@pytest.mark.parametrize("place", ["where it was saved", "elsewhere by its name", "under another name in a tier"])
def test_one_of_ours_without_a_manifest_is_loaded_with_one_line(
    manager: CheckpointManager, tmp_path: Path, place: str
) -> None:
    path = save(manager, 1)
    manifest_path(path).unlink()
    if place != "where it was saved":
        path = path.rename(tmp_path / path.name if place.startswith("elsewhere") else path.with_name("mine.pt"))

    with pytest.warns(UserWarning, match="has no manifest: its bytes were not verified") as told:
        load_checkpoint(path, tiny_model())

    (line,) = told
    assert "\n" not in str(line.message)
    assert line.filename == __file__, "it points at the caller"


def test_a_strangers_file_is_loaded_in_silence(tmp_path: Path) -> None:
    torch.save({"model_state_dict": tiny_model(4).state_dict()}, tmp_path / "theirs.pt")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(tmp_path / "theirs.pt", tiny_model())


# What does not fit


def weights_of(model: torch.nn.Linear) -> list[float]:
    return [float(value) for value in model.weight.detach().flatten()]


def test_an_optimizer_of_other_groups_is_refused_before_the_model_is_changed(manager: CheckpointManager) -> None:
    saved, optimizer = trained_pair()
    path = manager.save_training_checkpoint(saved, optimizer, 1, 1, {})
    model = torch.nn.Linear(3, 2)
    groups: list[dict[str, Any]] = [{"params": [model.weight]}, {"params": [model.bias]}]
    other = torch.optim.AdamW(groups, lr=0.5)
    before = weights_of(model)

    with pytest.raises(RuntimeError, match=r"of another optimizer: .* 2 in the checkpoint, 1 \+ 1 here"):
        manager.load_checkpoint(path, model, other)

    assert weights_of(model) == before
    assert (other.param_groups[0]["lr"], len(other.state)) == (0.5, 0)


def test_an_optimizer_that_adapts_what_it_loads_is_trusted_to(manager: CheckpointManager) -> None:
    saved, optimizer = trained_pair()
    path = manager.save_training_checkpoint(saved, optimizer, 1, 1, {})
    model = torch.nn.Linear(3, 2)
    alone = torch.optim.AdamW([model.weight], lr=0.5)

    def keep_first(_optimizer: object, state: dict[str, Any]) -> dict[str, Any]:
        group = {**state["param_groups"][0], "params": [0]}
        return {"state": {0: state["state"][0]}, "param_groups": [group]}

    alone.register_load_state_dict_pre_hook(keep_first)

    manager.load_checkpoint(path, model, alone)

    assert alone.param_groups[0]["lr"] == 0.01


def test_a_scheduler_of_another_kind_is_refused_before_the_model_is_changed(manager: CheckpointManager) -> None:
    saved, optimizer = trained_pair()
    step = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    path = manager.save_training_checkpoint(saved, optimizer, 1, 1, {}, scheduler=step)
    model, fresh = trained_pair(3)
    torch.nn.init.zeros_(model.weight)
    parts = [torch.optim.lr_scheduler.ConstantLR(fresh), torch.optim.lr_scheduler.StepLR(fresh, 2)]
    sequence = torch.optim.lr_scheduler.SequentialLR(fresh, parts, [3])

    with pytest.raises(RuntimeError, match="is of another scheduler: KeyError: '_schedulers'"):
        manager.load_checkpoint(path, model, fresh, sequence)

    assert weights_of(model) == [0.0] * 6


def test_another_model_leaves_the_scheduler_as_it_was_too(manager: CheckpointManager) -> None:
    saved, optimizer = trained_pair()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    path = manager.save_training_checkpoint(saved, optimizer, 1, 1, {}, scheduler=scheduler)
    model, other = trained_pair(5)
    fresh = torch.optim.lr_scheduler.StepLR(other, 9)

    with pytest.raises(RuntimeError, match="of another model"):
        manager.load_checkpoint(path, model, other, fresh)

    assert fresh.step_size == 9


def test_a_scaler_that_was_off_when_it_was_saved_starts_fresh(manager: CheckpointManager) -> None:
    """The same script on a machine with other hardware: torch refuses the empty state."""
    saved, optimizer = trained_pair()
    off = torch.amp.GradScaler("cpu", enabled=False)
    path = manager.save_training_checkpoint(saved, optimizer, 1, 1, {}, scaler=off)
    model, fresh = trained_pair(3)
    torch.nn.init.zeros_(model.weight)

    with pytest.warns(UserWarning, match="holds no scaler_state_dict; it starts fresh"):
        manager.load_checkpoint(path, model, fresh, scaler=torch.amp.GradScaler("cpu"))

    assert weights_of(model) == weights_of(saved)
    manager.load_checkpoint(path, model, fresh, scaler=off)  # where both are off there is nothing to warn of


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model_state_dict": [1]}, "model_state_dict is a list, not weights by name"),
        ({"model_state_dict": torch.ones(2)}, "model_state_dict is a Tensor, not weights by name"),
        ({"model_state_dict": {"weight": 3}}, "weight of its model_state_dict is a int, not a tensor"),
        ({"model_state_dict": {"weight": torch.ones(1, 2)}, "optimizer_state_dict": [1]}, "not the state of an optim"),
        ({"model_state_dict": {"weight": torch.ones(1, 2)}, "optimizer_state_dict": {}}, "holds no parameter groups"),
        ([1, 2], "holds a list, not a checkpoint"),
    ],
)
def test_what_is_shaped_otherwise_is_damaged_in_one_line(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    model = tiny_model(7)

    with pytest.raises(Damaged, match=words) as refused:
        load_checkpoint(tmp_path / "x.pt", model, torch.optim.SGD(model.parameters()))

    assert "\n" not in str(refused.value)
    assert weights_of(model) == [7.0, 7.0]


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02.", b"\x80\x02}q\x00(K\x01]q.", b"\x80\x02(l.", b"\x80\x02]K\x01\x85q."],
    ids=["nothing to pop", "cut off", "no long", "no argument"],
)
def test_a_malformed_pickle_is_damaged_whatever_torch_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)

    with pytest.raises(Damaged):
        load_checkpoint(tmp_path / "x.pt", tiny_model())


def test_a_file_of_the_old_form_whose_storages_have_other_keys_is_damaged(tmp_path: Path) -> None:
    """Torch answers it with an AssertionError."""
    path = tmp_path / "x.pt"
    model = tiny_model(1)
    torch.save({"model_state_dict": model.state_dict()}, path, _use_new_zipfile_serialization=False)
    key = str(model.weight.untyped_storage()._cdata).encode()
    data = path.read_bytes()
    assert data.count(key) == 2
    path.write_bytes(data.replace(key, b"0" * len(key), 1))

    with pytest.raises(Damaged, match="is not a readable checkpoint"):
        load_checkpoint(path, tiny_model())
