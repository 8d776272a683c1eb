"""A part of a log of any size: what is read of it, where lines begin, and what a search finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptop.tui import log_window
from ckptop.tui.log_window import PIECE_BYTES, WINDOW_BYTES, LogFile, Window

GIB = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def never() -> bool:
    return False


def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read from now on asks for."""
    read: list[int] = []
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    return read


def texts(window: Window) -> list[str]:
    return [line.text for line in window.lines]


def numbered(count: int) -> bytes:
    return b"".join(b"line %06d of the log\n" % number for number in range(count))


def test_a_short_log_is_shown_whole_and_its_last_line_without_an_end_too(path: Path) -> None:
    path.write_bytes(b"one\n\ntwo\nthr")

    window = LogFile(path).at_end()

    assert texts(window) == ["one", "", "two", "thr"]
    assert [line.offset for line in window.lines] == [0, 4, 5, 9]


def test_what_is_appended_is_all_that_is_read_of_a_log_that_grew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(numbered(2000) + b"tor")
    file = LogFile(path)
    window = file.at_end()
    with path.open("ab") as log:
        log.write(b"n\nnew\n")
    read = bytes_read(monkeypatch)

    grown = file.at_end(window)

    assert texts(grown)[-3:] == ["line 001999 of the log", "torn", "new"]
    assert sum(read) < 20
    assert file.at_end(grown) is grown


def test_memory_stays_bounded_while_a_log_grows(path: Path) -> None:
    file, window = LogFile(path), None
    for _ in range(20):
        with path.open("ab") as log:
            log.write(numbered(2000))
        window = file.at_end(window)
        assert len(window.lines) * 23 <= 2 * WINDOW_BYTES

    assert window is not None
    assert texts(window)[-1] == "line 001999 of the log"


def test_a_log_that_was_cut_or_replaced_is_read_anew(path: Path) -> None:
    path.write_bytes(numbered(50))
    file = LogFile(path)
    window = file.at_end()

    path.write_bytes(b"begun anew\n")
    assert texts(file.at_end(window)) == ["begun anew"]

    path.with_name("other").write_bytes(numbered(60))
    path.with_name("other").rename(path)
    assert len(file.at_end(window).lines) == 60


def test_ten_gigabytes_are_never_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("wb") as log:
        log.write(b"the first line\n")
        log.seek(10 * GIB)
        log.write(b"\n" + numbered(20_000))
    read = bytes_read(monkeypatch)
    file = LogFile(path)

    assert texts(file.at_end())[-1] == "line 019999 of the log"
    assert texts(file.around(0))[0] == "the first line"
    assert texts(file.around(10 * GIB + 10_000))[0].startswith("line 0")
    size = path.stat().st_size
    assert file.search("line 000100 ", size, -1, never).offset == 10 * GIB + 1 + 100 * 23
    assert sum(read) < 4 << 20


def test_a_search_gives_up_for_one_key_and_says_where_it_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(log_window, "SEARCH_BYTES", 1 << 14)
    path.write_bytes(b"wanted\n" + numbered(5000))
    file, at = LogFile(path), path.stat().st_size

    found = file.search("wanted", at, -1, never)
    assert found.offset is None
    assert not found.is_done
    while not found.is_done:
        found = file.search("wanted", found.next_offset, -1, never)
    assert found.offset == 0


@pytest.mark.parametrize(("direction", "start", "offset"), [(1, 0, 8), (1, 9, 24), (-1, 24, 8), (-1, 40, 24)])
def test_a_search_goes_both_ways_whatever_the_case(path: Path, direction: int, start: int, offset: int) -> None:
    path.write_bytes(b"nothing\nEpoch One here\n\nepoch one again\n")

    assert LogFile(path).search("epoch ONE", start, direction, never).offset == offset


def test_a_search_finds_what_is_shown_and_not_what_is_hidden(path: Path) -> None:
    path.write_bytes(b"\x1b]52;c;secret\x07plain\nsecret\n")

    assert LogFile(path).search("secret", 0, 1, never).offset == 20


def test_of_a_bar_painted_over_and_over_the_last_is_shown(path: Path) -> None:
    path.write_bytes(b"10 %\r50 %\r100 %\r\nnext\n")

    assert texts(LogFile(path).at_end()) == ["100 %", "next"]


def test_a_line_without_an_end_comes_in_pieces(path: Path) -> None:
    path.write_bytes(b"x" * 3 * WINDOW_BYTES)

    window = LogFile(path).around(WINDOW_BYTES)

    assert {len(text) for text in texts(window)} == {PIECE_BYTES}


def test_no_log_is_said_once(path: Path) -> None:
    file = LogFile(path)

    window = file.at_end()

    assert window.problem == "no train.log: what it printed went to the terminal or file it was started in"
    assert file.at_end(window) is window


def test_a_pipe_in_its_place_is_no_log(path: Path) -> None:
    os.mkfifo(path)

    assert LogFile(path).at_end().problem is not None
