"""Stores of any size, written as fast as the disk takes them: real records and manifests, `.pt` files of a few bytes.

Listing and watching read names, sizes and manifests, so the weights are left out.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from pathlib import Path

import msgspec

from ckptop.host.process import current_process
from ckptop.store.layout import RunPaths, manifest_path, tensors_path
from ckptop.store.manifest import Manifest, Tier, encode
from ckptop.store.names import milestone_name, training_name
from ckptop.store.records import Attempt, Command, Exit, Metric, Phase, Process, RunRecord, Status

STEPS_PER_EPOCH = 24
METRIC = Metric(name="val/loss", mode="min")
CONFIG = {"lr": 1e-3, "batch_size": 64, "model": "cnn", "scheduler": "cosine", "weight_decay": 0.01, "seed": 0}
ENVIRONMENT = {
    "pytorch_version": "2.13.0",
    "python_version": "3.11",
    "hostname": "host",
    "device": "cpu",
    "cuda_version": None,
}
GONE_PID = 2**22 + 7
"""Above the kernel's largest pid."""


def train_loss(step: int, chance: random.Random) -> float:
    """A loss that falls and is noisy."""
    return round(2.1 * math.exp(-step / 130) + 0.022 + 0.35 * math.exp(-step / 330) * chance.random() ** 2, 6)


def val_loss(epoch: int) -> float:
    """The validation loss at the end of an epoch; no two epochs tie."""
    return round(2.05 * math.exp(-epoch / 7.7) + 0.0846 + 1e-6 * epoch, 6)


def write_run(
    store: Path, name: str, *, epochs: int = 20, checkpoints: int = 20, phase: Phase = "finished", age: float = 9_000.0
) -> RunPaths:
    """Write one run; returns its paths.

    Args:
        store: Made where it is missing.
        name: The run's.
        epochs: Of 24 logged steps each, with a validation at the end.
        checkpoints: The newest so many epochs have a training checkpoint, every tenth of them a milestone too.
        phase: A live phase names a process that is gone: the run then counts as crashed.
        age: Seconds since it was created.
    """
    paths = RunPaths(store / name)
    for directory in (paths.checkpoints.training, paths.checkpoints.milestone, paths.control):
        directory.mkdir(parents=True, exist_ok=True)
    created = time.time() - age
    paths.record.write_bytes(encode(_record(name, created)))
    paths.status.write_bytes(encode(_status(epochs, phase, created + age / 2)))
    write_log(paths.metrics, epochs, created)
    finished = {"time": created + age / 2, "event": "finished", "attempt": 1, "metrics": {"test/loss": 0.09}}
    paths.events.write_text(json.dumps(finished) + "\n")
    for epoch in range(epochs - checkpoints + 1, epochs + 1):
        step = epoch * STEPS_PER_EPOCH
        _write_checkpoint(paths, "training", training_name(epoch, step), epoch, created)
        if epoch % 10 == 0:
            _write_checkpoint(paths, "milestone", milestone_name("loss", val_loss(epoch), epoch), epoch, created)
    return paths


def write_store(store: Path, runs: int, *, epochs: int = 20, checkpoints: int = 20) -> Path:
    """Write `runs` finished runs; returns the store."""
    for number in range(runs):
        write_run(store, f"run-{number:04d}", epochs=epochs, checkpoints=checkpoints, age=9_000.0 + number)
    return store


def write_log(path: Path, epochs: int, created: float) -> None:
    """Write a metric log: four values a step, two more at the end of each epoch."""
    chance = random.Random(epochs)  # noqa: S311  made-up data
    lines: list[dict[str, float]] = []
    for epoch, of_epoch in itertools.product(range(1, epochs + 1), range(1, STEPS_PER_EPOCH + 1)):
        step = (epoch - 1) * STEPS_PER_EPOCH + of_epoch
        head = {"step": step, "epoch": epoch, "time": created + step * 0.05}
        values = {"train/loss": train_loss(step, chance), "lr": 1e-3, "grad_norm": round(chance.random(), 4)}
        lines.append({**head, **values})
        if of_epoch == STEPS_PER_EPOCH:
            lines.append({**head, "val/loss": val_loss(epoch), "val/accuracy": round(1 - val_loss(epoch) / 3, 4)})
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def write_long_log(path: Path, steps: int, last: float) -> None:
    """Write five values a step; the newest validation loss is `last`."""
    chance = random.Random(0)  # noqa: S311  made-up data
    with path.open("w") as file:
        for step in range(1, steps + 1):
            decay = math.exp(-step / steps * 6)
            noise = chance.random()
            train = 2.1 * decay + 0.022 + 0.05 * noise * decay
            val = last if step == steps else 2 * decay + 0.085 + 0.004 * noise
            file.write(
                f'{{"step":{step},"epoch":{step // 10_000 + 1},"time":{1.7e9 + step * 0.05:.3f},'
                f'"train/loss":{train:.6f},"val/loss":{val:.6f},"lr":{1e-3 * decay:.9f},'
                f'"grad_norm":{noise:.5f},"tokens_per_second":{51_000 + 900 * noise:.1f}}}\n'
            )


def _record(name: str, created: float) -> RunRecord:
    return RunRecord(
        id=f"id-{name}",
        name=name,
        task="digits",
        created=created,
        config=CONFIG,
        seed=0,
        command=Command(python="/usr/bin/python3", argv=["-m", "ckptop.cli", "train", "digits"], cwd="/"),
        host=current_process().host,
        metric=METRIC,
        attempts=[Attempt(attempt=1, from_step=0, time=created)],
    )


def _status(epochs: int, phase: Phase, ended: float) -> Status:
    me, step = current_process(), epochs * STEPS_PER_EPOCH
    return Status(
        phase=phase,
        attempt=1,
        epoch=epochs,
        step=step,
        total_epochs=epochs,
        total_steps=step,
        heartbeat=ended,
        last_step_time=ended,
        step_seconds=0.05,
        process=Process(pid=GONE_PID, start_ticks=1, boot_id=me.boot_id, host=me.host, user=me.user),
        exit=Exit(code=0) if phase == "finished" else None,
    )


def _write_checkpoint(paths: RunPaths, tier: Tier, name: str, epoch: int, created: float) -> None:
    path = paths.checkpoints.tier(tier) / name
    path.write_bytes(b"weights")
    tensors_path(path).write_bytes(b"{}\n")
    manifest = Manifest(
        id=f"{paths.root.name}-{tier}-{epoch}",
        file=name,
        tier=tier,
        run=paths.root.name,
        run_id=f"id-{paths.root.name}",
        model_name="digits",
        attempt=1,
        epoch=epoch,
        global_step=epoch * STEPS_PER_EPOCH,
        time=created + epoch * STEPS_PER_EPOCH * 0.05,
        metrics={"val/loss": val_loss(epoch), "val/accuracy": round(1 - val_loss(epoch) / 3, 4)},
        config=CONFIG,
        environment=ENVIRONMENT,
        size_bytes=7,
        xxh3_128="0" * 32,
    )
    manifest_path(path).write_bytes(encode(manifest))
