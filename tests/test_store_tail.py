"""The tail: whole lines, each once, through everything a file can suffer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptop.store.tail import LineTail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def read_all(tail: LineTail) -> bytes:
    return b"".join(iter(tail.poll, b""))


def test_each_line_is_handed_over_once(path: Path) -> None:
    tail = LineTail(path)
    append(path, b"one\ntwo\n")
    first = tail.poll()
    append(path, b"three\n")

    assert first == b"one\ntwo\n"
    assert tail.poll() == b"three\n"
    assert tail.poll() == b""


def test_a_torn_last_line_is_waited_for(path: Path) -> None:
    tail = LineTail(path)
    append(path, b"one\ntw")
    first = tail.poll()
    nothing = tail.poll()
    append(path, b"o\n")

    assert (first, nothing, tail.poll()) == (b"one\n", b"", b"two\n")


def test_a_file_may_appear_later(path: Path) -> None:
    tail = LineTail(path)
    nothing = tail.poll()
    append(path, b"one\n")

    assert nothing == b""
    assert tail.problem is None
    assert tail.poll() == b"one\n"
    assert tail.generation == 0


def test_an_unchanged_file_is_not_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = LineTail(path)
    append(path, b"one\ntorn")
    read_all(tail)

    def refuse(*_: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", refuse)

    assert tail.poll() == b""


def test_a_large_file_comes_in_chunks_of_whole_lines(path: Path) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(1000))
    append(path, lines)
    tail = LineTail(path, chunk_bytes=100)

    chunks = list(iter(tail.poll, b""))

    assert b"".join(chunks) == lines
    assert all(len(chunk) <= 100 and chunk.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize("length", [99, 100, 101, 250, 300])
def test_a_line_longer_than_a_chunk_is_handed_over_cut_short(path: Path, length: int) -> None:
    tail = LineTail(path, chunk_bytes=100)
    append(path, b"one\n" + b"x" * length + b"\nthree\n")

    lines = read_all(tail).splitlines()

    assert lines == [b"one", b"x" * (length if length < 100 else 64), b"three"]


def test_a_long_line_may_end_much_later(path: Path) -> None:
    tail = LineTail(path, chunk_bytes=100)
    append(path, b"x" * 150)
    first = read_all(tail)
    for _ in range(3):
        append(path, b"x" * 100)
        assert tail.poll() == b""
    append(path, b"\nnext\n")

    assert first == b"x" * 64 + b"\n"
    assert read_all(tail) == b"next\n"


@pytest.mark.parametrize(
    "content", [b"1\n", b"another\nstill more lines\n", b"old 1\nOLD 2\n"], ids=["shorter", "longer", "same"]
)
def test_a_rewritten_file_is_read_anew(path: Path, content: bytes) -> None:
    """In place, so that device and inode stay."""
    tail = LineTail(path)
    append(path, b"old 1\nold 2\n")
    read_all(tail)
    os.utime(path, ns=(1, 1))
    path.write_bytes(content)

    assert read_all(tail) == content
    assert tail.generation == 1


def test_a_replaced_file_is_read_anew(path: Path) -> None:
    tail = LineTail(path)
    append(path, b"old 1\n")
    read_all(tail)
    fresh = path.with_name("fresh")
    append(fresh, b"old 1\nnew 2\n")
    fresh.rename(path)

    assert read_all(tail) == b"old 1\nnew 2\n"
    assert tail.generation == 1


def test_a_file_that_vanishes_is_told_and_may_come_back(path: Path) -> None:
    tail = LineTail(path)
    append(path, b"one\n")
    read_all(tail)
    kept = path.with_name("kept")
    path.rename(kept)

    nothing, problem = tail.poll(), tail.problem
    kept.rename(path)
    append(path, b"two\n")

    assert nothing == b""
    assert problem == "metrics.jsonl is gone; what was read of it stays"
    assert tail.poll() == b"two\n"
    assert tail.problem is None
    assert tail.generation == 0


def test_what_cannot_be_read_is_told(path: Path) -> None:
    path.parent.joinpath("file").touch()
    loop = path.with_name("loop")
    loop.symlink_to(loop)
    os.mkfifo(path)
    tails = [LineTail(path), LineTail(path.parent), LineTail(path.parent / "file" / "metrics.jsonl"), LineTail(loop)]

    assert [tail.poll() for tail in tails] == [b"", b"", b"", b""]
    assert [tail.problem for tail in tails] == [
        "metrics.jsonl is not a regular file",
        f"{path.parent.name} is not a regular file",
        "metrics.jsonl cannot be read: Not a directory",
        "loop cannot be read: Too many levels of symbolic links",
    ]


def test_nothing_stays_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    append(path, b"one\n")
    tails = [LineTail(path) for _ in range(20)]
    for tail in tails:
        read_all(tail)

    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_there_can_be_skipped_but_for_a_line_being_written(path: Path) -> None:
    append(path, b"one\ntwo\nthr")
    tail = LineTail(path)

    tail.skip_to_end()
    assert tail.poll() == b""
    append(path, b"ee\nfour\n")

    assert read_all(tail) == b"three\nfour\n"


def test_skipping_within_a_line_longer_than_a_chunk_begins_at_the_next(path: Path) -> None:
    append(path, b"one\n" + b"x" * 100)
    tail = LineTail(path, chunk_bytes=64)

    tail.skip_to_end()
    append(path, b"xx\nnext\n")

    assert read_all(tail) == b"next\n"


def test_a_file_replaced_after_skipping_is_read_from_its_start(path: Path) -> None:
    append(path, b"one\ntwo\n")
    tail = LineTail(path)
    tail.skip_to_end()
    path.unlink()
    append(path, b"new and longer than before\n")

    assert read_all(tail) == b"new and longer than before\n"


def test_what_is_not_there_can_be_skipped(path: Path) -> None:
    tail = LineTail(path)
    tail.skip_to_end()
    append(path, b"one\n")

    assert tail.poll() == b"one\n"
