"""Load, memory and disk space of this machine."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import psutil
import pytest

from ckptop.host.machine import HostReader, disk_space

CpuTimes = collections.namedtuple("CpuTimes", ["user", "nice", "system", "idle", "iowait", "guest", "guest_nice"])


class ScriptedClockwork:
    """Stands for `psutil.cpu_times`; a test sets what the kernel would count next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = CpuTimes(100.0, 0.0, 10.0, 500.0, 5.0, 40.0, 0.0)
        monkeypatch.setattr(psutil, "cpu_times", lambda: self.times)

    def advance(self, **seconds: float) -> None:
        self.times = self.times._replace(**{name: getattr(self.times, name) + s for name, s in seconds.items()})


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> ScriptedClockwork:
    return ScriptedClockwork(monkeypatch)


def test_load_is_the_busy_share_since_the_last_read(clockwork: ScriptedClockwork) -> None:
    reader = HostReader()

    clockwork.advance(user=2.0, system=1.0, idle=6.0, iowait=1.0)
    first = reader.read().cpu_percent
    clockwork.advance(idle=4.0)
    second = reader.read().cpu_percent

    assert first == pytest.approx(30.0)
    assert second == 0.0


def test_guests_count_once(clockwork: ScriptedClockwork) -> None:
    """Linux has the time of virtual machines in user already."""
    reader = HostReader()

    clockwork.advance(user=5.0, guest=5.0, idle=5.0)

    assert reader.read().cpu_percent == pytest.approx(50.0)


def test_no_time_and_time_running_backwards_are_no_load(clockwork: ScriptedClockwork) -> None:
    reader = HostReader()

    at_once = reader.read().cpu_percent
    clockwork.advance(user=-3.0, idle=4.0)
    backwards = reader.read().cpu_percent

    assert (at_once, backwards) == (0.0, 0.0)


def test_two_readers_do_not_disturb_each_other(clockwork: ScriptedClockwork) -> None:
    slow, quick = HostReader(), HostReader()

    clockwork.advance(user=1.0, idle=1.0)
    quick.read()
    clockwork.advance(idle=2.0)

    assert slow.read().cpu_percent == pytest.approx(25.0)
    assert quick.read().cpu_percent == 0.0


def test_memory_and_processors_are_those_of_the_machine() -> None:
    sample = HostReader().read()

    assert sample.memory_total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes
    assert sample.cpu_count == psutil.cpu_count()
    assert 0.0 <= sample.cpu_percent <= 100.0


def test_free_space_is_what_a_user_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are counted in fragments, and root's reserve (bfree over bavail) is not ours."""
    # bsize, frsize, blocks, bfree, bavail, files, ffree, favail, flag, namemax
    status = os.statvfs_result((65_536, 4_096, 1_000, 300, 250, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)

    space = disk_space(tmp_path)

    assert (space.free_bytes, space.total_bytes) == (250 * 4_096, 1_000 * 4_096)


def test_space_under_a_path_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk_space(tmp_path / "missing")
