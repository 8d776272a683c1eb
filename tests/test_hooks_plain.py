"""A plain PyTorch loop that takes part: restored, steered, stopped, and told the truth about."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckptop.store import Run
from ckptop.store.control import send_request
from ckptop.store.errors import UsageError
from ckptop.store.events import read_events
from ckptop.store.lease import read_status
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.views import read_run


def draw() -> list[float]:
    return [random.random(), float(np.random.normal()), float(torch.rand(()))]  # noqa: S311 - no secret


def open_run(store: Path, **more: Any) -> Run:
    return Run.create(store, name="mine", task="toy", **{"resume": "auto", **more})


def model_and_optimizer() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def saver(run: Run, saved: list[int]) -> Callable[[], None]:
    """Saves a checkpoint of the run's step and notes it."""
    model, optimizer = model_and_optimizer()

    def save() -> None:
        saved.append(run.step)
        run.checkpoints.save_training_checkpoint(model, optimizer, 1, run.step, {})

    return save


def ask(run: Run, action: str) -> None:
    send_request(run.paths, action)
    run.inbox.look()  # what the heartbeat's thread does once a second


def answers(store: Path) -> list[tuple[Any, Any]]:
    events = [json.loads(line) for line in (store / "mine" / "events.jsonl").read_text().splitlines()]
    return [(event["ok"], event["message"]) for event in events if event["event"] == "control"]


def test_a_new_run_has_nothing_to_restore(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        model, optimizer = model_and_optimizer()
        before = model.weight.clone()

        restored = run.restore(model, optimizer)

        assert (restored.step, restored.epoch, restored.metrics, restored.extra) == (0, 0, {}, {})
        assert torch.equal(model.weight, before)


def test_what_is_drawn_after_a_restore_is_what_was_drawn_after_the_save(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        model, optimizer = model_and_optimizer()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        run.checkpoints.save_training_checkpoint(model, optimizer, 2, 70, {"val/loss": 0.5}, extra={"position": 7})
        expected = draw()

    with open_run(tmp_path) as again:
        other, other_optimizer = model_and_optimizer()
        restored = again.restore(other, other_optimizer)

        assert draw() == expected
    assert (restored.step, restored.epoch, restored.metrics) == (70, 2, {"val/loss": 0.5})
    assert restored.extra == {"position": 7}
    assert torch.equal(other.weight, model.weight)
    momentum = next(iter(optimizer.state.values()))["momentum_buffer"]
    assert torch.equal(next(iter(other_optimizer.state.values()))["momentum_buffer"], momentum)


def test_a_script_s_own_random_state_is_handed_back_and_said_not_to_be_ours(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        model, optimizer = model_and_optimizer()
        run.checkpoints.save_training_checkpoint(model, optimizer, 1, 1, {}, extra={"rng": torch.arange(3)})

    with open_run(tmp_path) as again, pytest.warns(UserWarning, match="no random state of ours"):
        again.restore(model, optimizer)


def test_steps_go_on_where_they_stopped_and_save_at_the_end(tmp_path: Path) -> None:
    saved: list[int] = []
    with open_run(tmp_path) as run:
        first = list(run.steps(5, save=saver(run, saved), save_every=2))
    with open_run(tmp_path) as run:
        second = list(run.steps(8, save=saver(run, saved)))

    assert (first, second) == ([1, 2, 3, 4, 5], [6, 7, 8])
    assert saved == [2, 4, 5, 8]
    view = read_run(tmp_path / "mine")
    assert (view.state, view.status and view.status.step, view.status and view.status.total_steps) == ("finished", 8, 8)


def test_a_stop_saves_the_step_and_ends_the_process_with_3(tmp_path: Path) -> None:
    saved: list[int] = []

    def script() -> None:
        with open_run(tmp_path) as run:
            for step in run.steps(10, save=saver(run, saved)):
                if step == 3:
                    ask(run, "stop")

    with pytest.raises(SystemExit) as ended:
        script()

    assert ended.value.code == 3
    assert saved == [3]
    view = read_run(tmp_path / "mine")
    assert view.state == "stopped"
    assert view.status is not None
    assert view.status.exit is not None
    assert view.status.exit.code == 3


def test_a_stop_at_the_last_step_leaves_a_finished_run(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for step in run.steps(3, save=saver(run, [])):
            if step == 3:
                ask(run, "stop")

    assert read_run(tmp_path / "mine").state == "finished"


def test_a_hand_written_loop_that_looks_and_breaks_is_stopped(tmp_path: Path) -> None:
    def script() -> None:
        with open_run(tmp_path) as run:
            for step in range(1, 10):
                run.log(step, {"train/loss": 1.0})
                if step == 2:
                    ask(run, "stop")
                run.obey()
                if run.should_stop:
                    break

    with pytest.raises(SystemExit):
        script()

    assert read_run(tmp_path / "mine").state == "stopped"


def test_a_script_that_never_looks_is_finished_whoever_asked(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.request_stop("somebody asked for it")

    assert read_run(tmp_path / "mine").state == "finished"


def test_a_save_that_is_asked_for_is_made_before_it_is_answered(tmp_path: Path) -> None:
    saved: list[int] = []
    with open_run(tmp_path) as run:
        for step in run.steps(4, save=saver(run, saved)):
            if step == 2:
                ask(run, "save")

    assert saved == [2, 4]
    assert answers(tmp_path) == [(True, "step 2 is saved")]


def test_a_pause_waits_until_somebody_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(tmp_path) as run:
        seen = []

        def wait(_seconds: float) -> None:
            seen.append(run._heartbeat.status.phase)
            ask(run, "continue")

        monkeypatch.setattr(run.inbox, "wait", wait)
        for step in run.steps(2, save=saver(run, [])):
            if step == 1:
                ask(run, "pause")

    assert seen == ["paused"]


def test_a_disk_that_refuses_costs_a_save_and_not_the_training(tmp_path: Path) -> None:
    calls: list[int] = []

    with open_run(tmp_path) as run:

        def save() -> None:
            calls.append(run.step)
            if run.step == 2:
                raise OSError(errno.ENOSPC, "No space left on device")

        steps = list(run.steps(4, save=save, save_every=2))

    assert (steps, calls) == ([1, 2, 3, 4], [2, 4])
    events = read_events(tmp_path / "mine" / "events.jsonl")
    assert [event.details["message"] for event in events if event.event == "alert"] == [
        "the checkpoint of step 2 was not saved: [Errno 28] No space left on device; training goes on"
    ]


def test_sigterm_asks_for_a_stop_and_means_what_it_did_afterwards(tmp_path: Path) -> None:
    def script() -> None:
        with open_run(tmp_path) as run:
            for step in run.steps(10, save=saver(run, [])):
                if step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        script()

    stopped = [event for event in read_events(tmp_path / "mine" / "events.jsonl") if event.event == "stopped"]
    assert stopped[0].details["reason"] == "SIGTERM"
    assert read_run(tmp_path / "mine").state == "stopped"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_ctrl_c_interrupts_at_once(tmp_path: Path) -> None:
    def script() -> None:
        with open_run(tmp_path) as run:
            assert not run.should_stop
            os.kill(os.getpid(), signal.SIGINT)
            assert run.should_stop
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        script()

    assert read_run(tmp_path / "mine").state == "stopped"


def test_a_signal_the_script_handles_itself_is_left_to_it(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, _frame: heard.append(signum))
    try:
        with open_run(tmp_path) as run:
            assert not run.should_stop
            os.kill(os.getpid(), signal.SIGTERM)

            assert not run.should_stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_a_script_that_only_logs_is_seen_to_move(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.log(17, {"train/loss": 0.5}, epoch=2)

        status = run._heartbeat.status

        run._heartbeat.write_now()
        written = read_status(run.paths)

    assert (status.step, status.epoch) == (17, 2)
    assert written is not None
    assert written.last_step_time is not None
    assert written.last_step_time + (written.step_age_seconds or 0.0) == pytest.approx(written.heartbeat, abs=0.01)


def resumed_with(store: Path, monkeypatch: pytest.MonkeyPatch, **overrides: str) -> Run:
    request = ResumeRequest(store=str(store), run="mine", checkpoint="auto", overrides=overrides)
    monkeypatch.setenv(RESUME_VARIABLE, encode_request(request))
    return open_run(store, config={"lr": 0.5, "steps": 10, "name": "a"})


def test_what_resume_sets_is_in_the_configuration_with_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path, config={"lr": 0.1, "steps": 10, "name": "a"}) as run:
        run.begin()

    with resumed_with(tmp_path, monkeypatch, lr="1", steps="20", name="7") as run:
        config = run.config

    assert config == {"lr": 1.0, "steps": 20, "name": "7"}
    assert isinstance(config["lr"], float)


@pytest.mark.parametrize("wrong", [{"epochs": "3"}, {"steps": "many"}, {"steps": "1.5"}], ids=str)
def test_what_the_script_does_not_have_is_refused(
    wrong: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path, config={"lr": 0.1, "steps": 10, "name": "a"}) as run:
        run.begin()

    with pytest.raises(UsageError, match=next(iter(wrong))), resumed_with(tmp_path, monkeypatch, **wrong) as run:
        run.config  # noqa: B018


def test_an_edited_script_goes_by_what_it_says_now(tmp_path: Path) -> None:
    with open_run(tmp_path, config={"lr": 0.1}) as run:
        run.begin()

    with open_run(tmp_path, config={"lr": 0.2}) as run:
        run.begin()
        assert run.config == {"lr": 0.2}

    record = read_run(tmp_path / "mine").record
    assert record is not None
    assert record.config == {"lr": 0.2}
