"""Checking releases: the file against the registry's sha256, and what stands beside it against the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ckptop.store.checkpoint_info import scan_tier
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import UNREGISTERED, StorePaths, release_config_path
from ckptop.store.registry import Registry, ReleaseLine, read_registry, release_path
from ckptop.store.releases import release_problem
from ckptop.store.releasing import ReleaseConfig, card_path, card_text
from ckptop.store.verify import Finding, Progress, Report


def verify_releases(paths: StorePaths, progress: Progress | None = None) -> Report:
    """Compare every release with the size and sha256 the registry recorded."""
    registry = read_registry(paths)
    findings = [finding for release in registry.releases for finding in verify_release(paths, release, progress)]
    if registry.bad_lines:
        what = f"{paths.registry.name} holds {registry.bad_lines} lines that are torn or were changed"
        findings.append(Finding(paths.registry.name, what, "restore it from a backup"))
    findings += _unregistered(paths, registry)
    return Report(len(registry.releases), release_bytes(paths), tuple(findings))


def verify_release(paths: StorePaths, release: ReleaseLine, progress: Progress | None = None) -> Iterator[Finding]:
    """Compare one release with what the registry recorded, and what stands beside it."""
    key = f"production/{release.file}"
    if (problem := release_problem(paths, release, hashed=True, progress=progress)) is not None:
        yield Finding(key, f"{release.file}: {problem}", f"release {release.model} as a new version")
    if (problem := _config_problem(paths, release)) is not None:
        name = release_config_path(paths.production / release.file).name
        yield Finding(key, f"{name} {problem}", "the registry says what the release is")


def _unregistered(paths: StorePaths, registry: Registry) -> Iterator[Finding]:
    """Files that the registry does not know: of a release that was cut off, or the registry lost its line.

    A link is made after the line is durable, so what a link means was released.
    """
    known = {release.file for release in registry.releases}
    meant = _link_targets(paths.production)
    for info in sorted(scan_tier(paths.production, "production"), key=lambda info: info.name):
        if info.name in known:
            continue
        key, where = f"production/{info.name}", paths.registry.name
        if info.name in meant:
            what = f"{key} was released, and {where} does not know it"
            yield Finding(key, what, f"restore {where} from a backup, or release it as a new version")
        else:
            what = f"{key} is in no line of {where}: a cut-off release"
            yield Finding(key, what, f"remove {info.path}", severe=False)
    aside = paths.production / UNREGISTERED
    if not aside.is_symlink() and (count := sum(1 for _ in aside.glob("*.pt"))):
        what = f"production/{UNREGISTERED} holds {count} files that were in no line of the registry"
        yield Finding(UNREGISTERED, what, f"remove {aside} if nobody misses a release", severe=False)


def _link_targets(directory: Path) -> set[str]:
    """Names that links in `directory` hold; a link is read, not followed."""
    try:
        return {str(path.readlink()) for path in directory.iterdir() if path.is_symlink()}
    except OSError:
        return set()


def release_bytes(paths: StorePaths) -> int:
    """Bytes a verification of the releases will read."""
    return sum(release.size_bytes for release in read_registry(paths).releases)


def _config_problem(paths: StorePaths, release: ReleaseLine) -> str | None:
    """What is wrong with the facts beside a release; a missing card is a person's business."""
    try:
        config = read_json(release_config_path(release_path(paths, release)), ReleaseConfig)
    except NotFound:
        return "is gone"
    except (StoreError, OSError):
        return "was changed since it was written"
    if (config.sha256, config.version) != (release.sha256, release.version):
        return "is of another release"
    card = card_path(paths, release)
    try:
        told = msgspec.json.decode(card_text(release, config.card))
        same = card is None or msgspec.json.decode(card.read_bytes()) == told
    except (msgspec.DecodeError, UnicodeDecodeError, OSError):
        same = False
    return None if same else "and its model card say different things"
