"""Saving beside the loop: how long a save stops it, and how much slower it runs while one is on its way.

    python benchmarks/async_save.py [MB …]

Stall: from the call to its return, beside one copy of the same bytes into memory that is there already, and beside
`torch.save` of them. In flight: steps of a matrix product, counted while a save is on its way and right after it, of
ours and of torch's distributed checkpoint (DCP) in its asynchronous mode, in turn; 1 thread computes, so on two cores
one is free. Pass `--busy` to compute on all of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from checkpoints import Model, save_with_torch
from support.report import alternate, print_facts, print_head, print_seconds, scratch, seconds_of
from torch.distributed.checkpoint.state_dict_saver import async_save

from ckptop.store import CheckpointManager

SIZES_MB = (100, 400)
ROUNDS = 7
SAVES = 20
NOTHING_SECONDS = 0.5
SIDE = 384


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        measure_memory(int(sys.argv[2]))
        return
    arguments = [argument for argument in sys.argv[1:] if argument != "--busy"]
    warnings.filterwarnings("ignore", module="torch.distributed")  # in its threads too
    torch.set_num_threads(os.cpu_count() or 1 if "--busy" in sys.argv else 1)
    for size_mb in [int(argument) for argument in arguments] or SIZES_MB:
        with scratch() as folder:
            model = Model(size_mb)
            print_head(f"A state of {size_mb:,} MB, {torch.get_num_threads()} of {os.cpu_count()} cores computing")
            manager = CheckpointManager(folder / "checkpoints", 2, async_save=True)
            manager.prepare(model)
            manager.wait()
            print_memory(size_mb)
            compare_stalls(folder, model, manager)
            compare_in_flight(folder, model, manager)


def print_memory(size_mb: int) -> None:
    """In a process of its own: the most it ever held before, and after some saves."""
    command = [sys.executable, __file__, "--memory", str(size_mb)]
    before, after = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    print_facts(
        "memory at its peak", **{"one more": f"{(after - before) * 1024 / size_mb / 1e6:.2f} × the state (budget 1)"}
    )


def measure_memory(size_mb: int) -> None:
    with scratch() as folder:
        model, manager = Model(size_mb), CheckpointManager(folder / "checkpoints", 2, async_save=True)
        CheckpointManager(folder / "small", async_save=True).save_training_checkpoint(Model(20), None, 1, 1, {})
        before = peak_kib()
        for step in range(1, 4):
            manager.save_training_checkpoint(model, None, 1, step, {"val/loss": 1.0})
            manager.wait()
        print(before, peak_kib())


def peak_kib() -> int:
    """The most memory this process held; `ru_maxrss` begins with that of the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def compare_stalls(folder: Path, model: Model, manager: CheckpointManager) -> None:
    steps = count(1)
    warm = [torch.zeros_like(tensor) for tensor in model.parameters()]

    def copy() -> None:
        with torch.no_grad():
            for target, tensor in zip(warm, model.parameters(), strict=True):
                target.copy_(tensor)

    def settle() -> None:
        manager.wait()
        os.sync()

    first = seconds_of(lambda: save(model, manager, steps))
    found = alternate(
        {
            "save_training_checkpoint, returned": partial(seconds_of, lambda: save(model, manager, steps)),
            "one copy into warm memory": partial(seconds_of, copy),
            "torch.save": partial(seconds_of, partial(save_with_torch, model, folder / "torch.pt")),
        },
        ROUNDS,
        before=settle,
    )
    print_seconds(found)
    ours, one_copy, torch_save = (statistics.median(times) for times in found.values())
    print_facts(
        "stall", **{"× one copy": f"{ours / one_copy:.2f} (budget 1.2)", "torch.save is": f"{torch_save / ours:.1f} ×",
                    "the first save": f"{first * 1e3:.1f} ms"},
    )  # fmt: skip
    settle()


def save(model: Model, manager: CheckpointManager, steps: count[int]) -> None:
    manager.save_training_checkpoint(model, None, 1, next(steps), {"val/loss": 1.0})


def compare_in_flight(folder: Path, model: Model, manager: CheckpointManager) -> None:
    """Paired: the steps during each save against as many right after it."""
    steps = count(1_000)

    def ours() -> Callable[[], bool]:
        save(model, manager, steps)
        return lambda: manager.is_saving

    def theirs() -> Callable[[], bool]:
        state: dict[str, Any] = {"model": model.state_dict()}
        done = async_save(state, checkpoint_id=str(folder / "dcp"), no_dist=True)
        assert isinstance(done, Future)
        return lambda: not done.done()

    def nothing() -> Callable[[], bool]:
        until = time.perf_counter() + NOTHING_SECONDS
        return lambda: time.perf_counter() < until

    lost: dict[str, list[float]] = {}
    share: dict[str, list[float]] = {}
    for _ in range(SAVES):
        for name, begin in (("ckptop", ours), ("DCP async", theirs), ("no save at all", nothing)):
            is_busy = begin()
            during = sum(times := step_times(is_busy))
            manager.wait()
            after = sum(step_times(so_often(len(times))))
            lost.setdefault(name, []).append(during - after)
            share.setdefault(name, []).append(during / after - 1 if after else 0.0)
    print_facts(
        "lost to a save in flight",
        **{
            name: f"{statistics.median(seconds) * 1e3:.0f} ms, {statistics.median(share[name]) * 100:.1f} %"
            for name, seconds in lost.items()
        },
    )


def so_often(times: int) -> Callable[[], bool]:
    done = count()
    return lambda: next(done) < times


def step_times(goes_on: Callable[[], bool]) -> list[float]:
    """Seconds of each step while `goes_on`."""
    left = torch.ones(SIDE, SIDE)
    times = []
    while goes_on():
        began = time.perf_counter()
        torch.mm(left, left)
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
