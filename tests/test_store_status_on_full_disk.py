"""status.json on a disk that is full: it is overwritten where it cannot be replaced, and what was lost is told."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckptop.cli.main import run as run_command
from ckptop.store import Run, heartbeat
from ckptop.store.events import read_events
from ckptop.store.files import read_json, write_in_place
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Status


def full(*_arguments: Any, **_named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_heartbeat_goes_on_within_the_file_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create(tmp_path, name="mine", task="toy") as run:
        run.log(1, {"a": 1.0})
        run._heartbeat.write_now()
        inode = run.paths.status.stat().st_ino
        monkeypatch.setattr(heartbeat, "write_quickly", full)
        run.log(2, {"a": 1.0})

        run._heartbeat.write_now()

        assert read_json(run.paths.status, Status).step == 2
        assert run.paths.status.stat().st_ino == inode
        assert run.problem is None


def test_the_end_is_written_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create(tmp_path, name="mine", task="toy") as run:
        run.log(1, {"a": 1.0})
        run._heartbeat.write_now()
        monkeypatch.setattr(heartbeat, "write_quickly", full)
        monkeypatch.setattr(heartbeat, "write_durably", full)

    assert read_json(run.paths.status, Status).phase == "finished"


def test_what_is_shorter_than_before_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text(json.dumps({"a": "x" * 500}))

    write_in_place(path, b'{"b":1}')

    assert json.loads(path.read_text()) == {"b": 1}


def test_what_its_blocks_cannot_hold_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text("{}")

    with pytest.raises(OSError, match="No space left"):
        write_in_place(path, b'"' + b"x" * 10_000_000 + b'"')

    assert path.read_text() == "{}"


def test_no_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("{}")
    (tmp_path / "status.json").symlink_to("other")

    with pytest.raises(OSError, match="symbolic"):
        write_in_place(tmp_path / "status.json", b"{}")


def test_lost_lines_are_told_by_ps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path, name="mine", task="toy") as run:
        run.log(1, {"a": 1.0})
        run.logs.metrics.lost_lines = 12
        run._beat()
        run._heartbeat.write_now()

        run_command(["ps", str(tmp_path), "--json"])
        (one,) = json.loads(capsys.readouterr().out)["runs"]
        run_command(["ps", str(tmp_path)])

        assert (one["lost_lines"], one["why"]) == (12, "12 lines of metrics were lost")
        assert "12 lines of metrics were lost" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("boot_id", "why"),
    [(None, "which is gone"), ("11111111-2222-3333-4444-555555555555", "before this machine was started again")],
)
def test_a_run_whose_holder_is_gone_is_taken_over_and_that_is_said(
    tmp_path: Path, boot_id: str | None, why: str
) -> None:
    with Run.create(tmp_path, name="mine", task="toy") as run:
        run.log(1, {"a": 1.0})
    paths = RunPaths(tmp_path / "mine")
    left = read_json(paths.status, Status)
    process = msgspec.structs.replace(left.process, start_ticks=1, boot_id=boot_id or left.process.boot_id)
    left = msgspec.structs.replace(left, phase="running", exit=None, process=process, heartbeat=1.0)
    paths.status.write_bytes(encode(left))
    said: list[str] = []

    with Run.create(tmp_path, name="mine", task="toy", resume="auto", say=said.append) as run:
        run.log(1, {"a": 1.0})

    assert said == [
        f"run mine was held by pid {process.pid} of {process.user} on {process.host}, {why}; it is taken over"
    ]
    started = [event for event in read_events(paths.events) if event.event == "started"]
    assert "taken_over_from" not in started[0].details
    assert str(started[1].details["taken_over_from"]).endswith(why)
