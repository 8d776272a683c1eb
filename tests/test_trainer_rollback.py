"""When a loss is no number, a training may go back by itself."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import assert_same_training, logged, run_training

from ckptop.store.errors import TrainingFailed
from ckptop.store.events import read_events
from ckptop.store.records import Attempt
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.trainer import rollback
from ckptop.trainer.device import Device
from ckptop.trainer.tasks.diabetes import Diabetes


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the training losses with these numbers NaN, counted from 1 over all attempts."""

    def at(*bad: int, action: Callable[[], None] = lambda: None) -> None:
        calls = 0

        def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += outputs.requires_grad
            is_bad = outputs.requires_grad and calls in bad
            if is_bad:
                action()
            return (outputs - targets).abs().mean() * (math.nan if is_bad else 1.0)

        monkeypatch.setattr(Diabetes, "loss", loss)

    return at


def attempts_of(root: Path) -> list[Attempt]:
    record = Store.open(root.parent).run(root.name).record
    assert record is not None
    return record.attempts


def test_a_rollback_is_bit_for_bit_the_resume_with_a_lower_rate(tmp_path: Path, spoil: Callable[..., None]) -> None:
    spoil(24)
    with pytest.raises(TrainingFailed):
        run_training(tmp_path, name="by-hand", save_every_steps="4")
    spoil()
    assert run_training(tmp_path, name="by-hand", resume="auto", lr="0.0005") == 0

    spoil(24)
    assert run_training(tmp_path, name="alone", save_every_steps="4", on_nan="rollback") == 0

    assert_same_training(tmp_path / "by-hand", tmp_path / "alone")
    first, second = attempts_of(tmp_path / "alone")
    assert (first.from_step, second.from_step, second.overrides) == (0, 20, {"lr": 0.0005})
    view = Store.open(tmp_path).run("alone")
    assert view.state == "finished"
    events = read_events(view.paths.events)
    (alert,) = [event for event in events if event.event == "alert"]
    assert alert.details["message"] == (
        "the loss is nan at step 24 (epoch 2, batch 7 of 17): going back to the newest checkpoint with lr 0.0005, "
        "times 0.5 (rollback 1 of 3)"
    )
    assert [event.event for event in events if event.event in ("started", "stopped", "failed", "finished")] == [
        "started", "stopped", "started", "finished",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "where", "saved"),
    [(5, "the start, for nothing was saved,", "nothing was saved: resume with a lower lr"),
     (20, "the newest checkpoint", "the newest checkpoint is whole: resume from it with a lower lr")],
)  # fmt: skip
def test_no_checkpoint_is_promised_where_none_was_saved(
    tmp_path: Path, spoil: Callable[..., None], capsys: pytest.CaptureFixture[str], step: int, where: str, saved: str
) -> None:
    spoil(step)
    with pytest.raises(TrainingFailed, match=saved):
        run_training(tmp_path, name="stops", epochs="2")
    capsys.readouterr()

    spoil(step)
    run_training(tmp_path, name="goes-back", epochs="2", on_nan="rollback")

    assert f": going back to {where} with lr 0.0005" in capsys.readouterr().out


def test_values_read_a_step_late_go_back_to_the_same_bits(
    tmp_path: Path, spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: there the optimizer has moved by then, and nothing of that may stay."""
    spoil(24)
    run_training(tmp_path, name="at-once", save_every_steps="4", on_nan="rollback")
    monkeypatch.setattr(Device, "is_cuda", property(lambda _: True))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)

    spoil(24)
    run_training(tmp_path, name="late", save_every_steps="4", on_nan="rollback")

    assert_same_training(tmp_path / "at-once", tmp_path / "late")


def test_a_signal_between_two_attempts_stops_the_second(
    tmp_path: Path, spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = rollback.free_memory

    def terminated() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        free()

    monkeypatch.setattr("ckptop.trainer.train.free_memory", terminated)
    spoil(20)

    assert run_training(tmp_path, name="run", on_nan="rollback") == 3

    view = Store.open(tmp_path).run("run")
    assert (view.state, len(attempts_of(view.root))) == ("stopped", 2)
    assert view.latest is not None
    assert view.latest.step == 17


def test_each_rollback_lowers_the_rate_again_until_there_were_enough(
    tmp_path: Path, spoil: Callable[..., None]
) -> None:
    spoil(*range(20, 99))  # the batch after the checkpoint of step 17, again and again

    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 18 .*; went back 2 times already$") as caught:
        run_training(tmp_path, name="run", on_nan="rollback", rollbacks="2", rollback_lr_factor="0.25")

    assert "--on-nan rollback" not in str(caught.value)

    attempts = attempts_of(tmp_path / "run")
    assert [attempt.from_step for attempt in attempts] == [0, 17, 17]
    assert [attempt.overrides.get("lr") for attempt in attempts] == [None, 0.00025, 0.0000625]
    assert Store.open(tmp_path).run("run").state == "failed"


def test_before_anything_was_saved_a_rollback_begins_again(tmp_path: Path, spoil: Callable[..., None]) -> None:
    spoil(5)

    assert run_training(tmp_path, name="run", on_nan="rollback", scheduler="constant", warmup_steps="0") == 0

    assert [attempt.from_step for attempt in attempts_of(tmp_path / "run")] == [0, 0]
    assert logged(tmp_path / "run")[1, "lr"] == "0.0005"


def test_a_training_that_was_asked_to_stop_does_not_go_back(
    tmp_path: Path, spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Run] = []
    begin = Run.begin

    def noted(run: Run, **totals: Any) -> None:
        runs.append(run)
        begin(run, **totals)

    monkeypatch.setattr(Run, "begin", noted)
    spoil(20, action=lambda: runs[0].request_stop("the test"))

    with pytest.raises(TrainingFailed, match="the loss is nan at step 20"):
        run_training(tmp_path, name="run", on_nan="rollback")

    assert len(attempts_of(tmp_path / "run")) == 1
