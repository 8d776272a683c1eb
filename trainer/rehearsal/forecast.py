"""What a few steps say of the whole run: its time, its disk, its memory, each with a verdict. Pure functions.

Upper bounds are given where the truth depends on the training: every epoch may bring a new best, and early stopping
may never come. Nothing is guessed: a figure nobody measured is None, and its line says so.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from ckptop.host.units import format_bytes, format_count, format_duration, format_value
from ckptop.store.records import Record
from ckptop.trainer.rehearsal.records import Evaluated, Measured

Verdict = Literal["ok", "tight", "no", "unknown"]

TIGHT_SHARE = 0.8
"""More than this of what there is, is tight: others write, and a peak of a few steps is not the highest."""
_KEEP_FEWER = "keep fewer (--set keep_training=…, keep_milestones=…)"
FIRST_STEPS = 3
"""Steps that are not timed: kernels are chosen, caches filled, workers started."""


class Rules(Record, frozen=True, kw_only=True):
    """What of a configuration decides about time and disk."""

    epochs: int
    save_every_epochs: int
    save_every_steps: int | None
    keep_training: int
    keep_every_epochs: int | None
    keep_every_steps: int | None
    keep_spacing_minutes: float | None
    keep_best: int | None
    keep_milestones: int | None
    patience_epochs: int | None
    system_interval_seconds: float
    deterministic: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Rules:
        """Those of a configuration as run.json holds it."""
        return msgspec.convert(config, cls)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the answer."""

    name: str
    verdict: Verdict
    figure: str
    """What matters, in a few words."""
    detail: str = ""
    """What it is made of."""
    advice: str = ""
    """What to do where the verdict is not ok."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast the rehearsal went."""

    start_seconds: float
    """From the start of the process to its first step."""
    step_seconds: float | None
    """Of a typical step, loading and logging included."""
    save_seconds: float | None
    """Of a typical save; None where the store did not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What the rehearsal wrote, and where to."""

    checkpoint_bytes: int
    step_log_bytes: float
    """Of the metric log and TensorBoard's files, a step."""
    sample_bytes: float
    """Of a sample of the machine."""
    free_bytes: int
    """On the file system of the store, before the rehearsal."""
    trash_bytes: int
    """What purging the store's trash would free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostMemory:
    """Of this machine, or of the control group that this process may not outgrow, before the rehearsal."""

    available_bytes: int
    total_bytes: int


def typical_step_seconds(lines: Sequence[tuple[int, float]]) -> float | None:
    """The median time from one step's line to the next of the same epoch, the first steps left out.

    Not the time a step says it took: on CUDA that is the time to queue it.

    Args:
        lines: Epoch and time of each step's line, in order.

    Returns:
        None where no two steps of one epoch followed each other.
    """
    pairs = list(itertools.pairwise(lines))
    for settled in (pairs[FIRST_STEPS - 1 :], pairs):
        gaps = [after[1] - before[1] for before, after in settled if before[0] == after[0]]
        if gaps:
            return max(0.0, statistics.median(gaps))
    return None


def most_saves(rules: Rules, total_steps: int) -> int:
    """How often the whole run saves at most: a milestone may come at the end of any epoch."""
    return min(rules.epochs + (total_steps // rules.save_every_steps if rules.save_every_steps else 0), total_steps)


def most_checkpoints(rules: Rules, total_steps: int, total_seconds: float) -> int:
    """How many files of a checkpoint's size are on disk at once at most: the kept ones and one in staging.

    A milestone that is a link to a training checkpoint outlives it, so it counts as a file of its own.
    """
    kept = rules.keep_training + 1  # the best
    kept += rules.epochs // rules.keep_every_epochs if rules.keep_every_epochs else 0
    kept += total_steps // rules.keep_every_steps if rules.keep_every_steps else 0
    kept += int(total_seconds / (60 * rules.keep_spacing_minutes)) + 1 if rules.keep_spacing_minutes else 0
    kept += rules.keep_best or 0
    milestones = rules.epochs if rules.keep_milestones is None else min(rules.keep_milestones, rules.epochs)
    return min(kept + milestones, most_saves(rules, total_steps)) + 1


def total_seconds(rules: Rules, total_steps: int, pace: Pace, measured: Measured) -> float | None:
    """How long the whole run takes at most, its end included; None where no step could be timed."""
    if pace.step_seconds is None:
        return None
    saves = most_saves(rules, total_steps) * (pace.save_seconds or 0.0)
    evaluations = rules.epochs * measured.validation.total_seconds + measured.test.total_seconds
    return pace.start_seconds + total_steps * pace.step_seconds + evaluations + saves


def check_time(
    rules: Rules, total_steps: int, pace: Pace, measured: Measured, now: float, deadline: float | None
) -> Check:
    """How long, and until when.

    Args:
        rules: The configuration.
        total_steps: Of the whole run.
        pace: What was measured.
        measured: What the trainer measured itself.
        now: Unix time at which the run would begin.
        deadline: Unix time at which the Slurm job ends; None outside of one.
    """
    seconds = total_seconds(rules, total_steps, pace, measured)
    if seconds is None or pace.step_seconds is None:
        untold = "no two steps of one epoch followed each other"
        return Check(name="time", verdict="unknown", figure="not measured", detail=untold)
    saves = count(most_saves(rules, total_steps), "save")
    detail = (
        f"{count(total_steps, 'step')} of {pace_text(pace.step_seconds)}, "
        f"{count(rules.epochs, 'evaluation')} of {_evaluation_text(measured.validation)}, "
        f"up to {saves} {'not measured' if pace.save_seconds is None else f'of {pace_text(pace.save_seconds)}'}"
    )
    figure = (
        f"{'at most' if rules.patience_epochs else 'about'} {format_duration(seconds)}, done {when(now + seconds, now)}"
    )
    if deadline is None:
        return Check(name="time", verdict="ok", figure=figure, detail=detail)
    advice = f"the Slurm job ends {when(deadline, now)}: ask for more time, or resume it in the next job"
    verdict = verdict_of(seconds, deadline - now)
    return Check(name="time", verdict=verdict, figure=figure, detail=detail, advice=advice)


def check_disk(rules: Rules, total_steps: int, seconds: float | None, sizes: Sizes) -> Check:
    """What the run writes at most, against what is free; `seconds` is how long it takes, if that is known."""
    checkpoints = most_checkpoints(rules, total_steps, seconds or 0.0)
    samples = (seconds or 0.0) / rules.system_interval_seconds if rules.system_interval_seconds else 0.0
    logs = total_steps * sizes.step_log_bytes + samples * sizes.sample_bytes
    needed = checkpoints * sizes.checkpoint_bytes + logs
    verdict, advice = (
        verdict_of(needed, sizes.free_bytes),
        f"{_KEEP_FEWER}, or free some",
    )
    if verdict == "no" and needed <= sizes.free_bytes + sizes.trash_bytes:
        verdict = "tight"
        advice = f"{format_bytes(sizes.trash_bytes)} of trash gives way; `ckptop trash --empty` does it now"
    elif verdict == "no":
        advice = f"free {format_bytes(needed - sizes.free_bytes)}, or {_KEEP_FEWER}"
    return Check(
        name="disk", verdict=verdict, advice=advice,
        figure=f"at most {format_bytes(needed)} of {format_bytes(sizes.free_bytes)} free",
        detail=f"{count(checkpoints, 'checkpoint')} of {format_bytes(sizes.checkpoint_bytes)} and "
        f"{format_bytes(logs)} of logs",
    )  # fmt: skip


def check_memory(measured: Measured, memory: HostMemory) -> Check:
    """The peak of the trainer and its workers, against what was available before it began."""
    if measured.peak_memory_bytes is None:
        untold = "the kernel does not tell the peak"
        return Check(name="memory", verdict="unknown", figure="not measured", detail=untold)
    peak = measured.peak_memory_bytes + (measured.worker_memory_bytes or 0)
    detail = f"{format_bytes(memory.total_bytes)} in all"
    if measured.worker_count:
        counted = "not counted" if measured.worker_memory_bytes is None else "counted"
        detail += f", {count(measured.worker_count, 'worker process', 'es')} {counted}"
    return Check(
        name="memory", verdict=verdict_of(peak, memory.available_bytes),
        figure=f"peak {format_bytes(peak)} of {format_bytes(memory.available_bytes)} available", detail=detail,
        advice="use a smaller --batch-size with --set accumulate, fewer workers, or end what else holds memory",
    )  # fmt: skip


def check_gpu(measured: Measured) -> Check:
    """The most torch had allocated, against what it can get of the card."""
    gpu = measured.gpu
    if gpu is None:
        return Check(name="gpu", verdict="ok", figure="none used")
    return Check(
        name="gpu", verdict=verdict_of(gpu.peak_bytes, gpu.available_bytes),
        figure=f"peak {format_bytes(gpu.peak_bytes)} of {format_bytes(gpu.available_bytes)} available",
        detail=f"{gpu.name}, {format_bytes(gpu.total_bytes)} in all",
        advice="use a smaller --batch-size with --set accumulate, or --set precision=bf16",
    )  # fmt: skip


def verdict_of(needed: float, available: float) -> Verdict:
    """Ok up to `TIGHT_SHARE` of what is available, tight up to all of it, then no."""
    if needed > available:
        return "no"
    return "tight" if needed > TIGHT_SHARE * available else "ok"


def conclude(checks: Sequence[Check]) -> tuple[bool, str]:
    """Whether the run is safe to leave alone, and the one line that says so, or why not and what to do."""
    refused = [check for check in checks if check.verdict == "no"]
    if refused:
        blamed = (f"{check.name}: {check.figure}{'; ' * bool(check.advice)}{check.advice}" for check in refused)
        return False, f"not safe: {' | '.join(blamed)}"
    said = [check.figure for check in checks if check.name == "time" and check.verdict != "unknown"]
    for verdict in ("tight", "unknown"):
        names = [check.name for check in checks if check.verdict == verdict]
        said += [f"{verdict}: {', '.join(names)}"] if names else []
    return True, f"safe to leave overnight: {'; '.join(said)}"


def when(moment: float, now: float) -> str:
    """`today 14:02`, or with the date."""
    then = datetime.fromtimestamp(moment)
    day = "today" if then.date() == datetime.fromtimestamp(now).date() else f"{then:%a %Y-%m-%d}"
    return f"{day} {then:%H:%M}"


def pace_text(seconds: float) -> str:
    """`1.2 ms`, `3.45 s`, `2 min`: how long one of many takes."""
    if seconds < 1:
        return f"{format_value(1000 * seconds)} ms"
    return f"{format_value(seconds)} s" if seconds < 100 else format_duration(seconds)


def count(number: int, noun: str, plural: str = "s") -> str:
    """A number of things: `1 step`, `1,000 steps`."""
    return f"{format_count(number)} {noun}{plural * (number != 1)}"


def _evaluation_text(evaluated: Evaluated) -> str:
    scaled = ""
    if evaluated.batches < evaluated.batch_count:
        scaled = f" (by {format_count(evaluated.batches)} of {format_count(evaluated.batch_count)} batches)"
    return pace_text(evaluated.total_seconds) + scaled
