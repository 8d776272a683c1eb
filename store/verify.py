"""Checking that what is on disk is what was written: sizes, hashes, seals, links, logs, releases, orphans.

Every byte of a checkpoint is hashed, once an inode; every record of ours carries a seal; and each manifest says what
the run's logs held when it was saved. Not covered: train.log, and TensorBoard's files, which have sums of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ckptop.host.units import format_bytes
from ckptop.store.checkpoint_info import CheckpointInfo
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.events import EventLog
from ckptop.store.files import open_to_read, read_json
from ckptop.store.hashing import xxh3_128_of
from ckptop.store.layout import tensors_path
from ckptop.store.lines import is_torn
from ckptop.store.log_digest import begins_as
from ckptop.store.manifest import LogMark, TensorIndex
from ckptop.store.names import is_link_name
from ckptop.store.seal import check_seal
from ckptop.store.staging import list_stale
from ckptop.store.tail import LineTail
from ckptop.store.trash import TrashEntry, list_discarded, list_quarantine, list_trash
from ckptop.store.vanished import vanished
from ckptop.store.views import RunView

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""

Hashes = dict[tuple[int, int], str]
"""Digests by inode, filled as they are made: bytes with several names are read once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, in one line, with what to do."""

    key: str
    """The checkpoint, `training/<name>`, or the file's name."""
    message: str
    advice: str
    severe: bool = True
    """Whether something cannot be trusted; otherwise something is merely left over."""
    bytes_differ: bool = False
    """Whether the file was read and is not what was written: looking again will not help."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    checked: int
    checked_bytes: int
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> int:
        """How many findings mean that something cannot be trusted."""
        return sum(finding.severe for finding in self.findings)


def verify_checkpoint(
    info: CheckpointInfo, progress: Progress | None = None, hashes: Hashes | None = None
) -> Finding | None:
    """Compare a checkpoint's bytes with its manifest; None if they are what was written.

    Args:
        info: The checkpoint.
        progress: Called with bytes read.
        hashes: Digests by inode, filled as they are made.
    """
    advice = f"delete it with `ckptop delete`, or look at {info.path}"
    if info.manifest is None:
        return Finding(info.key, info.problem or f"{info.name} has no manifest", advice)
    try:
        size_bytes = info.path.stat().st_size
        if size_bytes != info.manifest.size_bytes:
            what = f"{info.name}: {size_bytes:,} bytes on disk, {info.manifest.size_bytes:,} in its manifest"
            return Finding(info.key, what, advice, bytes_differ=True)
        known = hashes if hashes is not None else {}
        if info.inode not in known:
            known[info.inode] = xxh3_128_of(info.path, progress)
        if known[info.inode] != info.manifest.xxh3_128:
            return Finding(info.key, f"{info.name}: bytes differ from its manifest", advice, bytes_differ=True)
    except FileNotFoundError:
        return Finding(info.key, f"{info.name} was deleted meanwhile", "nothing to do", severe=False)
    except OSError as error:
        return Finding(info.key, f"{info.name} cannot be read: {error.strerror}", "check the disk")
    return None


def verify_run(view: RunView, progress: Progress | None = None, hashes: Hashes | None = None) -> Report:
    """Verify a run: its checkpoints, live ones and those that were put away, its records, logs and directories."""
    findings: list[Finding] = []
    known: Hashes = {} if hashes is None else hashes
    if view.problem is not None:
        findings.append(Finding(view.name, f"{view.name}: {view.problem}", "restore the file from a backup"))
    for info in view.checkpoints:
        findings += [finding for finding in (verify_checkpoint(info, progress, known), _index(info)) if finding]
    put_away = _put_away(view)
    for entry in put_away:
        findings += _of_put_away(view, entry, (verify_checkpoint(entry.info, progress, known), _index(entry.info)))
    if view.record is not None:
        findings += [*_records(view), *_logs(view)]
    findings += _torn_writes(view)
    gone = vanished(view)
    for tier in ("training", "milestone"):
        findings += _leftovers(view.name, view.checkpoint_paths.tier(tier), gone)
    return Report(len(view.checkpoints) + len(put_away), total_bytes([view]), tuple(findings))


def _put_away(view: RunView) -> list[TrashEntry]:
    """In the trash, of abandoned attempts, and in quarantine."""
    paths = view.checkpoint_paths
    return [*list_trash(paths), *list_discarded(paths), *list_quarantine(paths)]


def _of_put_away(view: RunView, entry: TrashEntry, found: Iterable[Finding | None]) -> Iterator[Finding]:
    """Told with the place; in quarantine damage is what is expected, and no failure."""
    place = entry.info.path.relative_to(view.checkpoint_paths.root)
    flags = "" if entry.kind == "deleted" else " --all"
    advice = f"`ckptop trash --empty{flags}` removes it, or look at {entry.info.path}"
    for finding in found:
        if finding is None:
            continue
        if entry.kind == "damaged":
            what = f"{place} is damaged, which is why it was put there"
            yield replace(finding, key=str(place), message=what, advice=advice, severe=False)
            return
        yield replace(finding, key=str(place), message=f"{place.parent}/{finding.message}", advice=advice)


def _index(info: CheckpointInfo) -> Finding | None:
    """The tensor index beside a checkpoint; without one the file itself still says all."""
    path = tensors_path(info.path)
    try:
        index = read_json(path, TensorIndex)
    except NotFound:
        return None
    except (StoreError, OSError) as error:
        return Finding(info.key, f"{path.name}: {_short(error, path)}", "remove it: it only serves `ckptop show`")
    if index.file == info.name:
        return None
    return Finding(info.key, f"{path.name} is of {index.file}", "remove it: it only serves `ckptop show`")


def _records(view: RunView) -> Iterator[Finding]:
    """run.json and status.json, which a person may have edited: they are read all the same."""
    for path in (view.paths.record, view.paths.status):
        try:
            with open_to_read(path) as file:
                seal = check_seal(file.read())
        except (StoreError, OSError):
            continue  # said in the view's problem, where it matters
        if seal == "broken":
            yield Finding(path.name, f"{view.name}: {path.name} was changed since it was written", "look at it")
        elif seal == "missing":
            what = f"{view.name}: {path.name} has no checksum, so nobody can tell whether it is as it was written"
            yield Finding(path.name, what, "the next attempt writes it anew", severe=False)


def _logs(view: RunView) -> Iterator[Finding]:
    """What the newest checkpoint knows of each log, and lines that are no JSON."""
    marks: dict[str, LogMark] = {}
    for info in view.checkpoints:
        for name, mark in info.manifest.logs.items() if info.manifest else ():
            if name not in marks or mark.size_bytes > marks[name].size_bytes:
                marks[name] = mark
    for path in (view.paths.metrics, view.paths.system):
        try:
            if path.name in marks and not begins_as(path, marks[path.name]):
                what = f"{view.name}: {path.name} is not what it was when a checkpoint was saved"
                yield Finding(path.name, what, "its curves may be wrong; restore it from a backup")
            yield from _bad_lines(view.name, path)
        except FileNotFoundError:
            if path.name in marks:
                yield Finding(path.name, f"{view.name}: {path.name} is gone", "restore it from a backup")
        except (StoreError, OSError) as error:
            yield Finding(path.name, f"{view.name}: {path.name}: {_short(error, path)}", "check the disk")
    events = EventLog(view.paths.events)
    events.poll()
    bad = events.bad_lines + _ends_torn(view.paths.events)
    if bad:
        what = f"{view.name}: events.jsonl holds {bad} lines that are torn or were changed"
        yield Finding("events.jsonl", what, "nothing depends on them", severe=False)


def _bad_lines(run: str, path: Path) -> Iterator[Finding]:
    tail, bad = LineTail(path), int(_ends_torn(path))
    for lines in iter(tail.poll, b""):
        try:
            msgspec.json.decode(b"[" + b",".join(line for line in lines.split(b"\n") if line) + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            bad += sum(not _is_json(line) for line in lines.splitlines())
    if bad:
        what = f"{run}: {path.name} holds {bad} torn lines"
        yield Finding(path.name, what, "readers skip them; a kill leaves one", severe=False)


def _ends_torn(path: Path) -> bool:
    try:
        with open_to_read(path) as file:
            return is_torn(file.fileno())
    except FileNotFoundError:
        return False


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _short(error: Exception, path: Path) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.replace(f"{path.parent}/", "").removeprefix(f"{path.name} ")


def total_bytes(views: Iterable[RunView]) -> int:
    """Bytes a verification of these runs will read."""
    infos = (info for view in views for info in (*view.checkpoints, *(entry.info for entry in _put_away(view))))
    return sum({info.inode: info.size_bytes for info in infos}.values())


def _torn_writes(view: RunView) -> Iterator[Finding]:
    """Of writers that died in a save: no reader counts them, but they take room."""
    with suppress(OSError):
        sizes = [path.lstat().st_size for path in list_stale(view.checkpoint_paths.staging)]
        if sizes:
            what = f"{view.name}: {len(sizes)} torn writes of dead writers in .staging ({format_bytes(sum(sizes))})"
            yield Finding(".staging", what, "the next attempt removes them", severe=False)


def _leftovers(run: str, directory: Path, gone: Container[str]) -> Iterator[Finding]:
    """Manifests without a checkpoint (of `gone`, else a save or a deletion was cut off), and links to nothing."""
    try:
        names = {entry.name: entry for entry in os.scandir(directory)}
    except OSError:
        return
    for name, entry in sorted(names.items()):
        stem = name.removesuffix(".json").removesuffix(".tensors")
        key = f"{directory.name}/{stem}.pt"
        if entry.is_symlink() and not (directory / name).exists():
            what = f"{run}: {directory.name}/{name} links to nothing"
            yield Finding(name, what, "the next save makes it again", severe=False)
        elif not name.endswith(".json") or f"{stem}.pt" in names or is_link_name(f"{stem}.pt"):
            continue
        elif key not in gone:
            what = f"{run}: {directory.name}/{name} has no checkpoint: a cut-off save or deletion"
            yield Finding(name, what, f"remove {directory / name}", severe=False)
        elif not name.endswith(".tensors.json"):
            what = f"{run}: {key} is gone: it was committed, and nothing of ckptop deleted it"
            yield Finding(key, what, f"restore it from a backup, or remove {directory / name}")
