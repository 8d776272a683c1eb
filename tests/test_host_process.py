"""Process identities, signals and detached children, on real processes of this machine."""

from __future__ import annotations

import dataclasses
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptop.host.process import (
    LARGEST_PID,
    ProcessIdentity,
    current_process,
    is_alive,
    send_signal,
    start_detached,
)

WAITS_FOR_INPUT = "import sys; print('ready', flush=True); sys.stdin.read()"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once `condition` holds; fail after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        os.sched_yield()


def identity_of(pid: int) -> ProcessIdentity:
    """The identity that the process `pid` would give of itself."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return dataclasses.replace(current_process(), pid=pid, start_ticks=int(fields[19]))


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that waits until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS_FOR_INPUT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def other_boot(tmp_path: Path) -> Path:
    """A `/proc` as after a reboot: the same processes, another boot id."""
    boot_id = tmp_path / "sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("11111111-2222-3333-4444-555555555555\n")
    for pid in Path("/proc").glob("[0-9]*"):
        (tmp_path / pid.name).symlink_to(pid)
    return tmp_path


def test_a_process_tells_who_it_is() -> None:
    me = current_process()

    assert me == identity_of(os.getpid())
    assert me.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (me.host, me.user) == (os.uname().nodename, pwd.getpwuid(os.geteuid()).pw_name)
    assert is_alive(me) is True


def test_a_forked_child_is_somebody_else(tmp_path: Path) -> None:
    told = tmp_path / "told"
    parent = current_process()

    pid = os.fork()
    if pid == 0:
        told.write_text(f"{current_process().pid} {current_process() != parent}")
        os._exit(0)
    os.waitpid(pid, 0)

    assert told.read_text() == f"{pid} True"


def test_a_command_with_spaces_and_parentheses_is_parsed(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        wait_for(lambda: b"a) S 1 (b" in Path(f"/proc/{process.pid}/stat").read_bytes(), "exec")

        alive = is_alive(identity_of(process.pid))
        process.kill()

    assert alive is True


def test_a_process_that_ended_is_not_alive(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    assert is_alive(identity) is True

    child.kill()
    child.wait()

    assert is_alive(identity) is False
    assert send_signal(identity, signal.SIGTERM) is False


def test_a_zombie_is_not_alive_and_not_signalled() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    identity = identity_of(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state_of(pid) == "Z", "the zombie")

    alive, sent = is_alive(identity), send_signal(identity, signal.SIGTERM)
    os.waitpid(pid, 0)

    assert alive is False
    assert sent is False


def test_a_recycled_pid_is_never_mistaken_or_signalled(child: subprocess.Popen[bytes]) -> None:
    """The same pid with other start ticks is another process, and hears nothing from us."""
    former = dataclasses.replace(identity_of(child.pid), start_ticks=1)

    alive, sent = is_alive(former), send_signal(former, signal.SIGKILL)
    child.communicate()

    assert alive is False
    assert sent is False
    assert child.returncode == 0


def test_a_process_of_an_earlier_boot_is_never_mistaken_or_signalled(
    child: subprocess.Popen[bytes], other_boot: Path
) -> None:
    identity = identity_of(child.pid)

    alive, sent = is_alive(identity, other_boot), send_signal(identity, signal.SIGKILL, other_boot)
    child.communicate()

    assert alive is False
    assert sent is False
    assert child.returncode == 0
    assert current_process(other_boot).boot_id == "11111111-2222-3333-4444-555555555555"


def test_a_live_process_gets_the_signal(child: subprocess.Popen[bytes]) -> None:
    sent = send_signal(identity_of(child.pid), signal.SIGTERM)

    assert sent is True
    assert child.wait() == -signal.SIGTERM


def test_a_process_of_another_host_is_unknown_and_refused() -> None:
    elsewhere = dataclasses.replace(current_process(), host="node-17")

    assert is_alive(elsewhere) is None
    with pytest.raises(ValueError, match="runs on node-17; signal it from there"):
        send_signal(elsewhere, signal.SIGKILL)


@pytest.mark.parametrize("pid", [-1, 0, LARGEST_PID + 1, 2**40])
def test_a_number_that_is_no_pid_names_no_process(pid: int) -> None:
    """A damaged status file may say anything; 0 and -1 would mean groups of processes."""
    nonsense = dataclasses.replace(current_process(), pid=pid)

    assert is_alive(nonsense) is False
    assert send_signal(nonsense, signal.SIGKILL) is False


def test_a_thread_is_no_process(child: subprocess.Popen[bytes]) -> None:
    """A thread's number has a stat file of its own, and pidfd_open refuses it."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, daemon=True)
    thread.start()
    assert thread.native_id is not None
    recycled = dataclasses.replace(current_process(), pid=thread.native_id, start_ticks=1)

    alive, sent = is_alive(recycled), send_signal(recycled, signal.SIGKILL)
    done.set()
    thread.join()

    assert alive is False
    assert sent is False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_process_of_another_user_raises_and_hears_nothing(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)

    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            send_signal(identity, signal.SIGKILL)
        except PermissionError:
            os._exit(7)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    child.communicate()

    assert os.waitstatus_to_exitcode(status) == 7
    assert child.returncode == 0


def test_a_process_that_proc_hides_is_unknown(other_boot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid the processes of others are missing from `/proc`, yet a signal 0 is refused, not lost."""

    def refuse(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (other_boot / str(os.getpid())).unlink()
    hidden = dataclasses.replace(current_process(), boot_id="11111111-2222-3333-4444-555555555555")

    assert is_alive(hidden, other_boot) is None
    with pytest.raises(PermissionError, match="hidden"):
        send_signal(hidden, signal.SIGTERM, other_boot)


def test_without_a_linux_proc_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="need Linux's /proc"):
        current_process(tmp_path)
    with pytest.raises(RuntimeError, match="need Linux's /proc"):
        is_alive(current_process(), tmp_path)


def test_a_detached_child_has_its_own_session_no_input_and_appends_to_the_log(tmp_path: Path) -> None:
    script = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', os.environ['WHO'])"
    script += "; print(os.getcwd(), file=sys.stderr)"
    log = tmp_path / "train.log"
    log.write_text("attempt 1\n")

    child = start_detached([sys.executable, "-u", "-c", script], cwd=tmp_path, env={"WHO": "me"}, log_path=log)

    assert child.wait() == 0
    assert log.read_text() == f"attempt 1\nTrue True me\n{tmp_path}\n"


def test_a_new_log_can_be_read_by_others_and_written_by_us_only(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    before = os.umask(0)
    try:
        start_detached(["true"], cwd=tmp_path, env=os.environ, log_path=log).wait()
    finally:
        os.umask(before)

    assert log.stat().st_mode & 0o777 == 0o644


def test_a_detached_child_survives_the_end_of_the_session_that_started_it(tmp_path: Path) -> None:
    """The starter leads a session with a terminal of its own; closing that terminal hangs the starter up."""
    child = "import os, signal; print(os.getpid(), os.readlink('/proc/self/fd/0'), flush=True); signal.pause()"
    starter = (
        "import os, signal, sys; from pathlib import Path; from ckptop.host.process import start_detached\n"
        f"child = start_detached([sys.executable, '-c', {child!r}], cwd=Path('.'), env=os.environ,"
        " log_path=Path('log'))\n"
        "signal.pause()"
    )
    pid, terminal = os.forkpty()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-c", starter])  # noqa: S606  # no shell is the point
    log = tmp_path / "log"
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"), "the child to tell its pid")
    number, standard_input = log.read_text().split()
    survivor = identity_of(int(number))

    os.close(terminal)
    status = os.waitpid(pid, 0)[1]

    assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
    assert is_alive(survivor) is True
    assert send_signal(survivor, signal.SIGKILL) is True
    assert standard_input == "/dev/null"  # not the terminal, whose end would be an error to read


@pytest.mark.parametrize("ignored", [[], ["SIGHUP"], ["SIGINT"], ["SIGHUP", "SIGINT"]], ids="+".join)
def test_a_detached_child_does_not_inherit_ignored_signals(tmp_path: Path, ignored: list[str]) -> None:
    """Under nohup SIGHUP is ignored, in a shell's background SIGINT is; both pass through exec."""
    told = "import os, signal; print(os.getpid(), *[signal.getsignal(getattr(signal, n)) is not signal.SIG_IGN "
    told += "for n in ('SIGHUP', 'SIGINT')])"
    script = (
        "import os, signal, sys; from pathlib import Path; from ckptop.host.process import start_detached\n"
        f"for name in {ignored!r}: signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        f"child = start_detached([sys.executable, '-c', {told!r}], cwd=Path('.'), env=os.environ,"
        " log_path=Path('log'))\n"
        "child.wait(); print(child.pid)"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert (tmp_path / "log").read_text() == f"{done.stdout.strip()} True True\n"


def test_a_program_that_does_not_exist_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start_detached(["/no/such/program"], cwd=tmp_path, env={}, log_path=tmp_path / "log")
