"""Processes as identities that survive pid reuse, and children that survive the terminal.

A pid alone names nothing: it is handed out again. A process here is pid + start ticks + boot id, and a signal
goes through a pidfd that was compared with that identity first, so a recycled pid is never mistaken or
signalled. All of it reads Linux's `/proc`; without one (macOS) the functions raise RuntimeError.
"""

from __future__ import annotations

import errno
import functools
import os
import pwd
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

PROC = Path("/proc")
"""Where the kernel's process files are mounted; the functions take another for tests."""

LARGEST_PID = 1 << 22
"""The kernel's own limit: a damaged status file may name any number."""

_DEFAULT_SIGNALS_THEN_EXEC = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, never confused with a later one of the same pid."""

    pid: int
    start_ticks: int
    """When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`."""
    boot_id: str
    """The kernel's random id of this boot: start ticks begin again at each."""
    host: str
    user: str
    """Its login name, or the number where the uid has none."""


def current_process(proc: Path = PROC) -> ProcessIdentity:
    """The identity of the calling process; after a fork, call it again for the child's.

    Raises:
        RuntimeError: There is no Linux `/proc`.
    """
    stat = _read_stat(os.getpid(), proc)
    if stat is None:
        raise RuntimeError(f"{proc} does not show this process; process identities need Linux's /proc")
    return ProcessIdentity(os.getpid(), stat[1], _boot_id(proc), _host(), _user(os.geteuid()))


def is_alive(identity: ProcessIdentity, proc: Path = PROC) -> bool | None:
    """Whether that very process still runs; a zombie does not.

    None means that it cannot be told from here: it runs on another host, or `/proc` is mounted with hidepid
    and the process belongs to somebody else.

    Raises:
        RuntimeError: There is no Linux `/proc`.
    """
    if identity.host != _host():
        return None
    if identity.boot_id != _boot_id(proc) or not 0 < identity.pid <= LARGEST_PID:
        return False
    stat = _read_stat(identity.pid, proc)
    if stat is None:
        return None if _is_hidden(identity.pid) else False
    state, start_ticks = stat
    return start_ticks == identity.start_ticks and state not in {"Z", "X"}


def send_signal(identity: ProcessIdentity, signum: int, proc: Path = PROC) -> bool:
    """Signal that very process, never a later one of the same pid; False if it is gone.

    The pidfd is opened before the comparison: from then on the pid may be recycled without harm.

    Raises:
        ValueError: It runs on another host. Nothing was sent.
        PermissionError: It belongs to somebody else. Nothing was sent.
        RuntimeError: There is no Linux `/proc`.
    """
    if identity.host != _host():
        raise ValueError(f"process {identity.pid} runs on {identity.host}; signal it from there")
    if not 0 < identity.pid <= LARGEST_PID:
        return False
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError as error:
        # EINVAL and ENOENT: the number now names a thread of some other process.
        if error.errno in {errno.ESRCH, errno.EINVAL, errno.ENOENT}:
            return False
        raise
    try:
        alive = is_alive(identity, proc)
        if alive is None:
            raise PermissionError(errno.EPERM, f"process {identity.pid} belongs to another user and is hidden")
        if alive:
            signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    else:
        return alive
    finally:
        os.close(pidfd)


def parent_pid(pid: int, proc: Path = PROC) -> int | None:
    """The process that started `pid`, or that it was left to; None if there is no such process, or it is hidden."""
    fields = _stat_fields(pid, proc)
    return int(fields[1]) if fields is not None else None


def start_detached(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, so that it outlives us, our terminal and the SSH connection.

    Its input is empty; what it prints is appended to `log_path`. SIGHUP and SIGINT have their default meaning
    in it even where we ignore them, as under nohup. Keep the handle and poll it now and then: a child that
    ended stays a zombie until its parent looks.

    Raises:
        OSError: The program, `cwd` or the log cannot be opened. Nothing was started. (Where we ignore one of
            the two signals, a missing program is told in the log instead.)
    """
    import subprocess  # 2 to 4 ms that no listing needs

    command = list(argv)
    if signal.SIG_IGN in {signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)}:
        # "Ignored" passes through exec, and preexec_fn may deadlock where threads run: so a small Python
        # of ours resets both and becomes the program, with the same pid.
        command = [sys.executable, "-I", "-S", "-c", _DEFAULT_SIGNALS_THEN_EXEC, *command]
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(log)


def _read_stat(pid: int, proc: Path) -> tuple[str, int] | None:
    """The state letter and the start ticks of `pid`; None if there is no such process."""
    fields = _stat_fields(pid, proc)
    return (fields[0].decode(), int(fields[19])) if fields is not None else None


def _stat_fields(pid: int, proc: Path) -> list[bytes] | None:
    """`/proc/<pid>/stat` from the third field on; None if there is no such process."""
    try:
        line = (proc / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field, the command, is in parentheses and may hold spaces and parentheses itself.
    return line[line.rindex(b")") + 1 :].split()


def _is_hidden(pid: int) -> bool:
    """Whether `pid` exists although `/proc` does not show it (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


@functools.cache
def _boot_id(proc: Path) -> str:
    path = proc / "sys/kernel/random/boot_id"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise RuntimeError(f"{path} cannot be read; process identities need Linux's /proc") from error


@functools.cache
def _host() -> str:
    return os.uname().nodename


@functools.cache
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # common in containers
        return str(uid)
