"""The end of the time a trainer has, by its command line or by Slurm: it stops and saves that much earlier.

Slurm's own warning (`--signal`) is in the job script and is easily forgotten; the end of the job is in the environment
of every job, or, of Slurm 22.05 and older, is asked for by the number of the job.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from ckptop.host.units import format_duration

JOB_ENDS = "SLURM_JOB_END_TIME"
"""Unix time at which Slurm ends the job; not set by Slurm 22.05 and older."""
JOB = "SLURM_JOB_ID"

_SQUEUE_SECONDS = 10.0
_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d\d)")


def seconds_until_end(limit_seconds: float | None, environ: Mapping[str, str]) -> float | None:
    """How long this process still has: the limit that was said, else Slurm's; None where neither is known.

    Of a Slurm that does not say, `squeue` is asked, which may take seconds.
    """
    if limit_seconds is not None:
        return limit_seconds
    ends, job = environ.get(JOB_ENDS, ""), environ.get(JOB, "")
    if ends.isdecimal():
        return float(ends) - time.time()
    return _seconds_left_of(job) if job.isdecimal() else None


def _seconds_left_of(job: str) -> float | None:
    """What `squeue` says of a job: `1-02:03:04`, `59:30`; of one without a limit no such thing."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_SQUEUE_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _LEFT.fullmatch(told.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


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
