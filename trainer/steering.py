"""What of the configuration can change while a training runs: the rate, and how many epochs it has.

A change is the one that a stop and `ckptop resume --set` would have made, without the stop: a checkpoint of this step
is saved first, then run.json has the new values, then they hold. So whoever resumes from the newest checkpoint, after
a kill at any later moment, goes on with the bits of the run that nobody killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptop.store.errors import UsageError
from ckptop.store.run import Run
from ckptop.trainer.config import TrainConfig, as_dict, changes, layered
from ckptop.trainer.introduce import consequence, next_rate
from ckptop.trainer.parts import Parts
from ckptop.trainer.state import Progress

KEYS = {"lr": "lr", "epochs": "epochs", "total_epochs": "epochs"}
"""What may be set, and the configuration key it is: total_epochs is what the status calls epochs."""


def steer(parts: Parts, run: Run, progress: Progress, wanted: Mapping[str, Any], save: Callable[[], str | None]) -> str:
    """Change configuration keys between two steps; returns what changed, in one line.

    Args:
        parts: What is trained.
        run: Its run.
        progress: Where the loop stands.
        wanted: Keys and new values, as JSON or text.
        save: Saves a checkpoint of this step; None where the disk refused.

    Raises:
        UsageError: A key cannot change while it runs, or a value is wrong. Nothing was changed.
        DiskError: run.json cannot be written. Nothing was changed.
    """
    before = parts.config
    after = _changed(before, wanted)
    changed = changes(before, after)
    if not changed:
        return "nothing changes: " + ", ".join(f"{key} is {getattr(before, KEYS[key])}" for key in wanted)
    if after.epochs < progress.epoch:
        raise UsageError(f"epoch {progress.epoch} has begun; total_epochs must be {progress.epoch} or more")
    parts.reconfigure(after, progress)
    saved = save()
    try:
        run.reconfigure(as_dict(after), total_epochs=after.epochs, total_steps=parts.schedule.total_steps)
    except BaseException:
        parts.reconfigure(before, progress)
        raise
    lines = [f"{key} was {old}, now {new}{consequence(key, old, new, parts)}" for key, (old, new) in changed.items()]
    lines += next_rate(before, parts, progress)
    if saved is None:
        lines.append("it was not saved here: a resume changes it as early as the newest checkpoint")
    return "; ".join(lines)


def _changed(config: TrainConfig[Any], wanted: Mapping[str, Any]) -> TrainConfig[Any]:
    layer: dict[str, Any] = {}
    for name, value in wanted.items():
        key = KEYS.get(name)
        if key is None:
            raise UsageError(
                f"{name!r} cannot change while it runs, lr and total_epochs can; resume with --set instead"
            )
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError(f"{name}: expected a number, got {value!r}")
        if layer.setdefault(key, value) != value:
            raise UsageError(f"total_epochs and epochs are the same, and {layer[key]!r} and {value!r} differ")
    return layered(config, layer, lax=True)
