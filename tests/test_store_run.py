"""A run being written: its life, its end however it comes, and who may take it up again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_model import tiny_model

from ckptop.store import heartbeat
from ckptop.store.control import send_request, wait_for_answer
from ckptop.store.errors import Damaged, DiskError, Held, NotFound, TrainingFailed, UsageError
from ckptop.store.events import read_events
from ckptop.store.files import read_json, write_quickly
from ckptop.store.fs import FileSystem
from ckptop.store.going_back import recorded_attempts
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
from ckptop.store.records import Attempt, Command, ControlRequest, Metric, RunRecord, Status
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.run import Run
from ckptop.store.views import read_run

TRAIN = """
import sys
import torch
from ckptop.store import Run
store, resume = sys.argv[1], sys.argv[2] or None
model = torch.nn.Linear(2, 1)
with Run.create(store, name="mine", task="tiny", resume=resume, metric=("val/accuracy", "max")) as run:
    for step in range(run.start.from_step + 1, run.start.from_step + 3):
        run.log(step, {"train/loss": 1 / step}, epoch=step)
        run.progress(epoch=step, step=step)
        run.checkpoints.save_training_checkpoint(model, None, step, step, {"val/accuracy": step / 10})
    print("ready", run.attempt, run.start.from_step, flush=True)
    sys.stdin.readline()
"""


def create(store: Path, resume: str | None = None, name: str = "mine") -> Run:
    return Run.create(store, name=name, task="tiny", resume=resume, metric=("val/accuracy", "max"))


def train(run: Run, steps: range) -> None:
    """Log and save each step; its accuracy is a tenth of it."""
    for step in steps:
        run.log(step, {"train/loss": 1 / step}, epoch=step)
        run.progress(epoch=step, step=step)
        run.checkpoints.save_training_checkpoint(tiny_model(step), None, step, step, {"val/accuracy": step / 10})


def start_elsewhere(store: Path, resume: str = "", **env: str) -> subprocess.Popen[str]:
    """A trainer in another process, two steps on, waiting."""
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(store), resume],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | env,
    )  # fmt: skip


def line_of(trainer: subprocess.Popen[str]) -> str:
    assert trainer.stdout is not None
    return trainer.stdout.readline().strip()


def status(run: Run) -> Status:
    return read_json(run.paths.status, Status)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        threading.Event().wait(0.01)


def test_a_run_from_its_creation_to_its_end(tmp_path: Path) -> None:
    phases = []
    with create(tmp_path) as run:
        phases.append(status(run).phase)
        run.begin(total_epochs=2, total_steps=2, config={"lr": 0.1})
        phases.append(status(run).phase)
        train(run, range(1, 3))
        run.log_system({"gpu": 0.5})
        run.set_phase("paused")
        phases.append(status(run).phase)
        run.finish("finished", code=0, summary={"metrics": {"test/accuracy": 0.75}})
    phases.append(status(run).phase)

    view = read_run(run.root)
    assert phases == ["starting", "running", "paused", "finished"]
    assert view.problem is None
    assert view.record is not None
    assert view.record.config == {"lr": 0.1}
    assert view.record.metric == Metric(name="val/accuracy", mode="max")
    assert [(a.attempt, a.from_step, a.from_checkpoint) for a in view.record.attempts] == [(1, 0, None)]
    assert dict(view.result) == {"test/accuracy": 0.75}
    assert view.status is not None
    assert (view.status.step, view.status.total_steps, view.progress) == (2, 2, 1.0)
    assert (view.latest and view.latest.step, view.best and view.best.step) == (2, 2)
    told = [event.event for event in read_events(run.paths.events)]
    assert told == ["started", "saved", "saved", "finished"]
    lines = [json.loads(line) for line in run.paths.metrics.read_text().splitlines()]
    assert [line.get("step", line.get("attempt")) for line in lines] == [1, 1, 2]
    assert json.loads(run.paths.system.read_text())["gpu"] == 0.5


def test_the_directories_of_the_design_are_there(tmp_path: Path) -> None:
    with create(tmp_path) as run:
        train(run, range(1, 2))

    there = {path.name for path in run.root.iterdir()}
    assert there >= {
        "run.json", "status.json", "metrics.jsonl", "system.jsonl", "events.jsonl", "lease.lock", "control",
        "checkpoints",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} >= {"mine", "production", "metadata"}


@pytest.mark.parametrize(
    ("error", "phase", "code", "said"),
    [
        (ValueError("loss is\nNaN"), "failed", 1, "ValueError: loss is"),
        (TrainingFailed("out of memory"), "failed", 16, "TrainingFailed: out of memory"),
        (KeyboardInterrupt(), "stopped", 3, None),
    ],
)
def test_an_exception_ends_the_run_and_is_told(
    tmp_path: Path, error: BaseException, phase: str, code: int, said: str | None
) -> None:
    with pytest.raises(type(error)), create(tmp_path) as run:
        raise error

    ended = status(run)
    assert (ended.phase, ended.exit and ended.exit.code, ended.exit and ended.exit.error) == (phase, code, said)
    assert read_run(run.root).state == phase
    assert read_events(run.paths.events)[-1].event == phase
    create(tmp_path, "auto").finish("finished", code=0)


def test_the_end_comes_once(tmp_path: Path) -> None:
    with create(tmp_path) as run:
        run.finish("stopped", code=3)
        run.finish("failed", code=1)

    assert status(run).phase == "stopped"
    assert [event.event for event in read_events(run.paths.events)] == ["stopped"]


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    create(tmp_path).finish("finished", code=0)
    before = (tmp_path / "mine" / "run.json").read_bytes()

    with pytest.raises(UsageError, match="run mine exists"):
        create(tmp_path)

    assert (tmp_path / "mine" / "run.json").read_bytes() == before


def test_a_name_taken_while_we_waited_for_the_lease_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainers start at once under one name: the second must not go on with the first one's run."""
    original = Lease.acquire

    def late(paths: RunPaths, **options: object) -> object:
        if not paths.record.exists():
            paths.record.write_text('{"id":"theirs","name":"mine","task":"t","created":1}')
        return original(paths)

    monkeypatch.setattr(Lease, "acquire", late)

    with pytest.raises(UsageError, match="run mine exists"):
        create(tmp_path)

    monkeypatch.undo()
    create(tmp_path, "auto").finish("finished", code=0)


@pytest.mark.parametrize("name", ["production", "", ".hidden", "a/b", "x" * 101])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        create(tmp_path, name=name)

    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_made_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises((DiskError, UsageError)):
        create(tmp_path / "file" / "store")


def test_a_disk_that_refuses_the_record_is_a_disk_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptop.store import taking_up as module

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_record", refuse)
    with pytest.raises(DiskError, match="No space left"):
        create(tmp_path)

    monkeypatch.undo()
    create(tmp_path, "auto").finish("finished", code=0)


def test_auto_begins_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    with create(tmp_path, "auto") as first:
        assert not first.is_resumed
        train(first, range(1, 4))
    with create(tmp_path, "auto") as second:
        assert second.is_resumed
        assert (second.attempt, second.start.from_step) == (2, 3)
        assert second.start.key == "training/checkpoint_epoch_0003_step_00000003.pt"
        assert status(second).step == 3


def test_auto_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    with create(tmp_path) as first:
        first.log(5, {"a": 1.0})
    with create(tmp_path, "auto") as second:
        second.begin()

    assert (second.start.from_step, second.attempt) == (0, 2)
    assert [a.from_step for a in second.record.attempts] == [0, 0]


@pytest.mark.parametrize(
    ("resume", "step"),
    [("latest", 3), ("best", 3), ("checkpoint_epoch_0002_step_00000002.pt", 2), ("epoch=1", 1), ("step=2", 2)],
)
def test_a_start_can_be_named(tmp_path: Path, resume: str, step: int) -> None:
    with create(tmp_path) as first:
        train(first, range(1, 4))

    with create(tmp_path, resume) as second:
        assert second.start.from_step == step
        assert second.start.manifest is not None
        assert second.start.manifest.global_step == step


@pytest.mark.parametrize("resume", ["latest", "best", "epoch=3"])
def test_what_is_not_there_cannot_be_resumed(tmp_path: Path, resume: str) -> None:
    with pytest.raises(NotFound):
        create(tmp_path, resume)

    assert not (tmp_path / "mine").exists()


def test_a_missing_checkpoint_releases_the_lease(tmp_path: Path) -> None:
    create(tmp_path).finish("finished", code=0)

    with pytest.raises(NotFound):
        create(tmp_path, "epoch=9")

    create(tmp_path, "auto").finish("finished", code=0)


def test_an_unreadable_record_is_damaged_and_left_alone(tmp_path: Path) -> None:
    create(tmp_path).finish("finished", code=0)
    (tmp_path / "mine" / "run.json").write_text('{"id": "x"')

    with pytest.raises(Damaged, match="truncated"):
        create(tmp_path, "auto")

    assert (tmp_path / "mine" / "run.json").read_text() == '{"id": "x"'


def test_going_back_rewinds_the_lineage(tmp_path: Path) -> None:
    """From step 1: steps 2 and 3 are put away, latest and best are of one line."""
    with create(tmp_path) as first:
        train(first, range(1, 4))
    with create(tmp_path, "step=1") as second:
        before = [info.step for info in read_run(second.root).checkpoints]
        second.begin()
        view = read_run(second.root)
        assert [info.step for info in view.checkpoints] == [1]
        train(second, range(2, 3))

    view = read_run(second.root)
    assert before == [1, 2, 3], "until the attempt begins nothing is abandoned"
    assert [(info.step, info.attempt) for info in view.checkpoints] == [(1, 1), (2, 2)]
    assert (view.latest and view.latest.step, view.best and view.best.step) == (2, 2)
    discarded = sorted(path.name for path in (second.root / "checkpoints" / ".discarded" / "2" / "training").iterdir())
    assert [name for name in discarded if name.endswith(".pt")] == [
        "checkpoint_epoch_0002_step_00000002.pt", "checkpoint_epoch_0003_step_00000003.pt",
    ]  # fmt: skip
    lines = [json.loads(line) for line in second.paths.metrics.read_text().splitlines()]
    assert [(line["attempt"], line["from_step"]) for line in lines if "attempt" in line] == [(1, 0), (2, 1)]


def test_a_save_begins_the_attempt_as_a_logged_line_does(tmp_path: Path) -> None:
    """A script that never logs must not leave two lines of checkpoints beside each other."""
    with create(tmp_path) as first:
        train(first, range(1, 4))
    with create(tmp_path, "step=1") as second:
        second.checkpoints.save_training_checkpoint(tiny_model(), None, 2, 2, {})

    view = read_run(second.root)
    assert view.record is not None
    assert [a.from_step for a in view.record.attempts] == [0, 1]
    assert [(info.step, info.attempt) for info in view.checkpoints] == [(1, 1), (2, 2)]


def test_a_step_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path) -> None:
    """Its weights may differ, by another learning rate: a milestone of now is never a link to the file of then."""
    with create(tmp_path) as first:
        train(first, range(1, 3))
        assert first.checkpoints.has_step(2, 2)
    with create(tmp_path, "auto") as second:
        second.begin()
        assert not second.checkpoints.has_step(2, 2)
        made = second.checkpoints.save_milestone_checkpoint(tiny_model(7), 0.9, "val/accuracy", 2, step=2)

    assert made is not None
    assert os.stat(made).st_nlink == 1


def test_what_was_logged_is_durable_before_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of step S is fsynced before the checkpoint of step S commits, whoever wrote the loop."""
    order: list[str] = []
    rename = FileSystem.rename
    with create(tmp_path) as run:
        run.log(1, {"a": 1.0})
        manager = run.checkpoints
        sync = os.fsync
        metrics = os.stat(run.paths.metrics).st_ino

        def watch(descriptor: int) -> None:
            order.append("metrics" if os.fstat(descriptor).st_ino == metrics else "other")
            sync(descriptor)

        def watch_names(fs: FileSystem, source: Path, target: Path) -> None:
            order.append("commit" if target.suffix == ".pt" else "name")
            rename(fs, source, target)

        monkeypatch.setattr(os, "fsync", watch)
        monkeypatch.setattr(FileSystem, "rename", watch_names)
        path = manager.save_training_checkpoint(tiny_model(), None, 1, 1, {})
        monkeypatch.undo()

    assert Path(path).exists()
    assert order.index("metrics") < order.index("commit")


def test_a_crash_between_the_attempt_line_and_the_record_is_completed(tmp_path: Path) -> None:
    """The line commits the going-back; whoever opens the run next finishes it."""
    with create(tmp_path) as first:
        train(first, range(1, 4))
    with open(first.paths.metrics, "a") as file:
        file.write('{"attempt":2,"from_step":1,"time":1763683200.0}\n')

    with create(tmp_path, "auto") as third:
        completed = sorted(path.name for path in (third.root / "checkpoints" / "training").glob("checkpoint_*.pt"))
        third.begin()
        assert (third.attempt, third.start.from_step) == (3, 1)
        assert completed == ["checkpoint_epoch_0001_step_00000001.pt"], "put away at the opening"

    record = read_json(third.paths.record, RunRecord)
    assert [(a.attempt, a.from_step) for a in record.attempts] == [(1, 0), (2, 1), (3, 1)]
    assert [info.step for info in read_run(third.root).checkpoints] == [1]


def test_a_torn_attempt_line_is_no_attempt(tmp_path: Path) -> None:
    with create(tmp_path) as first:
        train(first, range(1, 4))
    with open(first.paths.metrics, "a") as file:
        file.write('{"attempt":2,"from_ste')

    record = read_json(first.paths.record, RunRecord)

    assert recorded_attempts(first.paths, record) is record


def test_a_damaged_newest_is_passed_over_and_said(tmp_path: Path) -> None:
    with create(tmp_path) as first:
        train(first, range(1, 4))
    newest = first.root / "checkpoints/training/checkpoint_epoch_0003_step_00000003.pt"
    os.truncate(newest, 100)

    with create(tmp_path, "auto") as second:
        assert second.start.from_step == 2
        assert len(second.start.notes) == 1
        assert "step_00000003.pt: 100 bytes on disk" in second.start.notes[0]
        assert "skipped" in second.start.notes[0]


def test_a_damaged_one_asked_for_is_refused(tmp_path: Path) -> None:
    with create(tmp_path) as first:
        train(first, range(1, 4))
    os.truncate(first.root / "checkpoints/training/checkpoint_epoch_0003_step_00000003.pt", 100)

    with pytest.raises(Damaged, match="it was not resumed"):
        create(tmp_path, "step=3")


def test_a_milestone_of_no_step_is_the_last_to_go_on_from(tmp_path: Path) -> None:
    """It counts as step 0: to begin there would abandon the whole run."""
    with create(tmp_path) as first:
        train(first, range(1, 4))
        first.checkpoints.save_milestone_checkpoint(tiny_model(), 0.9, "val/accuracy", 9)

    with create(tmp_path, "auto") as second:
        assert second.start.from_step == 3


def test_a_second_writer_is_told_who_holds_the_run(tmp_path: Path) -> None:
    trainer = start_elsewhere(tmp_path)
    try:
        assert line_of(trainer) == "ready 1 0"
        before = (tmp_path / "mine" / "metrics.jsonl").read_bytes()

        with pytest.raises(Held, match=f"held by pid {trainer.pid} of .*; stop it with") as caught:
            create(tmp_path, "auto")

        assert caught.value.exit_code == 13
        assert (tmp_path / "mine" / "metrics.jsonl").read_bytes() == before
    finally:
        trainer.communicate("\n")
    assert trainer.returncode == 0
    assert read_run(tmp_path / "mine").state == "finished"


def test_a_killed_trainer_has_crashed_and_loses_nothing(tmp_path: Path) -> None:
    trainer = start_elsewhere(tmp_path)
    assert line_of(trainer) == "ready 1 0"
    was_running = read_run(tmp_path / "mine").state

    trainer.send_signal(signal.SIGKILL)
    trainer.communicate()

    view = read_run(tmp_path / "mine")
    assert (was_running, view.state) == ("running", "crashed")
    with create(tmp_path, "auto") as second:
        assert second.start.from_step == 2
        train(second, range(3, 4))
    lines = [json.loads(line) for line in view.paths.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [1, 2, 3]


def test_a_viewer_resumes_a_script_that_knows_nothing_of_it(tmp_path: Path) -> None:
    """The recorded command is started unchanged; the variable says what to take up."""
    with create(tmp_path) as first:
        train(first, range(1, 4))
    request = ResumeRequest(store=str(tmp_path), run="mine", checkpoint="step=2", overrides={"lr": "0.5"})

    trainer = start_elsewhere(tmp_path / "elsewhere", **{RESUME_VARIABLE: encode_request(request)})
    said = line_of(trainer)
    trainer.communicate("\n")

    assert said == "ready 2 2"
    assert not (tmp_path / "elsewhere").exists()
    record = read_json(first.paths.record, RunRecord)
    assert record.attempts[-1].overrides == {"lr": "0.5"}
    assert record.attempts[-1].from_checkpoint == "training/checkpoint_epoch_0002_step_00000002.pt"


def test_the_recorded_command_keeps_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    with create(tmp_path) as run:
        command = run.record.command

    assert isinstance(command, Command)
    assert command.env["OMP_NUM_THREADS"] == "2"
    assert b"hunter2" not in run.paths.record.read_bytes()


def test_requests_arrive_once_and_are_answered(tmp_path: Path) -> None:
    arrived: list[ControlRequest] = []

    def look() -> bool:
        arrived.extend(run.inbox.take())
        return bool(arrived)

    with create(tmp_path) as run:
        run.begin()
        sent = send_request(run.paths, "set", {"lr": 0.5})

        wait_until(look, "the request")
        run.inbox.answer(arrived[0], True, "lr is 0.5")
        told = wait_for_answer(run.paths, sent.id, 5)

        assert (arrived[0].action, arrived[0].args) == ("set", {"lr": 0.5})
        assert run.inbox.take() == []
        assert told is not None
        assert (told.details["ok"], told.details["message"]) == (True, "lr is 0.5")
        assert list(run.paths.control.iterdir()) == []


def test_a_request_of_before_the_attempt_is_refused_and_said(tmp_path: Path) -> None:
    create(tmp_path).finish("finished", code=0)
    stale = send_request(RunPaths(tmp_path / "mine"), "stop")

    with create(tmp_path, "auto") as run:
        told = wait_for_answer(run.paths, stale.id, 30)

        assert told is not None
        assert told.details["ok"] is False
        assert "older than this attempt" in told.details["message"]
        assert run.inbox.take() == []


def test_a_request_of_a_clock_that_is_behind_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody set ours back since the attempt began, or it was written on a host whose clock differs."""
    with create(tmp_path) as run:
        now_ns = time.time_ns()
        monkeypatch.setattr("ckptop.store.control.time.time_ns", lambda: now_ns - 3600 * 10**9)
        send_request(run.paths, "save")
        run.inbox.look()

        assert [request.action for request in run.inbox.take()] == ["save"]


def test_a_stop_is_asked_for_once_and_its_first_reason_kept(tmp_path: Path) -> None:
    with create(tmp_path) as run:
        assert not run.should_stop
        run.request_stop("SIGTERM")
        run.request_stop("again")
        assert run.should_stop
        run.finish("stopped", code=3)

    assert read_events(run.paths.events)[-1].details["reason"] == "SIGTERM"


def test_a_disk_that_hangs_under_the_heartbeat_does_not_hold_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, is_back = threading.Event(), threading.Event()

    def hang(path: Path, data: bytes) -> None:
        hangs.set()
        assert is_back.wait(60)
        write_quickly(path, data)

    with Run.create(tmp_path, name="mine", task="tiny") as run:
        run.log(1, {"train/loss": 0.5})
        monkeypatch.setattr(heartbeat, "write_quickly", hang)
        assert hangs.wait(60)
        try:
            run.progress(epoch=1, step=2)
            run.log(2, {"train/loss": 0.4})
        finally:
            is_back.set()
        wait_until(lambda: status(run).step == 2, "a beat")


def test_the_heartbeat_goes_on_by_itself(tmp_path: Path) -> None:
    with create(tmp_path) as run:
        run.begin()
        first = status(run)
        run.progress(epoch=4, step=44, step_seconds=0.25)

        wait_until(lambda: status(run).step == 44, "a beat")

        beaten = status(run)
        assert beaten.heartbeat > first.heartbeat
        assert (beaten.epoch, beaten.step_seconds) == (4, 0.25)


def test_a_fork_remembers_where_it_began(tmp_path: Path) -> None:
    from ckptop.store.records import Parent

    parent = Parent(run="mine", checkpoint="training/x.pt")
    with Run.create(tmp_path, name="fork", task="tiny", parent=parent) as run:
        pass

    assert read_json(run.paths.record, RunRecord).parent == parent


def test_a_wrong_resume_variable_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESUME_VARIABLE, "{")

    with pytest.raises(UsageError, match="unset it"):
        create(tmp_path)


def test_attempts_in_the_record_win_over_lines(tmp_path: Path) -> None:
    record = RunRecord(id="1", name="mine", task="t", created=1.0, attempts=[Attempt(attempt=1, from_step=0, time=2.0)])
    paths = RunPaths(tmp_path)
    paths.metrics.write_text('{"attempt":1,"from_step":0,"time":1.0}\n')

    assert recorded_attempts(paths, record) is record


def test_a_request_to_resume_is_for_one_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's second run, or a child of it, is not what the viewer asked for."""
    with Run.create(tmp_path, name="first", task="toy"):
        pass
    request = ResumeRequest(store=str(tmp_path), run="first", checkpoint="auto")
    monkeypatch.setenv(RESUME_VARIABLE, encode_request(request))

    with Run.create(tmp_path, name="ignored", task="toy") as taken_up, Run.create(tmp_path, name="second", task="toy"):
        pass

    assert taken_up.name == "first"
    assert (tmp_path / "second" / "run.json").exists()


def test_leaving_by_exit_0_finishes_the_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), Run.create(tmp_path, name="mine", task="toy"):
        sys.exit(0)

    assert read_run(tmp_path / "mine").state == "finished"
