"""What a notice says to people, in one line: for a stream on a pipe, and for a timeline on screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptop.host.units import format_bytes, format_count, format_duration, format_value
from ckptop.store.manifest import to_number
from ckptop.store.notices import Notice

_METRICS = 6
_ITEMS = 4


def text_of(notice: Notice) -> str:
    """What a notice says to people; not cleaned."""
    told, at = notice.details, f" at step {format_count(notice.step)}" if notice.step is not None else ""
    match notice.kind:
        case "state":
            why = told.get("why")
            return f"{told['state']}{at}" + (f": {why}" if why else "")
        case "epoch":
            return _epoch(notice)
        case "gone":
            return "is gone from the store"
        case "saved" | "milestone":
            return f"{notice.kind}{at}: {_saved(told)}"
        case "alert":
            return f"alert{at}: {told.get('message', '')}"
        case "control":
            asked = f"{told.get('user', 'somebody')} asked for {told.get('action', 'something')}"
            return f"{asked}{at}: {told.get('message', '')}"
        case "started":
            again = told.get("from_checkpoint")
            return f"started from step {told.get('from_step', 0)}" + (f", {again}" if again else "")
        case "finished":
            return f"finished{at}" + _listed(told.get("metrics"))
        case "pruned" if isinstance(told.get("checkpoints"), list):
            count, freed = len(told["checkpoints"]), told.get("freed_bytes")
            room = f", {format_bytes(freed)} freed" if isinstance(freed, int) and freed else ""
            return f"pruned{at}: {count} checkpoint{'s' if count != 1 else ''}{room}"
        case "promoted" if "model" in told:
            return f"promoted{at}: {told.get('checkpoint', '')} as {told['model']} {told.get('version', '')}"
    return f"{notice.kind}{at}" + _others(told)


def _epoch(notice: Notice) -> str:
    total = notice.details.get("total_epochs")
    number = f"epoch {notice.epoch}" + (f" of {total}" if total else "") if notice.epoch else "validated"
    step = f", step {format_count(notice.step)}" if notice.step is not None else ""
    return f"{number}{step}{_listed(notice.details.get('metrics'))}"


def _listed(metrics: object) -> str:
    """Metrics of a split first: a path as `val/loss` is what a person looks for."""
    if not isinstance(metrics, Mapping) or not metrics:
        return ""
    names = sorted(map(str, metrics), key=lambda name: ("/" not in name, name.startswith("train/")))[:_METRICS]
    return ": " + ", ".join(f"{name} {format_value(_number(metrics[name]))}" for name in names)


def _saved(told: Mapping[str, Any]) -> str:
    size, seconds, metric = told.get("size_bytes"), told.get("seconds"), told.get("metric")
    said = [str(told.get("checkpoint", ""))]
    if metric is not None:
        said.append(f"{metric} {format_value(_number(told.get('value')))}")
    if isinstance(size, int):
        said.append(format_bytes(size))
    if isinstance(seconds, int | float) and seconds >= 1:
        said.append(f"in {format_duration(seconds)}")
    return ", ".join(said)


def _others(told: Mapping[str, Any]) -> str:
    """What an event of another kind says: its reason or error, else its first plain values."""
    for name in ("error", "reason", "message", "checkpoint"):
        if isinstance(told.get(name), str):
            return f": {told[name]}"
    plain = [f"{name} {value}" for name, value in told.items() if isinstance(value, str | int | float)]
    if isinstance(told.get("checkpoints"), list):
        count = len(told["checkpoints"])
        plain.insert(0, f"{count} checkpoint{'s' * (count != 1)}")
    return ": " + ", ".join(plain[:_ITEMS]) if plain else ""


def _number(value: object) -> float | None:
    return to_number(value) if isinstance(value, int | float | str) else None
