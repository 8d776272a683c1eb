"""NumPy, imported with one thread for its products."""

from __future__ import annotations

import os
import sys

_VARIABLE = "OPENBLAS_NUM_THREADS"


def import_numpy() -> None:
    """Import NumPy so that its BLAS starts no thread a core.

    They spin while they wait, which took 0.15 s of processor time from the trainers beside a viewer before its first
    chart, for products that one thread makes in a millisecond. BLAS reads the variable when it is loaded, so it is
    taken away again, and a trainer started from here computes with all cores. What a person set stays as it is.
    """
    if "numpy" in sys.modules or _VARIABLE in os.environ:
        return
    os.environ[_VARIABLE] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[_VARIABLE]
