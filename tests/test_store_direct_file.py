"""A file written past the page cache holds what was written to it, whatever the file system says to that."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptop.store.direct_file import BLOCK_BYTES, DirectFile
from ckptop.store.fs import FileSystem

RNG = np.random.default_rng(0)
MIB = 1024 * 1024


class Watched(FileSystem):
    """The real thing; remembers how much went past the cache, and can behave as others do."""

    def __init__(self, *, refuses: str = "", most_bytes: int = 1 << 60) -> None:
        self.refuses, self.most_bytes = refuses, most_bytes
        self.is_direct = self.was_direct = False
        self.written: list[int] = []

    def bypass_cache(self, fd: int, wanted: bool) -> bool:
        if self.refuses == "asking":
            return False
        self.is_direct = super().bypass_cache(fd, wanted)
        self.was_direct |= self.is_direct
        return self.is_direct

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.is_direct and self.refuses == "writing":
            raise OSError(errno.EINVAL, "Invalid argument")
        self.written.append(super().write(fd, memoryview(data)[: self.most_bytes]))
        return self.written[-1]


def written_by(fs: FileSystem, path: Path, pieces: list[memoryview]) -> bytes:
    fd = fs.create(path)
    try:
        file = DirectFile(fs, fd)
        for piece in pieces:
            file.write(piece)
        file.finish()
    finally:
        fs.close(fd)
    found = path.read_bytes()
    path.unlink()
    return found


def piece_of(size_bytes: int, off_by: int = 1) -> memoryview:
    """Random bytes that begin so far from a page's beginning."""
    room = np.zeros(size_bytes + 2 * BLOCK_BYTES, np.uint8)
    start = -room.ctypes.data % BLOCK_BYTES + off_by
    room[start : start + size_bytes] = RNG.integers(0, 256, size_bytes, np.uint8)
    return room.data[start : start + size_bytes]


SIZES = st.sampled_from([0, 1, 16, 4095, 4096, 4097, 262_144, 300_000, MIB - 1, MIB, 3 * MIB + 5])


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.tuples(SIZES, st.sampled_from([0, 1, 64])), max_size=6))
def test_the_file_holds_the_pieces_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]]
) -> None:
    pieces = [piece_of(size, off_by) for size, off_by in sizes]

    found = written_by(FileSystem(), tmp_path_factory.mktemp("direct") / "file", pieces)

    assert found == b"".join(pieces)


@pytest.mark.parametrize(
    "fs",
    [
        Watched(refuses="asking"), Watched(refuses="writing"), Watched(most_bytes=4096), Watched(most_bytes=100_000),
    ],
    ids=["it says no", "it says yes and means no", "short writes of a block", "short writes of no block"],
)  # fmt: skip
def test_it_is_whole_where_the_file_system_will_not(fs: FileSystem, tmp_path: Path) -> None:
    pieces = [piece_of(10), piece_of(2 * MIB, 0), piece_of(700_001)]

    assert written_by(fs, tmp_path / "file", pieces) == b"".join(pieces)


def test_memory_that_lies_right_is_handed_over_as_it_is(tmp_path: Path) -> None:
    fs = Watched()

    written_by(fs, tmp_path / "file", [piece_of(8192), piece_of(5 * MIB, 0), piece_of(8192)])

    if not fs.was_direct:
        pytest.skip("this file system has no way past the cache")
    assert fs.written == [8192, 5 * MIB, 8192]


def test_what_the_disk_refuses_is_raised(tmp_path: Path) -> None:
    class Full(Watched):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        written_by(Full(), tmp_path / "file", [piece_of(2 * MIB)])
