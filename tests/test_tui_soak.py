"""A week of watching, compressed: runs come, work, are moved, torn and removed by the thousand, and nothing is kept.

Everything that the dashboard remembers of a run goes with the run: no container still names one that is gone. Memory,
descriptors, threads and inotify watches end where they stood half-way.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from busy_store import GHOST, BusyStore
from dashboard import Dashboard, open_dashboard
from textual.cache import FIFOCache, LRUCache

from ckptop.store.feed import StoreFeed

KEYS = ("j", "k", "j", "k", "space", "1", "2", "3", "4", "enter", "escape", "6", "8", "7", "5", "plus", "n", "o", "a")
"""What somebody presses who looks around and changes nothing."""

DEEDS = 10
"""Done to the store between two keys."""

GROWN_BLOCKS, GROWN_BYTES = 20_000, 8 << 20
"""Between half-time and the end; measured are 9,000 and 3 MiB, a leak of four more objects a deed is over it."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds."""

    blocks: int
    """Of Python's own allocator: what every leak of small objects is seen by."""
    resident_bytes: int
    descriptors: int
    threads: int
    watches: int


def held() -> Held:
    """What this process holds now, beside caches that have a bound: those still fill up, so they are emptied first."""
    for found in gc.get_objects():
        kind = type(found)  # `isinstance` asks lazy modules for their class, and they answer with warnings
        if issubclass(kind, FIFOCache | LRUCache):
            found.clear()
        elif issubclass(kind, functools._lru_cache_wrapper):
            found.cache_clear()
    gc.collect()
    return Held(
        blocks=sys.getallocatedblocks(),
        resident_bytes=psutil.Process().memory_info().rss,
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        watches=sum(_watches()),
    )


def _watches() -> Iterator[int]:
    for place in Path("/proc/self/fdinfo").iterdir():
        try:
            yield place.read_text().count("inotify wd:")
        except OSError:  # it was the one that lists the directory
            continue


def hoards(gone: set[str], known: set[str]) -> list[str]:
    """Containers that hold the names of many runs that are `gone`, as parts of any strings; `known` is the test's own.

    A few are nothing to fear: where a range of marks began, what changed within the last second.
    """
    gc.collect()
    found = []
    for container in gc.get_objects():
        if container is gone or container is known:
            continue
        if type(container) is dict:
            held_strings = [item for pair in container.items() for item in pair if type(item) is str]
        elif type(container) in (set, frozenset, list):
            held_strings = [item for item in container if type(item) is str]
        else:
            continue
        named = [text for text in held_strings if GHOST in text and any(name in text for name in gone)]
        if len(named) > len(gone) // 10:
            found.append(f"{type(container).__name__} of {len(container)}, {len(named)} of them such as {named[0]!r}")
    return found


async def watch(dashboard: Dashboard, store: BusyStore, chance: random.Random, rounds: int) -> None:
    """Let much happen, and look at all of it."""
    for count in range(rounds):
        for _ in range(DEEDS):
            store.live_on()
        await dashboard.press(chance.choice(KEYS))
        if count % 10 == 9:
            await until_seen(dashboard, store)
    await dashboard.press(*["escape"] * 6, "1")
    await until_seen(dashboard, store)
    await dashboard.until(lambda: not dashboard.app._notifications, "the toasts to go")


async def until_seen(dashboard: Dashboard, store: BusyStore) -> None:
    await dashboard.until(
        lambda: sorted(run.name for run in dashboard.snapshot.runs) == store.names(), "the runs that are there"
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BusyStore:
    """A store of five runs, and a reader that waits for nothing."""
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for name in ("LONE_SECONDS", "STREAM_SECONDS"):
        monkeypatch.setattr(f"ckptop.tui.reader.{name}", 0.0)
    monkeypatch.setattr("ckptop.tui.alert_book.JUDGE_SECONDS", 0.0)
    defaults = StoreFeed.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "slow_seconds", 0.5)
    busy = BusyStore(tmp_path / "runs")
    for _ in range(5):
        busy.start()
    return busy


@pytest.mark.parametrize("rounds", [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
async def test_a_week_of_runs_leaves_nothing_behind(store: BusyStore, rounds: int) -> None:
    chance = random.Random(rounds)  # noqa: S311  no secrets
    async with open_dashboard(store.root, watch=True) as dashboard:
        await watch(dashboard, store, chance, rounds)
        before = held()

        await watch(dashboard, store, chance, rounds)
        after = held()

        assert hoards(store.born - set(store.names()), store.born) == []
        directories = 1 + sum(len(folders) for _, folders, _ in os.walk(store.root))
        assert after.watches <= directories
        assert after.descriptors <= before.descriptors + 2
        assert after.threads <= before.threads + 2
        assert after.blocks <= before.blocks + GROWN_BLOCKS
        assert after.resident_bytes <= before.resident_bytes + GROWN_BYTES
    assert min(store.done.values()) >= rounds // 10
