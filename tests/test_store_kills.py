"""A real trainer killed at any moment, again and again on one run: what was committed or logged is never lost.

Importing torch takes longer than an attempt lasts, so a driver imports it once and forks each trainer; its data workers
come from a fork server of its own, as ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from trainer_runs import assert_same_training, child_environment

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, in_lineage, is_live, latest_of, scan_tier
from ckptop.store.going_back import recorded_attempts
from ckptop.store.layout import RunPaths
from ckptop.store.manifest import TIERS
from ckptop.store.metric_log import MetricLog
from ckptop.store.resume import Start, choose_start
from ckptop.store.verify import verify_checkpoint, verify_run
from ckptop.store.views import RunView, read_run

SETTINGS = ("scheduler=constant", "model.hidden=[8]", "keep_training=2", "keep_milestones=2")
BUSY = ("save_every_steps=2", "system_interval_seconds=0.05", "epochs=1000")
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.0005
AIM_SECONDS = 5.0
"""How long an aim is waited for: a milestone is made only where the metric improves."""

DRIVER = """
import json, os, sys
import sklearn.datasets, sklearn.model_selection
import ckptop.cli.train, ckptop.trainer.tasks.diabetes, ckptop.trainer.tensorboard, ckptop.trainer.train
from ckptop.cli.main import run

for line in sys.stdin:
    arguments, output = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv[1:] = arguments
        sys.exit(run(arguments))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

IsTime = Callable[[], bool]


class Trainers:
    """Starts `ckptop train` as a process and session of its own, one at a time."""

    def __init__(self, store: Path) -> None:
        self.store, self.output = store, store / "output.txt"
        self.pid: int | None = None
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process of several is not to be forked
        self._driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER], env=child_environment() | one_thread, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, name: str, *settings: str, resume: str = "auto") -> None:
        """Start the trainer of the run `name`."""
        assert self._driver.stdin is not None
        options = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
        arguments = ["train", "diabetes", "--store", str(self.store), "--name", name, "--resume", resume, *options]
        self._driver.stdin.write(json.dumps([arguments, str(self.output)]) + "\n")
        self._driver.stdin.flush()
        self.pid = self._answer()

    def wait(self, seconds: float, is_time: IsTime | None = None) -> None:
        """Wait until `is_time` or the time is up; the trainer must live on meanwhile."""
        assert self.pid is not None
        deadline = time.monotonic() + seconds
        pidfd = os.pidfd_open(self.pid)
        try:
            while (left := deadline - time.monotonic()) > 0 and not (is_time is not None and is_time()):
                ended, _, _ = select.select([pidfd], [], [], left if is_time is None else min(left, LOOK_SECONDS))
                assert not ended, f"the trainer ended by itself: {self.last_words()}"
        finally:
            os.close(pidfd)

    def kill(self) -> None:
        """SIGKILL to the trainer alone; its helpers must end by themselves."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        assert self.end() == -signal.SIGKILL

    def end(self) -> int:
        """Wait for the end of the trainer and of everything it started; returns its exit code."""
        assert self.pid is not None
        session, code = self.pid, self._answer()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while left_behind := list(_session_of(session)):
            assert time.monotonic() < deadline, f"left behind: {left_behind}"
            psutil.wait_procs(left_behind, timeout=1)
        self.pid = None
        return code

    def last_words(self) -> str:
        """What the trainers printed last."""
        return self.output.read_text()[-2000:]

    def close(self) -> None:
        """End everything, whatever state it is in."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._driver.communicate()

    def _answer(self) -> int:
        assert self._driver.stdout is not None
        return int(self._driver.stdout.readline())


def _session_of(leader: int) -> Iterator[psutil.Process]:
    """The living processes of a session: they keep it when their parent has died."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                yield process


# Where kills are aimed at


def names(paths: RunPaths) -> frozenset[str]:
    """Everything in the run's `checkpoints/`."""
    root = str(paths.checkpoints.root)
    return frozenset(os.path.join(at, name)[len(root) :] for at, _, files in os.walk(root) for name in files)


def appears(pattern: str) -> Callable[[RunPaths], IsTime]:
    """When a file of such a name is new."""

    def aim(paths: RunPaths) -> IsTime:
        known = names(paths)
        return lambda: any(re.search(pattern, name) for name in names(paths) - known)

    return aim


def vanishes(pattern: str) -> Callable[[RunPaths], IsTime]:
    """When a file of such a name is gone."""

    def aim(paths: RunPaths) -> IsTime:
        known = names(paths)
        return lambda: any(re.search(pattern, name) for name in known - names(paths))

    return aim


def logs(lines: int) -> Callable[[RunPaths], IsTime]:
    """When so many lines are appended; the first of an attempt is its attempt line."""

    def aim(paths: RunPaths) -> IsTime:
        wanted = _lines_of(paths).count(b"\n") + lines
        return lambda: _lines_of(paths).count(b"\n") >= wanted

    return aim


def _lines_of(paths: RunPaths) -> bytes:
    """The whole lines of metrics.jsonl."""
    try:
        data = paths.metrics.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


@dataclass(frozen=True)
class Aim:
    """What a kill waits for, and how long at most it then tarries."""

    of: Callable[[RunPaths], IsTime] | None
    tarry_seconds: float = 0.01
    in_training: bool = True
    """Whether the attempt is let train first."""
    goes_back: bool = False
    """Whether the attempt starts from an older checkpoint than the newest."""
    workers: int = 0
    """Processes that load data; they take 2 s to start."""


AIMS = {
    "torn weights": Aim(appears(r"^/.staging/.*step_\d+\.pt\.tmp$"), workers=2),
    "torn tensor index": Aim(appears(r"^/.staging/.*\.tensors\.json\.tmp$"), 0.003),
    "torn manifest": Aim(appears(r"^/.staging/.*\d\.json\.tmp$"), 0.002),
    "commit": Aim(appears(r"^/training/.*\d\.pt$"), 0.005),
    "milestone": Aim(appears(r"^/milestone/.*\d\.pt$"), workers=2),
    "retention": Aim(vanishes(r"^/training/.*\d\.pt$"), 0.002),
    "attempt line": Aim(logs(1), 0.005, in_training=False),
    "going back": Aim(appears(r"^/.discarded/"), 0.005, in_training=False, goes_back=True),
    "training after going back": Aim(None, 0.5, goes_back=True, workers=2),
    "start-up": Aim(None, 0.2, in_training=False),
    "any moment": Aim(None, 1.0, in_training=False),
    "any moment with workers": Aim(None, 4.0, in_training=False, workers=2),
}


# What must hold after each of them


@dataclass
class Witness:
    """Remembers what could be seen of a run, and what it must therefore still be."""

    paths: RunPaths
    lines: bytes = b""
    """Whole lines of metrics.jsonl."""
    seen: dict[str, CheckpointInfo] = field(default_factory=dict)
    """Checkpoints seen committed, by id: what stood after the kill before, and what the attempt was seen to add."""
    standing: frozenset[str] = frozenset()
    """Those that stood after that kill."""
    start: Start = field(default_factory=Start)
    """Where the next attempt begins."""
    selector: str = "auto"

    def look(self) -> None:
        """See what any reader may see while the trainer works."""
        lines = _lines_of(self.paths)
        assert lines.startswith(self.lines)
        self.lines = lines
        self.seen |= by_id(self._committed())

    def check(self) -> RunView | None:
        """Compare with what was seen before, now that nobody changes anything; None if there is no run yet."""
        before = len(_attempts(self.lines))
        self.look()
        if not self.paths.record.exists():
            assert not self.seen
            assert not self.lines
            return None
        assert [line["from_step"] for line in _attempts(self.lines)[before:]] in ([], [self.start.from_step])
        view = self._lineage()
        self._check_log(view)
        self._check_places(view)
        self._check_best_and_latest(view)
        report = verify_run(view)
        assert not report.damaged, report.findings
        self.seen = by_id(self._committed())
        self.standing = frozenset(self.seen)
        self.choose(view, "auto")
        assert self.start.notes == ()
        assert (self.start.from_step, self.start.from_checkpoint is None) == (
            max((info.step for info in view.checkpoints), default=0),
            not view.checkpoints,
        )
        return view

    def choose(self, view: RunView, selector: str) -> None:
        """Let the next attempt begin at `selector`."""
        self.selector, self.start = selector, choose_start(view, selector)

    def _committed(self) -> list[CheckpointInfo]:
        """Whatever stands anywhere: in the tiers, and put aside by going back."""
        checkpoints = self.paths.checkpoints
        found = [info for tier in TIERS[:2] for info in scan_tier(checkpoints.tier(tier), tier)]
        for tier in TIERS[:2]:
            for directory in checkpoints.discarded.glob(f"*/{tier}"):
                found += scan_tier(directory, tier)
        return found

    def _lineage(self) -> RunView:
        """The run as the next trainer takes it up: the attempt line counts, whether run.json has it or not."""
        view = read_run(self.paths.root)
        assert view.problem is None
        assert view.state in ("crashed", "finished") or (view.status, view.state) == (None, "unknown")
        assert view.record is not None
        record = recorded_attempts(self.paths, view.record)
        assert [(attempt.attempt, attempt.from_step) for attempt in record.attempts] == [
            (line["attempt"], line["from_step"]) for line in _attempts(self.lines)
        ]
        live = tuple(info for info in view.checkpoints if is_live(info, record.attempts))
        return replace(view, record=record, checkpoints=live)

    def _check_log(self, view: RunView) -> None:
        """Every line decodes; the live ones are the steps from 1 on, each once, and reach the newest checkpoint."""
        steps: list[int] = []
        for line in map(json.loads, self.lines.splitlines()):
            if "attempt" in line:
                steps = [step for step in steps if step <= line["from_step"]]
            elif "train/loss" in line:
                steps.append(line["step"])
        assert steps == list(range(1, len(steps) + 1))
        log = MetricLog(self.paths.metrics)
        log.poll()
        assert log.bad_lines == 0
        series = log.series("train/loss")
        assert series.step[~series.abandoned].tolist() == steps
        assert max((info.step for info in view.checkpoints), default=0) <= len(steps)

    def _check_places(self, view: RunView) -> None:
        """No checkpoint stands twice; what was abandoned is kept, and every byte of it is what was written."""
        assert view.record is not None
        committed = self._committed()
        places = Counter(info.manifest.id for info in committed if info.manifest)
        assert [key for key, count in places.items() if count > 1] == []
        for info in committed:
            assert verify_checkpoint(info) is None, info.path
        assert not list(self.paths.checkpoints.quarantine.rglob("*.pt"))
        for key in self.standing:
            assert places[key] == 1 or is_live(self.seen[key], view.record.attempts), self.seen[key].path

    def _check_best_and_latest(self, view: RunView) -> None:
        assert view.record is not None
        assert view.metric is not None
        attempts = view.record.attempts
        seen = [info for info in self.seen.values() if in_lineage(info.attempt, info.step, attempts)]
        latest, best = latest_of(seen), best_of(seen, view.metric.name, view.metric.mode)
        if latest is not None:
            assert view.latest is not None
            assert view.latest.order >= latest.order
        if best is not None:
            assert view.best is not None
            assert view.best.metric(view.metric.name) == best.metric(view.metric.name)


def by_id(found: Iterable[CheckpointInfo]) -> dict[str, CheckpointInfo]:
    """Without those whose manifest was deleted between the listing and the look."""
    return {info.manifest.id: info for info in found if info.manifest is not None}


def _attempts(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines() if line.startswith(b'{"attempt"')]


@pytest.fixture
def trainers(tmp_path: Path) -> Iterator[Trainers]:
    started = Trainers(tmp_path)
    yield started
    started.close()


def strike(trainers: Trainers, witness: Witness, aim: Aim, fraction: float, pick: float) -> None:
    """One attempt and its end; `fraction` says when within the aim, `pick` where it begins, both from 0 to 1."""
    view = witness.check()
    if aim.goes_back and view is not None and len(older := view.checkpoints[:-1]):
        witness.choose(view, older[int(pick * len(older))].name)
    is_begun = logs(2)(witness.paths)
    is_time = aim.of(witness.paths) if aim.of is not None else None
    trainers.start(witness.paths.root.name, *BUSY, f"workers={aim.workers}", resume=witness.selector)
    if aim.in_training:
        trainers.wait(PATIENCE_SECONDS, is_begun)
        assert is_begun()
        trainers.wait(0.3 * pick)
        witness.look()
        is_time = aim.of(witness.paths) if aim.of is not None else None
    if is_time is not None:
        trainers.wait(AIM_SECONDS, is_time)
    trainers.wait(fraction * aim.tarry_seconds)
    trainers.kill()


def test_a_trainer_killed_again_and_again_on_one_run_loses_nothing(tmp_path: Path, trainers: Trainers) -> None:
    """A dozen kills, each attempt beginning with what the one before left; then the bits of a run nobody touched."""
    kill_and_compare(tmp_path, trainers, seed=1, rounds=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 11))
def test_a_trainer_killed_hundreds_of_times_loses_nothing(tmp_path: Path, trainers: Trainers, seed: int) -> None:
    kill_and_compare(tmp_path, trainers, seed=seed, rounds=3)


def kill_and_compare(store: Path, trainers: Trainers, *, seed: int, rounds: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    witness = Witness(RunPaths(store / "mine"))
    order = [name for _ in range(rounds) for name in rng.sample(list(AIMS), len(AIMS))]
    for number, name in enumerate(order):
        with told(f"seed {seed}, kill {number + 1} of {len(order)}, aimed at: {name}"):
            strike(trainers, witness, AIMS[name], fraction=rng.random(), pick=rng.random())
    with told(f"seed {seed}, after the last kill"):
        finish_and_compare(store, trainers, witness)


def finish_and_compare(store: Path, trainers: Trainers, witness: Witness) -> None:
    """Two epochs more: the result is that of a run that was never interrupted."""
    view = witness.check()
    assert view is not None
    epochs = f"epochs={view.checkpoints[-1].epoch + 2}"
    trainers.start("mine", *BUSY[:2], epochs, "workers=2")
    assert trainers.end() == 0, trainers.last_words()
    trainers.start("straight", epochs)
    assert trainers.end() == 0, trainers.last_words()

    view = witness.check()

    assert view is not None
    assert view.state == "finished"
    checkpoints = witness.paths.checkpoints
    assert os.listdir(checkpoints.staging) == []
    standing = [info.path for tier in TIERS[:2] for info in scan_tier(checkpoints.tier(tier), tier)]
    assert sorted(standing) == sorted(info.path for info in view.checkpoints)  # what was abandoned was put aside
    assert_same_training(store / "straight", store / "mine")


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """What fails in the block says which kill it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(where)
        raise
