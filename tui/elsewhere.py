"""The machine of a run that trains elsewhere, as its trainer told it in system.jsonl; as old as its last line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ckptop.host.gpus import GpuSample
from ckptop.host.machine import HostSample
from ckptop.host.terminal import clean
from ckptop.store.errors import StoreError
from ckptop.store.lines import reversed_lines
from ckptop.store.manifest import is_number, to_number
from ckptop.tui.model import Elsewhere, GpuHistory, Hardware
from ckptop.tui.sampling import BUCKET_SECONDS, BUCKETS

LOOK_BACK_BYTES = 1 << 17
"""Of the log: ten minutes of a line every few seconds."""
MOST_GPUS = 64
NO_FIGURES = "it tells of no GPU"


class ElsewhereReader:
    """Reads the last lines of such logs, again only where one has grown; used by one thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Elsewhere | None]] = {}

    def read(self, log: Path, host: str) -> Elsewhere | None:
        """The machine `host` as `log` tells it last; None where it tells nothing."""
        try:
            facts = log.stat()
            stamp = facts.st_size, facts.st_mtime_ns
            known = self._known.get(log)
            if known is None or known[0] != stamp:
                known = stamp, _elsewhere(_samples(log), clean(host, 60))
                self._known = {log: known}  # one run is looked at at a time
        except (OSError, StoreError):
            return None
        return known[1]


def _samples(log: Path) -> list[dict[str, float]]:
    """The samples of the last ten minutes, the newest first; lines that cannot be read are passed over."""
    found: list[dict[str, float]] = []
    for line in reversed_lines(log, limit_bytes=LOOK_BACK_BYTES):
        try:
            fields: Any = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if not isinstance(fields, dict):
            continue
        sample = {
            str(name): to_number(value)
            for name, value in fields.items()
            if isinstance(value, int | float | str) and is_number(value)
        }
        if not math.isfinite(sample.get("time", math.nan)):
            continue
        if found and sample["time"] < found[0]["time"] - BUCKETS * BUCKET_SECONDS:
            break
        found.append(sample)
    return found


def _elsewhere(samples: list[dict[str, float]], host: str) -> Elsewhere | None:
    if not samples:
        return None
    newest = samples[0]
    gpus = tuple(gpu for index in range(MOST_GPUS) if (gpu := _gpu(newest, index)) is not None)
    hardware = Hardware(
        host=HostSample(
            cpu_percent=max(0.0, min(100.0, _of(newest, "cpu_percent") or 0.0)),
            cpu_count=0,
            memory_used_bytes=_whole(newest, "memory_used_bytes") or 0,
            memory_total_bytes=_whole(newest, "memory_total_bytes") or 0,
        ),
        gpus=gpus,
        gpu_problem=None if gpus else NO_FIGURES,
        memory_history=_history(samples, "memory_used_bytes", "memory_total_bytes"),
        gpu_history=tuple(
            GpuHistory(
                utilization=_history(samples, f"gpu{gpu.index}/utilization_percent", None),
                memory=_history(samples, f"gpu{gpu.index}/memory_used_bytes", f"gpu{gpu.index}/memory_total_bytes"),
            )
            for gpu in gpus
        ),
    )
    return Elsewhere(host=host, time=newest["time"], hardware=hardware)


def _gpu(sample: Mapping[str, float], index: int) -> GpuSample | None:
    name = f"gpu{index}/"
    if not any(key.startswith(name) for key in sample):
        return None
    return GpuSample(
        index=index,
        uuid="",
        name="",
        memory_used_bytes=_whole(sample, f"{name}memory_used_bytes"),
        memory_total_bytes=_whole(sample, f"{name}memory_total_bytes"),
        utilization_percent=_whole(sample, f"{name}utilization_percent"),
        temperature_celsius=_whole(sample, f"{name}temperature_celsius"),
        power_watts=_of(sample, f"{name}power_watts"),
        processes=(),
        problem=None,
    )


def _of(sample: Mapping[str, float], name: str) -> float | None:
    value = sample.get(name)
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _whole(sample: Mapping[str, float], name: str) -> int | None:
    value = _of(sample, name)
    return round(value) if value is not None else None


def _history(samples: list[dict[str, float]], name: str, total: str | None) -> tuple[float, ...]:
    """Shares from 0 to 1, one a bucket of time, the oldest first."""
    buckets: dict[int, list[float]] = {}
    for sample in samples:
        value, whole = _of(sample, name), _of(sample, total) if total is not None else 100.0
        if value is not None and whole:
            buckets.setdefault(int(sample["time"] // BUCKET_SECONDS), []).append(min(1.0, value / whole))
    return tuple(sum(values) / len(values) for _, values in sorted(buckets.items()))[-BUCKETS:]
