"""Reading a log of a million lines with five metrics, itself and from its cache, beside `json.loads` line by line.

    python benchmarks/metric_log.py

Each in a process of its own, in turn; memory is the peak over that of the same process before reading.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.report import print_facts, print_head, print_seconds, scratch

from ckptop.store.metric_cache import MetricCache
from ckptop.store.metric_log import MetricLog
from ckptop.store.metric_writer import MetricWriter

LINES = 1_000_000
ROUNDS = 3
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
    return total_of(log)


def read_from_cache(path: Path) -> float:
    log = cache_of(path).open(path)
    log.poll()
    return total_of(log)


def cache_of(path: Path) -> MetricCache:
    return MetricCache(path.parent / "cache")


def write_cache(path: Path) -> float:
    log = MetricLog(path)
    log.poll()
    begin = time.perf_counter()
    assert cache_of(path).keep(log)
    return time.perf_counter() - begin


def total_of(log: MetricLog) -> float:
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
    readers = {"MetricLog": read_with_metric_log, "from its cache": read_from_cache, "json.loads": read_with_json}
    with scratch() as folder:
        path = folder / "metrics.jsonl"
        write(path)
        print_head(f"{LINES:,} lines × {len(NAMES)} metrics, {path.stat().st_size / 1e6:.0f} MB")
        print_facts("writing the cache", once=f"{write_cache(path):.2f} s")
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, read in readers.items():
                answers = spawn.Queue()
                process = spawn.Process(target=measure, args=(read, path, answers))
                process.start()
                found[name].append(answers.get())
                process.join()
        totals = [answer[2] for answered in found.values() for answer in answered]
        assert all(math.isclose(total, totals[0]) for total in totals)
        print_seconds({name: [answer[0] for answer in answered] for name, answered in found.items()})
        peaks = {
            name: f"{statistics.median(answer[1] for answer in answered):.0f} MiB" for name, answered in found.items()
        }
        print_facts("memory over the baseline", **peaks)


if __name__ == "__main__":
    main()
