"""What stands beside a release's weights: its configuration, and its model card. Reading them needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ckptop.store.layout import StorePaths
from ckptop.store.records import Sealed
from ckptop.store.registry import ReleaseLine


class ReleaseConfig(Sealed, frozen=True, kw_only=True):
    """`<model>_v1.0.0.config.json`: what a release is, beside its weights."""

    model: str
    version: str
    file: str
    sha256: str
    size_bytes: int
    config: dict[str, Any]
    metrics: dict[str, float | str]
    run: str
    checkpoint: str
    epoch: int
    global_step: int
    card: dict[str, Any]


def card_text(release: ReleaseLine, card: Mapping[str, Any]) -> bytes:
    """The model card of a release, as its file holds it: the facts, and what a person said of it."""
    text = {
        "model": release.model, "version": release.version, "file": release.file, "sha256": release.sha256,
        "released": release.time, "run": release.run, "checkpoint": release.checkpoint,
        "metrics": release.metrics,
        **card,
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n"


def card_path(store: StorePaths, release: ReleaseLine) -> Path | None:
    """Where the card of a release is; None where somebody took it away."""
    return next((path for path in card_paths(store, release) if path.is_file()), None)


def card_paths(store: StorePaths, release: ReleaseLine) -> tuple[Path, Path]:
    """`<model>/v1.0.0.json`, and `v1.0.0.json` for the one model of a stand-alone manager."""
    name = f"v{release.version}.json"
    return store.model_cards / release.model / name, store.model_cards / name
