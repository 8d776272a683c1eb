"""What a finished training leaves in reports/ and for TensorBoard."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from trainer_runs import SMALL, at_step, run_training

from ckptop.store.events import last_event
from ckptop.store.store import Store
from ckptop.trainer.confusion import draw_confusion, worst_confusion
from ckptop.trainer.tasks.diabetes import Diabetes


def summary_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "reports" / "summary.json").read_text())
    return content


def test_the_summary_is_stored_said_and_in_the_finished_event(tmp_path: Path) -> None:
    run_training(tmp_path, name="run")

    root, view = tmp_path / "run", Store.open(tmp_path).run("run")
    summary = summary_of(root)
    assert view.best is not None
    assert summary["best"] == {
        "checkpoint": f"checkpoints/milestone/{view.best.name}", "epoch": view.best.epoch, "step": view.best.step,
        "size_bytes": view.best.path.stat().st_size,
    }  # fmt: skip
    assert (root / summary["best"]["checkpoint"]).is_file()
    assert summary["metrics"] == dict(view.result)
    assert summary["parameters"] == {"total": 10 * 8 + 8 + 8 + 1, "trainable": 97}
    assert (summary["epochs"], summary["steps"], summary["stopped_early"]) == (3, 51, False)
    event = last_event(view.paths.events, ("finished",))
    assert event is not None
    assert {key: event.details[key] for key in summary} == summary
    log = (root / "train.log").read_text()
    assert f"Best checkpoint: {view.best.path} (" in log
    assert "97 parameters (97 trainable)" in log


def test_the_best_weights_are_judged_where_the_last_are_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second epoch on it learns the opposite."""
    run_training(tmp_path, name="one", epochs="1", scheduler="constant")
    calls, original = 0, Diabetes.loss

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        return original(task, outputs, targets) * (1 if calls <= 17 or not torch.is_grad_enabled() else -1)

    monkeypatch.setattr(Diabetes, "loss", loss)
    run_training(tmp_path, name="worse", epochs="3", scheduler="constant")

    first, judged = summary_of(tmp_path / "one"), summary_of(tmp_path / "worse")
    assert (judged["best"]["epoch"], judged["epochs"]) == (1, 3)
    assert judged["metrics"]["test/smape"] == first["metrics"]["test/smape"]
    assert judged["metrics"]["test/loss"] == first["metrics"]["test/loss"]


def test_a_classification_gets_its_confusion_matrix_as_numbers_and_as_a_picture(tmp_path: Path) -> None:
    run_training(tmp_path, "digits", name="run", epochs="1", tensorboard="true")

    reports = tmp_path / "run" / "reports"
    matrix = json.loads((reports / "confusion_matrix.json").read_text())
    counts = matrix["counts"]
    assert matrix["classes"] == [str(digit) for digit in range(10)]
    assert sum(map(sum, counts)) == 360  # a fifth of 1,797
    assert all(30 <= sum(row) <= 40 for row in counts)  # rows are true classes, stratified
    right = sum(counts[digit][digit] for digit in range(10)) / 360
    assert right == pytest.approx(summary_of(tmp_path / "run")["metrics"]["test/accuracy"])
    png = (reports / "confusion_matrix.png").read_bytes()
    assert Image.open(io.BytesIO(png)).format == "PNG"
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    (shown,) = events.Images("test/confusion_matrix")
    assert (shown.step, shown.encoded_image_string) == (17, png)
    assert "Confusion matrix of the test part: " in (tmp_path / "run" / "train.log").read_text()


def test_a_regression_has_no_confusion_matrix(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", epochs="1")

    assert [path.name for path in (tmp_path / "run" / "reports").iterdir()] == ["summary.json"]


def test_the_picture_is_dark_where_the_share_of_the_true_class_is_high() -> None:
    image = Image.open(io.BytesIO(draw_confusion([[90, 10], [0, 2]], ["a", "a long name of a class"])))

    label = image.width - 2 * 36 - 6
    corners = [image.getpixel((label + x, 24 + y)) for y in (3, 39) for x in (3, 39)]
    darkness = [765 - sum(pixel) for pixel in corners if isinstance(pixel, tuple)]
    assert darkness[3] > darkness[0] > darkness[1] > darkness[2] == 0


def test_many_classes_are_drawn_without_text() -> None:
    classes = [str(number) for number in range(300)]
    image = Image.open(io.BytesIO(draw_confusion([[1] * 300 for _ in classes], classes)))

    assert image.width < 2_500


def test_the_worst_mistake_is_said_in_words() -> None:
    assert worst_confusion([[9, 1, 0], [0, 5, 3], [0, 0, 7]], ["a", "b", "c"]) == "b was taken for c (3 times)"
    assert worst_confusion([[9, 0], [0, 5]], ["a", "b"]) == "no mistake at all"


def hparams_of(root: Path) -> Mapping[str, Any]:
    events = EventAccumulator(str(root / "tensorboard"))
    events.Reload()
    contents = events.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(content) for tag, content in contents.items()}


@pytest.mark.parametrize("task", SMALL)
def test_tensorboard_has_hyperparameters_and_results(tmp_path: Path, task: str) -> None:
    run_training(tmp_path, task, name="run", epochs="1", tensorboard="true", lr="0.002")

    said = hparams_of(tmp_path / "run")
    start = said["_hparams_/session_start_info"].session_start_info
    assert start.group_name == "run"
    assert start.hparams["lr"].number_value == 0.002
    assert start.hparams["optimizer"].string_value == "adamw"
    assert start.hparams["tensorboard"].bool_value is True
    assert start.hparams["model.hidden"] is not None
    tags = {info.name.tag for info in said["_hparams_/experiment"].experiment.metric_infos}
    metric = {"digits": "accuracy", "diabetes": "smape"}[task]
    assert tags == {f"{split}/{name}" for split in ("val", "test") for name in ("loss", metric)}
    assert said["_hparams_/session_end_info"].session_end_info.end_time_secs > start.start_time_secs


def test_a_stopped_run_has_hyperparameters_and_no_end(tmp_path: Path) -> None:
    with at_step(5, lambda run: run.request_stop("the test")):
        run_training(tmp_path, name="run", tensorboard="true")

    assert set(hparams_of(tmp_path / "run")) == {"_hparams_/experiment", "_hparams_/session_start_info"}
    assert not (tmp_path / "run" / "reports").exists()


def test_a_report_that_cannot_be_written_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def block(run: Any) -> None:
        (run.root / "reports").write_text("in the way")

    with at_step(3, block):
        assert run_training(tmp_path, "digits", name="run", epochs="1") == 0

    assert "The summary was not written: " in (tmp_path / "run" / "train.log").read_text()
    assert "test/accuracy" in Store.open(tmp_path).run("run").result
