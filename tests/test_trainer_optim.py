"""The learning rate of every step, and the optimizer it is set in."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ckptop.store.errors import UsageError
from ckptop.trainer.config import TaskOptions, TrainConfig
from ckptop.trainer.device import StepValues, open_device
from ckptop.trainer.optim import Schedule, build_optimizer


def schedule_of(**changes: Any) -> Schedule:
    config = TrainConfig(lr=2.0, model=TaskOptions(), **changes)
    optimizer = build_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])
    return Schedule(optimizer, config, total_steps=100, steps_per_epoch=10)


def test_a_warm_up_rises_in_equal_steps_to_the_highest_rate() -> None:
    schedule = schedule_of(warmup_steps=4, scheduler="constant")

    assert [schedule.apply(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_cosine_falls_from_the_highest_rate_to_nothing() -> None:
    schedule = schedule_of(warmup_steps=20)

    assert schedule.apply(20) == 2.0
    assert schedule.apply(60) == pytest.approx(1.0)
    assert schedule.apply(40) == pytest.approx(1 + math.cos(math.pi / 4))
    assert 0 < schedule.apply(99) < 0.001
    assert schedule.apply(100) == 0.0


def test_a_step_schedule_falls_every_so_many_epochs() -> None:
    schedule = schedule_of(scheduler="step", decay_every_epochs=2, decay_factor=0.5)

    assert [schedule.apply(step) for step in (0, 19, 20, 39, 40)] == [2.0, 2.0, 1.0, 1.0, 0.5]


def test_a_warm_up_longer_than_the_run_is_no_error() -> None:
    assert schedule_of(warmup_steps=1_000).apply(99) == pytest.approx(0.2)


def test_the_rate_is_set_in_every_group() -> None:
    schedule = schedule_of(scheduler="constant")

    schedule.apply(5)

    assert [group["lr"] for group in schedule._optimizer.param_groups] == [2.0]


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_each_optimizer_is_built_with_the_configuration(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    config = TrainConfig(lr=0.5, weight_decay=0.25, optimizer=name, model=TaskOptions())

    optimizer = build_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])

    assert type(optimizer) is kind
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.5, 0.25)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "mps", "meta"])
def test_a_device_that_is_not_there_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(UsageError, match="cpu"):
        open_device(name, "fp32", deterministic=True)


def test_auto_is_a_device_that_is_there() -> None:
    device = open_device("auto", "fp32", deterministic=True)

    assert device.is_cuda == torch.cuda.is_available()
    assert device.scaler() is None


def test_the_values_of_a_step_are_numbers() -> None:
    assert StepValues(torch.tensor(0.5), torch.tensor(2.0)).read() == (0.5, 2.0)
