"""A store in which something happens all the time: a week of runs that come, work, are moved about and go."""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from store_fixture import RunPlan, build_run, write_checkpoint

from ckptop.store.errors import StoreError
from ckptop.store.events import append_event
from ckptop.store.files import read_json
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import encode
from ckptop.store.names import training_name
from ckptop.store.records import Exit, RunRecord, Status

MOST_RUNS = 12
GHOST = "ghost-"
"""How the name of every run begins."""


class BusyStore:
    """Does one thing after another to a store, the same for the same seed."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.done: dict[str, int] = {}
        """How often each thing was done."""
        self.born: set[str] = set()
        """Names of all runs there ever were."""
        self._chance = random.Random(seed)  # noqa: S311  no secrets
        self._deeds: list[Callable[[Path], None]] = [
            self.log, self.log, self.log, self.save, self.save, self.prune, self.alert, self.finish,
            self.rename, self.vanish, self.tear, self.mend,
        ]  # fmt: skip

    def names(self) -> list[str]:
        """The runs that are there."""
        return sorted(path.name for path in self.root.iterdir())

    def live_on(self) -> None:
        """Do something to one run; before that, let there be enough of them."""
        while len(names := self.names()) < MOST_RUNS // 2:
            self.start()
        if len(names) < MOST_RUNS and self._chance.random() < 0.2:
            self.start()
        deed = self._chance.choice(self._deeds)
        self._count(deed.__name__)
        deed(self.root / self._chance.choice(self.names()))

    def start(self) -> None:
        """A new run, whole or half copied."""
        name = self._new_name()
        plan = RunPlan(name=name, epochs=3, steps_per_epoch=5, checkpoints=2, size_bytes=64, seed=len(self.born))
        build_run(self.root, plan)
        self._count("start")
        if self._chance.random() < 0.2:
            self._count("half copied")
            record = RunPaths(self.root / name).record
            record.write_bytes(record.read_bytes()[:100])

    def log(self, run: Path) -> None:
        """Forty lines, a NaN among them now and then."""
        paths = RunPaths(run)
        with paths.metrics.open("a") as log:
            first = self._chance.randrange(10_000)
            for step in range(first, first + 40):
                loss: float | str = "NaN" if self._chance.random() < 0.001 else math.exp(-step / 4000)
                log.write(json.dumps({"step": step, "epoch": 4, "time": time.time(), "train/loss": loss}) + "\n")

    def save(self, run: Path) -> None:
        """Another checkpoint."""
        try:
            record = read_json(RunPaths(run).record, RunRecord)
        except (StoreError, OSError, ValueError):
            return
        plan = RunPlan(name=run.name, size_bytes=64, steps_per_epoch=5)
        epoch = self._chance.randrange(4, 10_000)
        name = training_name(epoch, epoch * 5)
        write_checkpoint(RunPaths(run), record, "training", name, epoch, plan, time.time())

    def prune(self, run: Path) -> None:
        """All but three checkpoints go."""
        for path in sorted(RunPaths(run).checkpoints.training.glob("*.pt"))[:-3]:
            path.unlink()
            manifest_path(path).unlink(missing_ok=True)

    def alert(self, run: Path) -> None:
        """Something is wrong."""
        step = self._chance.randrange(10_000)
        append_event(RunPaths(run), "alert", attempt=1, step=step, kind="degraded", message=f"{run.name} fell behind")

    def finish(self, run: Path) -> None:
        """It ends."""
        self._status(run, phase="finished", exit=Exit(code=0))

    def rename(self, run: Path) -> None:
        """Somebody moves it."""
        run.rename(self.root / self._new_name())

    def vanish(self, run: Path) -> None:
        """Somebody removes it."""
        shutil.rmtree(run)

    def tear(self, run: Path) -> None:
        """Its status is half written."""
        status = RunPaths(run).status
        status.write_bytes(status.read_bytes()[:40])

    def mend(self, run: Path) -> None:
        """Its status is whole again, and tells of a later step."""
        build = RunPlan(name=run.name, epochs=self._chance.randrange(4, 99))
        shutil.rmtree(run)
        build_run(self.root, build)

    def _new_name(self) -> str:
        name = f"{GHOST}{len(self.born):05}-"
        self.born.add(name)
        return name

    def _status(self, run: Path, **changes: object) -> None:
        path = RunPaths(run).status
        try:
            status = read_json(path, Status)
        except (StoreError, OSError, ValueError):
            return
        path.write_bytes(encode(msgspec.structs.replace(status, **changes)))

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1
