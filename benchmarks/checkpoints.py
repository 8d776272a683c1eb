"""Saving until durable, verifying, loading and linking checkpoints, beside torch.save, DCP and dd on one file system.

    python benchmarks/checkpoints.py [--large]

`--large` adds a state of 1.6 GB. Before each timed save everything older is synced, so nobody pays for another.
Reading is from the page cache: it says what the code costs, not the disk.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch
import xxhash
from support.report import alternate, print_facts, print_head, print_seconds, scratch, seconds_of
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_dcp

from ckptop.store import CheckpointManager
from ckptop.store.checkpoint_info import read_info
from ckptop.store.verify import verify_checkpoint

SIZES_MB = (100, 400)
LARGE_MB = 1_600
ROUNDS = 7
TENSOR_BYTES = 4 * 1024 * 1024
READ_BYTES = 4 * 1024 * 1024
MILESTONES = 15


class Model(torch.nn.Module):
    """Random float32 tensors of 4 MiB."""

    def __init__(self, size_mb: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        side = round((TENSOR_BYTES / 4) ** 0.5)
        tensors = (torch.nn.Parameter(torch.randn(side, side)) for _ in range(-(-size_mb * 1_000_000 // TENSOR_BYTES)))
        self.layers = torch.nn.ParameterList(tensors)

    def step(self) -> None:
        """Of one layer, forward and back: what it costs is nothing beside the state."""
        torch.mm(torch.ones(1, self.layers[0].shape[0]), self.layers[0]).sum().backward()  # type: ignore[no-untyped-call]


def main() -> None:
    warnings.filterwarnings("ignore", module="torch.distributed")
    sizes = (*SIZES_MB, LARGE_MB) if "--large" in sys.argv[1:] else SIZES_MB
    for size_mb in sizes:
        with scratch() as folder:
            measure(folder, Model(size_mb))


def measure(folder: Path, model: Model) -> None:
    manager = CheckpointManager(folder / "checkpoints", max_training_checkpoints=2)
    source = Path(manager.save_training_checkpoint(model, None, 1, 1, {"val/loss": 1.0}))
    size_mb = source.stat().st_size / 1e6
    print_head(f"A state of {size_mb:,.0f} MB")
    compare_saving(folder, model, manager, source)
    newest = Path(str(manager.get_latest_checkpoint("training")))
    compare_reading(model, manager, newest, size_mb)
    time_milestones(model, manager)


def compare_saving(folder: Path, model: Model, manager: CheckpointManager, source: Path) -> None:
    steps = count(2)
    copied = folder / "same-bytes.pt"
    copied.write_bytes(source.read_bytes())
    dd = ["dd", f"if={copied}", f"of={folder / 'dd.pt'}", "bs=4M", "conv=fsync", "status=none"]
    found = alternate(
        {
            "save_training_checkpoint, durable": partial(
                seconds_of, lambda: manager.save_training_checkpoint(model, None, 1, next(steps), {"val/loss": 1.0})
            ),
            "torch.save in place + fsync": partial(seconds_of, partial(save_with_torch, model, folder / "torch.pt")),
            "DCP save, fsynced": partial(seconds_of, partial(save_with_dcp, model, folder / "dcp")),
            "dd conv=fsync": partial(seconds_of, partial(subprocess.run, dd, check=True)),
        },
        ROUNDS,
        before=os.sync,
    )
    ours, _torch, _dcp, dd_seconds = (statistics.median(times) for times in found.values())
    print_seconds(found)
    print_facts("until durable", **{"× dd": f"{ours / dd_seconds:.2f} (budget 1.3)"})
    shutil.rmtree(folder / "dcp")
    for name in ("dd.pt", "torch.pt", "same-bytes.pt"):
        (folder / name).unlink()


def save_with_torch(model: Model, path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"model_state_dict": model.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())


def save_with_dcp(model: Model, path: Path) -> None:
    save_dcp({"model": model.state_dict()}, storage_writer=FileSystemWriter(path, overwrite=True), no_dist=True)


def compare_reading(model: Model, manager: CheckpointManager, path: Path, size_mb: float) -> None:
    info = read_info(path, "training")
    verifying = alternate(
        {
            "verify_checkpoint": partial(seconds_of, partial(verify_checkpoint, info)),
            "a plain loop of read and xxh3": partial(seconds_of, partial(hash_plainly, path)),
        },
        ROUNDS,
    )
    print_seconds(verifying)
    rates = {name: f"{size_mb / 1e3 / min(times):.1f} GB/s" for name, times in verifying.items()}
    print_facts("at best", **rates)
    loading = alternate(
        {
            "load_checkpoint, verified, first step": partial(
                seconds_of, partial(then_step, model, partial(manager.load_checkpoint, str(path), model))
            ),
            "torch.load + load_state_dict, first step": partial(
                seconds_of, partial(then_step, model, partial(load_with_torch, model, path))
            ),
        },
        ROUNDS,
    )
    print_seconds(loading)


def then_step(model: Model, load: Callable[[], object]) -> None:
    load()
    model.step()


def hash_plainly(path: Path) -> str:
    digest = xxhash.xxh3_128()
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(buffer):
            digest.update(view[:length])
    return str(digest.hexdigest())


def load_with_torch(model: Model, path: Path) -> None:
    model.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])


def time_milestones(model: Model, manager: CheckpointManager) -> None:
    """Of a step that has a training checkpoint, so that nothing is written but the manifest.

    With `same_as`, as the trainer says it, they are linked at once; without, they are compared with the state first.
    """
    found: dict[str, list[float]] = {}
    for number in range(2 * MILESTONES):
        epoch = 2 + number
        saved = manager.save_training_checkpoint(model, None, epoch, 1, {"val/loss": 1.0})
        os.sync()
        name, same_as = ("linked, same_as said", saved) if number % 2 else ("compared, then linked", None)
        began = time.perf_counter()
        path = manager.save_milestone_checkpoint(model, 1.0 / epoch, "val/loss", epoch, step=1, same_as=same_as)
        found.setdefault(f"save_milestone_checkpoint, {name}", []).append(time.perf_counter() - began)
        assert path is not None
        assert Path(path).stat().st_nlink > 1, "it was copied, not linked"
    print_seconds(found, budgets={"save_milestone_checkpoint, linked, same_as said": 0.005})


if __name__ == "__main__":
    main()
