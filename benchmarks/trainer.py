"""The trainer against a bare loop of the same model on the same data, at several step times.

Both loops do the same arithmetic: a shuffled batch, forward, backward, the gradient's norm, the optimizer, and both
read the loss. The trainer adds its order of samples, a line of metrics a step, TensorBoard events, the heartbeat,
control requests and samples of the machine; saving and evaluation are left out on both sides. The two take turns,
block by block, so that whatever else the machine does hits both alike; the ratio is the median of the blocks'.

    python benchmarks/trainer.py [--blocks N] [--no-tensorboard]
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import TensorDataset

from ckptop.store.run import Run
from ckptop.trainer.config import TrainConfig
from ckptop.trainer.console import Console
from ckptop.trainer.device import Device
from ckptop.trainer.loader import EpochLoader
from ckptop.trainer.loop import Loop, Parts
from ckptop.trainer.optim import Schedule, build_optimizer
from ckptop.trainer.sampler import Batches
from ckptop.trainer.state import Progress
from ckptop.trainer.system import SystemSampler
from ckptop.trainer.tasks.digits import Digits, DigitsOptions
from ckptop.trainer.tensorboard import EventWriter

CASES = {"1 ms": (4, 16, 300), "10 ms": (16, 64, 60), "100 ms": (64, 192, 12)}
"""Name to (channels, batch size, steps of a block); the true step times are printed."""
THREADS = 1


def make(channels: int, batch_size: int, steps: int) -> tuple[Digits, TrainConfig[DigitsOptions], TensorDataset]:
    """A task, its configuration and a block's worth of images."""
    config = TrainConfig(
        batch_size=batch_size, lr=1e-3, clip_norm=5.0, model=DigitsOptions(channels=channels, shift_pixels=0)
    )
    torch.manual_seed(0)
    images, labels = torch.rand(steps * batch_size, 1, 8, 8), torch.randint(0, 10, (steps * batch_size,))
    return Digits(), config, TensorDataset(images, labels)


class Bare:
    """What one writes on a page."""

    def __init__(self, channels: int, batch_size: int, steps: int) -> None:
        self.task, self.config, data = make(channels, batch_size, steps)
        self.images, self.labels = data.tensors
        self.batch_size = batch_size
        self.model = self.task.build_model(self.config.model)
        self.optimizer = build_optimizer(self.config, self.model.parameters())

    def block(self) -> None:
        """One pass over the batches."""
        order = torch.randperm(len(self.images))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            loss = self.task.loss(self.model(self.images[chosen]), self.labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()


class Ours:
    """The trainer's own loop, an epoch a block."""

    def __init__(self, channels: int, batch_size: int, steps: int, run: Run, events: EventWriter | None) -> None:
        task, config, data = make(channels, batch_size, steps)
        model = task.build_model(config.model)
        optimizer = build_optimizer(config, model.parameters())
        batches = Batches(len(data), batch_size)
        loader = EpochLoader(data, batches, seed=0, task=task, options=config.model)
        parts = Parts(
            task=task, config=config, device=Device(torch.device("cpu"), "fp32"), model=model, optimizer=optimizer,
            schedule=Schedule(optimizer, config, 10**6, batches.step_count), scaler=None, train=loader,
            validation=loader,
        )  # fmt: skip
        self.loop = Loop(parts, run, Progress(), Console(run.paths.log, io.StringIO()), events, None)

    def block(self) -> None:
        """One epoch without its end."""
        self.loop._train_epoch()
        self.loop.progress.begin_next_epoch()


def seconds_of(block: Any) -> float:
    """How long a block takes."""
    began = time.perf_counter()
    block()
    return time.perf_counter() - began


def measure(case: tuple[int, int, int], blocks: int, *, tensorboard: bool) -> Iterator[tuple[float, float]]:
    """Seconds a step of the bare loop and of ours, block by block."""
    with tempfile.TemporaryDirectory() as store:
        run = Run.create(store, name="benchmark", task="digits")
        events = EventWriter(run.paths.tensorboard, 0) if tensorboard else None
        system = SystemSampler(run.log_system, 5.0)
        bare, ours = Bare(*case), Ours(*case, run, events)
        for number in range(blocks + 1):
            pair = seconds_of(bare.block) / case[2], seconds_of(ours.block) / case[2]
            if number > 0:  # the first warms up
                yield pair
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
    print(f"{'step':>7}  {'bare':>9}  {'ckptop':>9}  {'ratio':>6}  {'a step':>8}   budget 1.02")
    for name, case in CASES.items():
        pairs = list(measure(case, arguments.blocks, tensorboard=not arguments.no_tensorboard))
        bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(our / their for their, our in pairs)
        print(f"{name:>7}  {bare * 1e3:6.2f} ms  {ours * 1e3:6.2f} ms  {ratio:6.3f}  {(ours - bare) * 1e6:5.0f} µs")


if __name__ == "__main__":
    main()
