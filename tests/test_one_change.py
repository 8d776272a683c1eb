"""A change to one run of many opens what is that run's own: it costs nothing that grows with the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dashboard import StillSampler
from store_fixture import RunPlan, build_store

from ckptop.store.events import append_event
from ckptop.store.layout import RunPaths
from ckptop.store.notices import StoreNotices
from ckptop.tui.look import Asked, StoreLook

RUNS = 200
CHANGED = "run-107"

_opened: list[str] | None = None


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event in ("open", "os.listdir", "os.scandir"):
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")


sys.addaudithook(_hear)  # it cannot be taken away again, and hears nothing outside of `opened_in`


@contextmanager
def opened_in(store: Path) -> Iterator[list[str]]:
    """What of a store is opened or listed within the block; a name relative to a directory is told by that."""
    global _opened
    found: list[str] = []
    everything: list[str] = []
    _opened = everything
    try:
        yield found
    finally:
        _opened = None
        found += [path.removeprefix(f"{store}/") for path in everything if path.startswith(str(store))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plans = [RunPlan(name=f"run-{number:03d}", phase="finished", epochs=2, checkpoints=1) for number in range(RUNS)]
    return build_store(tmp_path_factory.mktemp("many") / "runs", plans)


def change_one(store: Path) -> None:
    """What a trainer writes about a save: a line of metrics, an event, a name in a directory, a status."""
    paths = RunPaths(store / CHANGED)
    with paths.metrics.open("a") as log:
        log.write(json.dumps({"step": 49, "epoch": 3, "train/loss": 0.1234}) + "\n")
    append_event(paths, "saved", step=49, checkpoint="training/x.pt")
    paths.status.write_bytes(paths.status.read_bytes())
    (paths.checkpoints.training / "stranger").touch()
    (paths.checkpoints.training / "stranger").unlink()


def look_of_dashboard(store: Path) -> Callable[[frozenset[str]], object]:
    """As the reader's thread looks: one run selected, others on screen, the changed one among them."""
    look = StoreLook(store, "./runs", sampler=StillSampler())
    visible = tuple(f"run-{number:03d}" for number in range(100, 130))

    def read(changed: frozenset[str]) -> object:
        snapshot = look.read(Asked(changed, "run-003", visible))
        while look.is_behind:
            snapshot = look.read(Asked(frozenset(), "run-003", visible))
        return snapshot

    return read


def look_of_watch(store: Path) -> Callable[[frozenset[str]], object]:
    notices = StoreNotices(store)
    list(notices.begin())
    return lambda changed: list(notices.look(changed))


@pytest.mark.parametrize("looker", [look_of_dashboard, look_of_watch])
def test_a_change_to_one_run_of_many_opens_nothing_of_the_others(
    store: Path, looker: Callable[[Path], Callable[[frozenset[str]], object]]
) -> None:
    look = looker(store)
    look(frozenset({""}))
    look(frozenset())
    change_one(store)

    with opened_in(store) as opened:
        found = look(frozenset({CHANGED}))

    assert {path.partition("/")[0] for path in opened} == {CHANGED}
    assert len(opened) < 20
    assert found


def test_a_look_without_a_change_opens_nothing(store: Path) -> None:
    look = look_of_dashboard(store)
    look(frozenset({""}))

    with opened_in(store) as opened:
        look(frozenset())

    assert opened == []
