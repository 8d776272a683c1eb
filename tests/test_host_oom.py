"""Who sent the SIGKILL: told by the kernel's counters and log, here files made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptop.host.oom import OomCounts, killed_for_memory, read_oom_counts

LOG = b"3,1,2,-;Memory cgroup out of memory: Killed process 4711 (python) total-vm:1kB\n"


class Machine:
    """A /proc and a /sys/fs/cgroup of files."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups, self.log = root / "proc", root / "cgroup", root / "kmsg"
        self.group = self.cgroups / "job"
        (self.proc / "self").mkdir(parents=True)
        self.group.mkdir(parents=True)

    def tell(self, *, group: int | None = None, machine: int | None = None) -> None:
        (self.proc / "self" / "cgroup").write_text("0::/job\n")
        if group is not None:
            (self.group / "memory.events").write_text(f"low 0\nmax 7\noom 9\noom_kill {group}\noom_group_kill 0\n")
        if machine is not None:
            (self.proc / "vmstat").write_text(f"nr_free_pages 5\noom_kill {machine}\n")

    def counts(self) -> OomCounts:
        return read_oom_counts(self.proc, self.cgroups)

    def verdict(self, before: OomCounts) -> bool | None:
        return killed_for_memory(4711, before, proc=self.proc, log=self.log)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_group_s_count_that_moved_accuses_the_kernel(machine: Machine) -> None:
    machine.tell(group=2, machine=5)
    before = machine.counts()
    machine.tell(group=3, machine=6)

    assert before == OomCounts(str(machine.group), 2, 5)
    assert machine.verdict(before) is True


def test_a_group_s_count_that_stood_still_clears_it_whatever_others_died_of(machine: Machine) -> None:
    machine.tell(group=2, machine=5)
    before = machine.counts()
    machine.tell(group=2, machine=9)

    assert machine.verdict(before) is False


def test_without_a_group_a_machine_that_killed_nobody_is_cleared_and_one_that_did_is_not_accused(
    machine: Machine,
) -> None:
    machine.tell(machine=5)
    before = machine.counts()

    assert before == OomCounts(None, None, 5)
    assert machine.verdict(before) is False
    machine.tell(machine=6)
    assert machine.verdict(before) is None


def test_the_kernel_s_log_names_the_process(machine: Machine) -> None:
    machine.tell(machine=6)
    machine.log.write_bytes(b"6,0,1,-;usb 1-1: new device\n" + LOG)

    assert machine.verdict(OomCounts()) is True
    assert killed_for_memory(471, OomCounts(), proc=machine.proc, log=machine.log) is None


def test_the_first_version_s_groups_count_too(machine: Machine) -> None:
    (machine.proc / "self" / "cgroup").write_text("11:cpu,cpuacct:/x\n9:memory:/job\n")
    group = machine.cgroups / "memory" / "job"
    group.mkdir(parents=True)
    control = group / "memory.oom_control"
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    before = machine.counts()
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")

    assert before.group_kills == 1
    assert machine.verdict(before) is True


def test_a_container_that_names_the_host_s_group_is_read_at_its_root(machine: Machine) -> None:
    (machine.proc / "self" / "cgroup").write_text("0::/../host/job\n")
    (machine.cgroups / "memory.events").write_text("oom_kill 4\n")

    assert machine.counts().group_kills == 4


@pytest.mark.parametrize("content", ["", "nonsense\n", "0::\n"])
def test_a_machine_that_tells_nothing_leaves_it_open(machine: Machine, content: str) -> None:
    (machine.proc / "self" / "cgroup").write_text(content)

    assert machine.counts() == OomCounts()
    assert machine.verdict(machine.counts()) is None


def test_this_machine_can_be_asked() -> None:
    counts = read_oom_counts()

    assert counts.machine_kills is None or counts.machine_kills >= 0
