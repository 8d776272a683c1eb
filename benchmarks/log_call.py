"""What one `log` of five values costs a training loop, beside TensorBoard's SummaryWriter; both in one run.

    python benchmarks/log_call.py

Paced means one call every 5 ms, as a loop of 200 steps a second makes it: caches are cold then, and the bare `os.write`
of a line, which no logger can undercut, shows how much of the time is the machine's.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ckptop.store.metric_writer import MetricWriter

UNPACED_CALLS = 10_000
PACED_CALLS = 1_000
PACE_SECONDS = 1 / 200
VALUES = {"train/loss": 0.482, "train/accuracy": 0.91, "lr": 0.001, "grad_norm": 1.7, "samples_per_second": 5120.0}


def microseconds(log: Callable[[int], object], calls: int, pace_seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of one call."""
    taken = []
    due = time.perf_counter()
    for step in range(calls):
        due += pace_seconds
        while pace_seconds and (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        begin = time.perf_counter_ns()
        log(step)
        taken.append((time.perf_counter_ns() - begin) / 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours = MetricWriter(Path(folder) / "metrics.jsonl")
        peer = SummaryWriter(folder)
        line = b"x" * 150 + b"\n"
        bare = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def log_to_peer(step: int) -> None:
            for name, value in VALUES.items():
                peer.add_scalar(name, value, step)

        loggers: dict[str, Callable[[int], object]] = {
            "os.write": lambda _: os.write(bare, line),
            "ckptop": lambda step: ours.log(step, VALUES, epoch=1),
            "SummaryWriter": log_to_peer,
        }
        for pacing, calls, pace_seconds in (("unpaced", UNPACED_CALLS, 0.0), ("200/s", PACED_CALLS, PACE_SECONDS)):
            medians = []
            for name, log in loggers.items():
                median, worst = microseconds(log, calls, pace_seconds)
                medians.append(median)
                print(f"{pacing:8} {name:14} p50 {median:7.1f} µs   p99 {worst:8.1f} µs")
            print(f"{pacing:8} SummaryWriter takes {medians[2] / medians[1]:.0f} times as long")
        assert ours.lost_lines == 0
        os.close(bare)
        ours.close()
        peer.close()


if __name__ == "__main__":
    main()
