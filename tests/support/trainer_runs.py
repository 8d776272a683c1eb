"""Small real trainings in this process, and what they leave behind in a form that can be compared."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer.options import TrainOptions
from ckptop.trainer.train import train

WALL_CLOCK = frozenset({"time", "step_seconds", "samples_per_second", "epoch_seconds"})
"""What may differ between two runs that are the same."""

SMALL = {
    "digits": {"epochs": "2", "model.channels": "4", "model.hidden": "16"},  # 17 batches an epoch
    "diabetes": {"epochs": "3", "batch_size": "16", "model.hidden": "[8]"},  # 17 batches of 264 patients
}


class Drawing(Dataset[tuple[torch.Tensor, ...]]):
    """Ten samples drawn from every global generator there is, as datasets of others do.

    Here and not in a test, whose module a worker process cannot import.
    """

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        here = random.random()  # noqa: S311 - no secret
        drawn = torch.tensor([here, float(np.random.rand()), float(torch.rand(()))])
        return drawn, torch.tensor(index)


class Killed(BaseException):
    """Ends a training without any of its own handling; what was not committed is gone."""


def run_training(
    store: Path, task: str = "diabetes", *, name: str | None = None, resume: str | None = None, **settings: str
) -> int:
    """Train a small model; `settings` override the configuration, `__` standing for a dot."""
    quiet = {"tensorboard": "false", "system_interval_seconds": "0"}
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    chosen = changes if resume is not None else SMALL.get(task, {}) | quiet | changes
    return train(
        TrainOptions(
            task=task, store=store, name=name, resume=resume, assignments=tuple(chosen.items()), argv=["-c", ""]
        )
    )


@contextmanager
def at_step(step: int, action: Callable[[Run], None]) -> Iterator[None]:
    """Within the block, `action` is called once, right after optimizer step `step` was logged."""
    original, done = Run.progress, False

    def progress(run: Run, **where: Any) -> None:
        nonlocal done
        original(run, **where)
        if where["step"] == step and not done:
            done = True
            action(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "progress", progress)
        yield


def kill(run: Run) -> None:
    """Die in the middle of the loop."""
    raise Killed


def logged(root: Path) -> dict[tuple[int, str], str]:
    """Every live value of metrics.jsonl, wall-clock ones aside: (step, name) to its text."""
    values: dict[tuple[int, str], str] = {}
    for line in (root / "metrics.jsonl").read_text().splitlines():
        fields = json.loads(line)
        if "attempt" in fields:
            values = {key: value for key, value in values.items() if key[0] <= fields["from_step"]}
            continue
        for name in fields.keys() - WALL_CLOCK - {"step"}:
            values[fields["step"], name] = repr(fields[name])
    return values


def newest_state(root: Path) -> dict[str, Any]:
    """The content of the newest training checkpoint."""
    latest = read_run(root).latest
    assert latest is not None
    state: dict[str, Any] = torch.load(latest.path, weights_only=True)
    return state


def assert_same_bits(left: Any, right: Any, where: str = "state") -> None:
    """Fail where two nested values differ in a bit."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, where
        assert left.shape == right.shape, where
        assert left.contiguous().numpy().tobytes() == right.contiguous().numpy().tobytes(), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same_bits(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same_bits(one, other, f"{where}[{index}]")
    else:
        assert repr(left) == repr(right), where


def assert_same_training(left: Path, right: Path) -> None:
    """Fail unless weights, optimizer, random state, position and every logged value agree bit for bit."""
    for key in ("model_state_dict", "optimizer_state_dict", "rng", "loader", "loop", "metrics"):
        assert_same_bits(newest_state(left)[key], newest_state(right)[key], key)
    assert logged(left) == logged(right)


def child_environment() -> dict[str, str]:
    """For a trainer started as a process: no request, no colour, the store left to the arguments."""
    return {key: value for key, value in os.environ.items() if not key.startswith("CKPTOP_")}
