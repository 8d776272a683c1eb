"""Checking releases: the file against the registry's sha256, and what stands beside it against the registry."""

from __future__ import annotations

import msgspec

from ckptop.store.errors import NotFound, StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import StorePaths, release_config_path
from ckptop.store.registry import ReleaseLine, read_registry, release_path
from ckptop.store.releases import release_problem
from ckptop.store.releasing import ReleaseConfig, card_path, card_text
from ckptop.store.verify import Finding, Progress, Report


def verify_releases(paths: StorePaths, progress: Progress | None = None) -> Report:
    """Compare every release with the size and sha256 the registry recorded."""
    registry = read_registry(paths)
    findings = []
    for release in registry.releases:
        key = f"production/{release.file}"
        if (problem := release_problem(paths, release, hashed=True, progress=progress)) is not None:
            findings.append(Finding(key, f"{release.file}: {problem}", f"release {release.model} as a new version"))
        if (problem := _config_problem(paths, release)) is not None:
            name = release_config_path(paths.production / release.file).name
            findings.append(Finding(key, f"{name} {problem}", "the registry says what the release is"))
    if registry.bad_lines:
        what = f"{paths.registry.name} holds {registry.bad_lines} lines that are torn or were changed"
        findings.append(Finding(paths.registry.name, what, "restore it from a backup"))
    return Report(len(registry.releases), release_bytes(paths), tuple(findings))


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
