"""Reading a checkpoint whose bytes are verified: beside the reading, once, and before anything of it is used.

Hashing lets go of the GIL and is several times faster than torch reads, so that on a second core it costs nothing, and
what one of the two fetched from the disk the other finds in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ckptop.store.errors import Damaged, NotFound
from ckptop.store.files import read_json
from ckptop.store.hashing import sha256_of, xxh3_128_of
from ckptop.store.layout import StorePaths, manifest_path, release_config_path
from ckptop.store.manifest import TIERS, Manifest
from ckptop.store.names import parse_checkpoint_name
from ckptop.store.registry import read_registry
from ckptop.store.releasing import ReleaseConfig
from ckptop.store.state_dicts import State
from ckptop.store.tensors import read_state
from ckptop.store.verified_once import was_verified_to_read

if TYPE_CHECKING:
    import torch


def read_verified(path: Path, device: str | torch.device | None = None) -> State:
    """The content of a checkpoint whose bytes are those that its manifest, or its release, recorded.

    A stranger's file has neither: torch's own checks are all there is. One of ours without is warned of.

    Raises:
        NotFound: There is no such file.
        Damaged: Its bytes are others, or it is no checkpoint.
    """
    verify = _verification(path)
    if verify is None:
        return read_state(path, device)
    with ThreadPoolExecutor(1, "ckptop-verify") as beside:
        verified = beside.submit(verify)
        try:
            state = read_state(path, device)
        except Damaged:
            verified.result()  # that the bytes are others says more than what torch makes of them
            raise
        verified.result()
    return state


def verify_before_load(path: Path) -> None:
    """Check a checkpoint's bytes for somebody else who reads it; as `read_verified`."""
    if (verify := _verification(path)) is not None:
        verify()


def _verification(path: Path) -> Callable[[], None] | None:
    """What reads the whole file and raises `Damaged`; None where nothing says what it should hold, or it was done."""
    if not path.is_file():
        raise NotFound(f"{path} does not exist")
    if manifest_path(path).exists():
        manifest = read_json(manifest_path(path), Manifest)
        differ = f"{path}: bytes differ from its manifest; it was not loaded. Resume from an older one"
        if was_verified_to_read(path):
            return None
        if path.stat().st_size != manifest.size_bytes:
            raise Damaged(differ)
        return lambda: _require(xxh3_128_of(path) == manifest.xxh3_128, differ)
    if (sha256 := _released_sha256(path)) is not None:
        differ = f"{path}: bytes differ from its sha256; it was not loaded. Release it again as another version"
        return lambda: _require(sha256_of(path) == sha256, differ)
    if path.parent.name in TIERS or parse_checkpoint_name(path.name) is not None:
        warnings.warn(f"{path.name} has no manifest: its bytes were not verified", UserWarning, stacklevel=4)
    return None


def _require(is_same: bool, differ: str) -> None:
    if not is_same:
        raise Damaged(differ)


def _released_sha256(path: Path) -> str | None:
    """What the registry says, which is the truth; what stands beside a release where the registry does not know it."""
    store = StorePaths(path.parent.parent)
    if path.parent == store.production:
        with suppress(OSError):
            for release in read_registry(store).releases:
                if release.file == path.name:
                    return release.sha256
    config = release_config_path(path)
    return read_json(config, ReleaseConfig).sha256 if config.exists() else None
