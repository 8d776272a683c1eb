"""The learning rate of every step, and the optimizer it is set in."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ckptop.store.errors import UsageError
from ckptop.trainer.config import TaskOptions, TrainConfig
from ckptop.trainer.device import StepValues, open_device
from ckptop.trainer.optim import Schedule, build_optimizer, learning_rate, quick_step
from ckptop.trainer.sampler import Batches
from ckptop.trainer.state import Progress

BATCHES = Batches(sample_count=100, batch_size=10)
EPOCHS = 10


def rates_of(steps: int = EPOCHS * BATCHES.step_count, **changes: Any) -> list[float]:
    """The rate of every step of a run of 10 epochs of 10 steps, in order."""
    config = TrainConfig(lr=2.0, epochs=EPOCHS, model=TaskOptions(), **changes)
    optimizer = build_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])
    schedule = Schedule(optimizer, config, BATCHES, total_steps=EPOCHS * BATCHES.step_count)
    rates, progress = [], Progress()
    for _ in range(steps):
        rates.append(schedule.apply(progress))
        assert [group["lr"] for group in optimizer.param_groups] == [rates[-1]]
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        if progress.batch == BATCHES.batch_count:
            progress.begin_next_epoch()
    return rates


def test_a_warm_up_rises_in_equal_steps_to_the_highest_rate() -> None:
    assert rates_of(6, warmup_steps=4, scheduler="constant") == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_cosine_falls_from_the_highest_rate_to_nothing() -> None:
    rates = rates_of(101, warmup_steps=20)

    assert rates[20] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(1 + math.cos(math.pi / 4))
    assert 0 < rates[99] < 0.001
    assert rates[100] == 0.0


def test_a_step_schedule_falls_every_so_many_epochs() -> None:
    rates = rates_of(scheduler="step", decay_every_epochs=2, decay_factor=0.5)

    assert [rates[step] for step in (0, 19, 20, 39, 40)] == [2.0, 2.0, 1.0, 1.0, 0.5]


def test_a_warm_up_longer_than_the_run_is_no_error() -> None:
    assert rates_of(100, warmup_steps=1_000)[99] == pytest.approx(0.2)


@pytest.mark.parametrize("scheduler", ["cosine", "step"])
def test_another_batch_size_leaves_the_rate_where_it_is(scheduler: str) -> None:
    """The steps done so far were counted in other batches; the epochs mean the same."""
    config = TrainConfig(epochs=8, scheduler=scheduler, warmup_steps=7, decay_every_epochs=2, model=TaskOptions())  # type: ignore[arg-type]  # mypy takes the parameter for any text
    at_the_end_of_four = Progress(epoch=5, step=4 * 10, warm_epochs=0.7)

    before = learning_rate(config, at_the_end_of_four, BATCHES)

    assert 0 < before < config.lr
    for batch_size in (1, 4, 50):
        assert learning_rate(config, at_the_end_of_four, Batches(100, batch_size)) == before


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_each_optimizer_is_built_with_the_configuration(name: Any, kind: type[torch.optim.Optimizer]) -> None:
    config = TrainConfig(lr=0.5, weight_decay=0.25, optimizer=name, model=TaskOptions())

    optimizer = build_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])

    assert kind in type(optimizer).__bases__  # AdamW is an Adam
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.5, 0.25)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_quick_step_moves_weights_and_state_to_the_bits_of_the_usual_one(name: Any) -> None:
    config = TrainConfig(lr=0.5, weight_decay=0.25, optimizer=name, model=TaskOptions())
    usual, quick = (torch.nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    optimizers = [build_optimizer(config, [parameter]) for parameter in (usual, quick)]
    step = quick_step(optimizers[1])

    for number in range(1, 4):
        usual.grad, quick.grad = (torch.linspace(0, number, 9) for _ in range(2))
        optimizers[0].step()
        step()

    assert torch.equal(usual, quick)
    assert not torch.equal(quick, torch.linspace(-1, 1, 9))
    states = [optimizer.state_dict()["state"][0] for optimizer in optimizers]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimizer_saves_and_loads_what_torchs_own_does(name: Any) -> None:
    config = TrainConfig(lr=0.5, weight_decay=0.25, optimizer=name, model=TaskOptions())
    ours = build_optimizer(config, [torch.nn.Parameter(torch.linspace(-1, 1, 9))])
    asked = {key: value for key, value in ours.defaults.items() if key != "decoupled_weight_decay"}
    theirs = type(ours).__bases__[1]([torch.nn.Parameter(torch.linspace(-1, 1, 9))], **asked)
    for optimizer in (ours, theirs):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(9)
        optimizer.step()
        optimizer.zero_grad()
        assert optimizer.param_groups[0]["params"][0].grad is None

    saved, expected = ours.state_dict(), theirs.state_dict()
    theirs.load_state_dict(saved)
    ours.load_state_dict(expected)

    assert saved["param_groups"] == expected["param_groups"]
    for key, value in expected["state"][0].items():
        assert torch.equal(saved["state"][0][key], value)
        assert torch.equal(ours.state_dict()["state"][0][key], value)


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
