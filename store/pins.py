"""Pins: a person's mark on a checkpoint, which no rule then deletes.

A pin is a field of the manifest, so it belongs to one name: a milestone linked to a training checkpoint's bytes is
pinned by itself.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Literal

from ckptop.store.checkpoint_info import CheckpointInfo, as_it_is_now
from ckptop.store.commit import change_manifest
from ckptop.store.errors import Damaged, NotFound
from ckptop.store.events import append_event, current_actor
from ckptop.store.files import refuse_links
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.locks import FileLock
from ckptop.store.manifest import Manifest, Pin
from ckptop.store.views import RunView


def pin(view: RunView, info: CheckpointInfo, fs: FileSystem = LOCAL) -> bool:
    """Mark a checkpoint as never to be deleted; returns False, and changes nothing, if it was pinned already.

    One that was put away, of an abandoned attempt say, can be marked as well.

    Raises:
        NotFound: It is gone; nothing was changed.
        Damaged: Its manifest is unreadable; it was left alone.
        StoreError: A directory of the run is a symbolic link.
        OSError: The disk refused; the manifest is the old one or the new, whole.
    """
    return _mark(view, info, Pin(time=time.time(), actor=current_actor()), "pinned", fs)


def unpin(view: RunView, info: CheckpointInfo, fs: FileSystem = LOCAL) -> bool:
    """Take the mark away; returns False, and changes nothing, if there was none. Errors as `pin`."""
    return _mark(view, info, None, "unpinned", fs)


def _mark(
    view: RunView, info: CheckpointInfo, mark: Pin | None, event: Literal["pinned", "unpinned"], fs: FileSystem
) -> bool:
    paths = view.checkpoint_paths
    refuse_links(view.root, paths.root, paths.training, paths.milestone, paths.staging)
    with FileLock(paths.lock):
        manifest = _manifest_now(info)
        if (manifest.pinned is None) == (mark is None):
            return False
        change_manifest(fs, paths, info.path, pinned=mark)
        if view.record is not None:
            with suppress(OSError):  # what is pinned is pinned, told or not
                append_event(view.paths, event, step=info.step, checkpoint=place_of(view, info))
    return True


def place_of(view: RunView, info: CheckpointInfo) -> str:
    """`training/<file>`; of one that was put away `.discarded/2/training/<file>`: the live one may have its name."""
    return str(info.path.relative_to(view.checkpoint_paths.root))


def _manifest_now(info: CheckpointInfo) -> Manifest:
    found = as_it_is_now(info)
    if found is None:
        raise NotFound(f"{info.key} is gone; nothing was changed")
    if found.manifest is None:
        raise Damaged(f"{found.problem}; nothing was changed, and no rule deletes it")
    return found.manifest
