"""`ckptop logs`: the end of a log, following it, and everything that may happen meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from store_fixture import RunPlan, build_run, dead_process
from terminal import TerminalProgram

from ckptop.cli.main import run
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import encode
from ckptop.store.records import Status

TEXT = "".join(f"line {number}\n" for number in range(1, 301))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setenv("CKPTOP_STORE", str(tmp_path))
    found = build_run(tmp_path, RunPlan(name="mine", epochs=2))
    found.log.write_text(TEXT)
    return found


def end_run(paths: RunPaths) -> None:
    status = read_json(paths.status, Status)
    paths.status.write_bytes(encode(msgspec.structs.replace(status, phase="finished", process=dead_process())))


@pytest.fixture
def follower(paths: RunPaths) -> Iterator[subprocess.Popen[str]]:
    """`logs -f` that has printed the last line there was."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptop.cli", "logs", "mine", "-f", "-n", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "line 300\n"
    with process:
        yield process
        process.kill()


def test_the_last_lines_are_printed(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "mine"]) == 0
    whole = capsys.readouterr().out
    assert run(["logs", "mine", "-n", "2"]) == 0

    assert whole.splitlines() == TEXT.splitlines()[-100:]
    assert capsys.readouterr().out == "line 299\nline 300\n"


def test_json_is_an_object_a_line(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.log.write_bytes(b"a \x1b[31mred\x1b[0m \xff\xfe word\nwithout an end")

    assert run(["logs", "mine", "--json"]) == 0

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [{"run": "mine", "line": "a red �� word"}, {"run": "mine", "line": "without an end"}]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_of_a_line_of_gigabytes_its_end_is_printed(
    paths: RunPaths, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    os.truncate(paths.log, 10 * 2**30)
    with paths.log.open("a") as file:
        file.write("RuntimeError: no room\nlast\n")

    assert run(["logs", "mine", "-n", "3", *form]) == 0

    told = capsys.readouterr().out
    assert "RuntimeError: no room" in told
    assert "last" in told
    assert "line 300" not in told
    assert len(told) < 8 * 2**20, "each NUL is six characters of JSON"


def test_a_pipe_gets_every_byte(paths: RunPaths) -> None:
    content = b"a \x1b[31mred\x1b[0m \xff\nwithout an end"
    paths.log.write_bytes(content)

    done = subprocess.run([sys.executable, "-m", "ckptop.cli", "logs", "mine"], capture_output=True, check=True)

    assert done.stdout == content


def test_a_terminal_is_not_steered(paths: RunPaths) -> None:
    paths.log.write_bytes(
        b"\x1b]0;owned\x07title\n\x1b[2J\x1b[31mred\n 10%\r 50%\r100% done\r\n\tindented\xe2\x80\xae\n"
    )

    with TerminalProgram([sys.executable, "-m", "ckptop.cli", "logs", "mine"], cwd=paths.root) as program:
        program.wait_for("indented")
        shown = [line for line in program.text().splitlines() if line]

    assert shown == ["title", "red", "100% done", "        indented"]


def test_following_ends_with_the_run_and_prints_all_of_it(paths: RunPaths, follower: subprocess.Popen[str]) -> None:
    with paths.log.open("a") as log:
        log.write("a new line\n")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "a new line\n"
    with paths.log.open("a") as log:
        log.write("the last words")
    end_run(paths)

    rest, error = follower.communicate(timeout=60)

    assert rest == "the last words"
    assert error == "mine finished at step 48\n"
    assert follower.returncode == 0


def test_following_goes_on_after_a_cut_and_a_replacement(paths: RunPaths, follower: subprocess.Popen[str]) -> None:
    assert follower.stdout is not None
    os.truncate(paths.log, 0)
    with paths.log.open("a") as log:
        log.write("after the cut\n")
    assert follower.stdout.readline() == "after the cut\n"

    new = paths.root / "new.log"
    new.write_text("another file\n")
    new.rename(paths.log)

    assert follower.stdout.readline() == "another file\n"


def test_a_run_that_is_removed_ends_following(paths: RunPaths, follower: subprocess.Popen[str]) -> None:
    shutil.rmtree(paths.root)

    assert follower.wait(timeout=60) == 0


def test_a_closed_pipe_ends_following_quietly(paths: RunPaths, follower: subprocess.Popen[str]) -> None:
    """Though nothing is printed that could fail."""
    assert follower.stdout is not None
    follower.stdout.close()

    assert follower.wait(timeout=60) == 0
    assert follower.stderr is not None
    assert follower.stderr.read() == ""


def test_ctrl_c_ends_following_quietly(paths: RunPaths, follower: subprocess.Popen[str]) -> None:
    follower.send_signal(signal.SIGINT)

    assert follower.wait(timeout=60) == 130
    assert follower.stderr is not None
    assert follower.stderr.read().strip() == ""


def test_a_run_without_a_log_says_where_it_went(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.log.unlink()
    end_run(paths)

    assert run(["logs", "mine", "-f"]) == 11

    assert "has no train.log" in capsys.readouterr().err


def test_a_log_that_is_a_pipe_is_refused_at_once(paths: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.log.unlink()
    os.mkfifo(paths.log)

    assert run(["logs", "mine"]) == 10

    assert "not a regular file" in capsys.readouterr().err
