"""`ckptop train --background`: detached, under a name of its own, its first errors passed on."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import psutil
import pytest

from ckptop.cli import background, launch
from ckptop.cli.main import run as run_command
from ckptop.cli.train import train
from ckptop.store.errors import UsageError
from ckptop.store.events import read_events
from ckptop.store.layout import RunPaths
from ckptop.store.records import Command
from ckptop.store.store import Store

QUICK = ("--set", "threads=1", "--set", "model.hidden=[8]", "--set", "system_interval_seconds=0")
PATIENCE_SECONDS = 60.0


def options(*arguments: str) -> Sequence[str]:
    """What of a command line is passed on to the trainer."""
    return list(background.options_of(train.make_context("train", list(arguments))))


def test_a_background_trainer_has_a_session_of_its_own_and_is_followed_and_stopped_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"

    code = run_command(
        ["train", "diabetes", "--background", "--json", "--store", str(store), "--epochs", "9999", *QUICK]
    )

    said = json.loads(capfd.readouterr().out)
    trainer = psutil.Process(said["pid"])
    try:
        assert code == 0
        assert said == {
            "run": "diabetes", "pid": trainer.pid, "supervisor": trainer.ppid(), "attempt": 1, "from_step": 0,
            "store": str(store), "log": str(store / "diabetes" / "train.log"),
        }  # fmt: skip
        assert os.getsid(trainer.pid) == trainer.pid != os.getsid(0)
        assert trainer.terminal() is None
        record = Store.open(store).run("diabetes").record
        assert record is not None
        assert record.command is not None
        assert record.command.python == sys.executable
        assert "--background" not in record.command.argv
        assert run_command(["stop", "diabetes", "--store", str(store)]) == 0
    finally:
        with_launcher = launch._at_large.pop()
        with_launcher.kill()
        with_launcher.wait(PATIENCE_SECONDS)
    assert Store.open(store).run("diabetes").state == "stopped"
    assert "Stopped at step" in (store / "diabetes" / "train.log").read_text()


def test_what_killed_a_trainer_in_the_background_is_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--store", str(tmp_path)]
    assert run_command(["train", "diabetes", "--background", "--json", *where, "--epochs", "9999", *QUICK]) == 0

    os.kill(json.loads(capsys.readouterr().out)["pid"], signal.SIGSEGV)
    launch._at_large.pop().wait(PATIENCE_SECONDS)

    view = Store.open(tmp_path).run("diabetes")
    assert view.status is not None
    assert view.status.exit is not None
    assert (view.state, view.status.exit.signal) == ("crashed", signal.SIGSEGV)
    last = read_events(RunPaths(tmp_path / "diabetes").events)[-1]
    assert (last.event, last.details["message"]) == ("alert", "crashed (SIGSEGV)")


def test_an_error_of_the_first_seconds_is_passed_on_and_the_name_is_free_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["train", "diabetes", "--background", "--store", str(tmp_path), "--set", "epoch=3"])

    launch._at_large.pop().wait(PATIENCE_SECONDS)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ckptop: the trainer of diabetes ended at once: unknown configuration key 'epoch'; did you")
    assert list(tmp_path.iterdir()) == []


def test_the_reason_of_a_refusal_is_found_in_a_log_that_the_holder_goes_on_writing(tmp_path: Path) -> None:
    refusal = "run mine is held by pid 7 of ada on box; stop it with `ckptop stop mine`"
    script = f"import sys; print('ckptop: {refusal}'); print('Epoch 9/100 - Train Loss: 0.5'); sys.exit(13)"
    paths = launch.reserve(tmp_path, "mine")

    with pytest.raises(launch.LaunchFailed, match="held by pid 7 of ada on box") as refused:
        launch.launch(Command(python=sys.executable, argv=["-c", script], cwd=str(tmp_path)), paths)

    launch._at_large.pop().wait(PATIENCE_SECONDS)
    assert refused.value.exit_code == 13


def test_a_taken_name_is_refused_before_anything_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = RunPaths(tmp_path / "mine")
    paths.root.mkdir()
    paths.record.write_text("{}")

    code = run_command(["train", "diabetes", "--background", "--store", str(tmp_path), "--name", "mine"])

    assert code == 2
    assert "run mine exists" in capsys.readouterr().err
    assert launch._at_large == []


def test_trainings_without_a_name_never_share_one(tmp_path: Path) -> None:
    """The directory is the reservation: the second begins before the first trainer has written anything."""
    names = [background.take_name(tmp_path, "digits", None, resumes=False)[0].root.name for _ in range(3)]

    assert names == ["digits", "digits-2", "digits-3"]


def test_resuming_by_the_task_s_name_takes_up_the_run_of_that_name(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "digits")
    paths.root.mkdir()
    paths.record.write_text("{}")

    assert background.take_name(tmp_path, "digits", None, resumes=True) == (paths, False)
    assert background.take_name(tmp_path, "digits", "other", resumes=True) == (RunPaths(tmp_path / "other"), True)


def test_a_name_that_cannot_name_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        background.take_name(tmp_path, "digits", "../digits", resumes=False)

    assert list(tmp_path.iterdir()) == []


def test_what_a_training_that_began_left_behind_is_not_given_back(tmp_path: Path) -> None:
    paths, _ = background.take_name(tmp_path, "digits", None, resumes=False)
    paths.record.write_text("{}")

    background.give_name_back(paths)

    assert paths.record.exists()


def test_every_option_that_was_typed_reaches_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTOP_STORE", "elsewhere")
    typed = [
        "--data", "here", "--epochs", "3", "--lr", "0.0001", "--accept-new-data", "--config", "a.toml", "--set", "x=1",
        "--set", "y=2", "--resume", "auto", "--steal",
    ]  # fmt: skip

    passed_on = options("digits", "--background", "--name", "mine", "--json", *typed)

    assert sorted(passed_on) == sorted(typed)
    assert options("digits", "--background") == []
    assert isinstance(train, click.Command)
