"""A disk that refuses, at any call: the caller is told, nothing committed is touched, the next save works."""

from __future__ import annotations

import errno
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from power_cut import Call, RecordingFileSystem, RefusingFileSystem
from tiny_model import (
    OPERATIONS,
    TRASHED,
    Operation,
    assert_whole,
    clone,
    keys_of,
    make_run,
    manager_of,
    save,
    tiny_model,
)

from ckptop.store.files import write_durably, write_quickly
from ckptop.store.fs import FileSystem


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that `tiny_model` describes; tests work on clones."""
    root = tmp_path_factory.mktemp("base") / "store"
    make_run(root)
    return root


def torn_writes(store: Path) -> list[Path]:
    return list(store.rglob("*.tmp"))


def calls_to_refuse(operation: Operation, root: Path) -> list[int]:
    """Every call of an operation; of the many writes of one file in a row the first two and the last."""
    fs = RecordingFileSystem()
    operation.act(root, fs)
    calls = fs.calls
    return [at for at in range(len(calls)) if calls[at - 2 : at + 2].count(calls[at]) != 4]


@pytest.mark.parametrize(
    ("name", "stays_full"),
    [(name, False) for name in OPERATIONS] + [(name, True) for name in ("save-compressed", "delete", "release")],
)
def test_a_refusal_at_any_call_is_told_and_touches_nothing(
    name: str, stays_full: bool, store: Path, tmp_path: Path
) -> None:
    """Every call may fail. What is refused raises OSError, and no torn write stays, not even until the process ends.

    Who is told nothing has what was asked for, once; who is told has not got it, and may ask again.
    """
    operation = OPERATIONS[name]
    if stays_full:  # to make room
        operation = replace(operation, deletes=operation.deletes | TRASHED)
    before = keys_of(store / "mine")
    number = errno.ENOSPC if stays_full else errno.EIO

    for at in calls_to_refuse(operation, clone(store, tmp_path / "dry") / "mine"):
        root = clone(store, tmp_path / str(at)) / "mine"
        fs = RefusingFileSystem(at, number, stays_full=stays_full)
        told = outcome(operation, root, fs)
        assert fs.refused is not None
        if operation.adds is not None:
            assert operation.made(root) == (told is None), fs.refused
        else:  # only an empty directory may stay, unsaid
            assert told == number or (told is None and fs.refused.name == "rmdir"), fs.refused
        assert fs.refused.name == "unlink" or torn_writes(root.parent) == []
        for left in torn_writes(root.parent):
            left.unlink()
        assert_whole(root, operation, before)


def outcome(operation: Operation, root: Path, fs: FileSystem) -> int | None:
    """The errno that the caller was told; None where what was asked for was done, if with a warning."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            operation.act(root, fs)
        except OSError as error:
            return error.errno
    assert all(str(one.message).startswith("Disk full") or "is saved, but" in str(one.message) for one in warned)
    return None


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    for at in range(5):
        fs = RefusingFileSystem(at)
        with pytest.raises(OSError, match="No space left"):
            write_durably(path, b"new, and longer", fs)
        assert path.read_bytes() == b"old", at
        assert os.listdir(tmp_path) == ["run.json"]

    assert fs.refused == Call("rename", path)


def test_a_status_is_replaced_whole_without_waiting_for_the_disk(tmp_path: Path) -> None:
    fs = RecordingFileSystem()

    write_quickly(tmp_path / "status.json", b"{}", fs)

    assert [call.name for call in fs.calls] == ["create", "write", "close", "rename"]


def test_a_system_that_takes_a_few_bytes_at_a_time_still_gets_all_of_them(tmp_path: Path) -> None:
    class Sluggish(FileSystem):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            return super().write(fd, data[:1000])

    manager = manager_of(tmp_path / "mine", Sluggish())

    final = save(manager, 1, 0.5)

    assert float(manager.load_checkpoint(final, tiny_model())["epoch"]) == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_network_file_system_that_cannot_sync_directories_is_tolerated(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)

    FileSystem().fsync_dir(tmp_path)


def test_any_other_refusal_to_sync_a_directory_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="Input/output"):
        FileSystem().fsync_dir(tmp_path)


def test_a_failed_fsync_is_told_and_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have dropped what it could not write: a second fsync of the same file would succeed, and lie."""
    refused: list[int] = []

    def refuse_once(fd: int) -> None:
        refused.append(fd)
        if len(refused) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse_once)

    with pytest.raises(OSError, match="Input/output"):
        write_durably(tmp_path / "run.json", b"{}", FileSystem())

    assert len(refused) == 1
    assert os.listdir(tmp_path) == []


def test_a_new_file_is_never_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")

    with pytest.raises(FileExistsError):
        FileSystem().create(tmp_path / "there")
