"""`ckptop stop`: asked, killed, and never somebody else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import msgspec
import pytest
from plain_loops import mine, plain_loop
from store_fixture import dead_process, live_process

from ckptop.cli.main import run as run_command
from ckptop.store.deaths import record_death
from ckptop.store.events import last_event
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
from ckptop.store.manifest import encode
from ckptop.store.records import Exit, Process, RunRecord, Status
from ckptop.store.run import Run

NOW = 1_763_683_200.0


def stop(store: Path, *options: str) -> int:
    return run_command(["stop", "mine", "--store", str(store), *options])


def running(store: Path, process: Process) -> Path:
    """A run whose status names `process`."""
    root = store / "mine"
    root.mkdir()
    (root / "run.json").write_bytes(encode(RunRecord(id="1", name="mine", task="mine", created=NOW)))
    status = Status(phase="running", step=7, heartbeat=NOW, process=process)
    (root / "status.json").write_bytes(encode(status))
    return root


def test_a_loop_that_heeds_is_stopped_and_not_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with plain_loop(tmp_path) as child:
        assert stop(tmp_path, "--now", "--timeout", "60") == 0
        assert child.wait(60) == 3

    status = mine(tmp_path).status
    assert status is not None
    assert (status.phase, status.exit) == ("stopped", Exit(code=3))
    assert "`ckptop resume mine` goes on" in capsys.readouterr().out


def test_a_loop_that_hangs_is_not_killed_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with plain_loop(tmp_path, "deaf") as child:
        assert stop(tmp_path, "--timeout", "0.2") == 10
        assert child.poll() is None
        assert "`ckptop stop mine --now` kills it" in capsys.readouterr().err

        assert stop(tmp_path, "--now") == 0
        assert child.wait(60) == -signal.SIGKILL

    view = mine(tmp_path)
    assert view.state == "stopped"  # not crashed: nobody is to start it again
    assert view.status is not None
    assert view.status.exit is not None
    assert view.status.exit.signal == signal.SIGKILL
    assert str(view.status.exit.error).startswith("killed by ")
    event = last_event(view.paths.events, ("control",))
    assert event is not None
    assert (event.details["action"], event.details["args"]) == ("stop", {"now": True})
    Run.create(tmp_path, name="mine", task="mine", resume="auto").finish("finished", code=0)  # the lease is free


def test_a_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    """The status names this very process's pid, and another start."""
    before = msgspec.structs.replace(live_process(), start_ticks=live_process().start_ticks - 1)
    running(tmp_path, before)

    assert stop(tmp_path, "--now") == 1


def test_what_runs_elsewhere_is_not_killed_from_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = running(tmp_path, msgspec.structs.replace(live_process(), host="another-box"))
    status = msgspec.json.decode((root / "status.json").read_bytes(), type=Status)
    (root / "status.json").write_bytes(encode(msgspec.structs.replace(status, heartbeat=time.time())))

    assert stop(tmp_path, "--now") == 10

    assert "runs on another-box" in capsys.readouterr().err
    assert not (root / "control").exists()


def test_a_death_is_written_only_over_the_status_of_the_dead(tmp_path: Path) -> None:
    root = running(tmp_path, live_process())
    paths = mine(tmp_path).paths
    killed = Exit(signal=9)

    assert not record_death(paths, live_process(), killed)  # it lives
    assert not record_death(paths, dead_process(), killed)  # the status is another's
    before = (root / "status.json").read_bytes()
    assert b'"signal": 9' not in before
    status = msgspec.json.decode(before, type=Status)
    (root / "status.json").write_bytes(encode(msgspec.structs.replace(status, process=dead_process())))
    assert record_death(paths, dead_process(), killed)

    view = mine(tmp_path)
    assert view.state == "crashed"
    assert view.status is not None
    assert view.status.exit == killed


def test_a_run_taken_up_meanwhile_keeps_its_own_status(tmp_path: Path) -> None:
    with Run.create(tmp_path, name="mine", task="mine") as run:
        assert not record_death(run.paths, dead_process(), Exit(signal=9))


def test_a_run_whose_status_is_damaged_is_asked_but_not_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = running(tmp_path, live_process())
    (root / "status.json").write_bytes(b"{")
    assert stop(tmp_path) == 1  # nobody holds it
    assert "there is nothing to stop" in capsys.readouterr().out
    lease = Lease.acquire(RunPaths(root), steal=True)

    assert stop(tmp_path, "--now") == 10
    assert "cannot be killed, only asked" in capsys.readouterr().err
    assert not (root / "control").exists()
    assert stop(tmp_path, "--timeout", "0.2") == 10
    assert b'"stop"' in next((root / "control").iterdir()).read_bytes()
    lease.release()
