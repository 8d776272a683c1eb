"""transformers' real Trainer on a tiny model: shown, saved, stopped, resumed to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ckptop.store import tensors
from ckptop.store.control import send_request
from ckptop.store.errors import UsageError
from ckptop.store.views import RunView, read_run
from ckptop.trainer.hooks.huggingface import CkptopCallback

LINES = [{name: [start % 16 + i for i in range(6)] for name in ("input_ids", "labels")} for start in range(24)]
"""Two epochs of three batches of eight."""


class At(TrainerCallback):
    """Does something after one step."""

    def __init__(self, step: int, what: Any) -> None:
        self.step, self.what = step, what

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step:
            self.what()


def hook(store: Path, **more: Any) -> CkptopCallback:
    return CkptopCallback(store, name="tiny", task="counting", metric=("val/loss", "min"), **more)


def trainer_of(store: Path, callbacks: list[TrainerCallback], **more: Any) -> Trainer:
    set_seed(1)
    shape = LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        attention_dropout=0.2,
    )  # fmt: skip
    told: dict[str, Any] = {
        "num_train_epochs": 2, "per_device_train_batch_size": 8, "logging_steps": 1, "eval_strategy": "epoch",
        "save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "learning_rate": 0.01,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    args = TrainingArguments(output_dir=str(store / "output"), **(told | more))
    return Trainer(
        model=LlamaForCausalLM(shape), args=args, train_dataset=LINES, eval_dataset=LINES[:8], callbacks=callbacks
    )


def train(store: Path, *, stop_at: int | None = None, save_every_steps: int | None = None, **more: Any) -> None:
    """One attempt, stopped after a step if so told."""
    with hook(store, save_every_steps=save_every_steps) as ckptop:
        extra = [At(stop_at, lambda: ckptop.run.request_stop("the test"))] if stop_at is not None else []
        # Before ours, so that the stop is there when ours looks.
        trainer_of(store, [*extra, ckptop], **more).train(resume_from_checkpoint=ckptop.checkpoint)


def view_of(store: Path) -> RunView:
    return read_run(store / "tiny")


def logged(store: Path) -> list[dict[str, Any]]:
    """The lines that count, without their times."""
    lines: list[dict[str, Any]] = []
    for text in (store / "tiny" / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        if "attempt" in line:
            lines = [one for one in lines if one["step"] <= line["from_step"]]
        else:
            lines.append({key: value for key, value in line.items() if key != "time"})
    return lines


def last_state(store: Path) -> dict[str, Any]:
    latest = view_of(store).latest
    assert latest is not None
    return tensors.read_state(latest.path)


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


def test_a_training_is_shown_with_its_curves_and_checkpoints(tmp_path: Path) -> None:
    train(tmp_path)

    view = view_of(tmp_path)
    assert (view.state, view.status and view.status.step, view.status and view.status.total_steps) == ("finished", 6, 6)
    lines = logged(tmp_path)
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [(line["step"], line["epoch"]) for line in lines if "val/loss" in line] == [(3, 1), (6, 2)]
    assert {key for line in lines for key in line} == {"step", "epoch", "train/loss", "lr", "grad_norm", "val/loss"}
    saved = [(info.epoch, info.step, info.metric("val/loss")) for info in view.checkpoints if info.tier == "training"]
    assert sorted(saved) == [(1, 3, lines[3]["val/loss"]), (2, 6, lines[-1]["val/loss"])]
    assert not (tmp_path / "output" / "checkpoint-6").exists()


@pytest.mark.parametrize("stop_at", [2, 3, 4], ids=lambda step: f"step {step} of epochs of 3")
def test_a_stopped_and_resumed_training_repeats_the_uninterrupted_one_to_the_bit(tmp_path: Path, stop_at: int) -> None:
    train(tmp_path / "straight")

    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "cut", stop_at=stop_at)
    assert ended.value.code == 3
    stopped = view_of(tmp_path / "cut")
    assert (stopped.state, stopped.latest and stopped.latest.step) == ("stopped", stop_at)
    train(tmp_path / "cut")

    assert view_of(tmp_path / "cut").state == "finished"
    straight, cut = last_state(tmp_path / "straight"), last_state(tmp_path / "cut")
    for key in ("model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "rng"):
        assert_same(straight[key], cut[key])
    once = logged(tmp_path / "straight")
    assert [line for line in logged(tmp_path / "cut") if line in once] == once


def test_accumulated_gradients_count_as_one_step(tmp_path: Path) -> None:
    train(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, save_every_steps=2)

    view = view_of(tmp_path)
    assert sorted(info.step for info in view.checkpoints if info.tier == "training") == [2, 4, 6]


def test_a_save_that_is_asked_for_is_there_when_it_is_answered(tmp_path: Path) -> None:
    with hook(tmp_path, save_every_steps=100) as ckptop:

        def ask() -> None:
            send_request(ckptop.run.paths, "save")
            ckptop.run.inbox.look()

        trainer_of(tmp_path, [At(2, ask), ckptop]).train()

    view = view_of(tmp_path)
    assert sorted(info.step for info in view.checkpoints if info.tier == "training") == [2, 6]


def test_a_rate_that_is_set_holds_from_the_next_step_on(tmp_path: Path) -> None:
    with hook(tmp_path, save_every_steps=100) as ckptop:

        def ask() -> None:
            send_request(ckptop.run.paths, "set", {"lr": "0.001"})
            ckptop.run.inbox.look()

        trainer = trainer_of(tmp_path, [At(2, ask), ckptop])
        trainer.train()

    assert trainer.lr_scheduler is not None
    assert trainer.lr_scheduler.base_lrs == pytest.approx([0.001, 0.001])


def test_training_on_from_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path, stop_at=3)

    with pytest.raises(UsageError, match="pass resume_from_checkpoint="), hook(tmp_path) as ckptop:
        trainer_of(tmp_path, [ckptop]).train()

    assert view_of(tmp_path).latest is not None
    assert view_of(tmp_path).state == "stopped", "nothing was begun"


def test_an_exception_ends_the_run_as_failed(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="luck"), hook(tmp_path) as ckptop:
        trainer_of(tmp_path, [At(2, fail), ckptop]).train()

    status = view_of(tmp_path).status
    assert status is not None
    assert status.exit is not None
    assert (status.phase, status.exit.error) == ("failed", "ValueError: no such luck")


def test_without_a_block_the_run_ends_with_the_training(tmp_path: Path) -> None:
    ckptop = hook(tmp_path)

    trainer_of(tmp_path, [ckptop]).train(resume_from_checkpoint=ckptop.checkpoint)

    assert view_of(tmp_path).state == "finished"


def test_nothing_is_left_of_the_layout_it_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare = tmp_path / "tmp"
    spare.mkdir()
    with pytest.raises(SystemExit):
        train(tmp_path, stop_at=2)
    monkeypatch.setattr("tempfile.tempdir", str(spare))

    train(tmp_path)

    assert list(spare.glob("ckptop-*")) == []
