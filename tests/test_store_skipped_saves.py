"""A save that comes due while one is on its way and skips itself: never told as saved, and never the last."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import trained_pair
from trainer_runs import at_step, run_training

from ckptop.store import Run
from ckptop.store.host_copy import HostCopy
from ckptop.store.saving import Saver
from ckptop.store.tensors import read_state
from ckptop.store.verify import verify_run
from ckptop.store.views import read_run
from ckptop.trainer.console import Console
from ckptop.trainer.hooks.run_hook import RunHook
from ckptop.trainer.loop import Loop


@dataclass
class HeldWriter:
    """Writes nothing until it is let."""

    may_write: threading.Event = field(default_factory=threading.Event)
    written_steps: list[int] = field(default_factory=list)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldWriter]:
    found, write = HeldWriter(), Saver.write

    def patient(saver: Saver, state: Any, *arguments: Any, **named: Any) -> Any:
        assert found.may_write.wait(30)
        found.written_steps.append(state["global_step"])
        return write(saver, state, *arguments, **named)

    monkeypatch.setattr(Saver, "write", patient)
    yield found
    found.may_write.set()


def steps_of(run: Path, tier: str = "training") -> list[int]:
    return sorted(info.step for info in read_run(run).checkpoints if info.tier == tier)


def test_a_loop_of_ones_own_skips_what_comes_due_and_never_its_last(tmp_path: Path, writer: HeldWriter) -> None:
    model, optimizer = trained_pair()
    with Run.create(tmp_path, name="mine", task="toy", async_save=True, when_busy="skip") as run:

        def save() -> None:
            run.checkpoints.save_training_checkpoint(model, optimizer, 1, run.step, {})

        for step in run.steps(7, save=save, save_every=2):
            if step == 7:
                assert run.checkpoints.is_skipping
                writer.may_write.set()

    assert steps_of(tmp_path / "mine") == [2, 7]
    assert verify_run(read_run(tmp_path / "mine")).findings == ()


def test_the_last_step_is_saved_though_it_came_due_and_was_skipped(tmp_path: Path, writer: HeldWriter) -> None:
    model, optimizer = trained_pair()
    with RunHook(tmp_path, name="mine", task="toy", async_save=True, when_busy="skip") as hook:

        def save() -> Callable[[Mapping[str, float]], object]:
            return lambda metrics: hook.save_checkpoint(model, optimizer, None, 1, step, metrics, {})

        for step in (1, 2):
            hook.stepped(step, 1, save, ((), ()))
            hook._due = save()
            hook.save_due()
        assert hook.run.checkpoints.is_skipping
        writer.may_write.set()
        hook.save_last(save)

    assert steps_of(tmp_path / "mine") == [1, 2]


def test_a_callback_saves_the_milestone_of_a_skipped_step(tmp_path: Path, writer: HeldWriter) -> None:
    model, optimizer = trained_pair()
    named: dict[str, Any] = {"metric": ("val/loss", "min"), "async_save": True, "when_busy": "skip"}
    with RunHook(tmp_path, name="mine", task="toy", **named) as hook:
        hook.save_checkpoint(model, optimizer, None, 1, 1, {"val/loss": 0.5}, {})
        with torch.no_grad():
            model.weight.fill_(7.0)
        with hook.run.checkpoints.skipping() as is_skipped:
            assert is_skipped
            writer.may_write.set()
            hook.run.checkpoints._in_flight.join()  # the decision holds, whatever became of the one on its way
            hook.save_checkpoint(model, optimizer, None, 1, 2, {"val/loss": 0.4}, {})

    assert steps_of(tmp_path / "mine") == [1]
    assert steps_of(tmp_path / "mine", "milestone") == [1, 2]
    (later,) = (info for info in read_run(tmp_path / "mine").checkpoints if info.step == 2)
    assert read_state(later.path)["model_state_dict"]["weight"].eq(7.0).all()


def test_what_is_made_ready_for_the_first_save_skips_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = trained_pair()
    prepare, may_end = HostCopy.prepare, threading.Event()

    def slow(copies: HostCopy, state: Any) -> None:
        assert may_end.wait(30)
        prepare(copies, state)

    monkeypatch.setattr(HostCopy, "prepare", slow)
    with Run.create(tmp_path, name="mine", task="toy", async_save=True, when_busy="skip") as run:
        run.checkpoints.prepare(model, optimizer)
        threading.Timer(0.05, may_end.set).start()
        assert run.checkpoints.save_training_checkpoint(model, optimizer, 1, 1, {}) != ""


@pytest.mark.parametrize("wrong", ["later", "", None])
def test_a_run_is_not_begun_with_a_word_that_is_neither(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="use wait or skip"):
        Run.create(tmp_path, name="mine", task="toy", when_busy=wrong)

    assert not (tmp_path / "mine").exists()


# The trainer


@pytest.fixture
def let_by_a_skip(writer: HeldWriter, monkeypatch: pytest.MonkeyPatch) -> HeldWriter:
    """The writer goes on once a trainer has said that it skipped a save."""
    say = Console.say

    def heard(console: Console, line: str) -> None:
        say(console, line)
        if "skipped" in line:
            writer.may_write.set()

    monkeypatch.setattr(Console, "say", heard)
    return writer


def test_a_trainer_says_which_step_it_skipped_and_saves_its_milestone_and_the_last(
    tmp_path: Path, let_by_a_skip: HeldWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tmp_path, name="run", epochs="2", when_busy="skip", save_every_steps="16")

    printed = capsys.readouterr().out
    skipped = re.findall(r"Checkpoint skipped: step (\d+), that of step (\d+) is on its way", printed)
    saved = [int(step) for step in re.findall(r"Checkpoint saved: training epoch \d+, step (\d+) \(", printed)]
    assert skipped == [("17", "16")]  # the end of the first epoch
    assert saved == [16, 32, 34] == steps_of(tmp_path / "run")
    assert steps_of(tmp_path / "run", "milestone")[0] == 17
    assert let_by_a_skip.written_steps[:2] == [16, 17]
    assert verify_run(read_run(tmp_path / "run")).findings == ()


def test_a_save_that_was_asked_for_is_waited_for(tmp_path: Path, writer: HeldWriter) -> None:
    answers: list[str | None] = []

    def ask(run: Run) -> None:
        assert run.checkpoints.is_skipping
        threading.Timer(0.05, writer.may_write.set).start()
        answers.append(saves[0]())

    saves: list[Callable[[], str | None]] = []
    with pytest.MonkeyPatch.context() as patch:
        train_epoch = Loop._train_epoch

        def note(loop: Loop) -> bool:
            saves.append(loop._save_now)
            return train_epoch(loop)

        patch.setattr(Loop, "_train_epoch", note)
        with at_step(10, ask):
            run_training(tmp_path, name="run", epochs="1", when_busy="skip", save_every_steps="9")

    assert answers == ["step 10 is saved"]
    assert steps_of(tmp_path / "run") == [9, 10, 17]
