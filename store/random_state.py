"""The state of every random generator of a process, captured and put back: Python's, NumPy's, torch's and CUDA's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def capture_random_state() -> dict[str, Any]:
    """The state of every random generator, and the thread count, which changes sums in their last bit.

    Tensors and plain data, so that `weights_only=True` loads it. To be captured after everything of a step is done.
    """
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
        "cuda": torch.cuda.get_rng_state_all() if _uses_cuda() else [],
        "threads": torch.get_num_threads(),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back, CUDA's where it is in use; the thread count is left as it is.

    To be restored after everything is built: models, optimizers and iterators may all draw numbers while they are made.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state((numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(state["torch"].cpu())
    if _uses_cuda():
        saved = state["cuda"]
        devices = [torch.cuda.current_device()] if len(saved) == 1 else range(torch.cuda.device_count())
        for device, one in zip(devices, saved, strict=False):  # a machine with fewer devices takes the first ones
            torch.cuda.set_rng_state(one.cpu(), device)


def restore_threads(count: int) -> None:
    """Set the number of threads that one operation uses."""
    torch.set_num_threads(count)


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch has no types here
