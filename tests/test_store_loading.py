"""Loading: bytes nobody vouches for are told, and what does not fit is refused before anything was changed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from tiny_model import HASTY, save, tiny_model

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
