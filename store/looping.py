"""What a plain loop in somebody's own script needs of a run: its steps, and its configuration with what is overridden.

What `save` saves is the state after a step, before the next one draws anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ckptop.store.errors import UsageError
from ckptop.store.rate_change import change_rate
from ckptop.store.step_saves import StepSaves

if TYPE_CHECKING:
    from ckptop.store.run import Run


Rates = tuple[Sequence[Any], Sequence[Any]]
"""Optimizers, and their schedulers."""


def steps(
    run: Run, last: int, save: Callable[[], object], save_every: int | None, rates: Rates | None = None
) -> Iterator[int]:
    """Yield the steps of a plain loop and do between them what `Run.steps` says."""
    if run.should_stop:  # the first look takes the signals, before anybody sees the run run
        return
    run.begin(total_steps=last)
    run.progress(epoch=max(1, run.epoch), step=run.start.from_step)  # a loop without epochs is in its first
    saves = StepSaves(run)
    change = None if rates is None else lambda wanted: change_rate(run, wanted, *rates)
    for step in range(run.start.from_step + 1, last + 1):
        began = time.perf_counter()
        yield step
        run.progress(epoch=run.epoch, step=step, step_seconds=time.perf_counter() - began)
        saves.look()
        run.obey(save=lambda: saves.now(run.step, save), change=change)
        if step == last or run.should_stop:
            saves.last(step, save)
            return
        if save_every is not None and step % save_every == 0:
            saves.due(step, save)


def overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what `--set` says, read as the type of what it replaces.

    Raises:
        UsageError: A key is not in `config`, or a value is of another type.
    """
    changed = dict(config)
    for key, value in overrides.items():
        if key not in config:
            known = ", ".join(sorted(config)) or "none"
            raise UsageError(f"{key} is not in the configuration of this run; its keys: {known}")
        changed[key] = _like(config[key], value, key)
    return changed


def _like(before: Any, value: Any, key: str) -> Any:
    if not isinstance(value, str) or isinstance(before, str) or before is None:
        return value
    try:
        return msgspec.convert(msgspec.json.decode(value), type(before))
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise UsageError(f"{key}={value} is not of the type of {before!r}") from None
