"""Prices from tables: every preset learns, resumes to the bit and predicts; bad tables are refused in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from text_data import real_data, save_encoder, write_diamonds
from torch.utils.data import TensorDataset
from trainer_runs import assert_same_training, at_step, newest_state

from ckptop.cli.main import run as run_command
from ckptop.store.errors import DataError, UsageError
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.trainer.options import TrainOptions, settle
from ckptop.trainer.tasks.encoder import load_encoder
from ckptop.trainer.tasks.price import Price
from ckptop.trainer.tasks.price_models import EncodedText
from ckptop.trainer.tasks.price_options import PriceOptions
from ckptop.trainer.train import train

QUIET = {"tensorboard": "false", "system_interval_seconds": "0", "threads": "1", "log_every_steps": "1"}
SMALL = {"epochs": "2", "hidden": "[16]", "members": "2", "bins": "4", "text_size": "4", "max_tokens": "16"}
PRESETS = {
    "tabular": {"batch_size": "16"},
    "blazing": {"batch_size": "8", "accumulate": "2", "hash_features": "64", "members": "1"},
    "fast": {"batch_size": "16", "members": "1"},
    "ultra": {"batch_size": "8", "accumulate": "2", "members": "1"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def trained(store: Path, data: Path, *, name: str = "run", resume: str | None = None, **settings: str) -> int:
    assignments = settings if resume is not None else {**QUIET, **SMALL, **settings}
    argv = ["-m", "ckptop.cli", "train", "price", "--data", str(data)]
    return train(
        TrainOptions(
            task="price", store=store, data=data, name=name, resume=resume, assignments=list(assignments.items()),
            argv=argv,
        )
    )  # fmt: skip


def stop(run: Run) -> None:
    run.request_stop("the test")


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_stopped_within_an_epoch_resumes_to_the_bit_and_predicts(tmp_path: Path, preset: str) -> None:
    data = write_diamonds(tmp_path / "data.csv", text=preset != "tabular")
    settings = {**PRESETS[preset], "preset": preset}
    if preset in ("fast", "ultra"):
        settings["encoder"] = str(save_encoder(tmp_path / "encoder"))
    assert trained(tmp_path / "runs", data, name="straight", **settings) == 0

    with at_step(3, stop):
        assert trained(tmp_path / "runs", data, name="halved", **settings) == 3
    assert newest_state(tmp_path / "runs" / "halved")["loader"]["batch_in_epoch"] > 0
    assert trained(tmp_path / "runs", data, name="halved", resume="auto") == 0

    assert_same_training(tmp_path / "runs" / "straight", tmp_path / "runs" / "halved")
    out = tmp_path / "out.csv"
    command = ["predict", "straight:best", "--data", str(data), "--out", str(out), "--store", str(tmp_path / "runs")]
    assert run_command(command) == 0
    answers = [float(row["value"]) for row in csv.DictReader(out.read_text().splitlines())]
    assert len(answers) == 120
    assert min(answers) > 0


def test_ultra_trains_the_encoder_along_from_its_weights_and_keeps_no_activations(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "encoder")
    options = PriceOptions(preset="ultra", encoder=str(folder), batch_norm=True, members=1, max_tokens=16, hidden=(8,))
    data = Price(options).load(write_diamonds(tmp_path / "data.csv", text=True), 0)
    task = Price(options, data.fitted)
    model = task.build_model(options)

    task.fit_statistics(model, data)
    model.gradient_checkpointing_enable()

    encoder = load_encoder(str(folder))
    assert isinstance(model.text, EncodedText)
    assert getattr(model.text.encoder, "is_activation_checkpointing", True)  # its name from transformers 5 on
    mine, theirs = model.text.encoder.state_dict(), encoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    assert isinstance(data.train, TensorDataset)
    inputs, targets = data.train[:8]
    task.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]  # torch has no types here
    assert all(parameter.grad is not None for parameter in model.text.encoder.parameters())


def test_the_preset_follows_the_columns_and_a_key_needs_no_section(tmp_path: Path) -> None:
    plain, wordy = write_diamonds(tmp_path / "a.csv"), write_diamonds(tmp_path / "b.csv", text=True)

    def settled(data: Path, **keys: str) -> tuple[PriceOptions, int, float]:
        options = TrainOptions(task="price", store=tmp_path, data=data, assignments=list(keys.items()))
        config = settle(options, Price()).config
        return config.model, config.accumulate, config.lr

    assert settled(plain)[0].preset == "tabular"
    assert settled(wordy)[0].preset == "blazing"
    assert settled(wordy)[1:] == (8, 3e-4)
    assert settled(wordy, preset="ultra", lr="1e-3")[1:] == (4, 1e-3)
    assert settled(plain, dropout="0.3", **{"model.bins": "7"})[0].dropout == 0.3
    with pytest.raises(UsageError, match=r"model\.dropout"):
        settled(plain, **{"model.dropuot": "0.3"})


def test_everything_is_fitted_on_the_training_part_and_kept_as_json(tmp_path: Path) -> None:
    data = write_diamonds(tmp_path / "data.csv")
    trained(tmp_path, data, epochs="1")

    fitted = json.loads((tmp_path / "run" / "fitted.json").read_text())
    loaded = Price(PriceOptions(bins=4)).load(data, 0)

    assert fitted == loaded.fitted
    carat = next(column for column in fitted["columns"]["columns"] if column["name"] == "carat")
    train_carats = [float(row["carat"]) for row in csv.DictReader(data.read_text().splitlines())]
    assert carat["mean"] != pytest.approx(sum(train_carats) / len(train_carats), abs=1e-6)  # of 102 rows, not of 120
    assert (
        bytes(newest_state(tmp_path / "run")["model_state_dict"]["fitted"])
        == json.dumps(fitted, separators=(",", ":")).encode()
    )


def test_the_loss_is_the_metric_as_a_share() -> None:
    outputs, targets = torch.tensor([100.0, 300.0, 1e-20]), torch.tensor([100.0, 100.0, 5.0])
    task = Price()
    metrics = task.metrics()

    metrics.update(outputs, targets)

    assert task.loss(outputs, targets) == pytest.approx(float(metrics.compute()["smape"]) / 100)


def test_a_value_that_was_never_seen_and_a_missing_number_are_answered(tmp_path: Path) -> None:
    data = write_diamonds(tmp_path / "data.csv")
    trained(tmp_path, data, epochs="1")
    (tmp_path / "new.csv").write_text("depth,cut,carat\n61,Unheard Of,\n60,Ideal,1.0\n")

    out = tmp_path / "out.csv"
    command = ["predict", "run:best", "--data", str(tmp_path / "new.csv"), "--out", str(out), "--store", str(tmp_path)]

    assert run_command(command) == 0
    assert len(out.read_text().splitlines()) == 3


BAD_TABLES = {
    "no target": ("carat,cost\n1,2\n", "has no column 'price'.*--set target=NAME"),
    "NaN": ("carat,price\n1,2\n3,nan\n", r"line 3: price is 'nan', and a price is a positive number; correct"),
    "not positive": ("carat,price\n1,-2\n", r"line 2: price is '-2'.*remove the row"),
    "no number": ("carat,price\n1,cheap\n", r"line 2: price is 'cheap'"),
    "empty text": ("title,price\na b c d e,2\n ,3\nf g h i j,4\n", r"line 3: title is empty; fill it in"),
    "ragged": ("carat,price\n1,2,3\n", r"line 2: 3 cells, expected 2 \(carat, price\)"),
    "nothing": ("", "is empty"),
    "alone": ("price\n1\n2\n3\n", "no column beside price"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line_before_there_is_a_run(tmp_path: Path, case: str) -> None:
    content, message = BAD_TABLES[case]
    data = tmp_path / "data.csv"
    data.write_text(content)

    with pytest.raises(DataError, match=message) as refused:
        trained(tmp_path / "runs", data, preset="blazing")

    assert "\n" not in str(refused.value)
    assert str(data) in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_row_to_predict_that_lacks_a_column_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_diamonds(tmp_path / "data.csv")
    trained(tmp_path, data, epochs="1")
    (tmp_path / "new.csv").write_text("depth,cut\n61,Ideal\n")
    out = str(tmp_path / "out.csv")

    command = ["predict", "run:best", "--data", str(tmp_path / "new.csv"), "--out", out, "--store", str(tmp_path)]

    assert run_command(command) == 15
    assert "new.csv has no column 'carat'; it has depth, cut" in capsys.readouterr().err


def test_checkpoints_are_scored_on_a_table(tmp_path: Path) -> None:
    data = write_diamonds(tmp_path / "data.csv")
    trained(tmp_path, data)

    assert run_command(["eval", "run:epoch=1", "run:epoch=2", "--data", str(data), "--store", str(tmp_path)]) == 0
    assert run_command(["eval", "run:epoch=1", "run:epoch=2", "--store", str(tmp_path)]) == 0

    latest = Store.open(tmp_path).run("run").latest
    assert latest is not None
    assert latest.metric("eval/data/smape") is not None
    assert latest.metric("eval/val/smape") == pytest.approx(latest.metric("val/smape"))


@pytest.mark.slow
def test_the_diamonds_are_priced_within_the_promise(tmp_path: Path) -> None:
    data = real_data("diamonds", "diamonds.csv")
    options = TrainOptions(task="price", store=tmp_path, data=data, name="diamonds", argv=["-c", ""])

    assert train(options) == 0

    assert Store.open(tmp_path).run("diamonds").result["val/smape"] <= 7.2
