"""The end of the time a trainer has, by its command line or by Slurm: it stops and saves that much earlier.

Slurm's own warning (`--signal`) is in the job script and is easily forgotten; the end of the job is in the environment
of every job.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from ckptop.host.units import format_duration

JOB_ENDS = "SLURM_JOB_END_TIME"
"""Unix time at which Slurm ends the job."""


def seconds_until_end(limit_seconds: float | None, environ: Mapping[str, str]) -> float | None:
    """How long this process still has: the limit that was said, else Slurm's; None where neither is known."""
    if limit_seconds is not None:
        return limit_seconds
    ends = environ.get(JOB_ENDS, "")
    return float(ends) - time.time() if ends.isdecimal() else None


@contextlib.contextmanager
def stopping_before(
    end_seconds: float | None, save_before_seconds: float | None, stop: Callable[[str, float], object]
) -> Iterator[None]:
    """Within the block `stop` is called once, `save_before_seconds` before the end; with the reason and these seconds.

    Where less than that is left it is called at once. Nothing happens where one of the two is not known.
    """
    if end_seconds is None or save_before_seconds is None:
        yield
        return
    reason = f"{format_duration(save_before_seconds)} before the time limit"
    timer = threading.Timer(max(0.0, end_seconds - save_before_seconds), stop, (reason, save_before_seconds))
    timer.name, timer.daemon = "ckptop-time-limit", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
