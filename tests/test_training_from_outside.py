"""A real trainer process, steered as a user does: killed, resumed, stopped, fought over."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptop.cli.launch import Launched, launch, reserve, train_argv
from ckptop.cli.main import run
from ckptop.store.records import Command
from ckptop.store.store import Store
from ckptop.store.views import RunView, read_run

OPTIONS = ("--epochs", "100000", "--set", "threads=1", "--set", "save_every_steps=5", "--set", "batch_size=16")


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def steps_logged(view: RunView) -> list[int]:
    """Steps of the per-step lines that count: an attempt line abandons what went past it."""
    steps: list[int] = []
    for text in view.paths.metrics.read_bytes().split(b"\n")[:-1]:
        line = json.loads(text)
        if "attempt" in line:
            steps = [step for step in steps if step <= line["from_step"]]
        elif "lr" in line:
            steps.append(line["step"])
    return steps


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """A trainer at work on `diabetes`; it is stopped when the test is over."""
    store = tmp_path / "runs"
    monkeypatch.setenv("CKPTOP_STORE", str(store))
    paths = reserve(store, "job")
    argv = train_argv("diabetes", store, "job", OPTIONS)
    launched = launch(Command(python=sys.executable, argv=argv, cwd=str(tmp_path)), paths)
    yield launched
    if launched.process.poll() is None:
        launched.process.kill()
        launched.process.wait()
    view = read_run(paths.root)
    if view.state in ("starting", "running") and view.status is not None:
        os.kill(view.status.process.pid, signal.SIGKILL)


def view_of(trainer: Launched) -> RunView:
    return read_run(trainer.paths.root)


def test_a_killed_trainer_is_crashed_and_goes_on_from_its_newest_checkpoint(
    trainer: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_for(lambda: len(view_of(trainer).checkpoints) >= 3, "three checkpoints")
    trainer.process.kill()
    trainer.process.wait()
    crashed = view_of(trainer)
    assert crashed.state == "crashed"
    assert crashed.latest is not None
    assert max(steps_logged(crashed)) >= crashed.latest.step, "everything up to a checkpoint was logged before it"

    assert run(["resume", "job"]) == 0

    assert f"Resumed job from step {crashed.latest.step:,} (pid " in capsys.readouterr().out
    newest = crashed.latest.step
    wait_for(lambda: (latest := view_of(trainer).latest) and latest.step > newest, "a newer checkpoint")
    resumed = view_of(trainer)
    steps = steps_logged(resumed)
    assert steps == list(range(1, len(steps) + 1)), "the curves line up: no step is missing, none is there twice"
    assert run(["verify", "job"]) == 0
    assert run(["stop", "job"]) == 0
    assert view_of(trainer).state == "stopped"


def test_sigterm_finishes_the_step_saves_and_exits_3(trainer: Launched) -> None:
    wait_for(lambda: len(steps_logged(view_of(trainer))) > 7, "some steps")

    trainer.process.terminate()
    code = trainer.process.wait(timeout=60)

    view = view_of(trainer)
    assert code == 3
    assert view.state == "stopped"
    assert view.latest is not None
    assert view.latest.step == max(steps_logged(view))


def test_neither_a_resume_nor_a_hang_up_disturbs_a_trainer_at_work(
    trainer: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does a second trainer, which `test_store_races.py` starts."""
    code = run(["resume", "job"])
    trainer.process.send_signal(signal.SIGHUP)

    assert code == 13
    assert "stop it first with `ckptop stop job`" in capsys.readouterr().err
    before = len(steps_logged(view_of(trainer)))
    wait_for(lambda: len(steps_logged(view_of(trainer))) > before + 5, "further steps")
    assert trainer.process.poll() is None


def test_stop_from_the_store_is_a_request_the_trainer_answers(trainer: Launched) -> None:
    from ckptop.store.control import send_request, wait_for_answer

    request = send_request(trainer.paths, "stop")
    answer = wait_for_answer(trainer.paths, request.id, 60)

    assert answer is not None
    assert answer.details["ok"] is True
    assert trainer.process.wait(timeout=60) == 3
    assert list(trainer.paths.control.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["train", "digitz"], 2, "digits"),
        (["train", "digits", "--set", "learning=1"], 2, "learning"),
        (["train", "digits", "--set", "lr=fast"], 2, "lr"),
        (["train", "digits", "--epochs", "0"], 2, "epochs"),
        (["train", "digits", "--name", "../out"], 2, "cannot name a run"),
        (["train", "digits", "--name", "production"], 2, "reserved"),
        (["train", "digits", "--resume", "latest", "--name", "never"], 11, "never"),
        (["train", "digits", "--config", "missing.toml"], 2, "missing.toml"),
    ],
)
def test_bad_words_of_train_are_refused_before_anything_is_made(
    args: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs"

    ended = run([*args, "--store", str(store)])

    error = capsys.readouterr().err
    assert (ended, said in error, error.count("\n")) == (code, True, 1), error
    assert Store.open(store, missing_ok=True).run_names() == []


def test_a_store_that_cannot_be_written_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even root may make directories in /sys."""
    code = run(["train", "digits", "--store", "/sys/runs"])

    error = capsys.readouterr().err
    assert code == 14
    assert error.startswith("ckptop: /sys/runs")
    assert "--store" in error
    assert error.count("\n") == 1
