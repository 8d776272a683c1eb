"""The file store: runs, metric logs, checkpoints, releases.

The names a script needs stand here and are imported when first used, so that `import ckptop.store`
loads neither torch nor anything else of weight.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptop.store.checkpoints import CheckpointManager
    from ckptop.store.loading import resume_training
    from ckptop.store.run import Run
    from ckptop.store.store import Store

__all__ = ["CheckpointManager", "Run", "Store", "resume_training"]

_HOMES = {"CheckpointManager": "checkpoints", "resume_training": "loading", "Run": "run", "Store": "store"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ckptop.store.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ckptop.store' has no attribute {name!r}")
