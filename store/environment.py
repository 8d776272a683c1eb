"""Facts about this process that a run records: the command, the commit, the variables that matter."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ckptop.store.records import Command

_RECORDED_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTHONPATH",
    "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "PYTORCH_CUDA_ALLOC_CONF", "HF_HOME", "CKPTOP_SPILL",
)  # fmt: skip
"""What changes the result of a computation or where its code is found; never a secret."""


def capture_command(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Command:
    """How to start this process again.

    Args:
        argv: The interpreter's arguments: `["-m", "ckptop.cli", "train", "digits"]`.
        environ: The environment; only variables that change what is computed are kept.
    """
    env = {name: environ[name] for name in _RECORDED_VARIABLES if name in environ}
    return Command(python=sys.executable, argv=list(argv), cwd=str(Path.cwd()), env=env)


@functools.cache
def git_commit() -> str | None:
    """The commit of the working directory's repository, `-dirty` behind it if changed; None outside one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
