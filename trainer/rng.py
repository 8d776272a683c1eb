"""The process's random state as tensors and plain data, so that `weights_only=True` loads it.

Captured after everything of a step is done, restored after everything is built: model, optimizer, loader
and iterator may all draw numbers while they are made.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch with all its devices."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def capture() -> dict[str, Any]:
    """The state of every generator, and the thread count, which changes sums in their last bit."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        # Of the device in use alone: asking the others would open a context on each.
        "cuda": [torch.cuda.get_rng_state()] if _uses_cuda() else [],
        "threads": torch.get_num_threads(),
    }


def restore(state: dict[str, Any]) -> None:
    """Put the generators back, CUDA's where it is in use. Threads are `restore_threads`'."""
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state((numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and _uses_cuda():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())


def restore_threads(state: dict[str, Any], wanted: int | None) -> None:
    """Set the thread count: the configuration's where it says one, else the checkpoint's."""
    torch.set_num_threads(wanted or int(state["threads"]))


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch has no types here
