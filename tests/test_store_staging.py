"""Torn writes: whose they are is in their names, and only the dead's are removed."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

import pytest
from power_cut import CutFileSystem, PowerCut

from ckptop.host.process import LARGEST_PID, ProcessIdentity, current_process
from ckptop.store import staging
from ckptop.store.fs import LOCAL
from ckptop.store.staging import FOREIGN_AGE_SECONDS, remove_stale, removed_on_error, staged_name


def torn_write_of(directory: Path, monkeypatch: pytest.MonkeyPatch, **changes: str | int) -> Path:
    """A staged file that another process left."""
    writer = dataclasses.replace(current_process(), **changes)  # type: ignore[arg-type]  # fields of the identity
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(staging, "current_process", lambda: writer)
        path = directory / staged_name("checkpoint_epoch_0001_step_00000100.pt")
    path.write_bytes(b"torn")
    return path


def test_a_staged_name_is_hidden_unique_and_says_whose_it_is() -> None:
    first, second = staged_name("x.pt"), staged_name("x.pt")

    assert first != second
    assert first.startswith(".")
    assert first.endswith("~x.pt.tmp")
    assert f"~{os.getpid()}~" in first


def test_a_living_writers_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / staged_name("x.pt")).write_bytes(b"being written")

    assert remove_stale(tmp_path) == []
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize(
    "changes",
    [{"pid": LARGEST_PID, "start_ticks": 1}, {"start_ticks": 1}, {"boot_id": "0" * 36}],
    ids=["dead", "recycled-pid", "before-the-reboot"],
)
def test_a_dead_writers_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | int]
) -> None:
    path = torn_write_of(tmp_path, monkeypatch, **changes)
    fs = CutFileSystem(sys.maxsize)

    assert remove_stale(tmp_path, fs) == [path.name]
    fs.lose_power()
    assert os.listdir(tmp_path) == []


def test_another_hosts_file_is_left_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = torn_write_of(tmp_path, monkeypatch, host="another.box", pid=LARGEST_PID)
    assert remove_stale(tmp_path) == []

    old = time.time() - FOREIGN_AGE_SECONDS - 1
    os.utime(path, (old, old))

    assert remove_stale(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["x.tmp", "notes.txt", ".hidden.tmp", "a~b~c~d~e.tmp", "checkpoint.pt"])
def test_strangers_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")

    assert remove_stale(tmp_path) == []
    assert os.listdir(tmp_path) == [name]


def test_a_directory_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert remove_stale(tmp_path / "none") == []


def test_a_failure_removes_what_it_tore_and_is_told_though_that_fails_too(tmp_path: Path) -> None:
    torn = tmp_path / "x.tmp"
    torn.write_bytes(b"")

    with pytest.raises(ValueError, match="first"), removed_on_error(torn, LOCAL):
        raise ValueError("first")
    assert not torn.exists()

    with pytest.raises(ValueError, match="second"), removed_on_error(torn, LOCAL):
        raise ValueError("second")


def test_a_power_cut_removes_nothing(tmp_path: Path) -> None:
    torn = tmp_path / "x.tmp"
    torn.write_bytes(b"")

    with pytest.raises(PowerCut), removed_on_error(torn, LOCAL):
        raise PowerCut

    assert torn.exists()


def test_a_long_host_name_and_the_longest_metric_fit_into_a_file_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptop.store.names import milestone_name

    me = ProcessIdentity(LARGEST_PID, 10**12, current_process().boot_id, "h" * 64, "u")
    monkeypatch.setattr(staging, "current_process", lambda: me)
    name = milestone_name("m" * 200, -1e300, 10_000).removesuffix(".pt") + ".tensors.json"

    assert len(staged_name(name) + ".plain.tmp") <= 255
