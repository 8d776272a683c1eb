"""`production/registry.jsonl`: append-only, and the truth about releases.

A release counts from the moment its line is whole and durable; the `.pt` and the links are made
before and after. Reading needs neither torch nor a lock. `latest` is derived: the last alias line that names a
version which is released and not yanked. So each change is one line that counts whole or not at all, and what a
yank takes away gives back what `latest` meant before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.errors import NotFound, StoreError
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


class YankLine(Record, frozen=True, kw_only=True):
    """A line that takes a version out of use for good; its file stays."""

    time: float
    event: str = "yanked"
    model: str
    version: str
    reason: str | None = None
    actor: Actor


@dataclass(frozen=True, slots=True)
class Registry:
    """What the lines say, read at one moment."""

    releases: tuple[ReleaseLine, ...]
    """Oldest first."""
    aliases: Mapping[tuple[str, str], str]
    """(model, alias) to version, never a yanked one; in the order in which they came to mean it."""
    bad_lines: int
    yanks: Mapping[tuple[str, str], YankLine] = field(default_factory=dict)
    """(model, version) to the line that took it out of use."""

    @property
    def models(self) -> list[str]:
        """Names of the released models, sorted."""
        return sorted({release.model for release in self.releases})

    def of(self, model: str) -> list[ReleaseLine]:
        """The releases of a model by version, lowest first."""
        found = [release for release in self.releases if release.model == model]
        return sorted(found, key=lambda release: Version.parse(release.version))

    def release(self, model: str, version: str) -> ReleaseLine:
        """One release, yanked or not.

        Raises:
            NotFound: There is none; the message lists those there are.
        """
        for release in self.releases:
            if (release.model, release.version) == (model, version):
                return release
        versions = [release.version for release in self.of(model)]
        if versions:
            raise NotFound(f"{model} has no release {version}; there: {_some(versions)}")
        raise NotFound(f"no model {model!r} is released here; there: {_some(self.models)}")

    def latest(self, model: str) -> str | None:
        """The version `latest` means; None where none was released, or all are yanked."""
        return self.aliases.get((model, "latest"))

    def newest(self) -> ReleaseLine | None:
        """What `latest` means across models: where it came to mean another version last."""
        told = [(model, version) for (model, alias), version in self.aliases.items() if alias == "latest"]
        return self.release(*told[-1]) if told else None

    def next_version(self, model: str, part: str = "minor") -> Version:
        """A version to suggest: 1.0.0 for the first, else the highest one bumped."""
        released = self.of(model)
        return Version.parse(released[-1].version).bump(part) if released else Version(1, 0, 0)


RegistryLine = ReleaseLine | AliasLine | YankLine
"""One thing that was done to releases."""


def read_registry(paths: StorePaths) -> Registry:
    """Read the registry; an empty one where there is no file. Bad lines are counted and skipped.

    Raises:
        OSError: It is there and cannot be read.
    """
    lines, bad_lines = _read_lines(paths)
    releases = tuple(line for line in lines if isinstance(line, ReleaseLine))
    aliases = [line for line in lines if isinstance(line, AliasLine)]
    yanks: dict[tuple[str, str], YankLine] = {}
    for line in lines:
        if isinstance(line, YankLine):
            yanks.setdefault((line.model, line.version), line)
    usable = {(release.model, release.version) for release in releases} - yanks.keys()
    return Registry(releases, _meanings(aliases, usable), bad_lines, yanks)


def read_history(paths: StorePaths, model: str) -> list[RegistryLine]:
    """All that was done to the releases of a model, oldest first; bad lines are skipped.

    Raises:
        OSError: The registry is there and cannot be read.
    """
    return [line for line in _read_lines(paths)[0] if line.model == model]


def _read_lines(paths: StorePaths) -> tuple[list[RegistryLine], int]:
    """Every whole line, and how many are not."""
    found: list[RegistryLine] = []
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
                found.append(release)
            elif kind == "alias":
                found.append(msgspec.json.decode(line, type=AliasLine))
            elif kind == "yanked":
                found.append(msgspec.json.decode(line, type=YankLine))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            bad_lines += bool(line.strip())
    return found, bad_lines


def _meanings(aliases: Iterable[AliasLine], usable: Set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What each alias means: the last line that names a usable version counts, and decides the order."""
    known: dict[tuple[str, str], str] = {}
    for line in aliases:
        if (line.model, line.version) in usable:
            known.pop((line.model, line.alias), None)
            known[line.model, line.alias] = line.version
    return known


def append_release(paths: StorePaths, release: ReleaseLine, fs: FileSystem = LOCAL) -> None:
    """Release a version and let `latest` mean it, durably, by one write; the caller holds the production lock.

    Raises:
        StoreError: The model has that version already.
        OSError: The disk refused; at worst a torn line, which counts for nothing.
    """
    if any(line.version == release.version for line in read_registry(paths).of(release.model)):
        raise StoreError(f"{release.model} {release.version} is released already; a release is never changed")
    alias = _latest(release.model, release.version)
    # The alias first: it counts for nothing without its release, so a torn write releases nothing.
    append_line(paths.registry, _encode(alias) + _encode(release), sync=True, fs=fs)


def append_latest(paths: StorePaths, model: str, version: str, fs: FileSystem = LOCAL) -> None:
    """Let `latest` mean a version, durably; the caller holds the production lock and knows it can be used.

    Raises:
        OSError: The disk refused; at worst a torn line, which counts for nothing.
    """
    append_line(paths.registry, _encode(_latest(model, version)), sync=True, fs=fs)


def append_yank(paths: StorePaths, model: str, version: str, reason: str | None = None, fs: FileSystem = LOCAL) -> None:
    """Take a version out of use, durably; the caller holds the production lock and knows it is released.

    Raises:
        OSError: The disk refused; at worst a torn line, which counts for nothing.
    """
    line = YankLine(time=time.time(), model=model, version=version, reason=reason, actor=current_actor())
    append_line(paths.registry, _encode(line), sync=True, fs=fs)


def _latest(model: str, version: str) -> AliasLine:
    return AliasLine(time=time.time(), model=model, alias="latest", version=version, actor=current_actor())


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
    if "/" in release.file or "\0" in release.file or not release.file.endswith(".pt"):
        raise StoreError(f"the registry names {release.file!r}, which is no file of {paths.production}")
    return paths.production / release.file


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[-8:]) + (", …" if len(names) > 8 else "") if names else "none yet"
