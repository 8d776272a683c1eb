"""The trainer against a bare loop of the same model on the same data, at several step times.

Both loops do the same arithmetic: a shuffled batch, forward, backward, the gradient's norm, the optimizer, and both
read the loss. The trainer adds its order of samples, a line of metrics a step, TensorBoard events, the heartbeat,
control requests and samples of the machine; saving and evaluation are left out on both sides. The two take turns,
block by block in an order drawn each time, on one model and one optimizer, so that whatever else the machine does and
wherever the weights lie hits both alike; a ratio is the median of the blocks'. The control is the bare loop against
itself: what differs from 1 there is the machine's doing.

`ratio` is by the clock. `CPU` is by the processor time of the loop's own thread, which a busy machine disturbs less
and which does not see what the other threads take.

    python benchmarks/trainer.py [--blocks N] [--log-every-steps N] [--no-tensorboard]
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import TensorDataset

from ckptop.store.run import Run
from ckptop.trainer.config import TaskOptions, TrainConfig
from ckptop.trainer.console import Console
from ckptop.trainer.device import Device
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.loop import Loop
from ckptop.trainer.optim import Schedule, build_optimizer
from ckptop.trainer.parts import Parts
from ckptop.trainer.sampler import Batches
from ckptop.trainer.state import Progress
from ckptop.trainer.system import SystemSampler
from ckptop.trainer.task import Task
from ckptop.trainer.tasks.diabetes import Diabetes, DiabetesOptions
from ckptop.trainer.tasks.digits import Digits, DigitsOptions
from ckptop.trainer.tensorboard import EventWriter

THREADS = 1
CLIP_NORM = 5.0


@dataclass(frozen=True)
class Case:
    """A model and how many steps a block has; the true step time is printed."""

    name: str
    task: Task[Any]
    options: TaskOptions
    batch_size: int
    steps: int

    def config(self, log_every_steps: int) -> TrainConfig[Any]:
        """The configuration of both loops."""
        return TrainConfig(
            batch_size=self.batch_size, clip_norm=CLIP_NORM, log_every_steps=log_every_steps, model=self.options
        )

    def data(self) -> TensorDataset:
        """A block's worth of the task's own training samples, repeated."""
        tensors = cast(TensorDataset, self.task.load(None, 0).train).tensors
        rows = torch.arange(self.steps * self.batch_size) % len(tensors[0])
        return TensorDataset(*(tensor[rows] for tensor in tensors))


CASES = (
    Case("1 ms", Diabetes(), DiabetesOptions(), 64, 500),
    Case("10 ms", Digits(), DigitsOptions(channels=12, shift_pixels=0), 64, 80),
    Case("100 ms", Digits(), DigitsOptions(channels=48, shift_pixels=0), 128, 10),
)


class Bare:
    """What one writes on a page."""

    def __init__(self, case: Case, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.case, self.model, self.optimizer = case, model, optimizer
        self.inputs, self.targets = case.data().tensors

    def block(self) -> None:
        """One pass over the data."""
        task, size = self.case.task, self.case.batch_size
        order = torch.randperm(len(self.inputs))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            loss = task.loss(self.model(self.inputs[chosen]), self.targets[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()


class Ours:
    """The trainer's own loop, an epoch a block."""

    def __init__(
        self,
        case: Case,
        config: TrainConfig[Any],
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        run: Run,
        events: EventWriter | None,
    ) -> None:
        task, data = case.task, case.data()
        batches = Batches(len(data), case.batch_size)
        loader = EpochLoader(data, batches, seed=0, task=task, options=case.options)
        parts = Parts(
            task=task,
            config=config,
            device=Device(torch.device("cpu"), "fp32"),
            model=model,
            optimizer=optimizer,
            schedule=Schedule(optimizer, config, batches, 10**6),
            scaler=None,
            train=loader,
            validation=loader,
        )
        self.loop = Loop(parts, run, Progress(), Console(run.paths.log, io.StringIO()), events, None)

    def block(self) -> None:
        """One epoch without its end."""
        self.loop._train_epoch()
        self.loop.progress.begin_next_epoch()


class Seconds(NamedTuple):
    """What a step takes."""

    clock: float
    cpu: float


class Turn(NamedTuple):
    """A block of each, one right after the other."""

    bare: Seconds
    ours: Seconds
    again: Seconds
    """The bare loop a second time: what a ratio is where there is no difference."""


def time_block(block: Callable[[], None], steps: int) -> Seconds:
    clock, cpu = time.perf_counter(), time.thread_time()
    block()
    return Seconds((time.perf_counter() - clock) / steps, (time.thread_time() - cpu) / steps)


def measure(case: Case, blocks: int, log_every_steps: int, *, tensorboard: bool) -> Iterator[Turn]:
    """Turn by turn, in an order drawn each time."""
    with tempfile.TemporaryDirectory() as store:
        run = Run.create(Path(store), name="benchmark", task=case.task.name)
        events = EventWriter(run.paths.tensorboard, 0) if tensorboard else None
        system = SystemSampler(run.log_system, 5.0)
        config = case.config(log_every_steps)
        model = case.task.build_model(case.options)
        optimizer = build_optimizer(config, model.parameters())
        bare, ours = Bare(case, model, optimizer), Ours(case, config, model, optimizer, run, events)
        sides = {"bare": bare.block, "ours": ours.block, "again": bare.block}
        order = random.Random(0)  # noqa: S311 - no secret
        for number in range(blocks + 1):
            turn = {name: time_block(sides[name], case.steps) for name in order.sample(list(sides), len(sides))}
            if number > 0:  # the first warms up
                yield Turn(**turn)
        system.close()
        if events is not None:
            events.close()
        run.finish("finished", code=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--log-every-steps", type=int, default=1)
    parser.add_argument("--no-tensorboard", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(f"{'step':>7}  {'bare':>9}  {'ckptop':>9}  {'ratio':>6}  {'CPU':>6}  {'control':>7}  {'':>6}   budget 1.02")
    for case in CASES:
        turns = list(
            measure(case, arguments.blocks, arguments.log_every_steps, tensorboard=not arguments.no_tensorboard)
        )
        bare, ours = (
            statistics.median(side.clock for side in sides) * 1e3 for sides in list(zip(*turns, strict=True))[:2]
        )
        ratios = [ratio for name in ("ours", "again") for ratio in _ratios(turns, name)]
        print(f"{case.name:>7}  {bare:6.2f} ms  {ours:6.2f} ms  " + "  ".join(f"{ratio:6.3f}" for ratio in ratios))


def _ratios(turns: list[Turn], name: str) -> tuple[float, float]:
    """A side against the bare loop: by the clock, and by processor time."""
    sides = [(getattr(turn, name), turn.bare) for turn in turns]
    return (
        statistics.median(side.clock / bare.clock for side, bare in sides),
        statistics.median(side.cpu / bare.cpu for side, bare in sides),
    )


if __name__ == "__main__":
    main()
