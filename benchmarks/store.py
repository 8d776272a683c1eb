"""Reading a store without the dashboard: ten thousand manifests, a plan of retention, the change feed of a big tree.

    python benchmarks/store.py

The peers do the least that could be done: each file looked at, opened, read and closed, and nothing made of it;
json.load of each manifest; a bare watchdog observer of the same tree. Figures in CPU seconds leave out most of what
other programs do to the machine.
"""

from __future__ import annotations

import json
import os
import queue
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from support.report import (
    CKPTOP,
    alternate,
    cpu_seconds_of,
    print_facts,
    print_head,
    print_seconds,
    scratch,
    seconds_of,
    seconds_of_command,
)
from support.stores import write_run, write_store
from watchdog import events
from watchdog.observers import Observer

from ckptop.store.feed import StoreFeed
from ckptop.store.retention import Policy, Protection, plan
from ckptop.store.store import Store
from ckptop.store.views import RunView, read_run

ROUNDS = 9
APPENDS = 30
RUNS = 1_000
EVENTS = (
    events.FileModifiedEvent,
    events.FileCreatedEvent,
    events.FileDeletedEvent,
    events.FileMovedEvent,
    events.DirCreatedEvent,
    events.DirDeletedEvent,
    events.DirMovedEvent,
)


def main() -> None:
    with scratch() as folder:
        many = write_run(folder, "many", epochs=10_000, checkpoints=9_091).root
        listing(many)
        planning(read_run(many))
    with scratch() as folder:
        feeding(write_store(folder, RUNS))


def listing(root: Path) -> None:
    print_head("10,000 checkpoints in one run, from the page cache")
    actions = {
        "read_run": partial(seconds_of, partial(read_run, root)),
        "json.load of each manifest": partial(seconds_of, partial(load_plainly, root / "checkpoints")),
        "stat, open, fstat, read, close": partial(seconds_of, partial(read_barely, root / "checkpoints")),
    }
    print_seconds(alternate(actions, ROUNDS), budgets={"read_run": 0.2})
    print_cpu({"read_run": partial(read_run, root), "bare reading": partial(read_barely, root / "checkpoints")})
    loader = f"import json, glob\nfor path in glob.glob({str(root)!r} + '/checkpoints/*/*.json'): json.load(open(path))"
    processes = {
        "ckptop ls RUN": partial(seconds_of_command, [CKPTOP, "ls", root.name, "--store", str(root.parent)]),
        "python, json.load of each *.json": partial(seconds_of_command, [sys.executable, "-c", loader]),
    }
    print_seconds(alternate(processes, 5), budgets={"ckptop ls RUN": 0.5})


def read_barely(root: Path) -> None:
    """What no listing can do without, relative to the directory: of each file its facts, of each manifest its bytes."""
    for tier in ("training", "milestone"):
        directory = os.open(root / tier, os.O_RDONLY)
        for name in os.listdir(directory):  # noqa: PTH208  the least that could be done
            if name.endswith(".pt"):
                os.stat(name, dir_fd=directory, follow_symlinks=False)
                file = os.open(name[:-3] + ".json", os.O_RDONLY, dir_fd=directory)
                os.fstat(file)
                os.read(file, 65536)
                os.close(file)
        os.close(directory)


def load_plainly(root: Path) -> list[object]:
    found = []
    for tier in ("training", "milestone"):
        for entry in os.scandir(root / tier):
            if entry.name.endswith(".json") and not entry.name.endswith(".tensors.json"):
                with open(entry.path) as file:  # noqa: PTH123  the least that could be done
                    found.append(json.load(file))
    return found


def planning(view: RunView) -> None:
    policy = Policy(
        keep_last=10, keep_every_epochs=100, keep_best=5, metric="val/loss", tiers=("training", "milestone")
    )
    protection = Protection(metric=view.metric)
    actions = {
        "retention.plan of 10,000": partial(seconds_of, partial(plan, view.checkpoints, [policy], protection)),
        "sorting them once": partial(seconds_of, lambda: sorted(view.checkpoints, key=lambda info: info.order)),
    }
    print_seconds(alternate(actions, ROUNDS), budgets={"retention.plan of 10,000": 0.05})
    print_cpu({"retention.plan": partial(plan, view.checkpoints, [policy], protection)})


def print_cpu(actions: Mapping[str, Callable[[], object]]) -> None:
    found = alternate({name: partial(cpu_seconds_of, action) for name, action in actions.items()}, ROUNDS)
    print_facts("in CPU, fewest", **{name: f"{min(seconds) * 1e3:.1f} ms" for name, seconds in found.items()})


def feeding(root: Path) -> None:
    print_head(f"The change feed of {RUNS:,} runs × 20 checkpoints")
    actions = {
        "StoreFeed, until it watches": partial(feed_start, root),
        "StoreFeed.start returns": partial(feed_return, root),
        "Store.runs, all manifests": partial(seconds_of, Store(root).runs),
        "a bare watchdog observer": partial(observer_start, root),
    }
    print_seconds(alternate(actions, 5))
    times = append_times(root)
    print_facts("an append told of after", median=f"{statistics.median(times) * 1e3:.2f} ms", n=len(times))


def feed_start(root: Path) -> float:
    feed = StoreFeed(root, lambda _: None)
    began = time.perf_counter()
    feed.start()
    while feed.mode != "inotify":
        assert feed.problem is None, feed.problem
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    feed.stop()
    return seconds


def feed_return(root: Path) -> float:
    feed = StoreFeed(root, lambda _: None)
    seconds = seconds_of(feed.start)
    feed.stop()
    return seconds


def observer_start(root: Path) -> float:
    observer = Observer()
    began = time.perf_counter()
    observer.schedule(events.FileSystemEventHandler(), str(root), recursive=True, event_filter=[*EVENTS])
    observer.start()
    seconds = time.perf_counter() - began
    observer.stop()
    observer.join()
    return seconds


def append_times(root: Path) -> list[float]:
    told: queue.SimpleQueue[tuple[float, frozenset[str]]] = queue.SimpleQueue()
    feed = StoreFeed(root, lambda names: told.put((time.perf_counter(), names)))
    feed.start()
    while feed.mode != "inotify":
        time.sleep(0.001)
    found = []
    for number in range(APPENDS):
        name = f"run-{number * 7:04d}"
        with (root / name / "metrics.jsonl").open("ab", buffering=0) as file:
            began = time.perf_counter()
            file.write(b'{"step":1000,"time":1.0,"train/loss":0.5}\n')
        while name not in (arrived := told.get(timeout=10))[1]:
            pass
        found.append(arrived[0] - began)
        time.sleep(0.05)
        while not told.empty():
            told.get()
    feed.stop()
    return found


if __name__ == "__main__":
    main()
