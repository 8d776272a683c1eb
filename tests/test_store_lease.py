"""The lease: one writer a run, on one machine by the kernel, between machines by the heartbeat."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckptop.host.process import current_process
from ckptop.store.errors import DiskError, Held
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease, is_held, slurm_of_environment
from ckptop.store.records import Process, Slurm, Status

HOLD = """
import sys
from pathlib import Path
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
lease = Lease.acquire(RunPaths(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""

GONE_PID = 1 << 22
"""The kernel hands out smaller ones only."""


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    (tmp_path / "digits").mkdir()
    return RunPaths(tmp_path / "digits")


def write_status(paths: RunPaths, *, heartbeat: float = 1.0, phase: str = "running", **process: Any) -> None:
    holder = dataclasses.asdict(current_process()) | {"pid": 4711, "user": "ada", "host": "box1"} | process
    status = Status(phase=phase, heartbeat=heartbeat, process=msgspec.convert(holder, Process))  # type: ignore[arg-type]  # a plain str
    paths.status.write_bytes(msgspec.json.encode(status))


def hold_elsewhere(paths: RunPaths) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(paths.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


class Clock:
    """Monotonic seconds that pass only where the lease waits; something may happen at each wait."""

    def __init__(self, at_wait: Callable[[int], object] = lambda _: None) -> None:
        self.now = 1000.0
        self.waits = 0
        self._at_wait = at_wait

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        self._at_wait(self.waits)


def acquire(paths: RunPaths, clock: Clock, **options: Any) -> Lease:
    return Lease.acquire(paths, clock=clock, wait=clock.wait, **options)


def test_a_second_trainer_is_told_who_holds_the_run(paths: RunPaths) -> None:
    holder = hold_elsewhere(paths)
    write_status(paths)

    with pytest.raises(Held) as caught:
        Lease.acquire(paths, steal=True)
    holder.communicate()

    assert str(caught.value) == "run digits is held by pid 4711 of ada on box1; stop it with `ckptop stop digits`"


def test_whether_a_run_is_held_is_told_and_nothing_is_taken_or_dropped(paths: RunPaths) -> None:
    assert not is_held(paths)
    holder = hold_elsewhere(paths)

    assert is_held(paths)

    holder.communicate()
    assert not is_held(paths)
    ours = Lease.acquire(paths)
    assert is_held(paths)
    other = "import sys; from pathlib import Path; from ckptop.store.layout import RunPaths\n"
    other += "from ckptop.store.lease import is_held; print(is_held(RunPaths(Path(sys.argv[1]))))"
    told = subprocess.run([sys.executable, "-c", other, paths.root], capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"  # our own look has not dropped our lock
    ours.release()


def test_a_holder_is_not_mistaken_for_the_attempt_before_it(paths: RunPaths) -> None:
    holder = hold_elsewhere(paths)
    write_status(paths, phase="stopped")

    with pytest.raises(Held, match=f"held by pid {holder.pid}, which has just begun"):
        Lease.acquire(paths)
    holder.communicate()


def test_a_killed_trainer_frees_its_run_at_once(paths: RunPaths) -> None:
    holder = hold_elsewhere(paths)
    write_status(paths, pid=holder.pid, host=os.uname().nodename)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 0


def test_one_process_cannot_hold_a_run_twice(paths: RunPaths) -> None:
    lease = Lease.acquire(paths)

    with pytest.raises(Held, match="by this very process"):
        Lease.acquire(paths)

    probe = subprocess.run(
        [sys.executable, "-c", HOLD, str(paths.root)], capture_output=True, text=True, check=False, input=""
    )
    assert "Held" in probe.stderr, "the refused second lease must not have dropped the first"
    lease.release()


def test_a_released_lease_can_be_taken_again(paths: RunPaths) -> None:
    lease = Lease.acquire(paths)
    lease.release()
    lease.release()

    Lease.acquire(paths).release()

    assert paths.lease.exists()


def test_a_forked_child_neither_holds_nor_frees_the_lease(paths: RunPaths) -> None:
    lease = Lease.acquire(paths)

    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            lease.release()
            Lease.acquire(paths)
        except Held as error:
            code = 1 if f"held by pid {os.getppid()}, which has just begun" in str(error) else 2
        finally:
            os._exit(code)
    answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lease.release()

    assert answer == 1


@pytest.mark.parametrize("phase", ["stopped", "finished", "failed"])
def test_an_ended_run_of_another_host_is_taken_at_once(paths: RunPaths, phase: str) -> None:
    write_status(paths, phase=phase)
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 0


def test_another_hosts_lease_passes_on_after_its_heartbeat_stood_still(paths: RunPaths) -> None:
    write_status(paths)
    clock, said = Clock(), list[str]()

    acquire(paths, clock, say=said.append).release()

    assert clock.now == 1060.0
    assert clock.waits == 60
    assert said == [
        "run digits was last written by pid 4711 of ada on box1; watching its heartbeat for 60 s before taking over"
    ]


def test_another_hosts_lease_is_kept_while_its_heartbeat_moves(paths: RunPaths) -> None:
    write_status(paths, heartbeat=1.0)
    clock = Clock(lambda waits: write_status(paths, heartbeat=2.0) if waits == 59 else None)

    with pytest.raises(Held, match="pid 4711 of ada on box1"):
        acquire(paths, clock)

    acquire(paths, clock, steal=True).release()


def test_a_status_that_cannot_be_read_for_a_moment_is_no_heartbeat(paths: RunPaths) -> None:
    write_status(paths)
    clock = Clock(lambda waits: paths.status.write_bytes(b"{") if waits == 10 else write_status(paths))

    acquire(paths, clock).release()

    assert clock.waits == 60


def test_a_run_that_ends_while_observed_is_taken(paths: RunPaths) -> None:
    write_status(paths)
    clock = Clock(lambda waits: write_status(paths, phase="stopped") if waits == 3 else None)

    acquire(paths, clock).release()

    assert clock.waits == 3


def test_steal_takes_another_hosts_lease_at_once(paths: RunPaths) -> None:
    write_status(paths)
    clock = Clock()

    acquire(paths, clock, steal=True).release()

    assert clock.waits == 0


@pytest.mark.parametrize(
    ("job_id", "restarts", "waits"),
    [("77", "2", 0), ("77", "1", 60), ("77", "", 60), ("78", "2", 60)],
    ids=["requeued", "same-count", "first-start", "another-job"],
)
def test_only_a_later_restart_of_the_same_slurm_job_passes_at_once(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, job_id: str, restarts: str, waits: int
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", job_id)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    write_status(paths, slurm={"job_id": "77", "restart_count": 1})
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == waits


def test_a_trainer_of_this_host_that_died_with_an_earlier_boot_is_taken_at_once(paths: RunPaths) -> None:
    write_status(paths, host=os.uname().nodename, boot_id="an earlier one")
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 0


def test_another_machine_of_our_name_is_observed(paths: RunPaths) -> None:
    """Its boot id is not ours, as after a reboot, but its heartbeat is younger than our boot."""
    write_status(paths, host=os.uname().nodename, boot_id="its own", heartbeat=time.time())
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 60


def test_a_recycled_pid_does_not_hold_the_run(paths: RunPaths) -> None:
    write_status(paths, host=os.uname().nodename, pid=os.getppid(), start_ticks=1)
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 0


def test_our_own_unfinished_attempt_does_not_keep_us_out(paths: RunPaths) -> None:
    ours = current_process()
    write_status(paths, pid=ours.pid, host=ours.host, user=ours.user)
    clock = Clock()

    acquire(paths, clock).release()

    assert clock.waits == 0


def test_a_missing_run_directory_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"lease\.lock cannot be opened: No such file"):
        Lease.acquire(RunPaths(tmp_path / "no"))


@pytest.mark.parametrize(
    ("env", "slurm"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, Slurm(job_id="12", restart_count=0)),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "3"}, Slurm(job_id="12", restart_count=3)),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "junk"}, Slurm(job_id="12", restart_count=0)),
    ],
)
def test_slurm_is_read_from_the_environment(env: dict[str, str], slurm: Slurm | None) -> None:
    assert slurm_of_environment(env) == slurm
