"""Names for torn writes that tell whose they are, and the removal of those whose writer is dead."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptop.host.process import ProcessIdentity, current_process, is_alive
from ckptop.store.errors import StoreError
from ckptop.store.fs import LOCAL, FileSystem

FOREIGN_AGE_SECONDS = 86_400.0
"""A torn write of another host is left this long: whether its writer lives cannot be seen from here."""

_NAME = re.compile(r"\.?(?P<host>[A-Za-z0-9-]+)~(?P<pid>\d+)~(?P<ticks>\d+)~(?P<boot>[0-9a-f]{8})~.*\.tmp")


def staged_name(final: str) -> str:
    """A unique name for the torn form of `final`, beginning with a dot and holding the writer's identity."""
    me = current_process()
    return f".{_plain(me.host)}~{me.pid}~{me.start_ticks}~{me.boot_id[:8]}~{os.urandom(4).hex()}~{final}.tmp"


@contextmanager
def removed_on_error(path: Path, fs: FileSystem) -> Iterator[None]:
    """Remove the torn write `path`, if it is there, when the block fails: a full disk must not be filled by it.

    A BaseException leaves it, as a death would; `remove_stale` finds it later. An error that names no file, or the torn
    one, names its directory from here on: that tells a person where the disk refused.
    """
    try:
        yield
    except Exception as error:
        with suppress(OSError):
            fs.unlink(path)
        if isinstance(error, OSError) and not isinstance(error, StoreError) and error.filename in (None, str(path)):
            error.filename = str(path.parent)
        raise


def remove_stale(directory: Path, fs: FileSystem = LOCAL) -> list[str]:
    """Remove torn writes of dead writers from `directory`; returns their names.

    Other files and the writes of living processes are left alone. A directory that is not there holds none, nor does
    a link to one: it may lead out of the store.
    """
    removed: list[str] = []
    for path in list_stale(directory):
        with suppress(FileNotFoundError):
            fs.unlink(path)
            removed.append(path.name)
    if removed:
        fs.fsync_dir(directory)
    return removed


def list_stale(directory: Path) -> list[Path]:
    """Torn writes of dead writers in `directory`, as `remove_stale` takes them."""
    if directory.is_symlink():
        return []
    try:
        torn = [(path, _NAME.fullmatch(path.name)) for path in directory.iterdir() if path.name.endswith(".tmp")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path, match in torn if match is not None and not _writer_lives(match, path)]


def _writer_lives(match: re.Match[str], path: Path) -> bool:
    me = current_process()
    if match["host"] != _plain(me.host):
        try:
            return time.time() - path.lstat().st_mtime < FOREIGN_AGE_SECONDS
        except OSError:
            return True
    if match["boot"] != me.boot_id[:8]:
        return False
    writer = ProcessIdentity(int(match["pid"]), int(match["ticks"]), me.boot_id, me.host, me.user)
    return is_alive(writer) is not False


@functools.cache
def _plain(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", host) or "-"
