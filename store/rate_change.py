"""The learning rate of a loop that is not ours, changed while it runs: `ckptop ctl RUN set lr=1e-4`.

The rate is that of the first parameter group, at its schedule's full height; every group, and what its schedule goes
by, is scaled alike. So the schedule keeps its shape, and the state dicts that the next checkpoint holds are those of
a training that goes on with the new rate. Whatever has torch's `param_groups` will do: nothing is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptop.store.errors import DiskError, UsageError

if TYPE_CHECKING:
    from ckptop.store.run import Run

_OF_GROUP = ("lr", "initial_lr", "max_lr", "min_lr")
"""Rates in a parameter group; OneCycleLR keeps its own there."""
_OF_SCHEDULER = ("base_lrs", "max_lrs", "_last_lr")
"""Lists of rates, one a group."""


def change_rate(run: Run, wanted: Mapping[str, Any], optimizers: Iterable[Any], schedulers: Iterable[Any] = ()) -> str:
    """Change the rate from the next step on; returns what changed, in one line.

    Args:
        run: Its recorded configuration follows, where it has a `lr`.
        wanted: `{"lr": 1e-4}`, the value as a number or as text.
        optimizers: One at least.
        schedulers: Theirs.

    Raises:
        UsageError: Something else is wanted, or the value is no rate. Nothing was changed.
    """
    others = [key for key in wanted if key != "lr"]
    if others or not wanted:
        raise UsageError(f"{', '.join(others) or 'nothing'} cannot change while it runs, lr can; resume with --set")
    new = _rate(wanted["lr"])
    before = _set_rate(new, list(optimizers), schedulers)
    return f"lr was {before:g}, now {new:g}{_recorded(run, new)}; the next checkpoint holds it"


def take_up_rate(run: Run, optimizers: Iterable[Any], schedulers: Iterable[Any] = ()) -> None:
    """Go on with the rate that this attempt was told (`ckptop resume --set lr=…`): what was restored has the old one.

    Raises:
        UsageError: The value is no rate.
    """
    if "lr" in run.overrides and run.is_resumed and "lr" in run.config:
        _set_rate(_rate(run.config["lr"]), list(optimizers), schedulers)


def _set_rate(new: float, optimizers: Sequence[Any], schedulers: Iterable[Any]) -> float:
    """Scale everything; returns the rate before."""
    before = _full_rate(optimizers)
    if before == 0:
        raise UsageError("lr is 0 now, which nothing scales; start anew with another")
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            _scale(group, [key for key in _OF_GROUP if group.get(key) is not None], new / before)
    for scheduler in _flat(schedulers):
        for name in _OF_SCHEDULER:
            if isinstance(rates := getattr(scheduler, name, None), list):
                setattr(scheduler, name, [rate * (new / before) for rate in rates])
    return before


def _rate(value: object) -> float:
    try:
        rate = float(value)  # type: ignore[arg-type]  # whether it takes it is the question
    except (TypeError, ValueError):
        rate = math.nan
    if isinstance(value, bool) or not (rate > 0 and math.isfinite(rate)):
        raise UsageError(f"lr: expected a number above 0, got {value!r}")
    return rate


def _full_rate(optimizers: Sequence[Any]) -> float:
    group = optimizers[0].param_groups[0]
    return float(next(group[key] for key in ("max_lr", "initial_lr", "lr") if group.get(key) is not None))


def _scale(group: dict[str, Any], keys: Iterable[str], factor: float) -> None:
    for key in keys:
        if hasattr(group[key], "mul_"):
            group[key].mul_(factor)  # a tensor, which a captured or compiled step holds on to
        else:
            group[key] *= factor


def _flat(schedulers: Iterable[Any]) -> Iterable[Any]:
    """They, and those that SequentialLR and ChainedScheduler are made of."""
    for scheduler in schedulers:
        yield scheduler
        yield from _flat(getattr(scheduler, "_schedulers", ()))


def _recorded(run: Run, rate: float) -> str:
    config = run.config
    if "lr" not in config:
        return ""
    try:
        run.reconfigure({**config, "lr": rate})
    except DiskError as error:
        return f" ({error}, so the recorded configuration has the old one)"
    return ""
