"""NumPy as a viewer loads it: one thread for its products, and nothing of that reaches a trainer started from there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys, threading
from ckptop.tui.numpy_import import import_numpy
import_numpy()
import numpy as np
np.ones((500, 500)) @ np.ones((500, 500))
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


@pytest.mark.parametrize("wanted", [None, "2"])
def test_numpy_takes_one_thread_unless_a_person_wants_more(wanted: str | None) -> None:
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if wanted is not None:
        env["OPENBLAS_NUM_THREADS"] = wanted

    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env, check=True, timeout=60)

    threads, variable = done.stdout.split()
    assert int(threads) == (min(int(wanted), os.cpu_count() or 1) if wanted is not None else 1)
    assert variable == str(wanted)
