"""The trainer against a bare loop of the same model on the same data, at several step times.

Both loops do the same arithmetic: a shuffled batch, forward, backward, the gradient's norm, the optimizer, and both
read the loss. The trainer adds its order of samples, a line of metrics a step, TensorBoard events, the heartbeat,
control requests and samples of the machine; saving and evaluation are left out on both sides. The two take turns,
block by block and each first in its turn, on one model and one optimizer, so that whatever else the machine does and
wherever the weights lie hits both alike; a ratio is the median of the blocks'.

`ratio` is by the clock. `CPU` is by the processor time of the loop's own thread, which a busy machine disturbs less
and which does not see what the other threads take.

    python benchmarks/trainer.py [--blocks N] [--no-tensorboard]
"""

from __future__ import annotations

import argparse
import io
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

    def config(self) -> TrainConfig[Any]:
        """The configuration of both loops."""
        return TrainConfig(batch_size=self.batch_size, clip_norm=CLIP_NORM, model=self.options)

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
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        run: Run,
        events: EventWriter | None,
    ) -> None:
        task, config, data = case.task, case.config(), case.data()
        batches = Batches(len(data), case.batch_size)
        loader = EpochLoader(data, batches, seed=0, task=task, options=case.options)
        parts = Parts(
            task=task,
            config=config,
            device=Device(torch.device("cpu"), "fp32"),
            model=model,
            optimizer=optimizer,
            schedule=Schedule(optimizer, config, 10**6, batches.step_count),
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


def time_block(block: Callable[[], None], steps: int) -> Seconds:
    clock, cpu = time.perf_counter(), time.thread_time()
    block()
    return Seconds((time.perf_counter() - clock) / steps, (time.thread_time() - cpu) / steps)


def measure(case: Case, blocks: int, *, tensorboard: bool) -> Iterator[tuple[Seconds, Seconds]]:
    """A step of the bare loop and of ours, block by block."""
    with tempfile.TemporaryDirectory() as store:
        run = Run.create(Path(store), name="benchmark", task=case.task.name)
        events = EventWriter(run.paths.tensorboard, 0) if tensorboard else None
        system = SystemSampler(run.log_system, 5.0)
        model = case.task.build_model(case.options)
        optimizer = build_optimizer(case.config(), model.parameters())
        bare, ours = Bare(case, model, optimizer), Ours(case, model, optimizer, run, events)
        for number in range(blocks + 1):
            turns = [bare.block, ours.block][:: 1 if number % 2 else -1]
            first, second = (time_block(block, case.steps) for block in turns)
            if number > 0:  # the first warms up
                yield (first, second) if number % 2 else (second, first)
        system.close()
        if events is not None:
            events.close()
        run.finish("finished", code=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--no-tensorboard", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(f"{'step':>7}  {'bare':>9}  {'ckptop':>9}  {'ratio':>6}  {'CPU':>6}  {'more CPU':>9}   budget 1.02")
    for case in CASES:
        pairs = list(measure(case, arguments.blocks, tensorboard=not arguments.no_tensorboard))
        bare, ours = (statistics.median(side.clock for side in sides) * 1e3 for sides in zip(*pairs, strict=True))
        ratio = statistics.median(our.clock / their.clock for their, our in pairs)
        cpu_ratio = statistics.median(our.cpu / their.cpu for their, our in pairs)
        more = statistics.median(our.cpu - their.cpu for their, our in pairs) * 1e6
        print(f"{case.name:>7}  {bare:6.2f} ms  {ours:6.2f} ms  {ratio:6.3f}  {cpu_ratio:6.3f}  {more:6.0f} µs")


if __name__ == "__main__":
    main()
