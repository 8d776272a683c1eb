"""One flipped bit, anywhere in a store: `verify` finds it, and nothing changed is loaded or believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_model import clone, tiny_model

from ckptop.cli.main import run as run_command
from ckptop.store.actions import delete_checkpoints
from ckptop.store.errors import Damaged
from ckptop.store.loading import load_checkpoint
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.store.verify import Finding, verify_run
from ckptop.store.verify_releases import verify_releases
from ckptop.store.views import read_run

NOT_COVERED = {"train.log", "lease.lock", ".lock"}
"""What a process printed, and files without content."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of file, finished; a release; something in the trash."""
    store = tmp_path_factory.mktemp("base") / "store"
    model = tiny_model(1)
    optimizer = torch.optim.AdamW(model.parameters())
    with Run.create(store, name="mine", task="tiny", config={"lr": 0.1}, metric=("val/loss", "min")) as run:
        for epoch in (1, 2, 3):
            run.log(epoch * 10, {"train/loss": 1 / epoch, "val/loss": 2 / epoch}, epoch=epoch)
            run.log_system({"gpu/0/memory_bytes": 1e9})
            metrics = {"val/loss": 2 / epoch}
            run.checkpoints.save_training_checkpoint(model, optimizer, epoch, epoch * 10, metrics, {"lr": 0.1})
        run.checkpoints.save_milestone_checkpoint(model, 2 / 3, "val/loss", 3, step=30)
        run.checkpoints.save_production_checkpoint(
            model, "1.0.0", {"lr": 0.1}, {"val/loss": 0.5}, {"intended": "tests"}
        )
    view = read_run(store / "mine")
    delete_checkpoints(view, [info for info in view.checkpoints if info.epoch == 1])
    return store


def findings(store: Path) -> list[Finding]:
    opened = Store(store)
    return [*verify_run(opened.run("mine")).findings, *verify_releases(opened.paths).findings]


def files(store: Path) -> list[Path]:
    found = [path for path in store.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if path.name not in NOT_COVERED)


def places(size: int) -> Iterator[tuple[int, int]]:
    """Bytes and bits to flip: the ends, and a spread of the rest."""
    for part in range(12):
        yield min(size - 1, part * size // 11), 1 << (part % 7)


def test_nothing_is_found_in_an_untouched_store(base: Path) -> None:
    assert findings(base) == []
    kinds = {path.name.partition(".")[2] for path in files(base)}
    assert {"pt", "json", "tensors.json", "jsonl"} <= kinds


def test_a_flipped_bit_in_any_file_is_found(base: Path, tmp_path: Path) -> None:
    store = clone(base, tmp_path / "store")

    for path in files(store):
        data = path.read_bytes()
        for place, bit in places(len(data)):
            with path.open("r+b") as file:
                file.seek(place)
                file.write(bytes([data[place] ^ bit]))
            assert findings(store), f"{path.relative_to(store)}, byte {place} of {len(data)}, bit {bit}"
        path.write_bytes(data) if path.stat().st_nlink == 1 else _put_back(path, data)
    assert findings(store) == []


def _put_back(path: Path, data: bytes) -> None:
    """In place: the inode has another name."""
    with path.open("r+b") as file:
        file.write(data)


def test_a_flipped_bit_of_a_checkpoint_or_release_is_never_loaded(base: Path, tmp_path: Path) -> None:
    store = clone(base, tmp_path / "store")

    for path in (path for path in files(store) if path.suffix == ".pt"):
        data = path.read_bytes()
        for place, bit in places(len(data)):
            _put_back(path, data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            model = tiny_model(5)
            with pytest.raises(Damaged):
                load_checkpoint(path, model)
            assert model.weight.flatten().tolist() == [5.0, 5.0]
        _put_back(path, data)


def test_the_log_past_the_newest_checkpoint_may_grow(base: Path, tmp_path: Path) -> None:
    store = clone(base, tmp_path / "store")
    with (store / "mine" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":31,"time":1.0,"train/loss":0.1}\n')

    assert findings(store) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "system.jsonl"])
def test_a_log_that_was_cut_or_removed_is_found(base: Path, tmp_path: Path, name: str) -> None:
    store = clone(base, tmp_path / "store")
    os.truncate(store / "mine" / name, 40)
    cut = findings(store)
    (store / "mine" / name).unlink()

    assert any("is not what it was when a checkpoint was saved" in finding.message for finding in cut)
    assert any(f"{name} is gone" in finding.message for finding in findings(store))


def test_a_torn_line_is_told_and_is_no_damage(base: Path, tmp_path: Path) -> None:
    store = clone(base, tmp_path / "store")
    with (store / "mine" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":31,"ti')

    (finding,) = findings(store)

    assert not finding.severe
    assert "holds 1 torn lines" in finding.message


def test_the_command_says_what_is_wrong_and_what_to_do(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = clone(base, tmp_path / "store")
    with next((store / "production").glob("*.pt")).open("r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2\3")

    code = run_command(["verify", str(store)])

    shown = capsys.readouterr().out
    assert code == 12
    assert "tiny_v1.0.0.pt: bytes differ from the registry's sha256: release tiny as a new version" in shown
    assert "1 damaged." in shown
