"""Checking that what is on disk is what was written: sizes, hashes, manifests, releases, orphans."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import StoreError
from ckptop.store.hashing import sha256_of, xxh3_128_of
from ckptop.store.layout import StorePaths
from ckptop.store.names import is_link_name
from ckptop.store.registry import ReleaseLine, read_registry, release_path
from ckptop.store.views import RunView

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, in one line, with what to do."""

    key: str
    """The checkpoint, `training/<name>`, or the file's name."""
    message: str
    advice: str
    severe: bool = True
    """Whether a checkpoint cannot be trusted; otherwise something is merely left over."""
    bytes_differ: bool = False
    """Whether the file was read and is not what was written: looking again will not help."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    checked: int
    checked_bytes: int
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> int:
        """How many findings mean a checkpoint cannot be trusted."""
        return sum(finding.severe for finding in self.findings)


def verify_checkpoint(
    info: CheckpointInfo, progress: Progress | None = None, hashes: dict[tuple[int, int], str] | None = None
) -> Finding | None:
    """Compare a checkpoint's bytes with its manifest; None if they are what was written.

    Args:
        info: The checkpoint.
        progress: Called with bytes read.
        hashes: Digests by inode, filled as they are made: a linked milestone is read once.
    """
    advice = f"delete it with `ckptop delete`, or look at {info.path}"
    if info.manifest is None:
        return Finding(info.key, info.problem or f"{info.name} has no manifest", advice)
    try:
        size_bytes = info.path.stat().st_size
        if size_bytes != info.manifest.size_bytes:
            what = f"{info.name}: {size_bytes:,} bytes on disk, {info.manifest.size_bytes:,} in its manifest"
            return Finding(info.key, what, advice, bytes_differ=True)
        known = hashes if hashes is not None else {}
        if info.inode not in known:
            known[info.inode] = xxh3_128_of(info.path, progress)
        if known[info.inode] != info.manifest.xxh3_128:
            return Finding(info.key, f"{info.name}: bytes differ from its manifest", advice, bytes_differ=True)
    except FileNotFoundError:
        return Finding(info.key, f"{info.name} was deleted meanwhile", "nothing to do", severe=False)
    except OSError as error:
        return Finding(info.key, f"{info.name} cannot be read: {error.strerror}", "check the disk")
    return None


def verify_run(view: RunView, progress: Progress | None = None) -> Report:
    """Verify every live checkpoint of a run, its records and its directories."""
    findings: list[Finding] = []
    hashes: dict[tuple[int, int], str] = {}
    if view.problem is not None:
        findings.append(Finding(view.name, f"{view.name}: {view.problem}", "restore the file from a backup"))
    looked_at = (verify_checkpoint(info, progress, hashes) for info in view.checkpoints)
    findings += [finding for finding in looked_at if finding is not None]
    for tier in ("training", "milestone"):
        findings += _leftovers(view.checkpoint_paths.tier(tier))
    return Report(len(view.checkpoints), view.size_bytes, tuple(findings))


def verify_releases(paths: StorePaths) -> Report:
    """Compare every release with the size and sha256 the registry recorded."""
    registry = read_registry(paths)
    findings = []
    for release in registry.releases:
        problem = _release_problem(paths, release)
        if problem is not None:
            key = f"production/{release.file}"
            findings.append(Finding(key, f"{release.file}: {problem}", f"release {release.model} as a new version"))
    if registry.bad_lines:
        what = f"{paths.registry.name} holds {registry.bad_lines} lines that are no JSON of ours"
        findings.append(Finding(paths.registry.name, what, "restore it from a backup"))
    checked_bytes = sum(release.size_bytes for release in registry.releases)
    return Report(len(registry.releases), checked_bytes, tuple(findings))


def _release_problem(paths: StorePaths, release: ReleaseLine) -> str | None:
    try:
        file = release_path(paths, release)
        if file.stat().st_size != release.size_bytes or sha256_of(file) != release.sha256:
            return "bytes differ from the registry's sha256"
    except FileNotFoundError:
        return "the file is gone"
    except (StoreError, OSError) as error:
        return str(error)
    return None


def total_bytes(views: Iterable[RunView]) -> int:
    """Bytes a verification of these runs will read."""
    return sum(view.size_bytes for view in views)


def _leftovers(directory: Path) -> Iterable[Finding]:
    """Manifests without a checkpoint (a save or a deletion that was cut off), and links to nothing."""
    try:
        names = {entry.name: entry for entry in os.scandir(directory)}
    except OSError:
        return
    for name, entry in sorted(names.items()):
        stem = name.removesuffix(".json").removesuffix(".tensors")
        if entry.is_symlink() and not (directory / name).exists():
            yield Finding(name, f"{name} links to nothing", "the next save makes it again", severe=False)
        elif name.endswith(".json") and f"{stem}.pt" not in names and not is_link_name(f"{stem}.pt"):
            yield Finding(name, f"{name} has no checkpoint: a cut-off save or deletion", "remove it", severe=False)
