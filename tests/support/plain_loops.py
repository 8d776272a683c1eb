"""Somebody's own training loop as a real process: a run with steps and no torch, so that it starts in a moment."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer_runs import child_environment

from ckptop.store.views import RunView, read_run

PATIENCE_SECONDS = 60.0

LOOP = """
import os, signal, sys, threading
from ckptop.store.run import Run

store, behaviour = sys.argv[1:]
with Run.create(store, name="mine", task="mine", resume="auto") as run:
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert not run.should_stop  # SIGTERM means a stop from here on, before anybody sees that it runs
    run.begin()
    for step in range(1, 10**9):
        run.progress(epoch=1, step=step)
        threading.Event().wait(0.01)
        if behaviour != "deaf":
            run.obey()
            if run.should_stop:
                run.finish("stopped", code=3)
                sys.exit(3)
"""


@contextlib.contextmanager
def plain_loop(store: Path, behaviour: str = "obedient") -> Iterator[subprocess.Popen[bytes]]:
    """A process that trains the run `mine` until the block ends; `deaf` heeds no request and no SIGTERM."""
    child = subprocess.Popen([sys.executable, "-c", LOOP, str(store), behaviour], env=child_environment())
    try:
        wait_for(lambda: read_run(store / "mine").state == "running", "the loop to run")
        yield child
    finally:
        child.kill()
        child.wait(PATIENCE_SECONDS)


def mine(store: Path) -> RunView:
    """The run of a plain loop."""
    return read_run(store / "mine")


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when `condition` holds."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)
