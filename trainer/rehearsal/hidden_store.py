"""The ground of a rehearsal: a store hidden inside the store, and what this machine has to give.

Its name begins with a dot, which no run's may, so no reader takes it for a run and no trash of the store is purged
for it. It is removed at the end, also by Ctrl-C, SIGTERM or SIGHUP; what a rehearsal that was killed outright left
behind is removed by the next one, which sees by `owner.json` that its process is gone.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from ckptop.host.machine import HostReader
from ckptop.host.process import current_process, is_alive
from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.records import Process
from ckptop.store.run_trash import list_deleted_runs
from ckptop.store.state import identity_of
from ckptop.store.store import Store
from ckptop.store.trash import bytes_freed_by_purge, list_trash
from ckptop.trainer.rehearsal.forecast import HostMemory

PREFIX = ".rehearsal-"
_OWNER = "owner.json"
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@contextlib.contextmanager
def hidden_store(store: Path) -> Iterator[Path]:
    """A new directory in `store` for as long as the block runs; a store that is not there yet is not there after.

    Raises:
        UsageError: `store` is a file.
        OSError: It cannot be written.
    """
    is_new = not Store.open(store, missing_ok=True).root.exists()
    store = store.expanduser()
    store.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(store)
    with _signals_as_exits():
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=store))
        try:
            me = current_process()
            owner = Process(
                pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, host=me.host, user=me.user
            )  # fmt: skip
            (directory / _OWNER).write_bytes(msgspec.json.encode(owner))
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            if is_new:
                with contextlib.suppress(OSError):  # somebody else has begun to use it
                    store.rmdir()


def trash_bytes(store: Path) -> int:
    """What purging the whole trash of a store would free."""
    opened = Store.open(store, missing_ok=True)
    if opened.is_standalone:
        return 0
    runs = sum(bytes_freed_by_purge(list_trash(RunPaths(store / name).checkpoints)) for name in opened.run_names())
    return runs + sum(run.size_bytes for run in list_deleted_runs(opened.paths))


def available_memory() -> HostMemory:
    """What a program that begins now can get, by the machine and by the control group it would run in."""
    sample = HostReader().read()
    total, available = sample.memory_total_bytes, sample.memory_total_bytes - sample.memory_used_bytes
    limit = _memory_limit()
    if limit is None or limit[0] >= total:
        return HostMemory(available_bytes=available, total_bytes=total)
    return HostMemory(available_bytes=min(available, limit[0] - limit[1]), total_bytes=limit[0])


def _memory_limit() -> tuple[int, int] | None:
    """Limit and use of the tightest control group above this process, as Slurm and containers set; None without."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(OSError):
        for line in _OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found += _limits(_CGROUPS, path, "memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                found += _limits(_CGROUPS / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def _limits(root: Path, path: str, limit_name: str, used_name: str) -> Iterator[tuple[int, int]]:
    """Of the group and all above it; in a container the path may be the host's, and only the root is there."""
    group = root / path.lstrip("/")
    for directory in (group, *group.parents):
        if directory.is_relative_to(root):
            with contextlib.suppress(OSError, ValueError):  # not there, or the word `max`
                limit = int((directory / limit_name).read_text())
                yield limit, int((directory / used_name).read_text())


def _remove_abandoned(store: Path) -> None:
    for directory in store.glob(f"{PREFIX}*"):
        with contextlib.suppress(StoreError, OSError):
            if not directory.is_symlink() and is_alive(identity_of(read_json(directory / _OWNER, Process))) is False:
                shutil.rmtree(directory)


@contextlib.contextmanager
def _signals_as_exits() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, unless they are ignored; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:
            before[name] = signal.signal(name, _exit)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _exit(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)
