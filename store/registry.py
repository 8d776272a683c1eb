"""`production/registry.jsonl`: append-only, and the truth about releases.

A release counts from the moment its line is whole and durable; the `.pt` and the links are made
before and after. Reading needs neither torch nor a lock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.errors import StoreError
from ckptop.store.events import current_actor
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.layout import StorePaths
from ckptop.store.lines import append_line, to_json
from ckptop.store.locks import FileLock
from ckptop.store.names import Version
from ckptop.store.records import Actor, Record
from ckptop.store.seal import check_seal, seal


class ReleaseLine(Record, frozen=True, kw_only=True):
    """A line that releases a version."""

    time: float
    event: str = "released"
    model: str
    version: str
    file: str
    """Name in `production/`."""
    sha256: str
    size_bytes: int
    run: str
    run_id: str
    checkpoint: str
    """`milestone/<file>`: where it came from."""
    epoch: int
    global_step: int
    metrics: dict[str, float | str]
    actor: Actor


class AliasLine(Record, frozen=True, kw_only=True):
    """A line that lets an alias mean a version; the last one counts."""

    time: float
    event: str = "alias"
    model: str
    alias: str
    version: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class Registry:
    """What the lines say, read at one moment."""

    releases: tuple[ReleaseLine, ...]
    """Oldest first."""
    aliases: Mapping[tuple[str, str], str]
    """(model, alias) to version."""
    bad_lines: int

    def of(self, model: str) -> list[ReleaseLine]:
        """The releases of a model by version, lowest first."""
        found = [release for release in self.releases if release.model == model]
        return sorted(found, key=lambda release: Version.parse(release.version))

    def latest(self, model: str) -> str | None:
        """The version `latest` means."""
        return self.aliases.get((model, "latest"))

    def next_version(self, model: str, part: str = "minor") -> Version:
        """A version to suggest: 1.0.0 for the first, else the highest one bumped."""
        released = self.of(model)
        return Version.parse(released[-1].version).bump(part) if released else Version(1, 0, 0)

    def versions_of(self, run: str, checkpoint: str) -> list[str]:
        """Versions released from a run's checkpoint."""
        return [line.version for line in self.releases if (line.run, line.checkpoint) == (run, checkpoint)]


def read_registry(paths: StorePaths) -> Registry:
    """Read the registry; an empty one where there is no file. Bad lines are counted and skipped.

    Raises:
        OSError: It is there and cannot be read.
    """
    releases: list[ReleaseLine] = []
    aliases: list[AliasLine] = []
    bad_lines = 0
    try:
        lines = paths.registry.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []
    for line in lines:
        try:
            if check_seal(line) != "whole":
                bad_lines += bool(line.strip())  # a line that was changed releases nothing
                continue
            kind = msgspec.json.decode(line, type=dict[str, Any]).get("event")
            if kind == "released":
                release = msgspec.json.decode(line, type=ReleaseLine)
                Version.parse(release.version)
                releases.append(release)
            elif kind == "alias":
                aliases.append(msgspec.json.decode(line, type=AliasLine))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            bad_lines += bool(line.strip())
    released = {(release.model, release.version) for release in releases}
    known = {(line.model, line.alias): line.version for line in aliases if (line.model, line.version) in released}
    return Registry(tuple(releases), known, bad_lines)


def append_release(paths: StorePaths, release: ReleaseLine, fs: FileSystem = LOCAL) -> None:
    """Release a version and let `latest` mean it, durably, by one write; the caller holds the production lock.

    Raises:
        StoreError: The model has that version already.
        OSError: The disk refused; at worst a torn line, which counts for nothing.
    """
    if any(line.version == release.version for line in read_registry(paths).of(release.model)):
        raise StoreError(f"{release.model} {release.version} is released already; a release is never changed")
    alias = AliasLine(
        time=time.time(), model=release.model, alias="latest", version=release.version, actor=current_actor()
    )
    # The alias first: it counts for nothing without its release, so a torn write releases nothing.
    append_line(paths.registry, _encode(alias) + _encode(release), sync=True, fs=fs)


def production_lock(paths: StorePaths) -> FileLock:
    """Held by whoever changes the releases."""
    return FileLock(paths.production / ".lock")


def _encode(line: msgspec.Struct) -> bytes:
    fields = msgspec.to_builtins(line)
    first = {"time": fields.pop("time"), "event": fields.pop("event")}
    return seal(msgspec.json.encode(to_json(first | fields)) + b"\n")


def release_path(paths: StorePaths, release: ReleaseLine) -> Path:
    """The file of a release; a name that points elsewhere is refused.

    Raises:
        StoreError: The registry names a path outside `production/`.
    """
    if "/" in release.file or not release.file.endswith(".pt"):
        raise StoreError(f"the registry names {release.file!r}, which is no file of {paths.production}")
    return paths.production / release.file
