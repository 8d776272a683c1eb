"""What the metric of an epoch decides: what is best, when to stop, when to lower the rate, when to warn.

Best is any improvement. Early stopping and the plateau schedule ask for `min_delta` more than the last value that
counted, so that a metric which creeps does not hold them up for ever.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

from ckptop.store.checkpoint_info import metric_mode
from ckptop.store.errors import UsageError
from ckptop.store.records import Mode
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.state import Best, Progress

if TYPE_CHECKING:
    from ckptop.trainer.task import Task

DEGRADED_SHARE = 0.05
"""A metric this much worse than the best is worth an alert."""


def choose_metric(task: Task[Any], config: TrainConfig[Any]) -> tuple[str, Mode]:
    """The metric that says what best means: `metric_for_best`, else the task's own.

    Raises:
        UsageError: The evaluation has no such metric; the nearest is named.
    """
    name, mode = task.metric
    if config.metric_for_best is not None:
        name = config.metric_for_best
    metrics = {f"val/{key}": metric for key, metric in task.metrics().items()}
    known = ["val/loss", *metrics]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(f"val/{name}", known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"metric_for_best: {task.name} has no {name!r}; {hint}There are: {', '.join(known)}")
    if name == task.metric[0]:
        return name, mode
    higher = getattr(metrics.get(name), "higher_is_better", None)
    return name, metric_mode(name) if higher is None else ("max" if higher else "min")


def improves(value: float, reference: float | None, mode: Mode, min_delta: float = 0.0) -> bool:
    """Whether `value` is better than `reference` by more than `min_delta`; NaN never is."""
    if reference is None or math.isnan(value):
        return not math.isnan(value)
    return value < reference - min_delta if mode == "min" else value > reference + min_delta


def note_epoch(progress: Progress, value: float, mode: Mode, config: TrainConfig[Any]) -> bool:
    """Take the metric of the epoch that just ended into `progress`; True where the rate is lowered for it."""
    best, trend = progress.best, progress.trend
    if improves(value, best.value if best is not None else None, mode):
        progress.best = Best(value, progress.epoch, progress.step)
    if improves(value, trend.reference, mode, config.min_delta):
        trend.reference, trend.stale_epochs, trend.plateau_epochs = value, 0, 0
        return False
    trend.stale_epochs += 1
    trend.plateau_epochs += 1
    if config.scheduler != "plateau" or trend.plateau_epochs < config.plateau_epochs:
        return False
    trend.plateau_epochs = 0
    trend.reductions += 1
    return True


def is_out_of_patience(progress: Progress, config: TrainConfig[Any]) -> bool:
    """Whether early stopping ends the training here."""
    return config.patience_epochs is not None and progress.trend.stale_epochs >= config.patience_epochs


def lost_share(value: float, best: Best | None, mode: Mode) -> float:
    """How much worse than the best a value is, as a share of the best; below 0 where it is better."""
    if best is None or math.isnan(value):
        return 0.0
    worse = value - best.value if mode == "min" else best.value - value
    return worse / abs(best.value) if best.value else math.copysign(math.inf, worse) if worse else 0.0
