"""The manifests of one directory, faster than `json.load` of each.

There is no index that could go stale: each manifest is opened relative to its directory, read by one call, and believed
only with its checksum whole. What is odd about one is left to the plain reading of it, which says what.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ckptop.store.errors import StoreError
from ckptop.store.files import read_json
from ckptop.store.layout import manifest_path
from ckptop.store.manifest import Manifest
from ckptop.store.seal import check_seal

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_USUAL_BYTES = 64 * 1024
"""A larger manifest is read plainly."""


@functools.cache
def _decoder() -> msgspec.json.Decoder[Manifest]:
    return msgspec.json.Decoder(Manifest)  # 5 ms that a look at the records of runs alone need not take


class FoundFile(NamedTuple):
    """A `.pt` and what its manifest says; `problem` says in one line why the manifest is not to be had."""

    name: str
    facts: os.stat_result
    """Of the `.pt`."""
    manifest: Manifest | None
    problem: str | None


def read_manifests(directory: Path) -> Iterator[FoundFile]:
    """The `.pt` files of a directory with their manifests, unordered; links and hidden files are passed over.

    A directory that is not there holds none.

    Raises:
        OSError: The directory is there and cannot be read.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    decode = _decoder().decode
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208  # of the same directory as all that follows
            if not name.endswith(".pt") or name.startswith("."):
                continue
            try:  # relative to the directory: by a path it takes longer, and a long path longest
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue  # deleted between the listing and the look
            if stat.S_ISREG(facts.st_mode):
                manifest, problem = _read_usual(descriptor, name, decode), None
                if manifest is None:
                    manifest, problem = read_manifest(directory / name)
                yield FoundFile(name, facts, manifest, problem)
    finally:
        os.close(descriptor)


def read_manifest(path: Path) -> tuple[Manifest | None, str | None]:
    """The manifest of the checkpoint `path`; else, in one line, why it is not to be had."""
    try:
        manifest = read_json(manifest_path(path), Manifest)
    except StoreError as error:
        return None, f"{path.name}: {error}".replace(f"{path.parent}/", "")
    except OSError as error:
        return None, f"{path.name}: its manifest cannot be read: {error.strerror}"
    if manifest.file != path.name:
        return None, f"{path.name}: its manifest names another file; it was not followed"
    return manifest, None


def _read_usual(directory: int, name: str, decode: Callable[[bytes], Manifest]) -> Manifest | None:
    """A whole manifest in an ordinary file; None where it is anything else."""
    try:
        descriptor = os.open(name[:-3] + ".json", _FLAGS, dir_fd=directory)
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        data = os.read(descriptor, _USUAL_BYTES) if is_file else b""
        manifest = decode(data)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    return manifest if manifest.file == name and check_seal(data) == "whole" else None
