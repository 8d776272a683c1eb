"""What a person does to releases: `latest` back to an earlier version, a version out of use. Files never change.

The registry's line is the change; the links beside the releases are made from it afterwards, all of them each time,
so one that a crash left behind is put right by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptop.store.errors import Damaged, StoreError
from ckptop.store.files import open_to_read, read_json, refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.hashing import sha256_of
from ckptop.store.layout import STAGING, StorePaths
from ckptop.store.links import point
from ckptop.store.names import Version, is_run_name, production_name
from ckptop.store.records import RunRecord
from ckptop.store.registry import (
    Registry,
    ReleaseLine,
    append_latest,
    append_yank,
    production_lock,
    read_registry,
    release_path,
)

Progress = Callable[[int], None]

_LONGEST_STAND_IN_BYTES = 4096
"""Of the small `.json` that stands where a file system has no links."""


@dataclass(frozen=True, slots=True)
class LatestMoved:
    """What `latest` of a model meant before a change, and means after it."""

    release: ReleaseLine
    """The release the change was about."""
    before: str | None
    after: str | None
    changed: bool
    """Whether a line was written; False where all was so already."""


def rollback(
    paths: StorePaths, model: str, version: Version, fs: FileSystem = LOCAL, *, progress: Progress | None = None
) -> LatestMoved:
    """Let `latest` of a model mean a version released before, an older one or a newer; then the links follow.

    Args:
        paths: The store.
        model: The model.
        version: What `latest` is to mean.
        fs: The seam.
        progress: Called with the bytes of the release as they are verified.

    Raises:
        NotFound: There is no such release.
        Damaged: Its file is gone, or its bytes are not those that were released; nothing was changed.
        StoreError: It is yanked; nothing was changed.
        OSError: The disk refused; `latest` means what it did or `version`.
    """
    _refuse_links(paths)
    release = _usable(read_registry(paths), model, version)
    problem = release_problem(paths, release, hashed=True, progress=progress)  # before the lock: it may take long
    if problem is not None:
        raise Damaged(f"{release.file}: {problem}; latest was left alone")
    with production_lock(paths):
        registry = read_registry(paths)
        release = _usable(registry, model, version)
        before = registry.latest(model)
        if before != release.version:
            append_latest(paths, model, release.version, fs)
        refresh_release_links(paths, fs)
    return LatestMoved(release, before, release.version, before != release.version)


def yank(
    paths: StorePaths, model: str, version: Version, reason: str | None = None, fs: FileSystem = LOCAL
) -> LatestMoved:
    """Take a version out of use for good; where `latest` meant it, it means again what it did before.

    The file stays, and the version is never released again. Yanking twice changes nothing.

    Raises:
        NotFound: There is no such release.
        OSError: The disk refused; the version is yanked or it is not.
    """
    _refuse_links(paths)
    read_registry(paths).release(model, str(version))
    with production_lock(paths):
        registry = read_registry(paths)
        release = registry.release(model, str(version))
        is_new = (model, release.version) not in registry.yanks
        if is_new:
            append_yank(paths, model, release.version, reason, fs)
        refresh_release_links(paths, fs)
        after = read_registry(paths).latest(model)
    return LatestMoved(release, registry.latest(model), after, is_new)


def release_problem(
    paths: StorePaths, release: ReleaseLine, *, hashed: bool = False, progress: Progress | None = None
) -> str | None:
    """What is wrong with a release's file, in a few words; None if nothing is.

    Args:
        paths: The store.
        release: A line of its registry.
        hashed: Whether every byte is read, or only the size looked at.
        progress: Called with the bytes of each chunk read.
    """
    try:
        file = release_path(paths, release)
        if file.stat().st_size != release.size_bytes or (hashed and sha256_of(file, progress) != release.sha256):
            return "bytes differ from the registry's sha256"
    except FileNotFoundError:
        return "the file is gone"
    except StoreError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def main_metric(paths: StorePaths, release: ReleaseLine) -> str | None:
    """The metric to show a release by: that of its run, else the first of a validation, else the first."""
    with suppress(StoreError, OSError):
        if is_run_name(release.run):
            record = read_json(paths.run(release.run).record, RunRecord)
            if record.metric is not None and record.metric.name in release.metrics:
                return record.metric.name
    return min(release.metrics, key=lambda name: not name.startswith("val/"), default=None)


def refresh_release_links(paths: StorePaths, fs: FileSystem = LOCAL) -> None:
    """Make `latest.pt` and each `<model>_latest.pt` say what the registry says; the caller holds the production lock.

    A link is removed where every version is yanked.

    Raises:
        OSError: The disk refused; each link is the old one, the new one or gone.
    """
    registry = read_registry(paths)
    for link, release in _wanted_links(paths, registry).items():
        if release is None:
            _remove(link, registry, fs)
        elif not link.is_symlink() or str(link.readlink()) != release.file:
            point(fs, paths.production / STAGING, link, release.file)


def _wanted_links(paths: StorePaths, registry: Registry) -> dict[Path, ReleaseLine | None]:
    """Each link and what it should point to, None for nothing; a stranger's registry must not name places outside."""
    newest = registry.newest()
    wanted = {"latest.pt": newest} if newest is None or _is_named_by_us(newest) else {}
    for model in registry.models:
        if all(_is_named_by_us(release) for release in registry.of(model)):
            latest = registry.latest(model)
            wanted[f"{model}_latest.pt"] = registry.release(model, latest) if latest is not None else None
    return {paths.production / name: release for name, release in wanted.items()}


def _is_named_by_us(release: ReleaseLine) -> bool:
    is_plain = "/" not in release.file and "\0" not in release.file
    return is_plain and release.file == production_name(release.model, Version.parse(release.version))


def _remove(link: Path, registry: Registry, fs: FileSystem) -> None:
    """Remove a link, or the small file that stands in for one, but nothing that a person put there."""
    gone = [link] if link.is_symlink() else []
    stand_in = link.with_name(link.name.removesuffix(".pt") + ".json")
    ours = [msgspec.json.encode({"file": release.file}) + b"\n" for release in registry.releases]
    with suppress(FileNotFoundError, IsADirectoryError, Damaged):
        with open_to_read(stand_in) as file:
            is_ours = file.read(_LONGEST_STAND_IN_BYTES) in ours
        if is_ours and not stand_in.is_symlink():
            gone.append(stand_in)
    for path in gone:
        fs.unlink(path)
    if gone:
        fs.fsync_dir(link.parent)


def _usable(registry: Registry, model: str, version: Version) -> ReleaseLine:
    release = registry.release(model, str(version))
    yanked = registry.yanks.get((model, release.version))
    if yanked is not None:
        why = f" ({yanked.reason})" if yanked.reason else ""
        raise StoreError(f"{model} {version} is yanked{why}; latest was left alone")
    return release


def _refuse_links(paths: StorePaths) -> None:
    refuse_links(paths.production, paths.production / STAGING)
