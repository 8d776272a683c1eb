"""The trainer against a bare loop of the same model on the same data, at several step times.

Both do the same arithmetic: a shuffled batch, forward, backward, the gradient's norm, clipping, the optimizer, and
both read the loss. The bare loop is what one writes on a page, with torch's own `clip_grad_norm_`, `step` and
`zero_grad`. The trainer adds its order of samples, a line of metrics a step, TensorBoard events, the heartbeat,
control requests and samples of the machine; saving and evaluation are left out on both sides. It also goes to the same
bits by shorter ways than these three calls (`trainer/gradients.py`, `quick_step`), which gives back what it adds. So
it is compared with a second bare loop too, the *lean* one, which goes the same ways: that ratio is all that the
trainer adds. And *writing* is the lean one with one clock read and one `os.write` of a line a step: the floor of any
log of which a SIGKILL takes nothing.

The loops take turns, in blocks of a fraction of a second and in an order drawn each time, on one model and one
optimizer, so that whatever else the machine does and wherever the weights lie hits all alike. A ratio is the median
over the turns of a block to the bare block of the same turn, with the interval that holds the median in 95 of 100
resamplings. The control is the bare loop a second time: how far it is from 1 is the machine's doing.

`ratio` is by the clock, `CPU` by the processor time of the loop's own thread. The trainer's other threads are in
neither as a whole, since they go on during all blocks: `beside` is what they take of a core while the trainer runs
alone.

    python benchmarks/trainer.py [CASE ...] [--turns N] [--log-every-steps N] [--no-tensorboard]
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from support.report import print_head, quantile, scratch
from torch.utils.data import TensorDataset

from ckptop.store.run import Run
from ckptop.trainer.config import TaskOptions, TrainConfig
from ckptop.trainer.console import Console
from ckptop.trainer.device import Device
from ckptop.trainer.gradients import clear_gradients, clip_gradients
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.loop import Loop
from ckptop.trainer.optim import Schedule, build_optimizer, quick_step
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
ALONE_SECONDS = 11.0
"""Long enough for two writes of TensorBoard's events and of samples of the machine."""
RESAMPLINGS = 1000
LINE_BYTES = 150
"""Of five values, about."""


@dataclass(frozen=True)
class Case:
    """A model; the true step time is printed."""

    name: str
    task: Task[Any]
    options: TaskOptions
    batch_size: int
    steps: int
    """Of a block."""
    turns: int

    def config(self, log_every_steps: int) -> TrainConfig[Any]:
        """The configuration of all loops."""
        return TrainConfig(
            batch_size=self.batch_size, clip_norm=CLIP_NORM, log_every_steps=log_every_steps, model=self.options
        )

    def data(self) -> TensorDataset:
        """A block's worth of the task's own training samples, repeated."""
        tensors = cast(TensorDataset, self.task.load(None, 0).train).tensors
        rows = torch.arange(self.steps * self.batch_size) % len(tensors[0])
        return TensorDataset(*(tensor[rows] for tensor in tensors))


CASES = (
    Case("1ms", Diabetes(), DiabetesOptions(), 64, 150, 80),
    Case("10ms", Digits(), DigitsOptions(channels=18, shift_pixels=0), 64, 15, 50),
    Case("100ms", Digits(), DigitsOptions(channels=72, shift_pixels=0), 128, 3, 20),
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
            self.step()
            loss.item()

    def step(self) -> None:
        """Clip, move the weights, clear."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Lean(Bare):
    """The same with the trainer's own ways around torch's wrappers."""

    def __init__(self, case: Case, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(case, model, optimizer)
        self.parameters = list(model.parameters())
        self.move_weights = quick_step(optimizer)

    def step(self) -> None:
        """Clip, move the weights, clear."""
        clip_gradients(self.parameters, CLIP_NORM)
        self.move_weights()
        clear_gradients(self.parameters)


class Writing(Lean):
    """The lean one, and one line to a file: the least that a log costs which loses nothing to a SIGKILL."""

    def __init__(self, case: Case, model: torch.nn.Module, optimizer: torch.optim.Optimizer, log: Path) -> None:
        super().__init__(case, model, optimizer)
        self.descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.rest = b"x" * LINE_BYTES

    def step(self) -> None:
        """Read the clock and write."""
        super().step()
        os.write(self.descriptor, b"%f%s\n" % (time.time(), self.rest))


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


Blocks = dict[str, Callable[[], None]]
Turn = dict[str, Seconds]
"""A block of each, one right after the other."""


@contextmanager
def blocks_of(case: Case, log_every_steps: int, *, tensorboard: bool) -> Iterator[Blocks]:
    """The loops by name, on one model."""
    with scratch() as store:
        run = Run.create(store, name="benchmark", task=case.task.name)
        events = EventWriter(run.paths.tensorboard, 0) if tensorboard else None
        config = case.config(log_every_steps)
        model = case.task.build_model(case.options)
        optimizer = build_optimizer(config, model.parameters())
        bare, lean = Bare(case, model, optimizer), Lean(case, model, optimizer)
        writing = Writing(case, model, optimizer, store / "floor.jsonl")
        ours = Ours(case, config, model, optimizer, run, events)
        with closing(SystemSampler(run.log_system, 5.0)):
            blocks = {"bare": bare.block, "control": bare.block, "lean": lean.block}
            yield blocks | {"writing": writing.block, "ours": ours.block}
        if events is not None:
            events.close()
        run.finish("finished", code=0)


def take_turns(blocks: Blocks, steps: int, turns: int) -> Iterator[Turn]:
    """Turn by turn, in an order drawn each time."""
    order = random.Random(0)  # noqa: S311 - no secret
    for number in range(turns + 1):
        turn = {name: time_block(blocks[name], steps) for name in order.sample(list(blocks), len(blocks))}
        if number > 0:  # the first warms up
            yield turn


def time_block(block: Callable[[], None], steps: int) -> Seconds:
    clock, cpu = time.perf_counter(), time.thread_time()
    block()
    return Seconds((time.perf_counter() - clock) / steps, (time.thread_time() - cpu) / steps)


def share_beside(block: Callable[[], None]) -> float:
    """What the other threads take of a core while the trainer runs."""
    began, whole, own = time.perf_counter(), time.process_time(), time.thread_time()
    while (now := time.perf_counter()) < began + ALONE_SECONDS:
        block()
    return (time.process_time() - whole - (time.thread_time() - own)) / (now - began)


def median_and_interval(values: Sequence[float]) -> str:
    """The median, and where 95 of 100 medians of resampled values lie."""
    draw = random.Random(0)  # noqa: S311 - no secret
    medians = [statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLINGS)]
    return f"{statistics.median(values):.3f} ({quantile(medians, 0.025):.3f}–{quantile(medians, 0.975):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    parser.add_argument("--turns", type=int)
    parser.add_argument("--log-every-steps", type=int, default=1)
    parser.add_argument("--no-tensorboard", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print_head(f"The trainer against a bare loop; a line each {arguments.log_every_steps} steps; budget 1.02")
    for case in CASES:
        if not arguments.cases or case.name in arguments.cases:
            with blocks_of(case, arguments.log_every_steps, tensorboard=not arguments.no_tensorboard) as blocks:
                turns = list(take_turns(blocks, case.steps, arguments.turns or case.turns))
                report(case, turns, share_beside(blocks["ours"]))


def report(case: Case, turns: Sequence[Turn], beside: float) -> None:
    milliseconds = {name: statistics.median(turn[name].clock for turn in turns) * 1e3 for name in turns[0]}
    times = ", ".join(f"{name} {value:.3f}" for name, value in milliseconds.items())
    print(f"\n{case.name}: ms a step: {times}; {len(turns)} turns of {case.steps} steps; beside {beside:.1%} of a core")
    for name, peer in (("ours", "bare"), ("control", "bare"), ("ours", "lean"), ("writing", "lean")):
        clock = median_and_interval([turn[name].clock / turn[peer].clock for turn in turns])
        cpu = median_and_interval([turn[name].cpu / turn[peer].cpu for turn in turns])
        print(f"  {name + ' / ' + peer:15} ratio {clock}   CPU {cpu}")


if __name__ == "__main__":
    main()
