"""A rehearsal: the real trainer with the real configuration for a few steps, killed once, and what follows from it.

One trainer goes straight to step N. Another saves halfway, dies by SIGKILL a step later, is started again, and goes on
to N; both must end in the same bits. They are `ckptop train` processes, told where to end by `rehearsal_records.Orders`
(`rehearsed` says why so), in a store hidden inside the store, since only there is the disk the real one.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ckptop.host.machine import disk_space
from ckptop.host.units import format_value
from ckptop.store.events import read_events
from ckptop.store.files import read_json
from ckptop.trainer.rehearsal.child_trainers import Ended, Failed, Subject, Trainers, overridden, step_lines
from ckptop.trainer.rehearsal.forecast import (
    Check,
    HostMemory,
    Pace,
    Rules,
    Sizes,
    check_disk,
    check_gpu,
    check_memory,
    check_time,
    conclude,
    count,
    most_checkpoints,
    total_seconds,
    typical_step_seconds,
)
from ckptop.trainer.rehearsal.hidden_store import available_memory, hidden_store, trash_bytes
from ckptop.trainer.rehearsal.records import MEASURED, Measured, Orders
from ckptop.trainer.time_limit import seconds_until_end

_STRAIGHT, _CUT = "straight", "cut"
"""Names of the two runs."""
_NAMED_DIFFERENCES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """The answer."""

    safe: bool
    conclusion: str
    """One line: safe, or why not and what to do."""
    checks: tuple[Check, ...] = ()
    """None where a trainer failed."""
    steps: int = 0
    """Trained straight."""
    killed_at_step: int | None = None
    resumed_from_step: int | None = None
    exact: bool | None = None
    """Whether the resumed run is bitwise the straight one; None where the whole run is one step."""
    differences: tuple[str, ...] = ()
    """What is not the same, in order."""
    figures: dict[str, Any] | None = None
    """What was measured and forecast, in seconds and bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exactness:
    """How the run that was killed compares with the other."""

    resumed: Ended | None = None
    killed_at_step: int | None = None
    differences: tuple[str, ...] = ()
    check: Check


def rehearse(subject: Subject, steps: int, on_step: Callable[[int], None] = lambda _done: None) -> Rehearsal:
    """Train a little of a run as it would be trained, kill it, resume it, compare, and forecast the whole.

    Args:
        subject: The training.
        steps: How many optimizer steps, at least 2; fewer where the whole run has fewer.
        on_step: Told now and then how many steps were done, of about twice `steps`.

    Raises:
        Refused: The task, the data or the configuration is wrong, as the trainer says.
        UsageError: The store is a file, or a value that is overridden for the rehearsal is wrong.
        OSError: The store cannot be written.
    """
    own, memory, trash = overridden(subject), available_memory(), trash_bytes(subject.store)
    with hidden_store(subject.store) as store:
        free = disk_space(store).free_bytes
        trainers = Trainers(subject, store, on_step)
        try:
            straight = trainers.train(_STRAIGHT, Orders(stop_at_step=steps))
            exactness = _kill_and_resume(trainers, straight)
        except Failed as failure:
            return Rehearsal(safe=False, conclusion=f"not safe: {failure}")
        sizes = _sizes(straight, own.log_every_steps, free, trash)
        return _answer(straight, exactness, memory, sizes)


def _kill_and_resume(trainers: Trainers, straight: Ended) -> _Exactness:
    """Train the same again with a SIGKILL in between, and compare."""
    last = straight.latest.step
    if last < 2:
        return _Exactness(
            check=Check(name="resume", verdict="unknown", figure="not tried", detail="the whole run is one step")
        )
    saved = last // 2
    killed = min(saved + 1, last - 1)
    saving = ("--set", f"save_every_steps={saved}")
    trainers.train_until_killed(_CUT, Orders(kill_at_step=killed), *saving)
    resumed = trainers.train(_CUT, Orders(stop_at_step=last), *saving, "--resume", "latest")
    from_step = resumed.record.attempts[-1].from_step
    how = f"killed after step {killed}, resumed from {from_step}, compared at {last}"
    differences, check = _compare(trainers, straight, resumed, how)
    return _Exactness(resumed=resumed, killed_at_step=killed, differences=differences, check=check)


def _compare(trainers: Trainers, straight: Ended, resumed: Ended, how: str) -> tuple[tuple[str, ...], Check]:
    # Imports torch, which takes longer than the comparison: only when the trainers have ended well.
    from ckptop.trainer.rehearsal.comparing import different_states, different_values, logged_values, values_before_kill

    log, other_log = straight.view.paths.metrics, resumed.view.paths.metrics
    logged = logged_values(log)
    in_log = different_values(logged, logged_values(other_log))
    in_state, tensors = different_states(straight.latest.path, resumed.latest.path)
    differences = (*in_log, *in_state)
    if not differences:
        detail = f"{how}: {count(tensors, 'tensor')}, {count(len(logged), 'logged value')}"
        return (), Check(name="resume", verdict="ok", figure="bitwise the same", detail=detail)
    early = values_before_kill(other_log)
    repeats = not different_values({key: logged.get(key, "") for key in early}, early)
    shown = ", ".join([*in_log[:_NAMED_DIFFERENCES], *in_state[:_NAMED_DIFFERENCES]])
    rest = len(differences) - min(_NAMED_DIFFERENCES, len(in_log)) - min(_NAMED_DIFFERENCES, len(in_state))
    detail = f"{how}; first {shown}" + (f", and {rest:,} more" if rest else "")
    cause = _likely_cause(Rules.of(straight.record.config), repeats, trainers.nondeterministic_operations())
    figure = "not bitwise the same"
    return differences, Check(name="resume", verdict="no", figure=figure, detail=detail, advice=cause)


def _likely_cause(rules: Rules, repeats: bool, nondeterministic: Sequence[str]) -> str:
    """Where to look; `repeats` is whether both were the same as long as neither was killed."""
    causes = []
    if not rules.deterministic:
        causes.append("kernels whose result differs from run to run: --set deterministic=true")
    if nondeterministic:
        causes.append(f"torch has no deterministic kernel for {', '.join(nondeterministic)}")
    if repeats:
        causes.append("state that is in no state_dict(), such as a counter or a generator of the model's own")
    elif not causes:
        causes.append("randomness from outside of the seed, such as a generator of the task's own, or the clock")
    return f"likely {', or '.join(causes)}"


def _answer(straight: Ended, exactness: _Exactness, memory: HostMemory, sizes: Sizes) -> Rehearsal:
    rules, resumed = Rules.of(straight.record.config), exactness.resumed
    ended = [straight] if resumed is None else [straight, resumed]
    status = straight.view.status
    total_steps = (status.total_steps if status is not None else None) or straight.latest.step
    measured = _most_demanding([read_json(run.view.root / MEASURED, Measured) for run in ended])
    pace = _pace(straight, ended)
    seconds, now = total_seconds(rules, total_steps, pace, measured), time.time()
    checks = (
        exactness.check, _check_loss(straight), check_time(rules, total_steps, pace, measured, now, _job_end()),
        check_disk(rules, total_steps, seconds, sizes), check_memory(measured, memory), check_gpu(measured),
    )  # fmt: skip
    safe, conclusion = conclude(checks)
    parts = {"pace": pace, "sizes": sizes, "memory": memory, "measured": measured}
    return Rehearsal(
        safe=safe, conclusion=conclusion, checks=checks, steps=straight.latest.step,
        killed_at_step=exactness.killed_at_step,
        resumed_from_step=None if resumed is None else resumed.record.attempts[-1].from_step,
        exact=None if resumed is None else not exactness.differences, differences=exactness.differences,
        figures={
            "total_steps": total_steps, "total_seconds": seconds, "done": None if seconds is None else now + seconds,
            "most_checkpoints": most_checkpoints(rules, total_steps, seconds or 0.0), **msgspec.to_builtins(parts),
        },
    )  # fmt: skip


def _most_demanding(found: Sequence[Measured]) -> Measured:
    """The first one's times, and the highest of every peak: a resumed trainer has loaded a checkpoint too."""
    gpus = [measured.gpu for measured in found if measured.gpu is not None]
    peaks = [measured.peak_memory_bytes for measured in found if measured.peak_memory_bytes is not None]
    return msgspec.structs.replace(
        found[0],
        peak_memory_bytes=max(peaks, default=None),
        gpu=max(gpus, key=lambda gpu: gpu.peak_bytes, default=None),
    )


def _check_loss(straight: Ended) -> Check:
    """A loss that is no number has ended the trainer, so there are numbers here."""
    losses = [line.loss for line in step_lines(straight.view.paths.metrics)]
    figure = f"{format_value(losses[0])} → {format_value(losses[-1])} in {count(len(losses), 'step')}"
    return Check(name="loss", verdict="ok", figure=figure)


def _pace(straight: Ended, ended: Sequence[Ended]) -> Pace:
    lines = step_lines(straight.view.paths.metrics)
    events = [event for run in ended for event in read_events(run.view.paths.events) if event.event == "saved"]
    saves = [event.details["seconds"] for event in events if "seconds" in event.details]
    return Pace(
        start_seconds=max(0.0, lines[0].time - straight.began),
        step_seconds=typical_step_seconds([(line.epoch, line.time) for line in lines]),
        save_seconds=statistics.median(saves) if saves else None,
    )


def _sizes(straight: Ended, log_every_steps: int, free_bytes: int, trash_bytes: int) -> Sizes:
    paths, latest = straight.view.paths, straight.latest
    stem = latest.path.name.removesuffix(".pt")
    logs = paths.metrics.stat().st_size + sum(file.stat().st_size for file in paths.tensorboard.glob("*"))
    samples = paths.system.read_bytes().splitlines() if paths.system.exists() else []
    return Sizes(
        checkpoint_bytes=sum(file.stat().st_size for file in latest.path.parent.glob(f"{stem}.*")),
        step_log_bytes=logs / latest.step / log_every_steps,
        sample_bytes=statistics.fmean(map(len, samples)) if samples else 0.0,
        free_bytes=free_bytes,
        trash_bytes=trash_bytes,
    )


def _job_end() -> float | None:
    """When the Slurm job this runs in ends, as unix time; None outside of one."""
    left_seconds = seconds_until_end(None, os.environ)
    return time.time() + left_seconds if left_seconds is not None else None
