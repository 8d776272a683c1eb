"""What the loop writes down, in which order, and how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import assert_same_bits, assert_same_training, at_step, logged, newest_state, run_training

from ckptop.store import host_copy, saving
from ckptop.store.commit import commit as commit_checkpoint
from ckptop.store.control import send_request
from ckptop.store.errors import TrainingFailed, UsageError
from ckptop.store.events import read_events
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.store.tensors import tensor_bytes
from ckptop.trainer import optim, pace
from ckptop.trainer.device import Device, StepValues
from ckptop.trainer.saving import Saving
from ckptop.trainer.stepping import Step, Stepper
from ckptop.trainer.tasks.diabetes import Diabetes, DiabetesOptions
from ckptop.trainer.tasks.digits import Digits


def lines_of(root: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "attempt" not in line]


@contextmanager
def ask(action: str, step: int) -> Iterator[None]:
    """A viewer's request that reaches the loop right after `step`."""

    def deliver(run: Run) -> None:
        request = send_request(run.paths, action)
        run.inbox.look()  # what the heartbeat's thread does once a second
        assert request.id

    with at_step(step, deliver):
        yield


def assert_same_training_between_lines(every: Path, some: Path) -> None:
    """Of two runs of 34 steps the one that logs every tenth differs in nothing but the lines it leaves out."""
    for key in ("model_state_dict", "optimizer_state_dict", "rng", "loop"):
        assert_same_bits(newest_state(every)[key], newest_state(some)[key], key)
    lines, all_lines = logged(some), logged(every)
    assert [step for step, name in lines if name == "train/loss"] == [10, 20, 30]
    assert lines == {key: value for key, value in all_lines.items() if key in lines}
    assert {key for key in all_lines if key[1] == "train/loss_epoch"} <= lines.keys()


def test_every_step_and_every_epoch_is_logged(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", epochs="2", accumulate="3")

    lines = lines_of(tmp_path / "run")
    steps = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))  # 17 batches: five windows of 3, one of 2
    assert {"train/loss", "lr", "grad_norm", "step_seconds", "samples_per_second"} <= steps[0].keys()
    assert [line["epoch"] for line in steps] == [1] * 6 + [2] * 6
    epochs = [line for line in lines if "val/loss" in line]
    assert [(line["step"], line["epoch"]) for line in epochs] == [(6, 1), (12, 2)]
    assert {"train/loss_epoch", "val/loss", "val/smape", "epoch_seconds"} <= epochs[0].keys()
    assert lines[-1].keys() >= {"test/loss", "test/smape", "test/smape_median"}
    assert lines[-1]["step"] == 12


def test_steps_between_those_that_are_logged_train_the_same(tmp_path: Path) -> None:
    run_training(tmp_path, name="every", epochs="2")
    run_training(tmp_path, name="some", epochs="2", log_every_steps="10")

    assert_same_training_between_lines(tmp_path / "every", tmp_path / "some")


def test_the_epoch_s_loss_is_the_mean_over_its_samples(tmp_path: Path) -> None:
    """Partial windows and odd batches count by their samples."""
    run_training(tmp_path, name="run", epochs="1", batch_size="50", accumulate="4")

    first, second, epoch, _ = lines_of(tmp_path / "run")
    expected = (first["train/loss"] * 200 + second["train/loss"] * 65) / 265
    assert epoch["train/loss_epoch"] == pytest.approx(expected)


def test_accumulated_steps_have_the_gradient_of_the_whole_window(tmp_path: Path) -> None:
    run_training(tmp_path, name="whole", epochs="1", batch_size="120", model__dropout="0")
    run_training(tmp_path, name="parts", epochs="1", batch_size="40", accumulate="3", model__dropout="0")

    whole, parts = lines_of(tmp_path / "whole"), lines_of(tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        for name in one.keys() & {"train/loss", "grad_norm", "val/loss", "test/loss"}:
            assert one[name] == pytest.approx(other[name], rel=1e-4), name


def test_everything_of_a_step_is_durable_before_its_checkpoint_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's lines up to the last fsync hold the evaluation of every step that was saved."""
    synced: set[int] = set()
    original_sync, original_commit = Run.sync, commit_checkpoint
    saved: list[int] = []

    def sync(run: Run) -> bool:
        done = original_sync(run)
        synced.update(line["step"] for line in lines_of(run.root) if "val/loss" in line)
        return done

    def commit(*arguments: Any) -> Path:
        manifest = arguments[5]
        assert manifest.global_step in synced
        if manifest.tier == "training":
            saved.append(manifest.global_step)
        return original_commit(*arguments)

    monkeypatch.setattr(Run, "sync", sync)
    monkeypatch.setattr(saving, "commit", commit)

    run_training(tmp_path, name="run", epochs="2")

    assert saved == [17, 34]


def test_a_loss_that_is_no_number_stops_before_the_optimizer_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        return (outputs - targets).abs().mean() * (math.nan if calls == 20 else 1.0)

    stepped: list[bool] = []
    original = torch.optim.AdamW.step

    def step(optimizer: torch.optim.AdamW, *rest: Any) -> Any:
        stepped.append(all(bool(p.isfinite().all()) for group in optimizer.param_groups for p in group["params"]))
        return original(optimizer, *rest)

    monkeypatch.setattr(Diabetes, "loss", loss)
    monkeypatch.setattr(optim._AdamW, "step", step)

    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 20 \(epoch 2, batch 3 of 17\)"):
        run_training(tmp_path, name="run")

    assert len(stepped) == 19
    assert all(stepped)
    assert lines_of(tmp_path / "run")[-1]["train/loss"] == "NaN"
    view = Store.open(tmp_path).run("run")
    assert view.state == "failed"
    assert view.status is not None
    assert view.status.exit is not None
    assert view.status.exit.code == 16
    assert newest_state(tmp_path / "run")["global_step"] == 17
    assert "the loss is nan at step 20" in (tmp_path / "run" / "train.log").read_text()


def test_an_fp16_overflow_skips_the_step_and_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient scaler that starts too high is normal; the loss itself is finite."""
    monkeypatch.setattr(Device, "scaler", lambda _: torch.amp.GradScaler("cpu", init_scale=2.0**60))

    assert run_training(tmp_path, "digits", name="run", epochs="1", precision="fp16", clip_norm="none") == 0
    assert lines_of(tmp_path / "run")[0]["grad_norm"] in {"NaN", "Infinity"}
    assert newest_state(tmp_path / "run")["scaler_state_dict"]["scale"] < 2.0**60


def test_a_gradient_that_fp16_can_never_hold_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is skipped: it would train to the end and move no weight. A stop does not start the count anew."""

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        slope = (outputs - outputs.detach()).sqrt()  # 0, with an infinite slope
        return (outputs + slope - targets).abs().mean()

    monkeypatch.setattr(Diabetes, "loss", loss)
    with at_step(8, lambda run: run.request_stop("the test")):
        assert run_training(tmp_path, name="run", precision="fp16", on_nan="rollback", rollbacks="1") == 3

    with pytest.raises(TrainingFailed, match=r"at step 20 .* in 20 steps in a row, which fp16 has skipped;.*bf16"):
        run_training(tmp_path, name="run", resume="auto", on_nan="stop")

    view = Store.open(tmp_path).run("run")
    assert (view.state, newest_state(tmp_path / "run")["loop"]["skipped_steps"]) == ("failed", 17)


def test_steps_that_are_skipped_now_and_then_are_not_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        if calls % 10:
            outputs = outputs + (outputs - outputs.detach()).sqrt()
        return (outputs - targets).abs().mean()

    monkeypatch.setattr(Diabetes, "loss", loss)

    assert run_training(tmp_path, name="run", precision="fp16") == 0


def test_a_last_batch_of_one_sample_does_not_break_batch_norm(tmp_path: Path) -> None:
    """1,078 training images in batches of 359 leave one over."""
    assert run_training(tmp_path, "digits", name="run", epochs="1", batch_size="359") == 0

    assert newest_state(tmp_path / "run")["global_step"] == 3


def test_a_milestone_is_made_of_every_improvement_and_costs_no_bytes(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", epochs="4", keep_milestones="none", keep_training="9")

    view = Store.open(tmp_path).run("run")
    values = [line["val/smape"] for line in lines_of(tmp_path / "run") if "val/smape" in line]
    improvements = [value for i, value in enumerate(values) if value < min([math.inf, *values[:i]])]
    milestones = [info for info in view.checkpoints if info.tier == "milestone"]
    assert [info.metric("val/smape") for info in milestones] == improvements
    training = {info.step: info for info in view.checkpoints if info.tier == "training"}
    assert all(info.inode == training[info.step].inode for info in milestones)


def test_saves_come_every_so_many_steps_and_epochs(tmp_path: Path) -> None:
    run_training(tmp_path, name="run", epochs="3", save_every_steps="10", save_every_epochs="2", keep_training="99")

    view = Store.open(tmp_path).run("run")
    steps = [(info.epoch, info.step) for info in view.checkpoints if info.tier == "training"]
    assert steps == [(1, 10), (2, 20), (2, 30), (2, 34), (3, 40), (3, 50), (3, 51)]


def test_the_first_save_finds_its_buffers_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[int] = []
    make = host_copy._touched

    def noted(size_bytes: int, *, pinned: bool) -> torch.UntypedStorage:
        touched.append(size_bytes)
        return make(size_bytes, pinned=pinned)

    monkeypatch.setattr(host_copy, "_touched", noted)
    before_save: list[int] = []
    take = host_copy.HostCopy.take

    def taken(copy: host_copy.HostCopy, state: dict[str, Any]) -> dict[str, Any]:
        before_save.append(sum(touched))
        return take(copy, state)

    monkeypatch.setattr(host_copy.HostCopy, "take", taken)
    run_training(tmp_path, name="run", epochs="1")

    state = newest_state(tmp_path / "run")
    assert before_save[0] >= tensor_bytes([state["model_state_dict"], state["optimizer_state_dict"]])


def test_a_viewer_may_ask_for_a_save(tmp_path: Path) -> None:
    with ask("save", 5):
        run_training(tmp_path, name="run", epochs="1")

    view = Store.open(tmp_path).run("run")
    assert 5 in {info.step for info in view.checkpoints}
    answer = next(event for event in read_events(view.paths.events) if event.event == "control")
    assert (answer.details["ok"], answer.details["message"]) == (True, "step 5 is saved")
    assert not list(view.paths.control.iterdir())


def test_a_viewer_may_ask_for_a_stop(tmp_path: Path) -> None:
    with ask("stop", 20):
        assert run_training(tmp_path, name="run") == 3

    view = Store.open(tmp_path).run("run")
    assert view.state == "stopped"
    assert view.latest is not None
    assert (view.latest.epoch, view.latest.step) == (2, 20)
    assert "--resume auto goes on" in (tmp_path / "run" / "train.log").read_text()


def test_what_this_trainer_cannot_do_is_refused_with_what_it_can(tmp_path: Path) -> None:
    with ask("dance", 3):
        assert run_training(tmp_path, name="run", epochs="1") == 0

    answer = next(event for event in read_events(tmp_path / "run" / "events.jsonl") if event.event == "control")
    assert answer.details["ok"] is False
    assert "dance" in str(answer.details["message"])
    assert "continue, pause, save, set, stop" in str(answer.details["message"])


def test_a_stop_at_the_end_of_an_epoch_saves_it_with_its_metrics(tmp_path: Path) -> None:
    """Even where the epoch was not due to be saved."""
    with at_step(17, lambda run: run.request_stop("the test")):
        assert run_training(tmp_path, name="run", save_every_epochs="3") == 3

    latest = Store.open(tmp_path).run("run").latest
    assert latest is not None
    assert (latest.epoch, latest.step) == (1, 17)
    assert latest.metric("val/smape") is not None


def test_a_stop_within_the_last_step_is_a_finished_run(tmp_path: Path) -> None:
    with at_step(17, lambda run: run.request_stop("the test")):
        assert run_training(tmp_path, name="run", epochs="1") == 0


def test_out_of_memory_is_a_failed_training_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(task: Digits, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Digits, "loss", loss)

    with pytest.raises(TrainingFailed) as caught:
        run_training(tmp_path, "digits", name="run")
    assert str(caught.value) == (
        "out of memory: CUDA out of memory. Tried to allocate 2 GiB; resume with a smaller batch and the same step: "
        "--batch-size 32 --set accumulate=2"
    )


def test_out_of_memory_on_resume_says_what_the_checkpoint_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tmp_path, name="run", epochs="1")

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(Diabetes, "loss", loss)

    with pytest.raises(TrainingFailed) as caught:
        run_training(tmp_path, name="run", resume="auto", epochs="2", batch_size="132", precision="bf16")
    assert str(caught.value).endswith(
        "the checkpoint was trained with batch_size 16, accumulate 1, precision fp32 on cpu, this attempt with "
        "batch_size 132, accumulate 1, precision bf16; with the same step: --batch-size 66 --set accumulate=2"
    )


def test_a_gradient_that_is_no_number_stops_before_the_optimizer_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss may still be finite; the weights would not be, and the next save would keep them."""
    calls = 0

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        if calls == 20:
            outputs = outputs + (outputs - outputs.detach()).sqrt()  # 0, with an infinite slope
        return (outputs - targets).abs().mean()

    monkeypatch.setattr(Diabetes, "loss", loss)

    with pytest.raises(TrainingFailed, match=r"the gradient's norm is (nan|inf) at step 20 \(epoch 2, batch 3 of 17\)"):
        run_training(tmp_path, name="run")

    assert newest_state(tmp_path / "run")["global_step"] == 17


def test_a_batch_of_one_sample_is_refused_where_there_is_batch_norm(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="BatchNorm at 1 cannot train on batches of one sample; use --batch-size 2"):
        run_training(tmp_path, "digits", name="run", batch_size="1")
    assert not (tmp_path / "run").exists()
    assert run_training(tmp_path, "diabetes", name="other", batch_size="1", epochs="1") == 0


def test_fp16_measures_and_clips_the_gradient_without_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A norm of scaled gradients would be 64 times too high, and clipping by it would nearly stop the training."""
    monkeypatch.setattr(
        Device, "scaler", lambda device: torch.amp.GradScaler("cpu", 64.0, enabled=device.precision == "fp16")
    )
    settings = {
        "epochs": "1",
        "optimizer": "sgd",
        "lr": "1.0",
        "clip_norm": "0.5",
        "warmup_steps": "0",
        "model__dropout": "0",
    }
    run_training(tmp_path, name="fp32", **settings)
    run_training(tmp_path, name="fp16", precision="fp16", **settings)

    full, half = lines_of(tmp_path / "fp32"), lines_of(tmp_path / "fp16")
    assert full[0]["grad_norm"] > 1
    assert half[0]["grad_norm"] == pytest.approx(full[0]["grad_norm"], rel=0.02)
    assert full[-1]["test/loss"] < 0.95 * full[0]["train/loss"]
    assert half[-1]["test/loss"] == pytest.approx(full[-1]["test/loss"], rel=0.02)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_training_and_evaluation_compute_in_the_precision_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()
    original = Diabetes.loss

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.add((torch.is_grad_enabled(), outputs.dtype))
        return original(task, outputs, targets)

    monkeypatch.setattr(Diabetes, "loss", loss)

    run_training(tmp_path, name="run", epochs="1", precision=precision)

    assert seen == {(True, dtype), (False, dtype)}


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop as it runs on a GPU, whose values are read a step late; the arithmetic stays on the CPU."""
    monkeypatch.setattr(Device, "is_cuda", property(lambda _: True))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)


def test_values_read_a_step_late_are_logged_all_the_same(tmp_path: Path, queued: None) -> None:
    run_training(tmp_path, name="queued", save_every_steps="7")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "is_cuda", property(lambda _: False))
        run_training(tmp_path, name="at-once", save_every_steps="7")

    assert_same_training(tmp_path / "queued", tmp_path / "at-once")


def test_steps_that_are_not_logged_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: None
) -> None:
    taken_up, taken_up_before = 0, []

    def take(stepper: Stepper, *about: Any) -> Step:
        taken_up_before.append(taken_up)
        return original_take(stepper, *about)

    def require_finite(stepper: Stepper, step: Step) -> None:
        nonlocal taken_up
        taken_up += 1
        original_require_finite(stepper, step)

    original_take, original_require_finite = Stepper.take, Stepper.require_finite
    monkeypatch.setattr(Stepper, "take", take)
    monkeypatch.setattr(Stepper, "require_finite", require_finite)
    run_training(tmp_path, name="some", epochs="2", log_every_steps="10")

    # Before steps 1 to 10 none was; step 10 is left running, and 17 ends the epoch.
    assert taken_up_before[:21] == [0] * 10 + [9] * 7 + [17] * 3 + [19]
    monkeypatch.undo()
    run_training(tmp_path, name="every", epochs="2")
    assert_same_training_between_lines(tmp_path / "every", tmp_path / "some")


@pytest.mark.parametrize("log_every_steps", [1, 5])
def test_a_step_takes_as_long_as_the_device_does_not_as_its_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: None, log_every_steps: int
) -> None:
    """By a clock on which nothing takes time but what waits for the device, 50 ms a step, and a save, which is none."""
    now = 0.0

    def read(values: StepValues) -> tuple[float, float]:
        nonlocal now
        now += 0.05 if values._values is None else 0.0
        return original_read(values)

    def save(saving: Saving, *about: Any, **options: Any) -> bool:
        nonlocal now
        now += 1000.0
        return original_save(saving, *about, **options)

    original_read, original_save = StepValues.read, Saving.training
    monkeypatch.setattr(StepValues, "read", read)
    monkeypatch.setattr(Saving, "training", save)
    monkeypatch.setattr(pace, "perf_counter", lambda: now)

    run_training(tmp_path, name="run", save_every_steps="7", log_every_steps=str(log_every_steps))

    lines = [line for line in lines_of(tmp_path / "run") if "train/loss" in line]
    assert len(lines) == 51 // log_every_steps
    assert [line["step_seconds"] for line in lines] == pytest.approx([0.05] * len(lines))
    assert lines[0]["samples_per_second"] == pytest.approx(16 / 0.05)


@pytest.mark.parametrize("bad_step", [16, 17])
def test_a_loss_read_a_step_late_is_found_before_anything_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: None, bad_step: int
) -> None:
    """Step 17 is the epoch's last: its evaluation and checkpoint must not happen."""
    calls = 0

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        return (outputs - targets).abs().mean() * (math.nan if calls == bad_step else 1.0)

    monkeypatch.setattr(Diabetes, "loss", loss)

    with pytest.raises(TrainingFailed, match=f"the loss is nan at step {bad_step} "):
        run_training(tmp_path, name="run", save_every_steps="8")

    assert newest_state(tmp_path / "run")["global_step"] == (8 if bad_step == 16 else 16)
    assert all("val/loss" not in line for line in lines_of(tmp_path / "run"))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_optimizer_does_not_move_on_no_number_however_late_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: None, optimizer: str, what: str
) -> None:
    """Step 5 is read at the end of the epoch; the weights have come through it, and so have the steps behind it."""
    calls, models = 0, []

    def loss(task: Diabetes, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        if calls == 5 and what == "gradient" and outputs.requires_grad:
            outputs = outputs + (outputs - outputs.detach()).sqrt()  # 0, with an infinite slope
        return (outputs - targets).abs().mean() * (math.nan if calls == 5 and what == "loss" else 1.0)

    def build_model(task: Diabetes, options: DiabetesOptions) -> torch.nn.Module:
        models.append(original(task, options))
        return models[-1]

    original = Diabetes.build_model
    monkeypatch.setattr(Diabetes, "loss", loss)
    monkeypatch.setattr(Diabetes, "build_model", build_model)

    with pytest.raises(TrainingFailed, match=f"the {what}.* is (nan|inf) at step 5 "):
        run_training(tmp_path, name="run", log_every_steps="50", optimizer=optimizer)

    assert calls == 17
    assert all(bool(parameter.isfinite().all()) for parameter in models[-1].parameters())
