"""Timing two ways of doing one thing in turn, and the lines that say which took how long.

Rounds alternate between ours and the peers, so that a machine that slows down slows all of them down.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CKPTOP = str(Path(sys.executable).with_name("ckptop"))
"""The command as installed beside this interpreter."""


def seconds_of(action: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def cpu_seconds_of(action: Callable[[], object]) -> float:
    """How much processor time of this process one call takes, whatever else runs."""
    start = time.process_time()
    action()
    return time.process_time() - start


def seconds_of_command(argv: Sequence[str]) -> float:
    """From starting a program to its end; a failure is an error, its output is dropped."""
    start = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, env=environment())
    return time.perf_counter() - start


def environment() -> dict[str, str]:
    """Of a program started from here: it may keep its bytecode, as an installed one has it.

    Where PYTHONDONTWRITEBYTECODE is set, an editable install is compiled at each start: 70 ms for the dashboard.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def alternate(
    actions: Mapping[str, Callable[[], float]], rounds: int, *, before: Callable[[], None] | None = None
) -> dict[str, list[float]]:
    """Seconds by name, each action once a round, after one round that is not counted.

    Every round begins with another one, so that none always pays for what the same one left behind.
    """
    found: dict[str, list[float]] = {name: [] for name in actions}
    order = list(actions)
    for number in range(rounds + 1):
        for name in order:
            if before is not None:
                before()
            seconds = actions[name]()
            if number:
                found[name].append(seconds)
        order.append(order.pop(0))
    return found


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values lie, between two of them where it must."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def print_head(title: str) -> None:
    """Title, machine and its load: a figure taken beside other work says so."""
    load = os.getloadavg()[0]
    print(f"\n{title}\n{cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}")


def cpu_name() -> str:
    """The processor as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def print_seconds(found: Mapping[str, Sequence[float]], *, budgets: Mapping[str, float] | None = None) -> None:
    """Median, quartiles, fewest and the ratio to the last name, which is the peer."""
    width = max(len(name) for name in found)
    peer = statistics.median(list(found.values())[-1])
    print(f"{'':{width}}  median ms   quartiles        fewest   × last   n  budget")
    for name, values in found.items():
        low, middle, high = (quantile(values, part) * 1e3 for part in (0.25, 0.5, 0.75))
        budget = (budgets or {}).get(name)
        said = f"  {budget * 1e3:,.0f}" if budget is not None else ""
        print(
            f"{name:{width}}  {middle:>9,.1f}   {f'{low:,.1f}–{high:,.1f}':<15}  {min(values) * 1e3:>6,.1f}"
            f"  {middle / 1e3 / peer:>6.2f}  {len(values):>2}{said}"
        )


def print_facts(name: str, **facts: object) -> None:
    """One line of named figures."""
    print(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()))


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory on the repository's file system, not in memory; gone afterwards."""
    parent = ROOT / "build"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent) as path:
        yield Path(path)
