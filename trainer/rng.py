"""The process's random state: seeding, and the thread count that a resume goes on with.

Captured after everything of a step is done, restored after everything is built: model, optimizer, loader
and iterator may all draw numbers while they are made.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from ckptop.store.random_state import capture_random_state as capture
from ckptop.store.random_state import restore_random_state as restore

__all__ = ["capture", "restore", "restore_threads", "seed_everything"]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch with all its devices; 0 to 2**32 - 1, which is all that NumPy takes."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def restore_threads(state: dict[str, Any], wanted: int | None) -> None:
    """Set the thread count: the configuration's where it says one, else the checkpoint's."""
    torch.set_num_threads(wanted or int(state["threads"]))
