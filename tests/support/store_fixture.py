"""A realistic store on disk without torch: records, metric logs, manifests and `.pt` files whose hashes match.

The bytes of a `.pt` here are random, so listing, pruning, deleting and verifying work as on a real store,
and loading does not. Live runs name a process that is alive: by default the test itself.
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckptop.host.process import current_process
from ckptop.store.hashing import xxh3_128_of
from ckptop.store.layout import RunPaths, manifest_path
from ckptop.store.manifest import Manifest, Ranking, Tier, encode
from ckptop.store.names import milestone_name, training_name
from ckptop.store.records import (
    Attempt,
    Command,
    DataSource,
    Exit,
    Metric,
    Mode,
    Parent,
    Phase,
    Process,
    RunRecord,
    Status,
)

DEAD_PID = 2**22 + 7
"""Above the kernel's largest pid: no process ever has it."""

Shape = Literal["accuracy", "smape"]

_TIME = "when"
"""Stands for the time of a line until it is written."""


def _chance(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311  made-up data, no secrets


def live_process() -> Process:
    """This very process, as a status file names it."""
    me = current_process()
    return Process(pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, host=me.host, user=me.user)


def dead_process() -> Process:
    """A process of this host that is gone."""
    me = current_process()
    return Process(pid=DEAD_PID, start_ticks=1, boot_id=me.boot_id, host=me.host, user=me.user)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run to build; the defaults are a run at work on its 62nd of 100 epochs."""

    name: str
    phase: Phase = "running"
    alive: bool = True
    """False with a live phase is a crashed run."""
    epochs: int = 62
    total_epochs: int = 100
    steps_per_epoch: int = 24
    shape: Shape = "accuracy"
    peak: float = 0.9812
    """Value of the metric at its best epoch."""
    best_epoch: int | None = None
    """Three before the last by default."""
    checkpoints: int = 3
    """The newest so many epochs have a training checkpoint."""
    milestones: Sequence[int] = ()
    """Epochs that have a milestone; the best epoch always has one where there are any checkpoints."""
    size_bytes: int = 4096
    parent: str | None = None
    sweep: str | None = None
    from_step: int = 0
    """Step at which attempt 2 took over; 0 is a single attempt."""
    age_seconds: float = 400.0
    """Since the run was created."""
    last_step_age_seconds: float | None = None
    """None is not told, so that no clock makes a stall of it."""
    error: str | None = None
    extra_metrics: Sequence[str] = field(default_factory=tuple)
    log: bool = True
    """False writes no metrics.jsonl."""
    seed: int = 0


DEFAULT_RUNS = (
    RunPlan(name="sweep-02", phase="stopped", epochs=50, peak=0.941, age_seconds=9_000, seed=6),
    RunPlan(name="sweep-03", alive=False, epochs=31, peak=0.669, age_seconds=8_000, seed=5),
    RunPlan(name="digits-mlp", phase="finished", epochs=100, peak=0.972, age_seconds=7_000, seed=4),
    RunPlan(name="diabetes", phase="paused", epochs=44, shape="smape", peak=41.2, age_seconds=1_000, seed=3),
    RunPlan(
        name="digits-cnn",
        checkpoints=4,
        milestones=(9, 15, 27, 33, 41),
        from_step=960,
        seed=1,
        age_seconds=370,
        extra_metrics=("lr", "grad_norm"),
    ),
    RunPlan(name="cnn-lr3e-4", epochs=18, peak=0.954, parent="digits-cnn", age_seconds=300, seed=2),
)
"""Six runs in five states: those of the picture of the main screen."""


def build_store(root: Path, runs: Iterable[RunPlan] = DEFAULT_RUNS, *, now: float | None = None) -> Path:
    """Write `runs` under `root`; returns `root`.

    Args:
        root: The store's directory; made where it is missing.
        runs: What to build.
        now: The moment that ages count from; the clock's by default.
    """
    root.mkdir(parents=True, exist_ok=True)
    moment = time.time() if now is None else now
    for plan in runs:
        build_run(root, plan, now=moment)
    return root


def build_run(root: Path, plan: RunPlan, *, now: float | None = None) -> RunPaths:
    """Write one run; returns its paths."""
    moment = time.time() if now is None else now
    paths = RunPaths(root / plan.name)
    paths.checkpoints.training.mkdir(parents=True)
    paths.checkpoints.milestone.mkdir()
    paths.checkpoints.staging.mkdir()
    paths.control.mkdir()
    record = _record(plan, moment)
    paths.record.write_bytes(encode(record))
    paths.status.write_bytes(encode(_status(plan, moment)))
    if plan.log:
        write_log(paths.metrics, plan, moment)
    _write_checkpoints(paths, plan, record, moment)
    paths.events.write_text(json.dumps({"time": record.created, "event": "started", "attempt": 1, "step": 0}) + "\n")
    return paths


def metric_name(plan: RunPlan) -> str:
    """The metric that says what best means in `plan`."""
    return f"val/{plan.shape}"


def _mode(plan: RunPlan) -> Mode:
    return "max" if plan.shape == "accuracy" else "min"


def _record(plan: RunPlan, now: float) -> RunRecord:
    created = now - plan.age_seconds
    attempts = [Attempt(attempt=1, from_step=0, time=created)]
    if plan.from_step:
        attempts.append(Attempt(attempt=2, from_step=plan.from_step, time=created + 60))
    return RunRecord(
        id=f"id-{plan.name}",
        name=plan.name,
        task="digits" if plan.shape == "accuracy" else "diabetes",
        created=created,
        config={"lr": 1e-3, "batch_size": 64, "model": "cnn", "scheduler": "cosine"},
        seed=0,
        command=Command(python="/usr/bin/python3", argv=["-m", "ckptop.cli", "train", "digits"], cwd="/"),
        git_commit="0123456789abcdef0123456789abcdef01234567",
        host=current_process().host,
        sweep=plan.sweep,
        parent=Parent(run=plan.parent, checkpoint="training/none.pt") if plan.parent else None,
        metric=Metric(name=metric_name(plan), mode=_mode(plan)),
        data=DataSource(path="digits", hash="0" * 32),
        attempts=attempts,
    )


def _status(plan: RunPlan, now: float) -> Status:
    step = plan.epochs * plan.steps_per_epoch
    ended = plan.phase in ("finished", "stopped", "failed")
    return Status(
        phase=plan.phase,
        attempt=2 if plan.from_step else 1,
        epoch=plan.epochs,
        step=step,
        total_epochs=plan.total_epochs,
        total_steps=plan.total_epochs * plan.steps_per_epoch,
        heartbeat=now,
        last_step_time=None if plan.last_step_age_seconds is None else now - plan.last_step_age_seconds,
        step_seconds=0.045,
        process=live_process() if plan.alive and not ended else dead_process(),
        exit=Exit(code=0 if plan.phase == "finished" else 3, error=plan.error) if ended else None,
    )


def value_at(plan: RunPlan, epoch: int) -> float:
    """The metric at the end of `epoch`: a rising accuracy or a falling error, best at one epoch alone."""
    noise = _chance(plan.seed * 1009 + epoch).random()
    best = plan.best_epoch or max(1, plan.epochs - 3)
    if plan.shape == "accuracy":
        value = plan.peak * (1 - 0.88 * math.exp(-epoch / 6.2)) - 0.004 * noise - 0.0001
        return plan.peak if epoch == best else min(value, plan.peak - 0.0002)
    value = plan.peak + 62 * math.exp(-epoch / 9) + 1.2 * noise + 0.01
    return plan.peak if epoch == best else value


def val_loss_at(epoch: int) -> float:
    """The validation loss at the end of `epoch`."""
    return 2.05 * math.exp(-epoch / 7.7) + 0.0846 + 0.0004 * max(0, epoch - 46) + 0.004 * math.sin(epoch)


def write_log(path: Path, plan: RunPlan, now: float) -> None:
    """Write metrics.jsonl: train/loss each step with one lone spike, validation each epoch, a second attempt."""
    start = now - plan.age_seconds
    lines = _lines(plan)
    path.write_text("".join(f"{head}{round(start + elapsed, 3)}{tail}\n" for head, elapsed, tail in lines))


@functools.cache
def _lines(plan: RunPlan) -> list[tuple[str, float, str]]:
    """What comes before and after the time of each line, and how long after the start that is, in seconds.

    Most tests build the same runs.
    """
    chance = _chance(plan.seed)
    total = plan.epochs * plan.steps_per_epoch
    pace = plan.age_seconds / max(1, total)
    lines: list[tuple[dict[str, Any], float]] = []
    for step in range(1, total + 1):
        epoch = (step - 1) // plan.steps_per_epoch + 1
        elapsed = step * pace
        if step == plan.from_step:
            # What attempt 1 did past the point where attempt 2 took over.
            past = [_line(plan, chance, step + n, epoch + n // plan.steps_per_epoch) for n in range(1, 30)]
            lines += [(line, elapsed) for line in [*past, {"attempt": 2, "from_step": step, "time": _TIME}]]
        lines.append((_line(plan, chance, step, epoch), elapsed))
        if step % plan.steps_per_epoch == 0:
            values = {"val/loss": val_loss_at(epoch), metric_name(plan): value_at(plan, epoch)}
            lines.append(({"step": step, "epoch": epoch, "time": _TIME, **values}, elapsed))
    parts = ((json.dumps(line).partition(json.dumps(_TIME)), elapsed) for line, elapsed in lines)
    return [(head, elapsed, tail) for (head, _, tail), elapsed in parts]


def _line(plan: RunPlan, chance: random.Random, step: int, epoch: int) -> dict[str, Any]:
    loss = 2.1 * math.exp(-step / 130) + 0.022 + 0.35 * math.exp(-step / 330) * chance.random() ** 2
    loss += 0.05 * math.exp(-step / 900) * chance.random()
    line: dict[str, Any] = {"step": step, "epoch": epoch, "time": _TIME}
    line["train/loss"] = 0.93 if step == 1020 else round(loss, 6)
    for name in plan.extra_metrics:
        line[name] = 8.6e-4 if name == "lr" else round(0.2 + 0.3 * chance.random(), 4)
    return line


def _write_checkpoints(paths: RunPaths, plan: RunPlan, record: RunRecord, now: float) -> None:
    if not plan.checkpoints:
        return
    best = plan.best_epoch or max(1, plan.epochs - 3)
    pace = plan.age_seconds / max(1, plan.epochs)
    milestones = sorted({*plan.milestones, best})
    newest = range(max(1, plan.epochs - plan.checkpoints + 1), plan.epochs + 1)
    for epoch in sorted({*newest, *milestones}):
        saved = now - (plan.epochs - epoch) * pace - 3
        if epoch in newest:
            name = training_name(epoch, epoch * plan.steps_per_epoch)
            write_checkpoint(paths, record, "training", name, epoch, plan, saved)
        if epoch in milestones:
            name = milestone_name(metric_name(plan), value_at(plan, epoch), epoch)
            write_checkpoint(paths, record, "milestone", name, epoch, plan, saved)


def write_checkpoint(
    paths: RunPaths, record: RunRecord, tier: Tier, name: str, epoch: int, plan: RunPlan, saved: float
) -> Path:
    """Write one `.pt` of random bytes and its manifest; a milestone is linked where its step was saved already."""
    path = paths.checkpoints.tier(tier) / name
    step = epoch * plan.steps_per_epoch
    twin = paths.checkpoints.training / training_name(epoch, step)
    if tier == "milestone" and twin.exists():
        os.link(twin, path)
    else:
        path.write_bytes(_chance(f"{plan.name}{name}").randbytes(plan.size_bytes))
    os.utime(path, (saved, saved))
    name_of_metric = metric_name(plan)
    manifest = Manifest(
        id=f"{plan.name}-{tier}-{epoch}",
        file=name,
        tier=tier,
        run=plan.name,
        run_id=record.id,
        model_name="model",
        attempt=2 if plan.from_step and step > plan.from_step else 1,
        epoch=epoch,
        global_step=step,
        time=saved,
        metrics={name_of_metric: value_at(plan, epoch), "val/loss": val_loss_at(epoch)},
        ranking=Ranking(name=name_of_metric, mode=_mode(plan)) if tier == "milestone" else None,
        config=record.config,
        environment={"pytorch_version": "2.13.0", "python_version": "3.11", "hostname": record.host},
        size_bytes=path.stat().st_size,
        xxh3_128=xxh3_128_of(path),
    )
    manifest_path(path).write_bytes(encode(manifest))
    return path
