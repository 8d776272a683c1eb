"""What one `log` of five values costs a training loop, beside TensorBoard's SummaryWriter, wandb offline and trackio.

The last two where they are installed; all in one run. "ckptop, all of it" is what a loop does a step: the log call, the
progress that the heartbeat writes, and the look whether anybody asked for something.

    python benchmarks/log_call.py

Paced means one call every 5 ms, as a loop of 200 steps a second makes it, with either work in between or sleep. Work is
a training's: matrices go through the caches. After sleep the processor itself is cold, and the bare `os.write` of a
line shows how much of the time is the machine's.
"""

from __future__ import annotations

import importlib
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.tensorboard import SummaryWriter

from ckptop.store.metric_writer import MetricWriter
from ckptop.store.run import Run

UNPACED_CALLS = 10_000
PACED_CALLS = 1_000
PACE_SECONDS = 1 / 200
STEPS = itertools.count(1)
"""Counts on over all: wandb takes no step twice."""
LEFT, RIGHT = torch.ones(512, 1024), torch.ones(1024, 64)
VALUES = {"train/loss": 0.482, "train/accuracy": 0.91, "lr": 0.001, "grad_norm": 1.7, "samples_per_second": 5120.0}


def work(_seconds: float) -> None:
    """Half a millisecond of what a small model does, over 4 MiB."""
    torch.mm(LEFT, RIGHT)


class Pacing(NamedTuple):
    """What happens between two calls."""

    name: str
    calls: int
    seconds: float
    wait: Callable[[float], object]


def microseconds(log: Callable[[int], object], pacing: Pacing) -> tuple[float, float]:
    """Median and 99th percentile of one call."""
    taken = []
    due = time.perf_counter()
    for _ in range(pacing.calls):
        due += pacing.seconds
        while pacing.seconds and (left := due - time.perf_counter()) > 0:
            pacing.wait(left)
        step = next(STEPS)
        begin = time.perf_counter_ns()
        log(step)
        taken.append((time.perf_counter_ns() - begin) / 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


Log = Callable[[int], object]


@contextmanager
def bare_write(folder: Path) -> Iterator[Log]:
    """What no logger that loses nothing to a kill can undercut."""
    line = b"x" * 150 + b"\n"
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield lambda _: os.write(bare, line)
    os.close(bare)


@contextmanager
def our_line(folder: Path) -> Iterator[Log]:
    writer = MetricWriter(folder / "metrics.jsonl")
    yield lambda step: writer.log(step, VALUES, epoch=1)
    assert writer.lost_lines == 0
    writer.close()


@contextmanager
def our_step(folder: Path) -> Iterator[Log]:
    with Run.create(folder / "runs", name="mine", task="toy") as run:
        run.begin()

        def step(step: int) -> None:
            run.log(step, VALUES, epoch=1)
            run.progress(epoch=1, step=step, step_seconds=0.005)
            run.obey()
            assert not run.should_stop

        yield step


@contextmanager
def summary_writer(folder: Path) -> Iterator[Log]:
    writer = SummaryWriter(str(folder / "events"))

    def log(step: int) -> None:
        for name, value in VALUES.items():
            writer.add_scalar(name, value, step)

    yield log
    writer.close()


@contextmanager
def wandb_offline(folder: Path) -> Iterator[Log]:
    wandb: Any = importlib.import_module("wandb")
    run = wandb.init(project="ckptop", mode="offline", dir=str(folder), settings=wandb.Settings(silent=True))
    yield lambda step: run.log(VALUES, step=step)
    run.finish()


@contextmanager
def trackio_local(folder: Path) -> Iterator[Log]:
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    trackio: Any = importlib.import_module("trackio")
    trackio.init(project="ckptop")
    yield lambda step: trackio.log(VALUES, step=step)
    trackio.finish()


PACINGS = (
    Pacing("unpaced", UNPACED_CALLS, 0.0, work),
    Pacing("200/s, working", PACED_CALLS, PACE_SECONDS, work),
    Pacing("200/s, asleep", PACED_CALLS, PACE_SECONDS, time.sleep),
)
LOGGERS = {
    "os.write": bare_write,
    "ckptop": our_line,
    "ckptop, all of it": our_step,
    "SummaryWriter": summary_writer,
    "wandb": wandb_offline,
    "trackio": trackio_local,
}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        logs: dict[str, Log] = {}
        for name, logger in LOGGERS.items():
            try:
                logs[name] = stack.enter_context(logger(Path(folder)))
            except ModuleNotFoundError as error:
                print(f"{name} is left out: {error}")
        for pacing in PACINGS:
            found = {name: microseconds(log, pacing) for name, log in logs.items()}
            for name, (median, worst) in found.items():
                ratio = median / found["ckptop, all of it"][0]
                times = f"p50 {median:7.1f} µs   p99 {worst:8.1f} µs"
                print(f"{pacing.name:14} {name:18} {times}   {ratio:6.2f} × all of ours")


if __name__ == "__main__":
    main()
