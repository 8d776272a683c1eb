"""How a training ended, written down: one line in the status, the traceback in log and event."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch
from store_fixture import dead_process
from trainer_runs import at_step, run_training

from ckptop.host import oom
from ckptop.store.ending import how_it_ended
from ckptop.store.errors import TRACEBACK_LINES, TrainingFailed
from ckptop.store.events import last_event
from ckptop.store.records import Exit, KernelKills, Status
from ckptop.store.run import Run
from ckptop.store.state import derive_state
from ckptop.store.views import read_run
from ckptop.trainer.tasks.diabetes import Diabetes


def ended(root: Path) -> tuple[Exit | None, list[str]]:
    """The exit of a run's status, and the traceback of its last event."""
    status = read_run(root).status
    event = last_event(root / "events.jsonl", ("failed",))
    assert status is not None
    assert event is not None
    return status.exit, list(event.details.get("traceback", []))


def fail(_: Run) -> None:
    raise RuntimeError("the first line\nand a second")


def test_an_error_nobody_expected_is_one_line_and_its_traceback_is_kept(tmp_path: Path) -> None:
    with at_step(20, fail), pytest.raises(RuntimeError):
        run_training(tmp_path, name="run")

    exit_, traceback = ended(tmp_path / "run")
    assert exit_ == Exit(code=1, error="RuntimeError: the first line")
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-2:] == ["RuntimeError: the first line", "and a second"]
    assert 'raise RuntimeError("the first line\\nand a second")' in (tmp_path / "run" / "train.log").read_text()


def test_a_long_traceback_keeps_its_end(tmp_path: Path) -> None:
    def fall(depth: int) -> None:
        if depth:
            (fall if depth % 2 else climb)(depth - 1)
        raise ValueError("at the bottom")

    def climb(depth: int) -> None:
        fall(depth - 1)

    with pytest.raises(ValueError, match="bottom"), Run.create(tmp_path, name="run", task="mine"):
        fall(60)

    _, traceback = ended(tmp_path / "run")
    assert len(traceback) == TRACEBACK_LINES
    assert traceback[-1] == "ValueError: at the bottom"


def test_an_error_that_says_it_all_has_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed):
        run_training(tmp_path, name="run", lr="1e30", optimizer="sgd")

    exit_, traceback = ended(tmp_path / "run")
    assert exit_ is not None
    assert exit_.code == 16
    assert str(exit_.error).startswith("NotFinite: the ") or str(exit_.error).startswith("TrainingFailed: the ")
    assert len(traceback) <= TRACEBACK_LINES


def test_where_memory_ran_out_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Diabetes, "loss", exhaust)
    with pytest.raises(TrainingFailed):
        run_training(tmp_path, name="run")

    exit_, traceback = ended(tmp_path / "run")
    assert exit_ is not None
    assert str(exit_.error).startswith("TrainingFailed: out of memory: CUDA out of memory; ")
    assert any("in exhaust" in line for line in traceback)
    assert "in exhaust" in (tmp_path / "run" / "train.log").read_text()


def test_a_run_records_what_the_kernel_had_killed_when_it_began(tmp_path: Path) -> None:
    counts = oom.read_oom_counts()
    with Run.create(tmp_path, name="run", task="mine") as run:
        recorded = json.loads(run.paths.status.read_bytes())["kernel_kills"]

    assert recorded["group"] == counts.group


@pytest.mark.parametrize(("kills_now", "said"), [(4, "its process is gone"), (5, "out-of-memory killer took it")])
def test_a_crash_nobody_saw_is_still_laid_at_the_kernel_s_door(tmp_path: Path, kills_now: int, said: str) -> None:
    """Without a supervisor: a viewer compares the group's count with that of the beginning."""
    (tmp_path / "memory.events").write_text(f"oom_kill {kills_now}\n")
    kills = KernelKills(group=str(tmp_path), group_kills=4, machine_kills=None)
    status = Status(phase="running", heartbeat=1.0, process=dead_process(), kernel_kills=kills)

    assert derive_state(status) == "crashed"
    assert str(how_it_ended(status, "crashed")).endswith(said)
    seen = msgspec.structs.replace(status, exit=Exit(signal=11, error="killed by SIGSEGV"))
    assert how_it_ended(seen, "crashed") == "killed by SIGSEGV"
