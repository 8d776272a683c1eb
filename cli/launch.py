"""Starting a trainer that outlives this terminal, and waiting until it can be seen to run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptop.cli.supervise import supervised_argv
from ckptop.host.process import parent_pid, start_detached
from ckptop.store.errors import EXIT_NO, CkptopError, DiskError, Held, NotFound, StoreError, TrainingFailed, UsageError
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths
from ckptop.store.names import check_run_name
from ckptop.store.records import Command, RunRecord, Status

START_SECONDS = 120.0
"""Importing torch from a cold network disk can take a minute."""
_LOOK_SECONDS = 0.05
_LOG_TAIL_BYTES = 8192

_at_large: list[subprocess.Popen[bytes]] = []
"""Handles of trainers left to themselves: one that is collected warns that its process still runs."""


class LaunchFailed(CkptopError):
    """The trainer ended before it began to train; its own exit code is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Launched:
    """A trainer that runs."""

    process: subprocess.Popen[bytes]
    """It, or its supervisor."""
    paths: RunPaths
    status: Status

    @property
    def from_step(self) -> int:
        """The step its attempt began at; it may have gone on since."""
        with contextlib.suppress(StoreError, OSError, IndexError):
            return read_json(self.paths.record, RunRecord).attempts[-1].from_step
        return self.status.step


def launch(
    command: Command, paths: RunPaths, extra_env: Mapping[str, str] | None = None, *, restarts: int | None = None
) -> Launched:
    """Start a trainer detached, its output in the run's train.log, and wait until its attempt begins.

    Args:
        command: What to start.
        paths: The run it will hold; its directory exists.
        extra_env: Variables beside this process's own and the recorded ones.
        restarts: How many crashes in a row it is started again after, by a supervisor, which also writes down what
            ended it; None for no supervisor.

    Raises:
        NotFound: The interpreter or the working directory is gone.
        DiskError: Its log cannot be opened.
        LaunchFailed: It ended before it began; the message is its last line.
        TrainingFailed: It did not begin within two minutes; it was left running.
    """
    if not Path(command.cwd).is_dir():
        raise NotFound(f"the run was started in {command.cwd}, which is gone; make it again, or train anew")
    log_size = paths.log.stat().st_size if paths.log.exists() else 0
    env = {**os.environ, **command.env, **(extra_env or {}), "PYTHONUNBUFFERED": "1"}
    argv = [command.python, *command.argv]
    if restarts is not None:
        argv = [sys.executable, *supervised_argv(paths, argv, restarts)]
    began = time.time()
    try:
        process = start_detached(argv, cwd=Path(command.cwd), env=env, log_path=paths.log)
    except FileNotFoundError:
        raise NotFound(f"the run was started by {command.python}, which is gone; train anew with another") from None
    except OSError as error:
        raise DiskError(error.errno, f"{paths.log} cannot be written: {error.strerror}") from error
    _at_large.append(process)
    return Launched(process, paths, _wait_until_begun(process, paths, log_size, began))


def _wait_until_begun(process: subprocess.Popen[bytes], paths: RunPaths, log_size: int, began: float) -> Status:
    deadline = time.monotonic() + START_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        ended = process.poll()
        status = _status(paths)
        if status is not None and status.phase != "starting":
            trainer = status.process.pid
            if process.pid in (trainer, parent_pid(trainer)) or (ended == 0 and status.heartbeat >= began):
                return status
        if ended == 0:
            raise LaunchFailed(_last_line(paths.log, log_size) or "the trainer had nothing to do", EXIT_NO)
        if ended is not None:
            message = _last_line(paths.log, log_size, is_ours=ended == Held.exit_code)
            message = message or f"exit code {ended}, nothing printed"
            raise LaunchFailed(
                f"the trainer of {paths.root.name} ended at once: {message}",
                ended if ended > 0 else TrainingFailed.exit_code,
            )
        pause.wait(_LOOK_SECONDS)
    raise TrainingFailed(f"{paths.root.name} has not begun after {START_SECONDS:g} s; see {paths.log}")


def _status(paths: RunPaths) -> Status | None:
    try:
        return read_json(paths.status, Status)
    except (StoreError, OSError):
        return None


def _last_line(log: Path, since: int, *, is_ours: bool = False) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line for line in lines if line.strip()]
    # The trainer that holds the run goes on printing into the same log: an error of ours is found by its prefix.
    errors = [line for line in said if line.startswith("ckptop: ")] if is_ours else []
    return (errors or said)[-1].removeprefix("ckptop: ") if said else ""


def reserve(store: Path, name: str) -> RunPaths:
    """Make the directory of a new run, so that nobody else takes the name; the trainer fills it.

    Raises:
        UsageError: The name is taken, or cannot name a run.
        DiskError: It cannot be made.
    """
    paths = RunPaths(store / check_run_name(name))
    try:
        paths.root.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{paths.root} exists; choose another name") from None
    except OSError as error:
        raise DiskError(error.errno, f"{paths.root} cannot be made: {error.strerror}") from None
    return paths


def free_name(store: Path, wanted: str) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … whichever is the first not taken."""
    if not (store / wanted).exists():
        return wanted
    number = 2
    while (store / f"{wanted}-{number}").exists():
        number += 1
    return f"{wanted}-{number}"


def train_argv(task: str, store: Path, name: str, options: Sequence[str]) -> list[str]:
    """Arguments of an interpreter that train `task`."""
    return ["-m", "ckptop.cli", "train", task, "--store", str(store.resolve()), "--name", name, *options]
