"""Lines go to the stream and the log once each, and a terminal that has gone away stops nothing."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckptop.trainer.console import Console


def test_a_line_goes_to_the_stream_and_to_the_log(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path / "train.log", stream)

    console.say("Epoch 1/2")
    console.note("only here")
    console.close()

    assert stream.getvalue() == "Epoch 1/2\n"
    assert (tmp_path / "train.log").read_text() == "Epoch 1/2\nonly here\n"


def test_a_stream_that_is_the_log_gets_each_line_once(tmp_path: Path) -> None:
    """A launcher redirected our output there."""
    log = tmp_path / "train.log"
    with log.open("a") as stream:
        console = Console(log, stream)

        console.say("Epoch 1/2")
        console.close()

    assert log.read_text() == "Epoch 1/2\n"


def test_an_earlier_attempt_s_log_is_kept(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("before\n")

    console = Console(tmp_path / "train.log", io.StringIO())
    console.say("after")
    console.close()

    assert (tmp_path / "train.log").read_text() == "before\nafter\n"


def test_a_pipe_without_a_reader_is_no_longer_written_to(tmp_path: Path) -> None:
    """And neither the next line nor Python's own flush at exit fails."""
    code = (
        "import sys, pathlib\n"
        "from ckptop.trainer.console import Console\n"
        "console = Console(pathlib.Path('train.log'), sys.stdout)\n"
        "sys.stdin.read()\n"
        "console.say('one'); console.say('two')\n"
    )
    reader, writer = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=writer, cwd=tmp_path)
    os.close(writer)
    os.close(reader)

    child.communicate(b"")

    assert child.returncode == 0
    assert (tmp_path / "train.log").read_text() == "one\ntwo\n"


def test_a_closed_stream_is_no_longer_written_to(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path / "train.log", stream)
    stream.close()

    console.say("one")
    console.close()

    assert (tmp_path / "train.log").read_text() == "one\n"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[int, io.TextIOWrapper]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "62")
    master, slave = pty.openpty()
    return master, os.fdopen(slave, "w", encoding="utf-8")


def all_of(master: int) -> str:
    """What was painted until the other side was closed: the kernel hands it on in pieces, and ends it with EIO."""
    painted = b""
    with contextlib.suppress(OSError):
        while piece := os.read(master, 4096):
            painted += piece
    os.close(master)
    return painted.decode()


def test_a_terminal_gets_a_bar_that_a_line_takes_the_place_of(
    tmp_path: Path, terminal: tuple[int, io.TextIOWrapper]
) -> None:
    master, stream = terminal
    console = Console(tmp_path / "train.log", stream)

    console.bar(3, 20, 120, 480, 0.38214, 0.5)
    console.say("Epoch 3/20")
    console.close()
    stream.close()

    painted = all_of(master)
    bar = "\r\x1b[KEpoch 3/20 ━━━━━━────────────────── 120/480 · loss 0.3821 · 3"
    assert painted == f"{bar}\r\x1b[KEpoch 3/20\r\n{bar}\r\x1b[K"
    assert (tmp_path / "train.log").read_text() == "Epoch 3/20\n"


def test_a_bar_is_not_repainted_at_every_step(tmp_path: Path, terminal: tuple[int, io.TextIOWrapper]) -> None:
    master, stream = terminal
    console = Console(tmp_path / "train.log", stream)

    for step in range(1_000):
        console.bar(1, 1, step, 1_000, 0.5, 0.5)
    console.close()
    stream.close()

    painted = all_of(master)
    assert painted.count("\r") < 20


def test_a_pipe_gets_no_bar(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path / "train.log", stream)

    console.bar(3, 20, 120, 480, 0.38214, 0.5)
    console.close()

    assert stream.getvalue() == ""


def test_a_terminal_that_hung_up_stops_nothing(tmp_path: Path, terminal: tuple[int, io.TextIOWrapper]) -> None:
    master, stream = terminal
    console = Console(tmp_path / "train.log", stream)
    os.close(master)  # from now on the terminal answers EIO

    console.bar(1, 1, 1, 2, 0.5, 0.5)
    console.say("one")
    console.say("two")
    console.close()
    stream.close()

    assert (tmp_path / "train.log").read_text() == "one\ntwo\n"


def test_without_a_stdout_there_is_the_log(tmp_path: Path) -> None:
    """As under `>&-`."""
    console = Console(tmp_path / "train.log", None)

    console.bar(1, 1, 1, 2, 0.5, 0.5)
    console.say("one")
    console.close()

    assert (tmp_path / "train.log").read_text() == "one\n"


def test_what_others_wrote_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(tmp_path / "train.log", stream)

    console.say("eve\x1b]52;c;aGk=\x07 asked for \x1b[2Jsave")
    console.close()

    assert stream.getvalue() == (tmp_path / "train.log").read_text() == "eve asked for save\n"


def test_lines_of_several_threads_are_whole(tmp_path: Path) -> None:
    """The sampler of the machine says its lines from a thread of its own."""
    console = Console(tmp_path / "train.log", None)

    def say_often() -> None:
        for _ in range(100):
            console.say("x" * 500)

    threads = [threading.Thread(target=say_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.close()

    assert (tmp_path / "train.log").read_text().splitlines() == ["x" * 500] * 400
