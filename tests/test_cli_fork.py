"""`ckptop resume RUN --fork NAME` with a real trainer: a run of its own, exact, and its parent untouched."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from trainer_runs import assert_same_bits, logged, newest_state, run_training

from ckptop.cli import launch
from ckptop.cli.main import run as run_command
from ckptop.store.resume import RESUME_VARIABLE
from ckptop.store.store import Store
from ckptop.store.verify import verify_run
from ckptop.store.views import RunView

PATIENCE_SECONDS = 90.0


def finished(store: Path, name: str) -> RunView:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (view := Store(store).run(name)).state != "finished":
        assert view.state not in ("failed", "crashed"), (view.root / "train.log").read_text()
        assert time.monotonic() < deadline, f"{name} is {view.state}"
        os.sched_yield()
    return view


def test_a_fork_that_changes_nothing_comes_to_the_same_bits_and_leaves_its_parent_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_training(tmp_path, name="base", epochs="3") == 0
    # The recorded command of a training within a test is not one that can be started.
    record = Store(tmp_path).run("base").paths.record
    fields = json.loads(record.read_bytes())
    fields["command"]["argv"] = ["-m", "ckptop.cli", "train", "diabetes"]
    record.write_text(json.dumps(fields))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "base" / "checkpoints").rglob("*.pt")}

    assert run_command(["resume", "base", "--from", "epoch=2", "--fork", "child", "--store", str(tmp_path)]) == 0

    child = finished(tmp_path, "child")
    while launch._at_large:
        launch._at_large.pop().wait(PATIENCE_SECONDS)
    assert "\nForked base as child from step 34 (pid " in capsys.readouterr().out
    for key in ("model_state_dict", "optimizer_state_dict", "rng", "loader", "metrics"):
        assert_same_bits(newest_state(tmp_path / "base")[key], newest_state(child.root)[key], key)
    assert {step for step, _ in logged(child.root)} == set(range(35, 52))
    assert child.record is not None
    assert child.record.parent is not None
    assert child.record.parent.run == "base"
    parent = Store(tmp_path).run("base")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert parent.record is not None
    assert len(parent.record.attempts) == 1
    assert verify_run(child).findings == ()
    assert run_command(["delete", "base:epoch=2", "--store", str(tmp_path)]) == 10
    assert "child began here" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--foreground", "--auto-resume", "1"]])
def test_a_fork_that_is_refused_leaves_nothing_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run_training(tmp_path, name="base", epochs="1") == 0
    record = Store(tmp_path).run("base").paths.record
    fields = json.loads(record.read_bytes())
    fields["command"]["argv"] = ["-m", "ckptop.cli", "train", "diabetes"]
    record.write_text(json.dumps(fields))
    refused = ["resume", "base", "--fork", "child", "--set", "optimizer=sgd", "--store", str(tmp_path), *options]

    assert run_command(refused) == 2

    assert "begin a new run" in capfd.readouterr().err
    assert not (tmp_path / "child").exists()


def test_a_run_goes_on_from_a_link_to_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_training(tmp_path, name="base", epochs="2") == 0
    started: list[dict[str, str]] = []

    def execve(python: str, argv: list[str], environ: dict[str, str]) -> None:
        started.append(environ)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.chdir(tmp_path)
    link = "base/checkpoints/milestone/best_smape.pt"

    with pytest.raises(SystemExit):
        run_command(["resume", "base", "--from", link, "--foreground", "--store", str(tmp_path)])

    best = Store(tmp_path).run("base").best
    assert best is not None
    assert json.loads(started[0][RESUME_VARIABLE])["checkpoint"] == best.key
