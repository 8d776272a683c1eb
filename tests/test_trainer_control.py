"""What can be asked of a trainer while it trains, and that a change survives a kill to the bit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import Killed, assert_same_training, at_step, kill, logged, newest_state, run_training

from ckptop.store.control import send_request, wait_for_answer
from ckptop.store.errors import DiskError
from ckptop.store.events import Event, read_events
from ckptop.store.layout import RunPaths
from ckptop.store.run import Run
from ckptop.store.store import Store
from ckptop.store.views import read_run

PATIENCE_SECONDS = 60.0


def deliver(run: Run, action: str, **args: Any) -> None:
    """A viewer's request, seen at once instead of at the next heartbeat."""
    send_request(run.paths, action, args)
    run.inbox.look()


@contextmanager
def asked(step: int, action: str, **args: Any) -> Iterator[None]:
    """Within the block the request reaches the loop right after `step`."""
    with at_step(step, lambda run: deliver(run, action, **args)):
        yield


def answers(root: Path) -> list[Event]:
    return [event for event in read_events(root / "events.jsonl") if event.event == "control"]


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.01)


def beside(function: Callable[[], object]) -> Callable[[], None]:
    """Run `function` in a thread; returns what waits for it and raises what it raised."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - told by the test itself
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()

    def join() -> None:
        thread.join(PATIENCE_SECONDS)
        assert not raised, raised

    return join


def test_a_rate_set_while_it_trains_scales_the_rest_of_the_schedule(tmp_path: Path) -> None:
    run_training(tmp_path, name="plain")

    with asked(20, "set", lr="2e-3"):
        run_training(tmp_path, name="set")

    plain, changed = logged(tmp_path / "plain"), logged(tmp_path / "set")
    rates = [(float(plain[step, "lr"]), float(changed[step, "lr"])) for step in range(1, 52)]
    assert all(left == right for left, right in rates[:20])
    assert all(right == pytest.approx(2 * left) for left, right in rates[20:])
    (answer,) = answers(tmp_path / "set")
    assert answer.details["ok"] is True
    assert answer.details["args"] == {"lr": "2e-3"}
    assert answer.details["message"].startswith(
        "lr was 0.001, now 0.002; the cosine schedule goes on, times 2; the next"
    )
    record = Store.open(tmp_path).run("set").record
    assert record is not None
    assert (record.config["lr"], record.steered) == (0.002, {"lr": 0.001})


@pytest.mark.parametrize("killed_at", [20, 21, 33, 34, 40])
def test_a_kill_after_a_change_resumes_to_the_bits_of_the_run_nobody_killed(tmp_path: Path, killed_at: int) -> None:
    """Nothing is saved between the change and the kill but by the change itself."""
    change = {"lr": 3e-3, "total_epochs": 4}
    with asked(20, "set", **change):
        run_training(tmp_path, name="straight")

    with asked(20, "set", **change), at_step(killed_at + 1, kill), pytest.raises(Killed):
        run_training(tmp_path, name="torn")
    assert run_training(tmp_path, name="torn", resume="auto") == 0

    assert_same_training(tmp_path / "straight", tmp_path / "torn")


def test_epochs_set_while_it_trains_are_those_of_a_resume_with_epochs(tmp_path: Path) -> None:
    with asked(20, "set", total_epochs=5):
        run_training(tmp_path, name="set")

    with at_step(20, lambda run: run.request_stop("the test")):
        run_training(tmp_path, name="resumed")
    run_training(tmp_path, name="resumed", resume="auto", epochs="5")

    assert_same_training(tmp_path / "set", tmp_path / "resumed")
    status = Store.open(tmp_path).run("set").status
    assert status is not None
    assert (status.total_epochs, status.total_steps, status.epoch) == (5, 85, 5)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"lr": "fast"}, "lr: expected float"),
        ({"lr": -1}, "lr: expected float"),
        ({"lr": "NaN"}, "lr: expected"),
        ({"lr": "inf"}, "lr: expected a finite number"),
        ({"lr": True}, "lr: expected a number, got True"),
        ({"lr": [1]}, "lr: expected a number"),
        ({"total_epochs": 1}, "epoch 2 has begun; total_epochs must be 2 or more"),
        ({"total_epochs": 4, "epochs": 5}, "are the same"),
        ({"batch_size": 4}, "'batch_size' cannot change while it runs"),
        ({"lr": 0.1, "seed": 3}, "'seed' cannot change"),
        ({}, "set needs a value"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason_and_changes_nothing(
    tmp_path: Path, args: dict[str, Any], reason: str
) -> None:
    with asked(20, "set", **args):
        run_training(tmp_path, name="run", epochs="2")

    (answer,) = answers(tmp_path / "run")
    assert answer.details["ok"] is False
    assert reason in answer.details["message"]
    record = Store.open(tmp_path).run("run").record
    assert record is not None
    assert (record.config["lr"], record.config["epochs"], record.steered) == (0.001, 2, {})
    assert not list((tmp_path / "run" / "control").iterdir())


def test_a_record_that_cannot_be_written_refuses_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DiskError("run.json cannot be written: Read-only file system")

    monkeypatch.setattr(Run, "reconfigure", refuse)
    with asked(20, "set", lr=0.5):
        run_training(tmp_path, name="run")

    (answer,) = answers(tmp_path / "run")
    assert answer.details["ok"] is False
    assert max(float(value) for (_, name), value in logged(tmp_path / "run").items() if name == "lr") <= 1e-3


def test_a_requeued_command_does_not_take_back_what_was_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A job script starts the same command again, which still names the rate and the epochs of the beginning."""
    with asked(20, "set", lr=0.002, total_epochs=4), at_step(30, lambda run: run.request_stop("preempted")):
        run_training(tmp_path, name="run", lr="0.001", epochs="3")

    assert run_training(tmp_path, name="run", resume="auto", lr="0.001", epochs="3") == 0

    said = capsys.readouterr().out
    assert "lr stays 0.002, as it was set while it ran; `ckptop resume run --set lr=0.001` takes that back" in said
    status = Store.open(tmp_path).run("run").status
    assert status is not None
    assert status.epoch == 4


def test_a_command_that_says_something_new_is_obeyed(tmp_path: Path) -> None:
    with asked(20, "set", lr=0.002), at_step(30, lambda run: run.request_stop("preempted")):
        run_training(tmp_path, name="run", lr="0.001")

    run_training(tmp_path, name="run", resume="auto", lr="0.004")

    record = Store.open(tmp_path).run("run").record
    assert record is not None
    assert record.config["lr"] == 0.004


def test_a_rollback_halves_the_rate_that_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where half of it is the rate of the beginning."""
    from ckptop.trainer.stepping import NotFinite, Stepper

    original, failed = Stepper.require_finite, False

    def fail_once(stepper: Stepper, step: Any) -> None:
        nonlocal failed
        if step.step == 25 and not failed:
            failed = True
            raise NotFinite("made up", 25, 2, {})
        original(stepper, step)

    monkeypatch.setattr(Stepper, "require_finite", fail_once)
    with asked(20, "set", lr=0.002):
        assert run_training(tmp_path, name="run", on_nan="rollback") == 0

    record = Store.open(tmp_path).run("run").record
    assert record is not None
    assert (record.config["lr"], record.attempts[-1].overrides) == (0.001, {"lr": 0.001})


def test_a_paused_trainer_waits_beats_answers_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run_training(tmp_path, name="straight")
    paths = RunPaths(tmp_path / "paused")
    spent: list[float] = []

    def visit() -> None:
        wait_for(lambda: read_run(paths.root).state == "paused", "the pause")
        view = read_run(paths.root)
        assert view.status is not None
        first_beat, began, used = view.status.heartbeat, time.monotonic(), time.process_time()
        request = send_request(paths, "save")
        answer = wait_for_answer(paths, request.id, PATIENCE_SECONDS)
        assert answer is not None
        assert answer.details["message"] == "step 20 is saved"
        event = threading.Event()
        while (status := read_run(paths.root).status) is None or status.heartbeat < first_beat + 2:
            assert time.monotonic() < began + PATIENCE_SECONDS
            event.wait(0.2)
        spent.append((time.process_time() - used) / (time.monotonic() - began))
        assert status.step == 20
        assert send_request(paths, "continue").id

    join = beside(visit)
    with asked(20, "pause"):
        assert run_training(tmp_path, name="paused") == 0
    join()

    assert spent[0] < 0.5  # of a core, this test's own reading included
    assert_same_training(tmp_path / "straight", tmp_path / "paused")
    said = [event.details["message"] for event in answers(paths.root)]
    assert said == ["paused after step 20; continue goes on", "step 20 is saved", "going on from step 20"]


@pytest.mark.parametrize("how", ["request", "signal"])
def test_a_stop_ends_a_pause(tmp_path: Path, how: str) -> None:
    paths = RunPaths(tmp_path / "run")

    def visit() -> None:
        wait_for(lambda: read_run(paths.root).state == "paused", "the pause")
        if how == "request":
            send_request(paths, "stop")
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    join = beside(visit)
    with asked(20, "pause"):
        assert run_training(tmp_path, name="run") == 3
    join()

    assert read_run(paths.root).state == "stopped"
    assert newest_state(paths.root)["global_step"] == 20


def test_a_save_that_the_disk_refuses_is_not_called_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptop.trainer.saving import Saving

    monkeypatch.setattr(Saving, "training", lambda *_, **__: False)
    with asked(5, "save"), at_step(6, kill), pytest.raises(Killed):
        run_training(tmp_path, name="run", epochs="1")

    (answer,) = answers(tmp_path / "run")
    assert (answer.details["ok"], answer.details["message"]) == (
        False, "the disk refused; the newest checkpoint is as it was",
    )  # fmt: skip


def test_values_where_none_belong_are_refused(tmp_path: Path) -> None:
    with asked(5, "stop", now=True):
        assert run_training(tmp_path, name="run", epochs="1") == 0

    (answer,) = answers(tmp_path / "run")
    assert answer.details["message"] == "stop takes no values; nothing was done"
