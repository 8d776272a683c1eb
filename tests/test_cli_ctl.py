"""`ckptop ctl`: what is asked, what comes back, and with which exit code."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_fixture import RunPlan, build_run, dead_process, live_process

from ckptop.cli.main import run
from ckptop.store.control import answer, pending
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
from ckptop.store.manifest import encode
from ckptop.store.records import ControlRequest, Status

Trainer = Callable[[bool, str], AbstractContextManager[list[ControlRequest]]]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setenv("CKPTOP_STORE", str(tmp_path))
    return build_run(tmp_path, RunPlan(name="mine", epochs=2))


def rewrite(paths: RunPaths, **changes: Any) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, **changes)))


@pytest.fixture
def trainer(paths: RunPaths) -> Trainer:
    """A thread that answers the first request as a trainer does, and says which that was."""

    @contextmanager
    def answering(ok: bool, message: str) -> Any:
        obeyed: list[ControlRequest] = []
        done = threading.Event()

        def loop() -> None:
            while not done.wait(0.01):
                for request in pending(paths).requests:
                    obeyed.append(request)
                    answer(paths, request, ok, message, step=48)
                    return

        thread = threading.Thread(target=loop)
        thread.start()
        yield obeyed
        done.set()
        thread.join()

    return answering


@pytest.mark.parametrize("action", ["save", "pause", "continue", "stop"])
def test_an_action_is_asked_for_and_its_answer_printed(
    action: str, trainer: Trainer, paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    with trainer(True, f"did {action}") as obeyed:
        code = run(["ctl", "mine", action])

    assert code == 0
    assert capsys.readouterr().out == f"mine: did {action}\n"
    assert [(request.action, request.args) for request in obeyed] == [(action, {})]
    assert list(paths.control.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "args"),
    [
        (["lr=1e-4"], {"lr": 0.0001}),
        (["lr=1"], {"lr": 1.0}),
        (["total_epochs=30"], {"total_epochs": 30}),
        (["lr=1e-4", "total_epochs=3e1"], {"lr": 0.0001, "total_epochs": 30}),
        (["theirs=0.5"], {"theirs": 0.5}),
    ],
)
def test_settings_are_sent_as_numbers(settings: list[str], args: dict[str, Any], trainer: Trainer) -> None:
    with trainer(True, "set") as obeyed:
        assert run(["ctl", "mine", "set", *settings]) == 0

    assert obeyed[0].args == args
    assert [type(value) for value in obeyed[0].args.values()] == [type(value) for value in args.values()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set"], "say what to set"),
        (["set", "lr"], "not KEY=VALUE"),
        (["set", "=3"], "not KEY=VALUE"),
        (["set", "lr=fast"], "is no number"),
        (["set", "lr=nan"], "is no number"),
        (["set", "lr=0"], "above 0"),
        (["set", "total_epochs=2.5"], "whole number"),
        (["set", "total_epochs=0"], "whole number"),
        (["set", "lr=1", "lr=2"], "set twice"),
        (["save", "lr=1"], "takes no KEY=VALUE"),
        (["dance"], "'dance' is not one of"),
    ],
)
def test_what_makes_no_sense_is_never_sent(
    words: list[str], said: str, paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ctl", "mine", *words]) == 2

    assert said in capsys.readouterr().err
    assert list(paths.control.iterdir()) == []


def test_a_refusal_exits_1_with_the_reason(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    with trainer(False, "lr cannot change here"):
        code = run(["ctl", "mine", "set", "lr=1"])

    assert code == 1
    assert capsys.readouterr().out == "mine: lr cannot change here\n"


def test_json_tells_the_whole_of_it(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    with trainer(True, "lr was 0.1") as obeyed:
        assert run(["ctl", "mine", "set", "lr=1e-4", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "run": "mine", "action": "set", "args": {"lr": 0.0001}, "ok": True, "message": "lr was 0.1", "step": 48,
        "id": obeyed[0].id,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phase": "finished"}, "mine is not running: finished at step 48; there is nobody to ask.\n"),
        ({"process": dead_process()}, "crashed at step 48 (its process is gone)"),
    ],
    ids=["finished", "crashed"],
)
def test_a_run_that_is_not_live_is_not_asked(
    changes: dict[str, Any], said: str, paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(paths, **changes)

    assert run(["ctl", "mine", "save"]) == 1

    told = capsys.readouterr().out
    assert said in told
    assert told.count("\n") == 1
    assert list(paths.control.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "paused"},
        {"last_step_time": time.time() - 3600},
        {"process": msgspec.structs.replace(live_process(), host="another-box", pid=7)},
    ],
    ids=["paused", "stalled", "elsewhere"],
)
def test_paused_stalled_and_foreign_runs_are_asked(changes: dict[str, Any], trainer: Trainer, paths: RunPaths) -> None:
    rewrite(paths, heartbeat=time.time(), **changes)

    with trainer(True, "saved") as obeyed:
        assert run(["ctl", "mine", "save"]) == 0

    assert len(obeyed) == 1


def test_no_answer_in_time_says_that_the_request_stays(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ctl", "mine", "save", "--timeout", "0.05"]) == 10

    error = capsys.readouterr().err
    assert "has not answered after 0.05 s" in error
    assert error.count("\n") == 1
    assert len(list(paths.control.iterdir())) == 1


def test_a_run_that_ends_before_it_answers_is_not_waited_for(
    paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_when_asked() -> None:
        while not any(paths.control.iterdir()):
            ended.wait(0.01)
        rewrite(paths, phase="finished")

    ended = threading.Event()
    thread = threading.Thread(target=end_when_asked)
    thread.start()

    code = run(["ctl", "mine", "save", "--timeout", "600"])

    thread.join()
    assert code == 1
    assert capsys.readouterr().out == "mine: finished at step 48 before it answered\n"


def test_an_answer_with_escape_codes_is_cleaned(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    with trainer(True, "\x1b]0;owned\x07done\u202e"):
        run(["ctl", "mine", "save"])

    assert capsys.readouterr().out == "mine: done\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_that_may_not_be_written_exits_14(paths: RunPaths) -> None:
    paths.control.chmod(0o500)

    assert run(["ctl", "mine", "save"]) == 14


def test_a_run_that_is_not_there_exits_11(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ctl", "nope", "save"]) == 11

    assert "there: mine" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [lambda paths: paths.status.unlink(), lambda paths: paths.status.write_bytes(b"{")])
def test_a_run_without_a_status_that_nobody_holds_is_not_waited_for(
    spoil: Callable[[RunPaths], object], paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(paths)

    assert run(["ctl", "mine", "save", "--timeout", "600"]) == 1

    assert "there is nobody to ask" in capsys.readouterr().out
    assert list(paths.control.iterdir()) == []


@pytest.mark.parametrize("spoil", [lambda paths: paths.status.unlink(), lambda paths: paths.status.write_bytes(b"{")])
def test_a_run_whose_status_is_gone_or_damaged_may_answer_while_it_is_held(
    spoil: Callable[[RunPaths], object], trainer: Trainer, paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = Lease.acquire(paths, steal=True)
    spoil(paths)
    with trainer(True, "step 48 is saved"):
        assert run(["ctl", "mine", "save"]) == 0
    assert capsys.readouterr().out == "mine: step 48 is saved\n"

    paths.record.write_bytes(b"{")
    assert run(["ctl", "mine", "save", "--timeout", "0.1"]) == 10
    lease.release()
    assert "mine is unreadable and has not answered after 0.1 s (run.json" in capsys.readouterr().err
