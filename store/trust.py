"""Whether a recorded command may be run: only out of files that nobody but this user could have written."""

from __future__ import annotations

import os
import stat

from ckptop.store.errors import StoreError
from ckptop.store.layout import RunPaths

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def require_own(paths: RunPaths) -> None:
    """Return if run.json and its directory belong to this user and nobody else may write them.

    Raises:
        StoreError: They do not, and the message says which and what to do; the command is not to be run.
        OSError: One cannot be looked at.
    """
    for path in (paths.root, paths.record):
        facts = path.lstat()
        if facts.st_uid != os.geteuid():
            raise StoreError(f"{path} belongs to another user; its recorded command is shown, never run")
        if facts.st_mode & _OTHERS_WRITE:
            raise StoreError(
                f"{path} can be written by others, so its recorded command is not run; chmod go-w {path} if it is yours"
            )
