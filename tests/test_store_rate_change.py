"""The learning rate of somebody's own loop, changed while it runs and at a resume, with torch's own schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from ckptop.store import Run
from ckptop.store.control import send_request
from ckptop.store.errors import UsageError
from ckptop.store.events import read_events
from ckptop.store.rate_change import change_rate
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.views import read_run

SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "none": lambda _: None,
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 20),
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 4, 0.5),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20),
    "warm-up, then cosine": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 5), lr_scheduler.CosineAnnealingLR(optimizer, 15)],
        [5],
    ),
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create(tmp_path, name="mine", task="toy", config={"lr": 0.1}) as run:
        run.begin()
        yield run


def optimizer_of(rate: Any = 0.1) -> torch.optim.Optimizer:
    """Two groups, the second a tenth of the first."""
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    return torch.optim.SGD([{"params": first.parameters()}, {"params": second.parameters(), "lr": rate / 10}], lr=rate)


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def advance(optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    optimizer.step()
    if scheduler is not None:
        scheduler.step()


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("change_at", [0, 3, 7])
def test_a_changed_rate_scales_every_group_and_keeps_the_shape_of_the_schedule(
    run: Run, make: Callable[[torch.optim.Optimizer], Any], change_at: int
) -> None:
    plain, changed = optimizer_of(), optimizer_of()
    plain_schedule, schedule = make(plain), make(changed)
    for step in range(15):
        if step == change_at:
            change_rate(run, {"lr": "0.03"}, [changed], [schedule] if schedule is not None else [])
        factor = 0.3 if step >= change_at else 1.0
        assert rates(changed) == pytest.approx([rate * factor for rate in rates(plain)])
        advance(plain, plain_schedule)
        advance(changed, schedule)


def test_a_rate_that_is_a_tensor_is_changed_in_place(run: Run) -> None:
    held = torch.tensor(0.1)
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=held)

    change_rate(run, {"lr": 0.05}, [optimizer])

    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(0.05)


def test_the_recorded_configuration_follows(run: Run) -> None:
    message = change_rate(run, {"lr": 0.05}, [optimizer_of()])

    assert message == "lr was 0.1, now 0.05; the next checkpoint holds it"
    record = read_run(run.root).record
    assert record is not None
    assert record.config == {"lr": 0.05}


@pytest.mark.parametrize("wanted", [{}, {"lr": "fast"}, {"lr": 0}, {"lr": -1}, {"lr": "nan"}, {"lr": True}, {"b": 1}])
def test_what_cannot_be_set_changes_nothing(run: Run, wanted: dict[str, Any]) -> None:
    optimizer = optimizer_of()

    with pytest.raises(UsageError):
        change_rate(run, wanted, [optimizer])

    assert rates(optimizer) == [0.1, 0.01]


def train(run: Run, last: int) -> tuple[torch.optim.Optimizer, list[float]]:
    """A plain loop; the rate of each step."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=run.config["lr"])
    schedule = lr_scheduler.StepLR(optimizer, 5, 0.5)
    run.restore(model, optimizer, schedule)

    def save() -> None:
        run.checkpoints.save_training_checkpoint(model, optimizer, 1, run.step, {}, run.config, schedule)

    used = []
    for step in run.steps(last, save=save, optimizer=optimizer, scheduler=schedule):
        used.append(rates(optimizer)[0])
        advance(optimizer, schedule)
        if step == 2 and not run.is_resumed:
            send_request(run.paths, "set", {"lr": "0.02"})
            run.inbox.look()
    return optimizer, used


def test_a_plain_loop_is_set_while_it_runs_and_its_checkpoints_hold_it(tmp_path: Path) -> None:
    with Run.create(tmp_path, name="mine", task="toy", config={"lr": 0.1}) as run:
        _, used = train(run, 6)
    with Run.create(tmp_path, name="mine", task="toy", config={"lr": 0.1}, resume="auto") as run:
        _, later = train(run, 8)

    assert used == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.02, 0.01])
    assert later == pytest.approx([0.01, 0.01])
    (answer,) = [event.details for event in read_events(tmp_path / "mine" / "events.jsonl") if event.event == "control"]
    assert answer["ok"] is True


def test_a_rate_set_at_a_resume_holds_and_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is restored has the old one; and the resume after that, of a crash, is told nothing."""
    with Run.create(tmp_path, name="mine", task="toy", config={"lr": 0.1}) as run:
        train(run, 6)

    def resume(last: int, **overrides: str) -> list[float]:
        request = ResumeRequest(store=str(tmp_path), run="mine", checkpoint="auto", overrides=overrides)
        monkeypatch.setenv(RESUME_VARIABLE, encode_request(request))
        with Run.create(tmp_path, name="mine", task="toy", config={"lr": 0.1}) as run:
            return train(run, last)[1]

    assert resume(8, lr="0.4") == pytest.approx([0.2, 0.2])
    assert resume(9) == pytest.approx([0.2])
    record = read_run(tmp_path / "mine").record
    assert record is not None
    assert record.config == {"lr": 0.4}
