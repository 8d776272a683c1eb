"""`ckptop rehearse`: real trainers, a real SIGKILL, and a store that is left as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import torch
from trainer_runs import child_environment

from ckptop.cli.main import run
from ckptop.cli.rehearse import _print
from ckptop.host.process import current_process
from ckptop.store.errors import UsageError
from ckptop.store.feed import changed_names
from ckptop.store.records import Process
from ckptop.store.run import Run
from ckptop.store.scan import StoreScan
from ckptop.store.store import Store
from ckptop.trainer.rehearsal.comparing import different_states, different_values, logged_values, values_before_kill
from ckptop.trainer.rehearsal.forecast import Check
from ckptop.trainer.rehearsal.hidden_store import available_memory, hidden_store
from ckptop.trainer.rehearsal.records import REHEARSAL_VARIABLE
from ckptop.trainer.rehearsal.rehearse import Rehearsal
from ckptop.trainer.rehearsal.rehearsed import RehearsedRun, run_class
from ckptop.trainer.state import Progress

QUICK = ("--set", "model.hidden=[8]", "--set", "batch_size=16")
PATIENCE_SECONDS = 90.0
LOOK = threading.Event()

FORGETFUL = '''
import torch
from ckptop.trainer.tasks.diabetes import Diabetes


class Counting(torch.nn.Module):
    """Its output depends on how often it was called, which no checkpoint knows."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, inputs):
        self.calls += 1
        return self.inner(inputs) * (1 + self.calls / 1000)


class Forgetful(Diabetes):
    name = "forgetful"

    def build_model(self, options):
        return Counting(super().build_model(options))

    def fit_statistics(self, model, data):
        super().fit_statistics(model.inner, data)
'''

BROKEN = """
from ckptop.trainer.tasks.diabetes import Diabetes


class Broken(Diabetes):
    name = "broken"

    def loss(self, outputs, targets):
        raise ValueError("the targets are upside down" + chr(10) + "and more of it")
"""


def wait_for(condition: Callable[[], object], child: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert child.poll() is None, f"the rehearsal ended before {what}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        LOOK.wait(0.02)


def rehearsed(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    code = run(["rehearse", *args, "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, answer


def check_named(answer: dict[str, Any], name: str) -> dict[str, str]:
    found: dict[str, str] = next(check for check in answer["checks"] if check["name"] == name)
    return found


def test_a_task_that_resumes_exactly_is_safe_and_nothing_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine steps of an accumulating bf16 training, past an epoch's end: killed for real, and the same bits."""
    store = tmp_path / "runs"
    settings = (*QUICK, "--set", "accumulate=4", "--set", "precision=bf16", "--set", "log_every_steps=50")

    code, answer = rehearsed(capsys, "diabetes", "--store", str(store), "--steps", "9", "--epochs", "50", *settings)

    assert code == 0, answer["conclusion"]
    assert answer["safe"] is True
    assert answer["exact"] is True
    assert answer["conclusion"].startswith("safe to leave overnight: about ")
    # An epoch has 17 batches, so 5 steps: the kill comes after its evaluation, and the resumed run ends it again.
    assert (answer["steps"], answer["killed_at_step"], answer["resumed_from_step"]) == (9, 5, 4)
    assert answer["differences"] == []
    figures = answer["figures"]
    assert figures["total_steps"] == 250
    assert figures["total_seconds"] > figures["total_steps"] * figures["pace"]["step_seconds"] > 0
    assert figures["measured"]["validation"]["batches"] == figures["measured"]["validation"]["batch_count"]
    assert figures["measured"]["peak_memory_bytes"] > 100 * 2**20
    assert figures["sizes"]["checkpoint_bytes"] > 5000
    assert 1 < figures["sizes"]["step_log_bytes"] < 100  # a line each 50 steps, as the run would write
    assert "39 logged values" in check_named(answer, "resume")["detail"]  # of every step, all the same
    assert {check["verdict"] for check in answer["checks"] if check["name"] not in ("memory", "disk")} == {"ok"}
    assert not store.exists()


def test_a_run_shorter_than_the_rehearsal_is_rehearsed_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs"
    with Run.create(store, name="mine", task="other"):
        pass
    before = sorted(path.name for path in store.iterdir())

    code, answer = rehearsed(
        capsys, "diabetes", "--store", str(store), "--epochs", "1", "--batch-size", "140", "--set", "model.hidden=[8]"
    )

    assert code == 0, answer["conclusion"]
    assert (answer["steps"], answer["killed_at_step"], answer["resumed_from_step"]) == (2, 1, 1)
    assert sorted(path.name for path in store.iterdir()) == before


def test_what_is_in_no_checkpoint_is_found_and_the_cause_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.chdir(tmp_path)

    code, answer = rehearsed(capsys, "forgetful:Forgetful", "--store", "runs", *QUICK)

    assert code == 1
    assert answer["exact"] is False
    resume = check_named(answer, "resume")
    assert resume["verdict"] == "no"
    # Both went on alike to the kill; the first step after the resume, from step 4, is the first that differs.
    assert "killed after step 5, resumed from 4, compared at 8; first train/loss at step 5, " in resume["detail"]
    assert resume["advice"].startswith("likely state that is in no state_dict()")
    assert "optimizer_state_dict.state.0.exp_avg" in answer["differences"]
    assert answer["conclusion"].startswith("not safe: resume: not bitwise the same; likely state")


def test_a_loss_that_becomes_nan_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the run itself would go back: a training that needs that at once is not to be left alone."""
    rescue = ("--on-nan", "rollback", "--set", "rollback_lr_factor=1e-33")
    args = ["rehearse", "diabetes", "--store", str(tmp_path), "--lr", "1e30", *rescue, *QUICK]

    assert run(args) == 1

    out = capsys.readouterr().out
    assert out.startswith("not safe: the training failed after step ")
    assert "the loss is nan at step " in out
    assert out.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_raises_is_told_with_what_it_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)

    assert run(["rehearse", "broken:Broken", "--store", "runs"]) == 1

    wanted = (
        "not safe: the training failed before its first step (exit code 1): ValueError: the targets are upside down\n"
    )
    assert capsys.readouterr().out == wanted


def test_a_wrong_option_keeps_the_exit_code_and_the_words_of_the_trainer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rehearse", "digits", "--store", str(tmp_path / "runs"), "--set", "epoch=3"]) == 2

    assert capsys.readouterr().err == "ckptop: unknown configuration key 'epoch'; did you mean epochs?\n"
    assert not (tmp_path / "runs").exists()


def test_a_wrong_value_of_what_a_rehearsal_overrides_is_refused_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("log_every_steps = 0\nepochs = 3\n")

    assert run(["rehearse", "digits", "--store", str(tmp_path / "runs"), "--set", "on_nan=maybe"]) == 2
    assert run(["rehearse", "digits", "--store", str(tmp_path / "runs"), "--config", str(tmp_path / "mine.toml")]) == 2

    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "ckptop: on_nan: expected one of stop, rollback, got 'maybe'"
    assert errors[1] == "ckptop: log_every_steps: expected int >= 1, got 0"


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)  # fmt: skip
def test_a_rehearsal_that_is_interrupted_ends_its_trainer_and_cleans_up(
    tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    argv = [sys.executable, "-m", "ckptop.cli", "rehearse", "diabetes", "--store", str(tmp_path), "--steps", "100000"]
    settings = ("--epochs", "100000", "--set", "workers=1", *QUICK)
    child = subprocess.Popen([*argv, *settings], env=child_environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: list(tmp_path.glob(".rehearsal-*/straight/metrics.jsonl")), child, "its trainer to train")
        trainers = psutil.Process(child.pid).children(recursive=True)
        assert trainers

        child.send_signal(signum)

        assert child.wait(PATIENCE_SECONDS) == code
        assert psutil.wait_procs(trainers, timeout=PATIENCE_SECONDS)[1] == []
        assert list(tmp_path.iterdir()) == []
    finally:
        child.kill()
        child.wait()


def test_no_reader_sees_the_hidden_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path, name="mine", task="other"):
        pass
    scan = StoreScan(tmp_path)

    with hidden_store(tmp_path) as hidden:
        with Run.create(hidden, name="straight", task="other") as made:
            made.log(1, {"train/loss": 0.5})

        assert Store.open(tmp_path).run_names() == ["mine"]
        assert scan.everything() == {"", "mine"}
        assert changed_names(str(made.paths.metrics), str(tmp_path)) == set()
        assert run(["ls", str(tmp_path)]) == 0
        assert run(["verify", str(tmp_path)]) == 0
        assert "rehearsal" not in capsys.readouterr().out
    assert not hidden.exists()


def test_what_a_killed_rehearsal_left_behind_is_removed_by_the_next_and_a_live_one_is_not(tmp_path: Path) -> None:
    me = current_process()
    live = Process(pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, host=me.host, user=me.user)
    dead = msgspec.structs.replace(live, start_ticks=me.start_ticks + 1)
    for name, owner in (("live", live), ("dead", dead)):
        (tmp_path / f".rehearsal-{name}").mkdir()
        (tmp_path / f".rehearsal-{name}" / "owner.json").write_bytes(msgspec.json.encode(owner))

    with hidden_store(tmp_path):
        pass

    assert [path.name for path in tmp_path.iterdir()] == [".rehearsal-live"]


def test_states_are_compared_by_bits_and_what_differs_is_named(tmp_path: Path) -> None:
    nan = torch.tensor([float("nan"), 0.0])
    same = {"model_state_dict": {"a": nan, "n": torch.tensor(3)}, "rng": {"words": [torch.ones(2)]}, "timestamp": "now"}
    other = {"model_state_dict": {"a": torch.tensor([float("nan"), -0.0]), "n": torch.tensor(3)},
             "rng": {"words": [torch.ones(2), torch.ones(2)]}, "epoch": 1, "timestamp": "later"}  # fmt: skip
    torch.save(same, tmp_path / "same.pt")
    torch.save({**same, "timestamp": "later"}, tmp_path / "again.pt")
    torch.save(other, tmp_path / "other.pt")

    assert different_states(tmp_path / "same.pt", tmp_path / "again.pt") == ([], 3)
    assert different_states(tmp_path / "same.pt", tmp_path / "other.pt")[0] == [
        "model_state_dict.a", "rng.words", "epoch",
    ]  # fmt: skip


def test_logged_values_are_those_that_stand_and_the_clocks_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    lines = [
        {"attempt": 1, "from_step": 0, "time": 1.0},
        {"step": 1, "epoch": 1, "time": 1.0, "train/loss": 0.5, "step_seconds": 1.0},
        {"step": 2, "epoch": 1, "time": 2.0, "train/loss": 0.25},
        {"step": 3, "epoch": 1, "time": 2.5, "train/loss": 0.125},
        {"attempt": 2, "from_step": 1, "time": 3.0},
        {"step": 2, "epoch": 1, "time": 4.0, "train/loss": "NaN", "lr": 0.125},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert logged_values(log) == {
        (1, "epoch"): "1", (1, "train/loss"): "0.5", (2, "epoch"): "1", (2, "train/loss"): "'NaN'", (2, "lr"): "0.125",
    }  # fmt: skip
    assert values_before_kill(log)[2, "train/loss"] == "0.25"
    assert different_values(values_before_kill(log), logged_values(log)) == [
        "train/loss at step 2", "lr at step 2", "train/loss at step 3", "epoch at step 3",
    ]  # fmt: skip


def test_the_table_fits_eighty_columns_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 40
    checks = (
        Check(name="resume", verdict="ok", figure="bitwise the same", detail=long, advice="never shown"),
        Check(name="disk", verdict="no", figure="at most 9 GiB of 1 GiB free\x1b[2J", detail=long, advice="free 8 GiB"),
        Check(name="memory", verdict="unknown", figure="not measured"),
    )

    _print("digits", Rehearsal(safe=False, conclusion="not safe: disk", checks=checks, steps=8))

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Rehearsed digits for 8 steps."
    assert lines[-1] == "not safe: disk"
    assert f"{'':15}free 8 GiB" in lines
    assert "memory  ?      not measured" in lines
    assert not any("\x1b" in line or "never shown" in line for line in lines)


def test_available_memory_is_some_of_all_there_is() -> None:
    memory = available_memory()

    assert 0 < memory.available_bytes <= memory.total_bytes <= psutil.virtual_memory().total


def test_the_seam_is_closed_unless_a_rehearsal_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REHEARSAL_VARIABLE, raising=False)
    assert run_class() is Run
    monkeypatch.setenv(REHEARSAL_VARIABLE, "")
    assert run_class() is Run
    monkeypatch.setenv(REHEARSAL_VARIABLE, '{"stop_at_step": 8}')
    assert run_class() is RehearsedRun


def test_orders_stop_after_their_very_step_and_garbage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REHEARSAL_VARIABLE, '{"stop_at_step": 8}')
    with run_class().create(tmp_path, name="mine", task="other") as made:
        assert isinstance(made, RehearsedRun)
        progress = Progress(step=7)
        made.follow(progress)
        before = made.should_stop
        progress.step = 8
        at_step = made.should_stop
        monkeypatch.setenv(REHEARSAL_VARIABLE, '{"stop_at_step": "soon"}')
        with pytest.raises(UsageError, match="CKPTOP_REHEARSAL does not hold"):
            made.follow(progress)
        made.finish("stopped", code=3)

    assert (before, at_step, made.stop_reason) == (False, True, "the rehearsal is done")
