"""Everything known of one checkpoint, in sections of names and values; made of what was read already, all cleaned.

Only the tensors are in a file of their own, which is read where they are looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ckptop.host.terminal import clean
from ckptop.host.units import MISSING, format_age, format_bytes, format_cell, format_count
from ckptop.store.flatten import flatten
from ckptop.store.manifest import to_number
from ckptop.tui.model import CheckpointRow

if TYPE_CHECKING:
    from ckptop.store.manifest import Manifest, TensorEntry
    from ckptop.store.records import Actor
    from ckptop.store.tensor_table import TensorTable
    from ckptop.store.views import RunView

SECTIONS = ("Facts", "Config", "Environment", "Lineage", "Tensors")
"""As they are named on screen, in their order."""

VALUE_LIMIT = 2000
"""Characters of one value."""

_DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}  # fmt: skip


class Fact(NamedTuple):
    """A name and what stands beside it."""

    name: str
    value: str
    tone: str = "foreground"


class TensorRow(NamedTuple):
    """A tensor as it is listed."""

    name: str
    dtype: str
    shape: str
    size: str
    share: float
    """Of the bytes of all tensors, 0 to 1."""


def facts_of(row: CheckpointRow, now: float, verified: float | None) -> list[Fact]:
    """What a checkpoint is and is worth.

    Args:
        row: Its row.
        now: Seconds since the epoch.
        verified: When its bytes were found to be what was written; None where nobody looked.
    """
    info, manifest = row.info, row.info.manifest
    facts = [Fact("problem", row.problem, "error")] if row.problem is not None else []
    if manifest is not None:
        facts += [Fact(name, format_cell(to_number(value))) for name, value in manifest.metrics.items()]
        facts += [Fact(name, format_cell(value)) for name, value in manifest.evaluated.items()]
    facts.append(Fact("saved", _moment(row.time, now)))
    shared = f" · {info.link_count} names share it" if info.link_count > 1 else ""
    facts.append(Fact("size", f"{format_bytes(row.size_bytes)}{shared}"))
    if row.problem is None:
        said = f"{_moment(verified, now)}, good" if verified is not None else "not in this session; V does"
        facts.append(Fact("verified", said, "success" if verified is not None else "muted"))
    if manifest is not None:
        facts += _marks(manifest, now)
        facts.append(Fact("xxh3-128", manifest.xxh3_128))
    facts.append(Fact("path", str(info.path.absolute())))
    return _cleaned(facts)


def _marks(manifest: Manifest, now: float) -> Iterable[Fact]:
    if manifest.pinned is not None:
        yield Fact("pinned", f"{_moment(manifest.pinned.time, now)} by {_who(manifest.pinned.actor)}")
    if manifest.promoted is not None:
        yield Fact("promoted", f"by {_who(manifest.promoted)}")
    if manifest.ranking is not None:
        yield Fact("best by", f"{manifest.ranking.name}, {manifest.ranking.mode}")


def config_of(row: CheckpointRow) -> list[Fact]:
    """The configuration it was trained with, dotted keys."""
    return _tree(row.info.manifest.config) if row.info.manifest is not None else []


def environment_of(row: CheckpointRow) -> list[Fact]:
    """What it was trained by."""
    manifest = row.info.manifest
    if manifest is None:
        return []
    commit = [Fact("git commit", clean(manifest.git_commit, VALUE_LIMIT))] if manifest.git_commit else []
    return _tree(manifest.environment) + commit


def lineage_of(row: CheckpointRow, view: RunView | None, releases: Iterable[CheckpointRow], now: float) -> list[Fact]:
    """Where it came from, and what came from it.

    Args:
        row: Its row.
        view: Its run.
        releases: Rows of the releases made from this run.
        now: Seconds since the epoch.
    """
    manifest, record = row.info.manifest, view.record if view is not None else None
    facts = []
    if record is not None:
        facts.append(Fact("run", f"{record.name} · {record.task}"))
        if record.parent is not None:
            facts.append(Fact("fork of", f"{record.parent.run} at {record.parent.checkpoint}"))
        for attempt in record.attempts:
            here = manifest is not None and attempt.attempt == manifest.attempt
            start = f"from step {format_count(attempt.from_step)}" if attempt.from_step else "from the start"
            said = f"{start} · {_moment(attempt.time, now)}" + (" · saved this one" if here else "")
            facts.append(Fact(f"attempt {attempt.attempt}", said, "foreground" if here else "muted"))
    if manifest is not None:
        facts += [Fact("forked as", name) for name in manifest.forks]
    facts += [Fact("released", found.mark) for found in releases if found.step == row.step]
    return _cleaned(facts)


def tensor_rows(table: TensorTable) -> list[TensorRow]:
    """The tensors, largest first."""
    total = max(1, table.total.size_bytes)
    return [
        TensorRow(
            clean(entry.name.replace("_state_dict.", ".", 1), VALUE_LIMIT),
            _DTYPES.get(entry.dtype, clean(entry.dtype, 12)),
            shape_of(entry),
            format_bytes(entry.size_bytes),
            min(1.0, entry.size_bytes / total),
        )
        for entry in table.largest(len(table.entries))
    ]


def shape_of(entry: TensorEntry) -> str:
    """`512x3136`."""
    if not entry.shape:
        return "scalar"
    return "x".join(str(extent) for extent in entry.shape[:8]) + "x…" * (len(entry.shape) > 8)


def _tree(tree: Mapping[str, Any]) -> list[Fact]:
    return _cleaned(Fact(name, _plain(value)) for name, value in flatten(tree).items())


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value or '""'
    return MISSING if value is None else msgspec.json.encode(value).decode()


def _cleaned(facts: Iterable[Fact]) -> list[Fact]:
    return [Fact(clean(name, 60), clean(value, VALUE_LIMIT), tone) for name, value, tone in facts]


def _moment(seconds: float, now: float) -> str:
    age = format_age(now - seconds, live=False, now=now)
    try:
        clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
    return clock if age[:4].isdigit() and "-" in age else f"{age} ago · {clock}"


def _who(actor: Actor) -> str:
    return f"{actor.user} on {actor.host}"
