"""The file lock: exclusive between processes and threads, re-entrant within one, gone with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptop.store.errors import DiskError, Held
from ckptop.store.locks import FileLock, try_lock

HOLD = """
import sys
from pathlib import Path
from ckptop.store.locks import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until its input closes."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def let_go(holder: subprocess.Popen[str]) -> None:
    holder.communicate()


def in_child(act: Callable[[], int | None]) -> int:
    """Run `act` in a forked child; its answer as the exit code, None as 0, 70 for an exception."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = act() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_another_process_is_kept_out_and_told_what_is_locked(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder = hold_elsewhere(path)

    with pytest.raises(Held, match=r"\.lock is held by another process \(waited 0\.02 s\)"):
        FileLock(path, timeout_seconds=0.02).__enter__()

    let_go(holder)


def test_a_waiter_gets_the_lock_when_the_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder = hold_elsewhere(path)
    releaser = threading.Timer(0.1, let_go, [holder])
    releaser.start()

    with FileLock(path, timeout_seconds=20):
        is_held = True
    releaser.join()

    assert is_held


def test_a_killed_holder_frees_the_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder = hold_elsewhere(path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    with FileLock(path, timeout_seconds=0):
        pass


def test_another_thread_is_kept_out(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    complaints: list[str] = []

    def try_it() -> None:
        with pytest.raises(Held) as caught, FileLock(path, timeout_seconds=0.02):
            pass
        complaints.append(str(caught.value))

    with FileLock(path):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    assert "another thread of this process" in complaints[0]


def test_the_same_thread_may_take_it_again_under_another_spelling(tmp_path: Path) -> None:
    """The inner block's end must not drop the lock of the outer one."""
    path = tmp_path / ".lock"
    (tmp_path / "link").symlink_to(tmp_path)

    with FileLock(path):
        with FileLock(tmp_path / "link" / ".lock", timeout_seconds=0):
            pass
        still_held = in_child(lambda: could_lock(path))

    assert still_held == 1
    assert in_child(lambda: could_lock(path)) == 0


def could_lock(path: Path) -> int:
    try:
        with FileLock(path, timeout_seconds=0):
            return 0
    except Held:
        return 1


def test_a_forked_child_holds_nothing_and_its_end_frees_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = FileLock(path)

    with lock:
        left_block = in_child(lambda: lock.__exit__(None, None, None))
        taken_by_child = in_child(lambda: could_lock(path))

    assert left_block == 0
    assert taken_by_child == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12; it is the subject
def test_a_child_forked_while_another_thread_holds_the_lock_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(path):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    taken_by_child = in_child(lambda: could_lock(path))
    done.set()
    thread.join()

    assert taken_by_child == 1
    assert could_lock(path) == 0


def test_a_lock_file_replaced_while_waiting_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding the lock of a deleted file would exclude nobody."""
    path = tmp_path / ".lock"
    holder = hold_elsewhere(path)

    def replace_after_first(descriptor: int, path: Path) -> bool:
        monkeypatch.setattr("ckptop.store.locks.try_lock", try_lock)
        is_locked = try_lock(descriptor, path)
        path.unlink()
        path.touch()
        let_go(holder)
        return is_locked

    monkeypatch.setattr("ckptop.store.locks.try_lock", replace_after_first)

    with FileLock(path, timeout_seconds=20):
        taken_by_child = in_child(lambda: could_lock(path))

    assert taken_by_child == 1


def test_a_missing_directory_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot be locked: No such file"), FileLock(tmp_path / "no" / ".lock"):
        pass


def test_an_error_inside_the_block_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"

    with pytest.raises(ZeroDivisionError), FileLock(path):
        _ = 1 / 0

    assert in_child(lambda: could_lock(path)) == 0
