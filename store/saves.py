"""Carrying out one save: room is made, the file written and committed, it is told of, its link moves, the rules run.

In the loop's thread or, of an asynchronous manager, in the writer's: nothing here asks which.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.keeping import Keeper, OnEvent
from ckptop.store.manifest import Ranking, as_float, stored_metrics
from ckptop.store.names import milestone_name, training_name
from ckptop.store.saving import SavePoint, Saver, Surpassed
from ckptop.store.state_dicts import State


@dataclass(frozen=True, slots=True)
class Moment:
    """When a save began, and how long it kept the loop."""

    began: float
    """On the monotonic clock."""
    blocked_seconds: float | None = None
    """None where the loop waits for all of it."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """What a milestone is made for."""

    ranking: Ranking
    value: float
    epoch: int
    step: int
    metrics: dict[str, Any]
    at: SavePoint

    def name(self, copy: int) -> str:
        """Its file name; `copy` counts from 1 where there are several of one value and epoch."""
        return milestone_name(self.ranking.name, self.value, self.epoch, copy)

    def state_of(self, training: State) -> State:
        """What its file holds where its bytes cannot be those of the training checkpoint of its step."""
        metrics = {name: as_float(value) for name, value in self.metrics.items()}
        return {**training, "checkpoint_type": "milestone", "metrics": metrics}


@dataclass(frozen=True, slots=True)
class SaveTimes:
    """What a save took."""

    blocked_seconds: float
    """How long the loop stood still for it."""
    durable_seconds: float
    """Until it survived a power cut."""


@dataclass(slots=True)
class Saves:
    """The saves of one manager."""

    saver: Saver
    keeper: Keeper
    on_event: OnEvent
    times: SaveTimes | None = None
    """Of the newest training checkpoint; None before the first."""

    def training(self, state: State, at: SavePoint, moment: Moment) -> Path:
        """Commit a training checkpoint; returns its path.

        Raises:
            OSError: The disk refused; nothing was committed.
            UsageError: The state holds more than tensors and plain data.
        """
        epoch, step = state["epoch"], state["global_step"]
        final, size_bytes = self.keeper.with_room(
            step, lambda: self.saver.write(state, "training", lambda copy: training_name(epoch, step, copy), at)
        )
        seconds = round(time.monotonic() - moment.began, 6)
        blocked = seconds if moment.blocked_seconds is None else moment.blocked_seconds
        self.times = SaveTimes(blocked, seconds)
        details = {"checkpoint": f"training/{final.name}", "size_bytes": size_bytes, "seconds": seconds}
        if moment.blocked_seconds is not None:
            details["blocked_seconds"] = round(moment.blocked_seconds, 6)
        self.on_event("saved", step, details)
        self.keeper.settle(step, final)
        return final

    def milestone(self, wanted: Milestone, source: CheckpointInfo | None, state: Callable[[], State]) -> Path | None:
        """Commit a milestone; None where one as good was made meanwhile.

        Args:
            wanted: What it is made for.
            source: A training checkpoint of the same state, whose bytes it shares; None where there is none.
            state: What to write otherwise.

        Raises:
            OSError: The disk refused; nothing was committed.
        """
        step, shared, final = wanted.step, stored_metrics(wanted.metrics), None
        try:
            if source is not None:
                final = self.keeper.with_room(
                    step, lambda: self.saver.link(source, wanted.ranking, shared, wanted.name)
                )
            if final is None:
                final, _size_bytes = self.keeper.with_room(
                    step, lambda: self.saver.write(state(), "milestone", wanted.name, wanted.at, wanted.ranking)
                )
        except Surpassed:
            return None
        details = {"checkpoint": f"milestone/{final.name}", "metric": wanted.ranking.name, "value": wanted.value}
        self.on_event("milestone", step, details)
        self.keeper.settle(step, final, wanted.ranking)
        return final
