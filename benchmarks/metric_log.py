"""Reading a log of a million lines with five metrics, beside `json.loads` line by line; each in a process of its own.

    python benchmarks/metric_log.py

Memory is the peak over that of the same process before reading.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ckptop.store.metric_log import MetricLog
from ckptop.store.metric_writer import MetricWriter

LINES = 1_000_000
NAMES = ("train/loss", "train/accuracy", "lr", "grad_norm", "samples_per_second")


def write(path: Path) -> None:
    writer = MetricWriter(path)
    for step in range(LINES):
        values = (math.exp(-step / 3e5), 1 - math.exp(-step / 2e5), 0.001, 1 + step % 7 / 10, 5120.5)
        writer.log(step, dict(zip(NAMES, values, strict=True)), epoch=1 + step // 10_000)
    writer.close()


def read_with_metric_log(path: Path) -> float:
    log = MetricLog(path)
    log.poll()
    assert all(len(log.series(name).value) == LINES for name in NAMES)
    return float(sum(log.series(name).value.sum() for name in NAMES))


def read_with_json(path: Path) -> float:
    """The plain way: a list a metric, then arrays."""
    columns: dict[str, list[tuple[int, float]]] = {name: [] for name in NAMES}
    with path.open("rb") as file:
        for line in file:
            fields = json.loads(line)
            for name in NAMES:
                columns[name].append((fields["step"], fields[name]))
    return float(sum(np.array(column)[:, 1].sum() for column in columns.values()))


def measure(
    read: Callable[[Path], float], path: Path, answers: multiprocessing.Queue[tuple[float, float, float]]
) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    total = read(path)
    seconds = time.perf_counter() - begin
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((seconds, (peak_kib - before_kib) / 1024, total))


def main() -> None:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        write(path)
        print(f"{LINES:,} lines, {path.stat().st_size / 1e6:.0f} MB")
        results = []
        for name, read in (("MetricLog", read_with_metric_log), ("json.loads", read_with_json)):
            answers = spawn.Queue()
            process = spawn.Process(target=measure, args=(read, path, answers))
            process.start()
            seconds, peak_mib, total = answers.get()
            process.join()
            results.append((seconds, total))
            print(f"{name:10} {seconds:6.2f} s   {peak_mib:7.0f} MiB over the baseline")
        (ours, our_total), (theirs, their_total) = results
        assert math.isclose(our_total, their_total)
        print(f"json.loads takes {theirs / ours:.1f} times as long")


if __name__ == "__main__":
    main()
