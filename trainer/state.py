"""Where a training stands, and what of it goes into a checkpoint beside model and optimizer.

Saves happen between optimizer steps only, so a position is an epoch and a number of whole micro-batches.
The sums behind an epoch's averages are part of it: an average logged after a mid-epoch resume has the bits
of the uninterrupted one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ckptop.store.errors import Damaged, UsageError
from ckptop.trainer import rng
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.sampler import Batches


@dataclass(slots=True)
class Best:
    """The best value of the task's metric so far."""

    value: float
    epoch: int
    step: int


@dataclass(slots=True)
class Trend:
    """How the metric has moved lately: what early stopping and the plateau schedule go by."""

    reference: float | None = None
    """The last value that counted as an improvement, by `min_delta`."""
    stale_epochs: int = 0
    """Epochs since then."""
    plateau_epochs: int = 0
    """Epochs since then, or since the rate was lowered."""
    reductions: int = 0
    """How often the plateau schedule has lowered the rate."""


@dataclass(slots=True)
class Progress:
    """The position of the loop and what it has gathered in the epoch so far."""

    epoch: int = 1
    """The epoch in progress, or next; from 1."""
    batch: int = 0
    """Micro-batches of it that are done."""
    step: int = 0
    """Optimizer steps done in all epochs."""
    epoch_start_step: int = 0
    """`step` when the epoch began."""
    loss_sum: float = 0.0
    """Of the epoch so far, a sample counting once."""
    sample_count: int = 0
    """Samples behind `loss_sum`."""
    warm_epochs: float = 0.0
    """Epochs that were done when the warm-up ended, or that are while it lasts."""
    skipped_steps: int = 0
    """Newest steps in a row that a gradient scaler has skipped."""
    best: Best | None = None
    trend: Trend = field(default_factory=Trend)
    degraded: bool = False
    """Whether the metric stands far behind the best, and an alert has said so."""
    data_hash: str = ""
    """Of the data trained on last."""

    @property
    def last_epoch(self) -> int:
        """The epoch of the newest step; what a checkpoint saved now is called by."""
        return self.epoch if self.batch or self.epoch == 1 else self.epoch - 1

    def epochs_done(self, batches: Batches) -> float:
        """Epochs behind this position, with the share of the present one that is done."""
        return self.epoch - 1 + batches.bounds(self.batch)[0] / batches.sample_count

    def total_steps(self, config: TrainConfig[Any], batches: Batches) -> int:
        """Optimizer steps of the whole run; earlier epochs may have had another batch size."""
        left = -(-(batches.batch_count - self.batch) // batches.accumulate)
        return self.step + left + (config.epochs - self.epoch) * batches.step_count

    def begin_next_epoch(self) -> None:
        """The epoch is complete."""
        self.epoch += 1
        self.batch = 0
        self.epoch_start_step = self.step
        self.loss_sum, self.sample_count = 0.0, 0


def extra_of(progress: Progress, config: TrainConfig[Any], batches: Batches) -> dict[str, Any]:
    """What a checkpoint holds for an exact resume: random state, position in the data, the loop's own."""
    position = {"epoch": progress.epoch, "batch_in_epoch": progress.batch, "seed": config.seed}
    loop = asdict(progress)
    del loop["epoch"], loop["batch"]
    return {"rng": rng.capture(), "loader": position | asdict(batches), "loop": loop}


def progress_of(state: dict[str, Any], name: str, config: TrainConfig[Any], batches: Batches) -> Progress:
    """The position a checkpoint holds.

    Args:
        state: The content of the file.
        name: Its name, for messages.
        config: Of the attempt; of a fork it may have another seed and another metric.
        batches: How the data is cut now.

    Raises:
        Damaged: It was not saved by this trainer.
        UsageError: It is of the middle of an epoch that cannot be gone on with in such batches, or with such a seed.
    """
    try:
        loader, loop = dict(state["loader"]), dict(state["loop"])
        saved = Batches(loader["sample_count"], loader["batch_size"], loader["accumulate"])
        best = Best(**loop.pop("best")) if loop.get("best") else None
        trend = Trend(**loop.pop("trend", {}))
        own = {**loop, "best": best, "trend": trend}
        progress = Progress(epoch=loader["epoch"], batch=loader["batch_in_epoch"], **own)
        has_same_seed = loader["seed"] == config.seed
    except (KeyError, TypeError) as error:
        raise Damaged(f"{name} does not say where `ckptop train` stood ({error}); resume from another") from None
    if progress.batch and saved != batches:
        progress.batch = _translated(progress, name, saved, batches)
    if progress.batch and not has_same_seed:
        raise UsageError(
            f"{name} was saved within epoch {progress.epoch}, whose order another seed makes another; change it at an "
            f"epoch's end"
        )
    if dict(state.get("config") or {}).get("metric_for_best") != config.metric_for_best:
        progress.best, progress.degraded = None, False
        progress.trend = Trend(reductions=progress.trend.reductions)
    return progress


def _translated(progress: Progress, name: str, saved: Batches, now: Batches) -> int:
    """The micro-batch of `now` that begins where one of `saved` does: no sample is repeated and none left out.

    Raises:
        UsageError: None does, or it is other data.
    """
    done = saved.bounds(progress.batch)[0]
    batch, rest = divmod(done, now.batch_size)
    if saved.sample_count == now.sample_count and not rest and batch < now.batch_count:
        return batch
    if saved.sample_count == now.sample_count:
        why = f"{done:,} samples into it, which is no whole number of batches of {now.batch_size}"
    else:
        why = f"which had {saved.sample_count:,} samples and now has {now.sample_count:,}"
    if progress.epoch == 1:
        remedy = "change it at an epoch's end, or begin a new run"
    else:
        remedy = (
            f"change it from the end of epoch {progress.epoch - 1} on: --resume step={progress.epoch_start_step}, "
            f"of `ckptop resume` --from step={progress.epoch_start_step}"
        )
    raise UsageError(f"{name} was saved within epoch {progress.epoch}, {why}; {remedy}")
