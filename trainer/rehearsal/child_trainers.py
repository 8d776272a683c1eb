"""Real `ckptop train` processes, one after the other, each told after which step to end.

Each is in a session of its own: a Ctrl-C at the terminal reaches the rehearsal alone, which kills them. It waits on a
pidfd, so that a trainer that ended is not reaped, and its process group named by nobody else, until what it may have
left behind was killed too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ckptop.store.alert_settings import VARIABLES
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import EXIT_DONE, EXIT_STOPPED, CkptopError
from ckptop.store.records import RunRecord
from ckptop.store.resume import RESUME_VARIABLE
from ckptop.store.views import RunView, read_run
from ckptop.trainer.config import TaskOptions, TrainConfig, assignments, layered, read_toml
from ckptop.trainer.rehearsal.records import REHEARSAL_VARIABLE, Orders

_OVERRIDES = {"on_nan": "stop", "spill_dir": "none", "full_disk_patience_seconds": "0", "log_every_steps": "1"}
"""A rehearsal fails at once where a run would go on, wait, or write to another disk; it compares every step's loss."""
_NOT_PASSED_ON = VARIABLES | {RESUME_VARIABLE, "CKPTOP_SPILL"}
_BAD_INPUT = frozenset({2, 10, 11, 13, 15, 17})
"""Exit codes of a trainer that was asked for what it cannot do."""
_LOSS = "train/loss"
_LOOK_SECONDS = 0.1
_WORDS_BYTES = 8192
_TRACEBACK = "Traceback (most recent call last):"
_NOT_DETERMINISTIC = " does not have a deterministic implementation"


class Refused(CkptopError):
    """The trainer would not begin: what was asked for is wrong. Its exit code is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[Refused], tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


class Failed(Exception):
    """A trainer did not do what it should; the message is why, with its last words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be rehearsed: of the options of `ckptop train` those that decide what a new run does."""

    task: str
    store: Path
    data: Path | None = None
    config_file: Path | None = None
    assignments: Sequence[tuple[str, str]] = ()
    """Dotted configuration keys and values as text, the last of a key winning."""


class StepLine(NamedTuple):
    """What the metric log says of a step."""

    step: int
    epoch: int
    time: float
    loss: Any
    """A number, or a string, as `NaN`, where it is no number."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A trainer that ended as it should have."""

    view: RunView
    record: RunRecord
    latest: CheckpointInfo
    began: float
    """Unix time at which its process was started."""


class Trainers:
    """Starts trainers in a store, and waits for each."""

    def __init__(self, subject: Subject, store: Path, on_step: Callable[[int], None]) -> None:
        """`on_step` is told now and then how many steps all of them have done."""
        self._subject, self._store, self._on_step = subject, store, on_step
        self._steps_before = 0
        self._output = store / "output.log"

    def train(self, name: str, orders: Orders, *more: str) -> Ended:
        """One trainer, to the step it shall stop at or the end of the run; `more` are further arguments.

        Raises:
            Failed: It ended in another way.
            Refused: It would not begin.
        """
        began = time.time()
        code = self._run(name, orders, more)
        if code not in (EXIT_DONE, EXIT_STOPPED):
            raise self._failure(code, name, "the resumed training" if "--resume" in more else "the training")
        view = read_run(self._store / name)
        if view.latest is None or view.record is None:
            raise Failed(f"the trainer saved nothing; its last words: {self._last_words()}")
        return Ended(view, view.record, view.latest, began)

    def train_until_killed(self, name: str, orders: Orders, *more: str) -> None:
        """One trainer that is to die by its own SIGKILL.

        Raises:
            Failed: It ended in another way.
        """
        code = self._run(name, orders, more)
        if code != -signal.SIGKILL:
            raise self._failure(code, name, "the training that was to be killed")

    def nondeterministic_operations(self) -> list[str]:
        """What torch has warned of: operations without a kernel that repeats its bits."""
        lines = self._output.read_text(errors="replace").splitlines()
        words = (line.partition(_NOT_DETERMINISTIC)[0].split() for line in lines if _NOT_DETERMINISTIC in line)
        return list(dict.fromkeys(found[-1] for found in words if found))

    def _run(self, name: str, orders: Orders, more: Sequence[str]) -> int:
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
        environment[REHEARSAL_VARIABLE] = msgspec.json.encode(orders).decode()
        argv = [sys.executable, "-m", "ckptop.cli", *_arguments(self._subject, self._store, name), *more]
        log = self._store / name / "metrics.jsonl"
        steps_of_run_before = len(step_lines(log))
        with self._output.open("ab") as output:
            child = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            self._watch(child.pid, log, steps_of_run_before)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
        self._steps_before += len(step_lines(log)) - steps_of_run_before
        return code

    def _watch(self, pid: int, log: Path, steps_of_run_before: int) -> None:
        """Return when the process has ended; it is not reaped."""
        pidfd = os.pidfd_open(pid)
        try:
            while not select.select([pidfd], [], [], _LOOK_SECONDS)[0]:
                self._on_step(self._steps_before + len(step_lines(log)) - steps_of_run_before)
        finally:
            os.close(pidfd)

    def _failure(self, code: int, name: str, what: str) -> Failed | Refused:
        words = self._last_words()
        if code in _BAD_INPUT:
            return Refused(words, code)
        step = max((line.step for line in step_lines(self._store / name / "metrics.jsonl")), default=0)
        where = f"{what} failed {f'after step {step}' if step else 'before its first step'}"
        if code == -signal.SIGKILL:
            return Failed(f"{where}: it was killed, most likely for want of memory; its last words: {words}")
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return Failed(f"{where} ({how}): {words}")

    def _last_words(self) -> str:
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - _WORDS_BYTES))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        if _TRACEBACK in lines:  # what was raised is its first line that is not indented; more may follow
            raised = lines[len(lines) - lines[::-1].index(_TRACEBACK) :]
            return next((line for line in raised if not line.startswith(" ")), lines[-1].strip())
        return lines[-1].strip().removeprefix("ckptop: ") if lines else "it said nothing"


def overridden(subject: Subject) -> TrainConfig[TaskOptions]:
    """A configuration in which the keys that a rehearsal overrides have the run's own values, the others a default.

    A value that a task's own defaults give such a key is not known here.

    Raises:
        UsageError: A value is wrong: the trainers would not notice, since they never see it.
    """
    file = read_toml(subject.config_file) if subject.config_file is not None else {}
    given = [pair for pair in subject.assignments if pair[0] in _OVERRIDES]
    config = layered(TrainConfig(model=TaskOptions()), {key: file[key] for key in file.keys() & _OVERRIDES.keys()})
    return layered(config, assignments(given), lax=True)


def step_lines(log: Path) -> list[StepLine]:
    """The lines of steps in a metric log, in the order of the file; none without a file."""
    try:
        lines = log.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    decoded = (msgspec.json.decode(line) for line in lines if line.endswith(b"\n"))
    return [StepLine(line["step"], line["epoch"], line["time"], line[_LOSS]) for line in decoded if _LOSS in line]


def _arguments(subject: Subject, store: Path, name: str) -> list[str]:
    """`ckptop train` with the options of the run, under a name of its own."""
    arguments = ["train", subject.task, "--store", str(store), "--name", name]
    if subject.data is not None:
        arguments += ["--data", str(subject.data)]
    if subject.config_file is not None:
        arguments += ["--config", str(subject.config_file)]
    for key, value in (*subject.assignments, *_OVERRIDES.items()):
        arguments += ["--set", f"{key}={value}"]
    return arguments
