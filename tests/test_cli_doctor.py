"""`ckptop doctor`: what is tried in a store's place, what is said of it, and that nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nvml_stub import build_nvml_stub
from store_fixture import RunPlan, build_run

from ckptop.cli.main import run
from ckptop.host.checkup import Finding
from ckptop.host.inotify import WatchLimits
from ckptop.host.machine import DiskSpace
from ckptop.host.mounts import Mount
from ckptop.host.quota import Quota
from ckptop.host.torch_build import find_torch
from ckptop.store import checkup
from ckptop.store.checkup import check_store
from ckptop.store.errors import DiskError
from ckptop.store.fs import FileSystem


def findings(root: Path) -> dict[str, Finding]:
    return {finding.subject: finding for finding in check_store(root)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    build_run(tmp_path / "runs", RunPlan(name="mine", epochs=2))
    return tmp_path / "runs"


def test_a_good_place_is_found_good_and_left_as_it_was(store: Path) -> None:
    before = sorted(store.rglob("*"))

    found = findings(store)

    tried = ("fsync", "rename", "locks", "hard links", "links", "reserving", "file times", "watching")
    assert {subject: found[subject].verdict for subject in tried} == dict.fromkeys(tried, "ok")
    assert sorted(store.rglob("*")) == before


def test_a_store_that_is_not_there_yet_is_tried_where_it_will_be(tmp_path: Path) -> None:
    found = findings(tmp_path / "later" / "runs")

    assert "is not there yet" in found["mount"].found
    assert found["locks"].verdict == "ok"
    assert list(tmp_path.iterdir()) == []


class Refusing(FileSystem):
    """A file system that refuses one call."""

    def __init__(self, call: str, number: int) -> None:
        self._call, self._number = call, number

    def _refuse(self, call: str) -> None:
        if call == self._call:
            raise OSError(self._number, os.strerror(self._number))

    def fsync(self, fd: int) -> None:
        self._refuse("fsync")
        super().fsync(fd)

    def link(self, source: Path, target: Path) -> None:
        self._refuse("link")
        super().link(source, target)

    def symlink(self, text: str, path: Path) -> None:
        self._refuse("symlink")
        super().symlink(text, path)

    def rename(self, source: Path, target: Path) -> None:
        self._refuse("rename")
        super().rename(source, target)

    def reserve(self, fd: int, size_bytes: int) -> bool:
        return self._call != "reserve" and super().reserve(fd, size_bytes)


@pytest.mark.parametrize(
    ("call", "subject", "verdict"),
    [
        ("fsync", "fsync", "problem"),
        ("rename", "rename", "problem"),
        ("link", "hard links", "note"),
        ("symlink", "links", "note"),
        ("reserve", "reserving", "note"),
    ],
)
def test_what_a_file_system_refuses_is_told_with_what_follows(
    call: str, subject: str, verdict: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "LOCAL", Refusing(call, errno.EPERM))

    found = findings(store)

    assert found[subject].verdict == verdict
    assert found[subject].advice
    assert [one.subject for one in found.values() if one.verdict != "ok"] == [subject]
    assert [path.name for path in store.iterdir()] == ["mine"]


def test_locks_that_exclude_nobody_are_a_problem(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS mounted with nolock: every process is granted."""
    monkeypatch.setattr("ckptop.store.locks.fcntl.lockf", lambda *_: None)

    assert findings(store)["locks"].verdict == "problem"
    assert "two trainers could write one run" in findings(store)["locks"].advice


def test_a_place_without_locks_is_a_problem(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise DiskError(errno.ENOLCK, "cannot be locked: No locks available")

    monkeypatch.setattr("ckptop.store.locks.try_lock", refuse)

    assert (findings(store)["locks"].verdict, "No locks available" in findings(store)["locks"].found) == (
        "problem",
        True,
    )


@pytest.mark.parametrize(
    ("mount", "verdict", "words"),
    [
        (Mount(Path("/"), "ext4", is_network=False, read_only=False), "ok", ""),
        (Mount(Path("/n"), "nfs4", is_network=True, read_only=False), "note", "every second"),
        (Mount(Path("/m"), "tmpfs", is_network=False, read_only=False), "note", "lost when the machine restarts"),
        (Mount(Path("/"), "overlay", is_network=False, read_only=False), "note", "goes with the container"),
    ],
    ids=["ext4", "nfs", "tmpfs", "overlay"],
)
def test_the_kind_of_mount_is_told(
    mount: Mount, verdict: str, words: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "mount_of", lambda path: mount)

    found = findings(store)

    assert found["mount"].verdict == verdict
    assert words in found["mount"].advice
    assert ("watching" in found) is not mount.is_network


def test_a_read_only_mount_is_looked_at_and_not_tried(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Mount(Path("/"), "ext4", is_network=False, read_only=True)
    monkeypatch.setattr(checkup, "mount_of", lambda path: mount)

    found = findings(store)

    assert (found["writing"].verdict, "locks" in found) == ("note", False)
    assert "looking works" in found["writing"].advice


@pytest.mark.parametrize(("free", "verdict"), [(2**40, "ok"), (2**34, "note"), (2**20, "problem"), (0, "problem")])
def test_little_room_is_told(free: int, verdict: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "disk_space", lambda path: DiskSpace(free, 2**41))

    found = findings(store)["space"]

    assert found.verdict == verdict
    assert ("ckptop trash --empty" in found.advice) == (verdict != "ok")


def test_a_quota_is_told_where_there_is_one(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "quota" not in findings(store)

    monkeypatch.setattr(checkup, "user_quota", lambda path: Quota(2**30 - 1, 2**30))

    assert (findings(store)["quota"].verdict, findings(store)["quota"].found) == ("problem", "1 B left of 1.0 GiB")


def test_too_few_watches_say_how_many_are_needed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "watch_limits", lambda: WatchLimits(3, 128))

    found = findings(store)["inotify"]

    assert found.verdict == "note"
    assert "this store needs 7" in found.found
    assert "max_user_watches=14" in found.advice


def test_a_clock_that_differs_from_the_file_servers_is_noted(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)

    assert (findings(store)["file times"].verdict, findings(store)["file times"].found) == (
        "note", "1 h ahead of this machine's clock",
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["doctor", *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_all_well_exits_0(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = told(capsys, str(store))

    assert (code, facts["problems"]) == (0, 0)
    assert {"Python", "PyTorch", "clock", "terminal", "mount", "locks"} <= {one["subject"] for one in facts["findings"]}
    assert run(["doctor", str(store)]) == 0
    assert capsys.readouterr().out.endswith("All well.\n")


def test_a_problem_exits_1_with_what_to_do(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "LOCAL", Refusing("fsync", errno.EIO))

    assert told(capsys, str(store))[0] == 1
    assert run(["doctor", str(store)]) == 1

    text = capsys.readouterr().out
    assert "✗ problem  fsync       refused: Input/output error\n" in text
    assert "keep the store on another file system" in text
    assert text.endswith("1 problem to mend.\n")


def test_a_file_is_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert run(["doctor", str(tmp_path / "file")]) == 2


def test_a_gpu_that_this_torch_cannot_use_is_a_problem(store: Path, tmp_path: Path) -> None:
    """With a made-up driver."""
    torch = find_torch()
    if torch is None or torch.cuda is not None:
        pytest.skip("this PyTorch has CUDA")
    try:
        library = build_nvml_stub(tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no gcc")
    env = {**os.environ, "LD_LIBRARY_PATH": str(library)}

    done = subprocess.run(
        [sys.executable, "-m", "ckptop.cli", "doctor", str(store), "--json"],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip

    by_subject = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert "this PyTorch has no CUDA" in by_subject["driver"]["advice"]
    assert "GPU 0" in by_subject


def test_neither_torch_nor_textual_is_loaded(store: Path) -> None:
    code = (
        f"import sys\nfrom ckptop.cli.main import run\nrun(['doctor', {str(store)!r}])\n"
        "print([name for name in ('textual', 'torch', 'numpy', 'watchdog') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("[]\n")
