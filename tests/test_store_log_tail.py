"""The end of a text file of any size, and what is appended, cut or put in its place afterwards."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ckptop.store.log_tail import (
    CHUNK_BYTES,
    CUT_CHARACTERS,
    LONGEST_LINE_BYTES,
    LogTail,
    last_lines,
    start_of_last_lines,
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_bytes(b"one\ntwo\nthree\n")
    return path


@pytest.mark.parametrize(
    ("content", "lines", "rest"),
    [
        (b"one\ntwo\nthree\n", 2, b"two\nthree\n"),
        (b"one\ntwo\nthree", 2, b"two\nthree"),
        (b"one\ntwo\nthree\n", 3, b"one\ntwo\nthree\n"),
        (b"one\ntwo\nthree\n", 99, b"one\ntwo\nthree\n"),
        (b"one\ntwo\n", 0, b""),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 5, b""),
        (b"x" * 200_000 + b"\nlast\n", 1, b"last\n"),
        (b"x" * 200_000, 1, b"x" * 200_000),
        (b"first\n" + b"x" * 65_536 + b"\n" + b"y" * 65_535 + b"\n", 2, b"x" * 65_536 + b"\n" + b"y" * 65_535 + b"\n"),
    ],
)
def test_the_last_lines_are_found_from_the_end(content: bytes, lines: int, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)

    with path.open("rb") as file:
        start = start_of_last_lines(file.fileno(), lines)

    assert content[start:] == rest


def test_what_is_appended_is_read_once(log: Path) -> None:
    with LogTail(log, 1) as tail, log.open("ab", buffering=0) as writer:
        assert tail.read() == b"three\n"
        assert tail.read() == b""
        writer.write(b"fo")
        assert tail.read() == b"fo"
        writer.write(b"ur\n")
        assert tail.read() == b"ur\n"
        assert tail.read() == b""


def test_a_cut_file_is_read_from_its_start(log: Path) -> None:
    with LogTail(log, 9) as tail:
        tail.read()
        os.truncate(log, 0)
        assert tail.read() == b""
        log.write_bytes(b"new\n")

        assert tail.read() == b"new\n"


def test_a_file_cut_and_grown_past_the_old_end_between_two_looks_is_read_anew(log: Path) -> None:
    with LogTail(log, 9) as tail:
        tail.read()
        log.write_bytes(b"quite another and longer text\n")

        assert tail.read() == b"quite another and longer text\n"


def test_a_replaced_file_is_read_after_the_rest_of_the_old_one(log: Path) -> None:
    with LogTail(log, 1) as tail, log.open("ab", buffering=0) as writer:
        tail.read()
        log.rename(log.with_name("train.log.1"))
        assert tail.read() == b""
        assert tail.problem is None
        writer.write(b"late\n")
        log.write_bytes(b"a\nb\n")

        assert tail.read() == b"late\n"
        assert tail.read() == b"a\nb\n"


def test_a_file_that_appears_later_is_read_from_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    with LogTail(path, 1) as tail:
        assert tail.read() == b""
        assert tail.problem == "train.log does not exist"
        path.write_bytes(b"a\nb\n")

        assert tail.read() == b"b\n"
        assert tail.problem is None


def test_what_is_no_file_is_a_problem_and_no_wait(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    os.mkfifo(path)

    with LogTail(path, 9) as tail:
        assert tail.read() == b""
        assert "not a regular file" in str(tail.problem)


def test_ten_gigabytes_cost_nothing(tmp_path: Path) -> None:
    """Sparse, so that the disk need not hold them; a reader of the whole would take seconds."""
    path = tmp_path / "train.log"
    path.touch()
    os.truncate(path, 10 * 2**30)
    with path.open("ab") as file:
        file.write(b"\n" + b"line\n" * 1000)

    began = time.process_time()
    with LogTail(path, 1000) as tail:
        data = tail.read()

    assert data == b"line\n" * 1000
    assert time.process_time() - began < 0.5


def test_a_piece_is_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"x" * (CHUNK_BYTES - 1) + b"\nlast\n")

    with LogTail(path, 2) as tail:
        assert [len(tail.read()) for _ in range(3)] == [CHUNK_BYTES, 5, 0]


@pytest.mark.parametrize("rest", [b"ValueError: bad", b"ValueError: bad\n", b"ValueError: bad\nnext\n"])
def test_of_a_line_of_gigabytes_its_end_is_read_and_nothing_before_it(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"first\n")
    os.truncate(path, 10 * 2**30)
    with path.open("ab") as file:
        file.write(rest)

    with LogTail(path, 3) as tail:
        data = b"".join(iter(tail.read, b""))

    _, newline, after = rest.partition(b"\n")
    assert data.endswith(rest)
    assert len(data) == LONGEST_LINE_BYTES + len(newline + after)
    assert data.startswith(b"\0")


def test_the_end_of_a_log_is_told_in_lines(log: Path) -> None:
    log.write_bytes(b"one\r\n\n two \xff\nthree")

    assert last_lines(log, 99) == ["one", " two \ufffd", "three"]
    assert last_lines(log.with_name("none"), 99) == []


def test_of_a_line_that_began_before_the_end_its_last_characters_are_told(log: Path) -> None:
    log.write_bytes(b"x" * 5000 + b" ValueError: bad\nlast\n")

    line, last = last_lines(log, 2000)

    assert (line[0], line[-16:], len(line), last) == ("…", " ValueError: bad", CUT_CHARACTERS, "last")
