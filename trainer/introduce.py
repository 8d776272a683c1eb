"""What an attempt says before its first step: what is trained on what, and all that changed since the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch

from ckptop.store.errors import UsageError
from ckptop.store.run import Run
from ckptop.trainer.config import TrainConfig, as_dict, changes, layered
from ckptop.trainer.console import Console
from ckptop.trainer.optim import learning_rate
from ckptop.trainer.options import Settled
from ckptop.trainer.parts import Parts
from ckptop.trainer.state import Progress
from ckptop.trainer.task import TaskData


def introduce(
    console: Console,
    run: Run,
    settled: Settled,
    parts: Parts,
    progress: Progress,
    data: TaskData,
    other_data: str | None,
) -> None:
    """Say everything a person would want to have been told; `other_data` where it is not the checkpoint's."""
    config = parts.config
    for note in (*run.start.notes, *settled.notes):
        console.say(note)
    if run.is_resumed and run.start.from_checkpoint is not None:
        console.say(f"Resuming {run.name} from {run.start.from_checkpoint.name}, step {run.start.from_step:,}")
        known = f", best {parts.format_metric(progress.best.value)}" if progress.best is not None else ""
        console.say(f"Resumed from epoch {progress.epoch}{known}")
    for line in _changes(run, settled, parts, progress):
        console.say(line)
    if other_data is not None:
        console.say(other_data)
    console.say(
        f"Run {run.name}: {data.description}, {parts.parameter_count:,} parameters ({parts.trainable_count:,} "
        f"trainable), {count(config.epochs, 'epoch')} of {count(parts.train.batches.step_count, 'step')} on "
        f"{parts.device.torch_device} ({config.precision}, {count(torch.get_num_threads(), 'thread')}, "
        f"seed {config.seed})"
    )
    last = count(config.keep_training, "training checkpoint")
    best = config.keep_milestones
    milestones = "all milestones" if best is None else f"the best {count(best, 'milestone')}"
    console.say(f"Keeping the last {last} and {milestones}, in {run.root}")


def count(number: int, noun: str) -> str:
    """A number of things: `1 epoch`, `20 epochs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _changes(run: Run, settled: Settled, parts: Parts, progress: Progress) -> Iterator[str]:
    """What keeps this attempt from being bitwise what the run would have been, a line each."""
    manifest, saved = run.start.manifest, settled.recorded
    if manifest is not None and saved is not None:
        with suppress(UsageError):  # of another version of the task, which is no reason not to go on
            values = {key: manifest.config[key] for key in as_dict(saved).keys() & manifest.config.keys()}
            saved = layered(saved, {**values, "accept_new_data": False})
    # The run may have been changed after that checkpoint, which going back does not undo.
    since = changes(saved, parts.config) if saved is not None else {}
    for key, (old, new) in {**settled.changed, **since}.items():
        yield f"{key} was {old}, now {new}{consequence(key, old, new, parts)}"
    if saved is not None:
        yield from next_rate(saved, parts, progress)
    before = manifest.environment.get("pytorch_version") if manifest is not None else None
    if before not in (None, str(torch.__version__)):
        yield f"torch was {before}, now {torch.__version__}: the run is no longer bitwise exact"


def next_rate(before: TrainConfig[Any], parts: Parts, progress: Progress) -> Iterator[str]:
    """One line where the changes since `before` make the rate of the next step another."""
    batches = parts.train.batches
    old, new = learning_rate(before, progress, batches), learning_rate(parts.config, progress, batches)
    if old != new:
        yield f"the next step has lr {new:.4g} (was {old:.4g})"


def consequence(key: str, old: Any, new: Any, parts: Parts) -> str:
    """What a changed key does to the rest of the run; empty, or to be put behind a sentence."""
    config: TrainConfig[Any] = parts.config
    ends = f"the cosine schedule now ends at step {parts.schedule.total_steps:,}"
    if key == "epochs":
        return f"; {ends}" if config.scheduler == "cosine" else ""
    if key == "lr":
        return (
            "" if config.scheduler == "constant" else f"; the {config.scheduler} schedule goes on, times {new / old:g}"
        )
    if key in ("batch_size", "accumulate"):
        steps = count(parts.train.batches.step_count, "step")
        return f"; an epoch now has {steps}" + (f" and {ends}" if config.scheduler == "cosine" else "")
    if key == "seed":
        return (
            "; order, augmentation and dropout are drawn anew, and the split of the data where the task makes one: "
            "validation and test may hold samples that were trained on"
        )
    if key == "precision":
        return "; a gradient scaler begins anew" if new == "fp16" else ""
    if key == "metric_for_best":
        return "; best, patience and plateau begin anew"
    return ""
