"""The links people and their scripts use: `latest.pt`, `best_accuracy.pt`. Nothing of ckptop reads them.

They are conveniences made from the manifests, so after any change to a set they can be made again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, latest_of
from ckptop.store.errors import StoreError
from ckptop.store.files import open_to_read, write_durably
from ckptop.store.fs import FileSystem
from ckptop.store.layout import CheckpointPaths
from ckptop.store.names import file_safe_metric, is_link_name
from ckptop.store.records import Mode
from ckptop.store.staging import removed_on_error, staged_name

NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EACCES})
"""How file systems without links answer."""


def point(fs: FileSystem, staging: Path, link: Path, target_name: str) -> None:
    """Make `link` a relative link to its neighbour `target_name`, replacing an older link.

    Where the file system refuses links a small `.json` of the same stem stands in.

    Raises:
        OSError: The disk refused; the old link, if any, is as it was.
    """
    if link.exists() and not link.is_symlink():
        return  # somebody's own file of that name is worth more than a convenience
    fs.mkdir(staging)
    staged = staging / staged_name(link.name)
    try:
        fs.symlink(target_name, staged)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        write_durably(_stand_in_of(link), msgspec.json.encode({"file": target_name}) + b"\n", fs, staging=staging)
        return
    with removed_on_error(staged, fs):
        fs.rename(staged, link)
    fs.fsync_dir(link.parent)


def refresh_links(fs: FileSystem, paths: CheckpointPaths, checkpoints: Iterable[CheckpointInfo]) -> None:
    """Make the links of a set say what its checkpoints say; one whose target is gone is removed.

    The caller holds the lock.
    """
    wanted = _wanted_links(paths, list(checkpoints))
    for directory in (paths.training, paths.milestone):
        with suppress(FileNotFoundError):
            gone = [path for path in directory.iterdir() if _link_said_by(path) not in wanted and _is_ours(path)]
            for path in gone:
                fs.unlink(path)
            if gone:
                fs.fsync_dir(directory)  # before what they point at goes, into another directory perhaps
    for link, target_name in wanted.items():
        if _target_of(link) != target_name:
            point(fs, paths.staging, link, target_name)


def _link_said_by(path: Path) -> Path:
    """The link that `path` is, or stands in for."""
    return path.with_name(path.name.removesuffix(".json") + ".pt") if path.suffix == ".json" else path


def _stand_in_of(link: Path) -> Path:
    return link.with_name(link.name.removesuffix(".pt") + ".json")


def _is_ours(path: Path) -> bool:
    if not is_link_name(_link_said_by(path).name):
        return False
    return path.is_symlink() if path.suffix != ".json" else _read_stand_in(path) is not None


def _target_of(link: Path) -> str | None:
    return str(link.readlink()) if link.is_symlink() else _read_stand_in(_stand_in_of(link))


def _read_stand_in(path: Path) -> str | None:
    """The name a stand-in holds; None for any other file, such as a manifest."""
    try:
        with open_to_read(path) as file:
            fields = msgspec.json.decode(file.read(4096))
    except (StoreError, OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return fields["file"] if isinstance(fields, dict) and fields.keys() == {"file"} else None


def _wanted_links(paths: CheckpointPaths, checkpoints: list[CheckpointInfo]) -> dict[Path, str]:
    wanted = {}
    if (latest := latest_of(checkpoints)) is not None:
        wanted[paths.training / "latest.pt"] = latest.name
    milestones: dict[tuple[str, Mode], list[CheckpointInfo]] = {}
    for info in checkpoints:
        if info.tier == "milestone" and info.manifest is not None and info.manifest.ranking is not None:
            ranking = info.manifest.ranking
            milestones.setdefault((ranking.name, ranking.mode), []).append(info)
    for (metric, mode), made in milestones.items():
        if (best := best_of(made, metric, mode)) is not None:
            wanted[paths.milestone / f"best_{file_safe_metric(metric)}.pt"] = best.name
    return wanted
