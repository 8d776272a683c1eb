"""Making a run, or coming by one that exists, until this process holds it: what `Run.create` does first."""

from __future__ import annotations

import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptop.store.environment import capture_command, git_commit
from ckptop.store.errors import DiskError, StoreError
from ckptop.store.fs import LOCAL
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease
from ckptop.store.names import check_run_name
from ckptop.store.records import Command, DataSource, Metric, Mode, Parent, RunRecord
from ckptop.store.store import Store
from ckptop.store.taking_up import require_new_or_resumed


def paths_of(store: Path | str, name: str) -> RunPaths:
    """Where a run stands or will; absolute: a script that changes its directory goes on in the same place.

    Raises:
        UsageError: The name cannot name a run, or `store` is no directory.
    """
    return Store.open(Path(store).expanduser().absolute(), missing_ok=True).paths.run(check_run_name(name))


@contextmanager
def held(
    paths: RunPaths, resume: str | None, *, steal: bool, say: Callable[[str], None] | None = None
) -> Iterator[Lease]:
    """Hold the run: made if missing, its lease taken. Left by an exception, the block has given the lease back.

    Raises:
        UsageError: The name is taken and `resume` is None.
        NotFound: There is nothing to resume.
        Held: Another process holds the run.
        DiskError: The disk refused, here or within the block.
    """
    require_new_or_resumed(paths, resume)
    try:
        for directory in (paths.control, paths.checkpoints.staging):
            LOCAL.mkdir(directory)
    except OSError as error:
        raise DiskError(error.errno, f"{paths.root} cannot be made: {error.strerror}; --store names another") from None
    lease = Lease.acquire(paths, steal=steal, say=say)
    try:
        require_new_or_resumed(paths, resume)  # again: it may have been made while we waited for the lease
        yield lease
    except BaseException as error:
        lease.release()
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            raise DiskError(error.errno, f"{paths.root} cannot be written: {error.strerror}") from None
        raise


def new_record(
    name: str, task: str, config: Mapping[str, Any] | None, seed: int | None, metric: tuple[str, Mode] | None,
    data: DataSource | None, command: Command | None, parent: Parent | None,
) -> RunRecord:  # fmt: skip
    """run.json of a run that begins here and now, in this process."""
    return RunRecord(
        id=secrets.token_hex(8), name=name, task=task, created=time.time(), config=dict(config or {}), seed=seed,
        command=command or capture_command(sys.orig_argv[1:]), git_commit=git_commit(), host=socket.gethostname(),
        parent=parent, metric=Metric(name=metric[0], mode=metric[1]) if metric else None, data=data,
    )  # fmt: skip
