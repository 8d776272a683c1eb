"""What people do with runs of twenty epochs, as docs/resume.md tells it, on the task `price`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_data import write_diamonds
from trainer_runs import Killed, assert_same_bits, at_step, kill, logged, newest_state

from ckptop.cli.main import run as run_command
from ckptop.store.checkpoints import CheckpointManager
from ckptop.store.store import Store
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.train import train

STEPS = 7
"""Of an epoch: 102 rows in batches of 16."""
SETTINGS = {
    "epochs": "20", "batch_size": "16", "hidden": "[8]", "members": "1", "bins": "0", "threads": "1", "lr": "1e-2",
    "tensorboard": "false", "system_interval_seconds": "0", "log_every_steps": "1", "keep_training": "5",
    "keep_every_epochs": "5", "warmup_steps": "0",
}  # fmt: skip


def trained(store: Path, data: Path, resume: str | None = None, name: str = "prices", **changes: str) -> int:
    assignments = changes if resume is not None else SETTINGS | changes
    argv = ["-m", "ckptop.cli", "train", "price", "--data", str(data)]
    options = TrainOptions(
        task="price", store=store, data=data, name=name, resume=resume, assignments=list(assignments.items()), argv=argv
    )
    return train(options)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_diamonds(tmp_path_factory.mktemp("data") / "stones.csv")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A store with a run of twenty epochs that is done."""
    store = tmp_path_factory.mktemp("done")
    assert trained(store, data) == 0
    return store


@pytest.fixture
def store(tmp_path: Path, done: Path) -> Path:
    """A copy of it."""
    shutil.copytree(done, tmp_path / "runs", symlinks=True)
    return tmp_path / "runs"


def epochs_kept(store: Path) -> list[int]:
    return sorted(info.epoch for info in Store.open(store).run("prices").checkpoints if info.tier == "training")


def best_before(store: Path, epoch: int) -> float:
    values = [float(value) for (step, name), value in logged(store / "prices").items() if name == "val/smape"]
    return min(values[: epoch - 1])


def test_crashed_after_epoch_12_of_20_resumes_from_epoch_13_and_says_the_best(
    tmp_path: Path, data: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_step(12 * STEPS + 3, kill), pytest.raises(Killed):
        trained(tmp_path, data)
    capsys.readouterr()

    assert trained(tmp_path, data, resume="latest") == 0

    best = best_before(done, 13)
    assert f"Resumed from epoch 13, best SMAPE: {best:.2f}%" in capsys.readouterr().out.splitlines()
    assert logged(tmp_path / "prices") == logged(done / "prices")


def test_epoch_10_is_resumed_and_what_came_later_is_put_aside(
    store: Path, data: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(store, data, resume="epoch=10") == 0

    assert re.search(r"^Resumed from epoch 11, best SMAPE: \d+\.\d\d%$", capsys.readouterr().out, re.MULTILINE)
    assert logged(store / "prices") == logged(done / "prices")
    assert list((store / "prices" / "checkpoints" / ".discarded").iterdir())


def test_five_epochs_more_are_trained_from_the_best(store: Path, data: Path) -> None:
    best = Store.open(store).run("prices").best
    assert best is not None

    assert trained(store, data, resume="best", epochs=str(best.epoch + 5)) == 0

    latest = Store.open(store).run("prices").latest
    assert latest is not None
    assert latest.epoch == best.epoch + 5


def test_another_rate_from_epoch_10_for_ten_more(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = logged(store / "prices")

    assert trained(store, data, resume="epoch=10", lr="1e-3") == 0

    said = capsys.readouterr().out
    assert "lr was 0.01, now 0.001; the cosine schedule goes on, times 0.1" in said
    after = logged(store / "prices")
    assert after[10 * STEPS, "lr"] == before[10 * STEPS, "lr"]
    assert float(after[10 * STEPS + 1, "lr"]) == pytest.approx(float(before[10 * STEPS + 1, "lr"]) / 10)
    assert max(step for step, _ in after) == 20 * STEPS


def test_epoch_15_against_epoch_20_on_the_same_data(
    store: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "prices:epoch=15", "prices:epoch=20", "--data", str(data), "--json", "--store", str(store)]

    assert run_command(command) == 0

    scores = json.loads(capsys.readouterr().out)["scores"]
    assert sorted(score["epoch"] for score in scores) == [15, 20]
    values = [score["metrics"]["eval/stones/smape"] for score in scores]
    assert values == sorted(values)


def test_five_newest_every_fifth_and_the_best_are_kept_on_a_short_disk(store: Path) -> None:
    best = Store.open(store).run("prices").best
    assert best is not None

    assert set(epochs_kept(store)) >= {5, 10, 15, *range(16, 21)}
    assert set(epochs_kept(store)) - {5, 10, 15, *range(16, 21)} <= {best.epoch}
    command = ["prune", "prices", "--keep-last", "1", "--keep-best", "1", "--metric", "val/smape"]
    assert run_command([*command, "--store", str(store)]) == 0
    assert set(epochs_kept(store)) >= {20}
    assert len(epochs_kept(store)) <= 2


def test_a_disk_that_outlived_its_machine_is_resumed_on_another(
    tmp_path: Path, data: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_step(12 * STEPS + 3, kill), pytest.raises(Killed):
        trained(tmp_path / "lost", data)
    shutil.copytree(tmp_path / "lost", tmp_path / "found", symlinks=True)  # no process holds that one

    assert trained(tmp_path / "found", data, resume="auto") == 0

    assert logged(tmp_path / "found" / "prices") == logged(done / "prices")


def test_one_command_says_what_is_saved_which_is_best_how_big_and_where(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["ls", "prices", "--json", "--store", str(store)]) == 0

    listed = json.loads(capsys.readouterr().out)["checkpoints"]
    best = [row for row in listed if row["best"]]
    assert best
    assert all(Path(row["path"]).stat().st_size == row["size_bytes"] for row in listed)


def test_a_checkpoint_of_an_older_version_without_a_scheduler_state_goes_on(
    tmp_path: Path, data: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate is computed from the position: there is nothing of it to miss."""
    save: Callable[..., str] = CheckpointManager.save_training_checkpoint

    def without(manager: CheckpointManager, *args: Any) -> str:
        return save(manager, *args[:6], None, *args[7:]) if len(args) > 6 else save(manager, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "save_training_checkpoint", without)
        with at_step(10 * STEPS + 2, lambda run: run.request_stop("the test")):
            assert trained(tmp_path, data) == 3
    assert "scheduler_state_dict" not in newest_state(tmp_path / "prices")

    assert trained(tmp_path, data, resume="auto") == 0

    assert logged(tmp_path / "prices") == logged(done / "prices")
    ours, theirs = (newest_state(root / "prices")["model_state_dict"] for root in (tmp_path, done))
    assert_same_bits(ours, theirs)
