"""What a task fitted on its training part besides weights (a vocabulary, categories, scales), as JSON in two places.

`fitted.json` in the run's directory is for people and for the next attempt. The same bytes are a buffer of the model,
so that a checkpoint that was copied, exported or released answers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch

from ckptop.store.errors import Damaged
from ckptop.store.files import write_durably
from ckptop.trainer.config import OptionsT
from ckptop.trainer.task import Task

FITTED_FILE = "fitted.json"
"""In the run's directory."""
_BUFFER = "fitted"

FittedT = TypeVar("FittedT", bound=msgspec.Struct)


def build_model(task: Task[OptionsT], options: OptionsT) -> torch.nn.Module:
    """The task's new model, which carries what the task fitted."""
    model = task.build_model(options)
    if task.fitted is not None:
        content = np.frombuffer(msgspec.json.encode(task.fitted), dtype=np.uint8)
        model.register_buffer(_BUFFER, torch.from_numpy(content.copy()))
    return model


def fitted_in(weights: Mapping[str, Any], where: Path) -> dict[str, Any] | None:
    """What was fitted, out of a model's state; None where there is nothing.

    Raises:
        Damaged: It cannot be read.
    """
    buffer = weights.get(_BUFFER)
    if buffer is None:
        return None
    if not isinstance(buffer, torch.Tensor) or buffer.dtype != torch.uint8:
        raise Damaged(f"{where}: what was fitted beside the weights cannot be read; use another checkpoint")
    return _decoded(buffer.cpu().numpy().tobytes(), where)


def typed(fitted: Mapping[str, Any] | None, kind: type[FittedT], task: str) -> FittedT:
    """What was fitted, checked; it may come from a stranger's file.

    Raises:
        Damaged: There is none, or it is something else.
    """
    try:
        return msgspec.convert(fitted, kind)
    except msgspec.ValidationError as error:
        raise Damaged(
            f"what task {task} fitted beside the weights is not there or not its own ({error}); use a checkpoint that "
            f"`ckptop train {task}` made"
        ) from None


def write_fitted(run: Path, fitted: Mapping[str, Any] | None) -> None:
    """Keep it with the run, unless it is there already.

    Raises:
        OSError: The disk refused.
    """
    if fitted is not None and not (run / FITTED_FILE).exists():
        write_durably(run / FITTED_FILE, msgspec.json.encode(fitted) + b"\n")


def read_fitted(run: Path) -> dict[str, Any] | None:
    """What was fitted for a run; None where nothing was.

    Raises:
        Damaged: The file cannot be read.
    """
    try:
        return _decoded((run / FITTED_FILE).read_bytes(), run / FITTED_FILE)
    except FileNotFoundError:
        return None


def _decoded(content: bytes, where: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Damaged(f"{where}: what was fitted beside the weights cannot be read ({error}); restore it") from None
