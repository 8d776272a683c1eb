"""`ckptop eval`: checkpoints scored, best first, and numbers that everything which ranks then ranks by."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from trained_store import ROWS, copy_store, train_store, write_digits, write_patients

from ckptop.cli.main import run
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.find import find_checkpoint
from ckptop.store.layout import manifest_path
from ckptop.store.model_files import ModelFile
from ckptop.store.seal import seal
from ckptop.store.store import Store
from ckptop.store.views import RunView
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.task import Task
from ckptop.trainer.trained import Inference, Trained, load_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_store(tmp_path_factory.mktemp("trained") / "runs")


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the store `runs`, and labelled files."""
    copy_store(trained, tmp_path / "runs")
    write_digits(tmp_path)
    write_patients(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digits() -> RunView:
    return Store.open("runs").run("digits")


def training() -> list[CheckpointInfo]:
    return [info for info in digits().checkpoints if info.tier == "training"]


def values(metric: str) -> list[float | None]:
    return [info.metric(metric) for info in digits().checkpoints]


def answer(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip_a_byte(info: CheckpointInfo) -> None:
    """Damage this name of the bytes alone."""
    data = bytearray(info.path.read_bytes())
    data[len(data) // 2] ^= 1
    info.path.unlink()
    info.path.write_bytes(data)


def test_the_validation_part_scores_what_the_training_recorded(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "digits"]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["epoch", "step", "accuracy", "loss", "checkpoint"]
    accuracies = [float(line.split()[2]) for line in shown[1:-1]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert shown[-1] == "Scored 8 on 359 samples of val; written beside 8 as eval/val/…."
    for info in digits().checkpoints:
        assert info.metric("eval/val/accuracy") == info.metric("val/accuracy"), "the very same, on the same machine"
        assert info.metric("eval/val/loss") == pytest.approx(info.metric("val/loss"))
        assert info.manifest is not None
        assert info.manifest.evaluations["eval/val/data_hash"] == digits().record.data.hash  # type: ignore[union-attr]


def test_the_test_part_scores_what_the_training_ended_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("digits", "diabetes"):
        view = Store.open("runs").run(name)
        metric = "accuracy" if name == "digits" else "smape"

        code, told = answer(["eval", f"{name}:best", "--part", "test"], capsys)

        assert code == 0
        assert told["scores"][0]["metrics"][f"eval/test/{metric}"] == view.result[f"test/{metric}"]
        assert told["metric"] == {"name": f"eval/test/{metric}", "mode": "max" if name == "digits" else "min"}


def test_lower_is_first_where_lower_is_better(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, told = answer(["eval", "diabetes", "--data", "answers.csv"], capsys)

    scored = [score["metrics"]["eval/answers/smape"] for score in told["scores"]]
    assert len(scored) > 2
    assert scored == sorted(scored)
    assert scored[0] < scored[-1]


def test_prune_promote_ls_and_show_go_by_the_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "digits", "--data", "labelled.csv"]) == 0
    name = "eval/labelled/accuracy"
    ranked = sorted(training(), key=lambda info: info.metric(name) or 0)
    worst, best = ranked[0], ranked[-1]
    at_least = (best.metric(name) or 0) - 1e-6

    assert find_checkpoint(Store.open("runs"), f"digits:best={name}")[1].step == best.step
    run(["ls", "digits"])
    assert capsys.readouterr().out.count(name) == 1
    run(["show", f"digits:{best.key}"])
    assert re.search(rf"^  {name} +{best.metric(name):.4f}$", capsys.readouterr().out, re.MULTILINE)
    wanted = ["promote", "--store", "runs", "--to", "production", "--require", f"{name}>={at_least}"]
    assert run([*wanted, f"digits:{worst.key}"]) == 1
    assert f"has {name}" in capsys.readouterr().err
    assert run([*wanted, f"digits:{best.key}"]) == 0
    _code, plan = answer(["prune", "digits", "--keep-best", "2", "--metric", name], capsys)
    assert {item["checkpoint"] for item in plan["deleted"]} == {info.key for info in ranked[:-2]}
    assert {info.key for info in training()} == {info.key for info in ranked[-2:]}


def test_a_labelled_file_is_scored_by_what_its_labels_say(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = np.loadtxt("labelled.csv", delimiter=",")
    run(["predict", "digits:best", "--data", "photos.csv", "--out", "p.npy"])
    right = np.load("p.npy").argmax(1) == table[:, -1]

    _code, told = answer(["eval", "digits:best", "--data", "labelled.csv"], capsys)

    assert told["samples"] == ROWS
    assert told["scores"][0]["metrics"]["eval/labelled/accuracy"] == pytest.approx(right.mean())
    assert right.mean() > 0.8


@pytest.mark.parametrize("words", [["--batch-size", "1"], ["--batch-size", "7"], ["--batch-size", "9999"], ["turned"]])
def test_neither_batch_size_nor_order_changes_a_score(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    lines = (here / "labelled.csv").read_text().splitlines()
    (here / "turned.csv").write_text("\n".join(reversed(lines)))
    data, more = ("turned.csv", []) if words == ["turned"] else ("labelled.csv", words)

    _code, first = answer(["eval", "digits:latest", "--data", "labelled.csv", "--as", "x", "--no-record"], capsys)
    _code, second = answer(["eval", "digits:latest", "--data", data, "--as", "x", "--no-record", *more], capsys)

    assert second["scores"][0]["metrics"] == pytest.approx(first["scores"][0]["metrics"], rel=1e-5)


def test_json_tells_what_was_scored_on_what(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = answer(["eval", "digits:latest", "digits:latest", "digits:step=17", "--data", "labelled.csv"], capsys)

    assert code == 0
    assert (told["name"], told["samples"], told["data_sets"]) == ("labelled", ROWS, 1)
    assert [score["step"] for score in told["scores"]] == [68, 17], "twice the same is once"
    first = told["scores"][0]
    assert first["checkpoint"] == f"digits:{digits().latest.key}"  # type: ignore[union-attr]
    assert first["data"]["path"] == str(here / "labelled.csv")
    assert len(first["data"]["hash"]) == 32
    assert set(first["metrics"]) == {"eval/labelled/loss", "eval/labelled/accuracy"}
    assert (first["recorded"], first["problem"]) == (True, None)


def test_bytes_with_two_names_are_scored_once_and_written_for_both(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(file: ModelFile, task: Task[Any], inference: Inference) -> Trained:
        loaded.append(file.label)
        return load_trained(file, task, inference)

    monkeypatch.setattr("ckptop.trainer.score.load_trained", load)

    assert run(["eval", "digits"]) == 0

    assert len(digits().checkpoints) == 8
    assert len(loaded) == len({info.inode for info in digits().checkpoints}) == 4
    assert None not in values("eval/val/accuracy")


def test_one_that_is_damaged_stops_no_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_a_byte(training()[1])
    manifest_path(training()[2].path).write_bytes(b"{")

    code, told = answer(["eval", "digits"], capsys)

    assert code == 12
    assert [score["recorded"] for score in told["scores"]] == [True] * 6 + [False] * 2
    problems = {score["checkpoint"]: score["problem"] for score in told["scores"] if score["problem"]}
    assert "bytes differ from its manifest; it was not loaded" in problems[f"digits:{training()[1].key}"]
    assert "truncated" in problems[f"digits:{training()[2].key}"]
    run(["eval", "digits", "--no-record"])
    told = capsys.readouterr()
    assert told.err.count("ckptop: ") == told.err.count("\n") == 2
    assert "Scored 6 on 359 samples of val; nothing was written." in told.out


def test_only_damaged_ones_print_no_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_a_byte(training()[0])

    assert run(["eval", f"digits:{training()[0].key}"]) == 12

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1


def test_printing_alone_writes_nothing(here: Path) -> None:
    before = contents(here / "runs")

    assert run(["eval", "digits", "--no-record"]) == 0

    assert contents(here / "runs") == before


def test_a_read_only_store_is_asked_and_what_could_not_be_written_is_said(here: Path) -> None:
    asked = (
        ("predict", "digits:best", "--data", "photos.csv", "--out", "out.csv"),
        ("eval", "digits"),
        ("eval", "digits", "--no-record"),
    )
    code = f"from ckptop.cli.main import run\nfor words in {asked}: print('code', run(words), flush=True)"
    script = "mount --bind runs runs && mount -o remount,bind,ro runs || exit 99\n" + shlex.join(
        [sys.executable, "-c", code]
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=here, capture_output=True, text=True, check=False)
    if done.returncode or "code" not in done.stdout:
        pytest.skip("this machine lets nobody mount in a namespace of their own")

    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 0", "code 14", "code 0"]
    assert (here / "out.csv").exists()
    assert done.stdout.count("Scored 8 on 359 samples of val; nothing was written.") == 2
    assert done.stderr.startswith("ckptop: not written: runs/digits/checkpoints/.lock cannot be locked: Read-only")
    assert done.stderr.count("\n") == 1
    assert set(values("eval/val/accuracy")) == {None}


def test_one_replaced_while_it_was_scored_gets_no_numbers_of_another(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = training()[:2]

    def replace_and_evaluate(*args: Any) -> dict[str, float]:
        assert second.manifest is not None
        os.replace(second.path, first.path)
        new = msgspec.structs.replace(second.manifest, file=first.name)
        manifest_path(first.path).write_bytes(seal(msgspec.json.encode(new)))
        return evaluate(*args)

    monkeypatch.setattr("ckptop.trainer.score.evaluate", replace_and_evaluate)

    assert run(["eval", f"digits:{first.key}"]) == 11

    assert "not written: " in (error := capsys.readouterr().err)
    assert "is gone" in error
    assert set(values("eval/val/accuracy")) == {None}


def test_a_release_and_a_file_that_stands_alone_are_only_printed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = digits().best
    assert best is not None
    shutil.copy(best.path, "alone.pt")
    run(["promote", "digits:best", "--to", "production", "--store", "runs"])

    code, told = answer(["eval", "digits@1.0.0", "alone.pt", "digits:best", "--part", "test"], capsys)
    run(["eval", "digits@1.0.0"])

    assert code == 0
    assert [score["recorded"] for score in told["scores"]].count(True) == 1
    assert len({score["metrics"]["eval/test/accuracy"] for score in told["scores"]}) == 1
    assert "digits@1.0.0 is no live checkpoint of a run: what it scored is only printed." in capsys.readouterr().out


def test_runs_that_split_their_data_differently_are_told_apart(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "model.channels=2", "--set", "model.hidden=4", "--set", "tensorboard=false"]
    run(["train", "digits", "--name", "other", "--seed", "5", "--epochs", "1", "--store", "runs", *small])
    capsys.readouterr()

    assert run(["eval", "digits:best", "other:best"]) == 0
    assert "split their data by different seeds" in capsys.readouterr().out
    assert run(["eval", "digits:best", "other:best", "--data", "labelled.csv"]) == 0
    assert "split their data by different seeds" not in capsys.readouterr().out


def test_a_name_means_one_set_of_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "digits", "--data", "labelled.csv", "--as", "field"]) == 0
    lines = (here / "labelled.csv").read_text().splitlines()
    (here / "labelled.csv").write_text("\n".join(lines[:100]))
    capsys.readouterr()

    assert run(["eval", "digits:latest", "--data", "labelled.csv", "--as", "field"]) == 2
    error = capsys.readouterr().err
    assert "and 6 more was made on other data; score all of digits anew, or call this data otherwise" in error
    assert run(["eval", "digits:latest", "--data", "labelled.csv", "--as", "field", "--no-record"]) == 0
    assert run(["eval", "digits", "--data", "labelled.csv", "--as", "field"]) == 0
    assert run(["eval", "digits:latest", "--data", "labelled.csv", "--as", "field"]) == 0


def test_data_that_changed_since_the_training_is_not_its_own_any_more(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ckptop.trainer.tasks.digits.content_hash", lambda *_: "00ff")

    assert run(["eval", "digits:latest"]) == 15
    assert "has changed since digits:training/" in capsys.readouterr().err
    assert run(["eval", "digits:latest", "--data", "labelled.csv"]) == 0


def test_a_run_is_scored_on_the_data_it_was_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "own_filed.py").write_text(
        "import dataclasses\nfrom ckptop.store.hashing import xxh3_128_of\n"
        "from ckptop.trainer.tasks.digits import Digits\n"
        "class Filed(Digits):\n    name = 'filed'\n"
        "    def load(self, path, seed):\n"
        "        data = self.read_labelled(path)\n"
        "        parts = dict(train=data, validation=data, test=data)\n"
        "        found = super().load(None, seed)\n"
        "        return dataclasses.replace(found, **parts, path=path.name, hash=xxh3_128_of(path))\n"
    )
    small = ["--epochs", "1", "--set", "model.channels=2", "--set", "model.hidden=4", "--set", "tensorboard=false"]
    words = ["train", "own_filed:Filed", "--data", "labelled.csv", "--store", "runs", *small]
    subprocess.run([sys.executable, "-m", "ckptop.cli", *words], check=True, capture_output=True, cwd=here)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    monkeypatch.syspath_prepend(str(here))

    assert run(["eval", "filed", "--store", "../runs"]) == 0

    best = Store.open("../runs").run("filed").best
    assert best is not None
    assert best.metric("eval/val/accuracy") == best.metric("val/accuracy")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["digits", "diabetes"],
            2,
            "digits:training/checkpoint_epoch_0001_step_00000017.pt is of task digits, diabetes",
        ),
        (["digits", "--data", "labelled.csv", "--as", "val"], 2, "'val' means the task's own val part"),
        (["digits", "--data", "labelled.csv", "--as", "a/b"], 2, "'a/b' cannot name data"),
        (["digits", "--as", "mine"], 2, "--as names the data of --data"),
        (["digits", "--data", "labelled.csv", "--part", "test"], 2, "--part is of the run's own data"),
        (["digits", "--part", "all"], 2, "'all' is not one of"),
        (["digits", "--data", "no.csv"], 15, "no.csv does not exist"),
        (["digits", "--data", "photos.csv"], 15, "photos.csv, line 1: 64 columns, expected 65 (8 x 8 pixels, then the"),
        (["digits", "--data", "eleven.csv"], 15, "eleven.csv, line 1: the label is no digit from 0 to 9"),
        (["digits", "--data", "empty.csv"], 15, "empty.csv holds no rows"),
        (["nowhere"], 11, "no run 'nowhere' in runs; there: diabetes, digits"),
        (["digits:epoch=99"], 11, "digits has not a checkpoint of epoch 99"),
        (["digits", "--task", "digit"], 2, "no task 'digit'"),
        (["digits", "--device", "abacus"], 2, "no device 'abacus'"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_use_is_one_clear_line_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    (here / "eleven.csv").write_text(",".join(["0"] * 64) + ",11\n")
    (here / "empty.csv").write_text("")
    before = contents(here / "runs")

    assert run(["eval", *words]) == code

    error = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(error) == 1
    assert said in error[0]
    assert contents(here / "runs") == before


def test_a_score_that_is_no_number_is_ranked_last(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = Store.open("runs").run("diabetes").best
    assert best is not None
    state = torch.load(best.path, weights_only=True)
    state["model_state_dict"]["target_mean"] += torch.nan
    torch.save(state, "broken.pt")

    code, told = answer(["eval", "broken.pt", "diabetes"], capsys)

    assert code == 0
    assert told["scores"][-1]["checkpoint"] == "broken.pt"
    assert told["scores"][-1]["metrics"]["eval/val/smape"] == "NaN"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_a_batch_that_does_not_fit_says_what_would(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch.nn.Conv2d, "forward", refuse)

    assert run(["eval", "digits:latest"]) == 16
    assert run(["predict", "digits:latest", "--data", "photos.csv", "--out", "out.csv"]) == 16

    told = capsys.readouterr().err
    assert told.count("--batch-size 32 or --device cpu needs less") == told.count("\n") == 2


def test_progress_is_shown_on_a_terminal_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["eval", "digits:latest"])
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(["eval", "digits:latest"])
    assert "scoring" in capsys.readouterr().err
    answer(["eval", "digits:latest"], capsys)
    assert capsys.readouterr().err == ""


def test_both_commands_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])

    shown = capsys.readouterr().out
    assert "predict " in shown
    assert "eval " in shown
