"""Sentiment: words and embeddings learn, resume to the bit and predict; a second data set shows what is forgotten."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from text_data import BAD, GOOD, save_encoder, write_reviews
from trainer_runs import Killed, assert_same_training, at_step, kill, logged, newest_state

from ckptop.cli.main import run as run_command
from ckptop.store.errors import Damaged, DataError, UsageError
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.trainer.loader import count_samples
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.tasks.embeddings import embed
from ckptop.trainer.tasks.read_texts import Columns, read_parts
from ckptop.trainer.tasks.sentiment import Perceptron, Sentiment, SentimentOptions
from ckptop.trainer.tasks.sparse import SparseSamples
from ckptop.trainer.train import train

SMALL = {
    "tensorboard": "false", "system_interval_seconds": "0", "threads": "1", "log_every_steps": "1", "epochs": "2",
    "batch_size": "8", "hidden": "[16, 8]", "encoder_precision": "fp32", "lr": "1e-2", "dropout": "0",
    "input_dropout": "0.1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ckptop" / "embeddings"


def trained(
    store: Path,
    data: Path,
    *,
    name: str = "run",
    resume: str | None = None,
    continue_on: Path | None = None,
    **settings: str,
) -> int:
    assignments = settings if resume is not None else {**SMALL, **settings}
    return train(
        TrainOptions(
            task="sentiment", store=store, data=data, name=name, resume=resume, continue_on=continue_on,
            assignments=[(key.replace("__", "."), value) for key, value in assignments.items()],
            argv=["-m", "ckptop.cli", "train", "sentiment", "--data", str(data)],
        )
    )  # fmt: skip


def stop(run: Run) -> None:
    run.request_stop("the test")


@pytest.mark.parametrize("features", ["bow", "embeddings"])
def test_both_features_learn_resume_to_the_bit_and_predict(tmp_path: Path, features: str) -> None:
    data, encoder = write_reviews(tmp_path / "train.tsv"), str(save_encoder(tmp_path / "encoder"))
    assert trained(tmp_path / "runs", data, name="straight", features=features, encoder=encoder) == 0

    with at_step(8, stop):
        assert trained(tmp_path / "runs", data, name="halved", features=features, encoder=encoder) == 3
    assert newest_state(tmp_path / "runs" / "halved")["loader"]["batch_in_epoch"] > 0
    assert trained(tmp_path / "runs", data, name="halved", resume="auto") == 0

    assert_same_training(tmp_path / "runs" / "straight", tmp_path / "runs" / "halved")
    (tmp_path / "new.txt").write_text("a bright and funny film\na dull plot\n")
    out = tmp_path / "out.csv"
    command = ["predict", "straight:best", "--data", str(tmp_path / "new.txt"), "--out", str(out)]
    assert run_command([*command, "--store", str(tmp_path / "runs")]) == 0
    good, bad = (float(row["probability_positive"]) for row in csv.DictReader(out.read_text().splitlines()))
    assert good > bad or features == "embeddings"


def test_the_network_has_the_parameters_that_were_published() -> None:
    fitted = {"inputs": 10_000, "words": ["word"]}

    model = Sentiment(SentimentOptions(), fitted).build_model(SentimentOptions())

    assert isinstance(model, Perceptron)
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_293_122


def test_counts_stay_sparse_until_the_batch(tmp_path: Path) -> None:
    data = Sentiment().load(write_reviews(tmp_path / "train.tsv"), 0)

    assert isinstance(data.train, SparseSamples)
    assert data.train.rows.nnz < 10 * len(data.train)
    inputs, labels = data.train.batch(torch.tensor([3, 0]))
    assert inputs.shape == (2, data.train.rows.shape[1])
    assert torch.equal(inputs[0], torch.from_numpy(data.train.rows[3].toarray()[0]))
    assert labels.dtype == torch.long


def test_the_split_is_stratified_and_follows_the_seed(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "train.tsv", 100)

    data, again, other = (Sentiment().load(path, seed) for seed in (0, 0, 1))

    assert [count_samples(part) for part in (data.train, data.validation)] == [80, 20]
    for one, two, same in ((data, again, True), (data, other, False)):
        left, right = one.validation, two.validation
        assert isinstance(left, SparseSamples)
        assert isinstance(right, SparseSamples)
        assert (one.fitted == two.fitted) or not same
        if same:
            assert (left.rows != right.rows).nnz == 0
    _, labels = data.validation.batch(torch.arange(20))  # type: ignore[attr-defined]  # it is sparse, as seen above
    assert labels.float().mean() == 0.5


# Continual learning


def test_going_on_with_other_data_tells_what_was_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_reviews(tmp_path / "first.tsv")
    second = write_reviews(tmp_path / "second.tsv", seed=1, words=["cheese", "knife", "oven", "pan", "pot", "salt"])
    store = tmp_path / "runs"

    code = trained(store, first, continue_on=second, tensorboard="true", continue__epochs="2", continue__batch_size="8")

    assert code == 0
    run = store / "run-continued"
    record = Store.open(store).run("run-continued").record
    assert record is not None
    assert (record.config["lr"], record.config["optimizer"], record.config["epochs"]) == (1e-4, "adam", 2)
    assert record.parent is not None
    assert record.parent.run == "run"
    assert (run / "fitted.json").read_bytes() == (store / "run" / "fitted.json").read_bytes()
    assert "cheese" not in json.loads((run / "fitted.json").read_text())["words"]

    values, best = logged(run), Store.open(store).run("run").best
    assert best is not None
    assert float(values[0, "val_first/accuracy"]) == best.metric("val/accuracy")
    assert {name for step, name in values if step > 6} >= {"val/accuracy", "val_first/accuracy", "val_first/loss"}

    told = json.loads((run / "reports" / "summary.json").read_text())["continual"]
    assert told["first"]["before"]["accuracy"] == best.metric("val/accuracy")
    for part in ("first", "second"):
        for when in ("before", "after"):
            assert told[part][when].keys() == {"loss", "accuracy", "confusion"}
            assert sum(map(sum, told[part][when]["confusion"])) == 12
    assert (run / "reports" / "confusion_matrix_val_first_after.png").exists()
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert "val_first/accuracy" in events.Tags()["scalars"]
    assert {
        f"{split}/confusion_matrix_{when}" for split in ("val", "val_first") for when in ("before", "after")
    } <= set(events.Tags()["images"])
    assert "Accuracy on the first data: " in capsys.readouterr().out


def test_going_on_resumes_to_the_bit_from_wherever_it_was_cut_off(tmp_path: Path) -> None:
    first = write_reviews(tmp_path / "first.tsv")
    second = write_reviews(tmp_path / "second.tsv", 80, seed=1)
    longer = {"continue__epochs": "2", "continue__batch_size": "8"}
    trained(tmp_path / "straight", first, continue_on=second, **longer)

    store = tmp_path / "torn"
    with at_step(4, kill), pytest.raises(Killed):  # of the first training
        trained(store, first, continue_on=second, **longer)
    with at_step(10, stop):
        assert trained(store, first, resume="auto", continue_on=second, **longer) == 3
    assert not (store / "run-continued").exists()
    assert trained(store, first, resume="auto") == 0
    with at_step(3, kill), pytest.raises(Killed):  # of the second, before anything was saved
        trained(store, first, resume="auto", continue_on=second, **longer)
    with at_step(11, stop):
        assert trained(store, first, resume="auto", continue_on=second, **longer) == 3
    assert trained(store, first, resume="auto", continue_on=second) == 0

    for name in ("run", "run-continued"):
        assert_same_training(tmp_path / "straight" / name, store / name)
    summary = json.loads((store / "run-continued" / "reports" / "summary.json").read_text())
    assert summary["continual"].keys() == {"first", "second"}


def test_a_second_data_set_with_other_labels_is_refused_before_the_first_is_trained_on(tmp_path: Path) -> None:
    first = write_reviews(tmp_path / "first.tsv")
    second = tmp_path / "second.csv"
    second.write_text("text,label\nfine,1\nso so,3\n")

    with pytest.raises(DataError, match=r"second.csv, line 3: the label '3' is none of 0, 1, negative, positive"):
        trained(tmp_path / "runs", first, continue_on=second)

    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_other_data_again_is_another_run_and_the_same_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_reviews(tmp_path / "first.tsv"), write_reviews(tmp_path / "second.tsv", seed=1)
    third, store = write_reviews(tmp_path / "third.tsv", seed=2), tmp_path / "runs"
    quick = {"continue__epochs": "1"}
    trained(store, first, continue_on=second, epochs="1", **quick)

    with pytest.raises(UsageError, match="run-continued exists"):
        trained(store, first, continue_on=second)
    assert trained(store, first, continue_on=third, resume="auto", **quick) == 0
    assert trained(store, first, continue_on=second, resume="auto") == 0

    assert "run-continued is complete: 1 epoch done" in capsys.readouterr().out
    assert sorted(run.name for run in Store.open(store).runs()) == ["run", "run-continued", "run-continued-2"]


# Embeddings


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_vectors_are_the_mean_over_real_tokens_and_computed_once(
    tmp_path: Path, cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(save_encoder(tmp_path / kind, kind))
    texts = ["a fine film", "dull", "the plot of a bright and funny story"]

    together = embed(texts, folder, precision="fp32", batch_size=2)
    alone = embed(texts[1:2], folder, precision="fp32")

    assert together.shape == (3, 16)
    assert torch.allclose(together[1:2], alone, atol=1e-5)  # padding counts for nothing
    assert torch.allclose(embed(texts, folder, precision="bf16"), together, atol=0.1)
    assert len(list(cache.glob("*.npy"))) == 3
    monkeypatch.setattr("ckptop.trainer.tasks.embeddings._compute", lambda *args: pytest.fail("computed again"))
    assert torch.equal(embed(texts, folder, precision="fp32", batch_size=2), together)


def test_a_cache_that_was_cut_off_is_computed_again(tmp_path: Path, cache: Path) -> None:
    folder = str(save_encoder(tmp_path / "encoder"))
    before = embed(["a film"], folder)
    kept = next(cache.glob("*.npy"))
    kept.write_bytes(kept.read_bytes()[:-3])

    assert torch.equal(embed(["a film"], folder), before)


def test_an_encoder_that_cannot_be_had_is_refused_and_a_public_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_encoder(tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    data = write_reviews(tmp_path / "train.tsv")

    with pytest.raises(DataError, match=r"has no weights .*--set encoder=bert-base-uncased"):
        trained(tmp_path / "runs", data, features="embeddings", encoder=str(folder))
    with pytest.raises(DataError, match=r"does not exist; --set encoder=bert-base-uncased"):
        trained(tmp_path / "runs", data, features="embeddings", encoder=str(tmp_path / "nowhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"some/model cannot be had .*--set encoder=bert-base-uncased"):
        trained(tmp_path / "runs", data, features="embeddings", encoder="some/model")
    assert not (tmp_path / "runs").exists()


def test_an_encoder_larger_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_encoder(tmp_path / "encoder")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 10})())

    with pytest.raises(DataError, match=r"does not fit: its weights are .*bert-base-uncased"):
        embed(["a film"], str(folder))


# Side by side


def test_two_features_make_two_runs_side_by_side(tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "train.tsv")
    encoder = save_encoder(tmp_path / "encoder")
    settings = {**SMALL, "features": "bow,embeddings", "encoder": str(encoder), "epochs": "1"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]

    command = ["train", "sentiment", "--data", str(data), "--store", str(tmp_path / "runs"), *words]
    told = subprocess.run([sys.executable, "-m", "ckptop.cli", *command], capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stdout
    assert "bow        Epoch 1/1" in told.stdout
    assert "embeddings Epoch 1/1" in told.stdout
    runs = {run.name: run for run in Store.open(tmp_path / "runs").runs()}
    assert runs.keys() == {"sentiment-bow", "sentiment-embeddings"}
    for name, run in runs.items():
        assert run.state == "finished"
        assert run.record is not None
        assert run.record.config["model"]["features"] == name.partition("-")[2]


# Reading


def write_parquet(path: Path, rows: Sequence[tuple[str, int]]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra text")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts, labels = zip(*rows, strict=True)
    parquet.write_table(pyarrow.table({"text": list(texts), "label": list(labels)}), path)


ROWS = [('good, "very" good', 1), ("bad", 0)]


def test_every_kind_of_file_and_folder_is_read_alike(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('good, "very" good\t1\nbad\t0\n')
    (tmp_path / "b.csv").write_text('id,sentiment,review\n1,positive,"good, ""very""<br />good"\n2,Negative,bad\n')
    with gzip.open(tmp_path / "c.csv.gz", "wt") as file:
        file.write('text,label\n"good, ""very"" good",1\nbad,0\n')
    write_parquet(tmp_path / "d.parquet", ROWS)
    for part in ("train", "test"):
        for label, text in (("pos", ROWS[0][0]), ("neg", "bad")):
            (tmp_path / "e" / part / label).mkdir(parents=True)
            (tmp_path / "e" / part / label / "0_1.txt").write_text(text)

    for name in ("a.tsv", "b.csv", "c.csv.gz", "d.parquet", "e"):
        found, test = read_parts(tmp_path / name, Columns())
        assert sorted(zip(found.texts, found.labels, strict=True)) == sorted([(ROWS[0][0], 1), ("bad", 0)]), name
        assert (test is not None) == (name == "e")


def test_a_folder_with_train_and_test_is_read_and_secret_labels_are_no_test(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("good\t1\nbad\t0\n")
    (tmp_path / "test.tsv").write_text("fair\t1\n")

    assert read_parts(tmp_path, Columns())[1] is not None

    (tmp_path / "test.tsv").write_text("sentence\tlabel\nfair\t-1\n")
    assert read_parts(tmp_path, Columns())[1] is None


BAD_TEXTS = {
    "label": ("text,label\nfine,1\nbad,angry\n", r"line 3: the label 'angry' is none of 0, 1, negative, positive"),
    "empty": ("text,label\nfine,1\n  ,0\n", r"line 3: the text is empty; fill it in or remove the row"),
    "column": ("words,label\nfine,1\n", r"no column of texts .*--set text_column=NAME"),
    "no label": ("text,mood\nfine,1\n", r"no column of labels .*--set label_column=NAME"),
    "one class": ("text,label\nfine,1\ngood,1\n", r"fewer than two texts of a class"),
    "nothing": ("text,label\n", r"holds no rows"),
    "quotes": ('text,label\n"fine"x,1\n', r"line 2: .*correct the quotes"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_bad_file_is_refused_in_one_line_before_there_is_a_run(tmp_path: Path, case: str) -> None:
    content, message = BAD_TEXTS[case]
    data = tmp_path / "data.csv"
    data.write_text(content)

    with pytest.raises(DataError, match=message) as refused:
        trained(tmp_path / "runs", data)

    assert "\n" not in str(refused.value)
    assert str(data) in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_what_is_neither_here_nor_on_the_hub_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(DataError, match="does not exist; name a file or folder"):
        trained(tmp_path / "runs", tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="the hub gave no such data set"):
        trained(tmp_path / "runs", Path("nobody/nothing"))
    with pytest.raises(UsageError, match="sentiment needs texts: --data"):
        Sentiment().load(None, 0)


def test_a_vocabulary_that_is_none_is_refused() -> None:
    """It may come out of a stranger's file."""
    for fitted in (None, {"inputs": "many"}, {"words": [1], "inputs": 1}):
        with pytest.raises(Damaged, match="fitted beside the weights"):
            Sentiment(SentimentOptions(), fitted).build_model(SentimentOptions())


def test_words_that_mean_something_are_weighed(tmp_path: Path) -> None:
    """The reader gives each label to its own text: what the words say is learnt at once."""
    data = write_reviews(tmp_path / "train.tsv", 120)

    trained(tmp_path, data, epochs="4")

    assert Store.open(tmp_path).run("run").result["val/accuracy"] >= 0.9
    assert {*GOOD, *BAD} <= set(json.loads((tmp_path / "run" / "fitted.json").read_text())["words"])
