"""From what a person types to a run and a checkpoint: `digits:best`, `digits:epoch=10`, a path; or to a release."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ckptop.store.checkpoint_info import CheckpointInfo, best_of, read_info
from ckptop.store.errors import NotFound, UsageError
from ckptop.store.evaluations import mode_of
from ckptop.store.layout import manifest_path
from ckptop.store.names import Version, is_run_name
from ckptop.store.registry import ReleaseLine, read_registry
from ckptop.store.store import Store, run_directory
from ckptop.store.trash import TrashEntry, list_discarded, list_quarantine, list_trash
from ckptop.store.views import RunView, read_run, read_standalone

_RELEASE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})@([A-Za-z0-9.]+)", re.ASCII)


def find_checkpoint(store: Store, text: str) -> tuple[RunView, CheckpointInfo]:
    """The checkpoint a person named.

    Args:
        store: Where runs are looked up.
        text: `RUN`, `RUN:latest`, `RUN:best`, `RUN:best=METRIC`, `RUN:epoch=N`, `RUN:step=N`, `RUN:FILE` or
            the path of a checkpoint of any run. RUN may be the directory of a run or of a stand-alone set.

    Raises:
        NotFound: There is no such run or checkpoint.
        UsageError: The words mean several checkpoints, which are listed, or a release, or nothing.
    """
    if is_release(text):
        raise UsageError(
            f"{text} is a release; name a checkpoint of a run (`ckptop show {text}` says where it is from)"
        )
    named = _split(store, text)
    if named is None:
        return _by_path(Path(text))
    view, selector = named
    return view, select(view, selector or "latest")


def find_run(store: Store, name: str) -> RunView:
    """A run of the store, or else the run or the stand-alone set whose directory `name` is.

    Raises:
        NotFound: There is none of that name; the message lists those there are.
    """
    try:
        return store.run(name)
    except NotFound:
        view = run_at(Path(name)) if name else None
        if view is None:
            raise
        return view


def run_at(directory: Path) -> RunView | None:
    """The run or the stand-alone set whose directory this is; of a run's `checkpoints/` that run, with all it protects.

    None where it is neither.
    """
    root = Path(os.path.abspath(directory.expanduser()))  # noqa: PTH100 - a link is not followed here
    if (run := run_directory(root)) is not None:
        return read_run(run)
    return read_standalone(root) if Store(root).is_standalone else None


def _split(store: Store, text: str) -> tuple[RunView, str] | None:
    """The run and the selector of `RUN:SELECTOR`; None for a path. A directory's name may hold blanks and colons."""
    if Path(text).is_file():
        return None
    first, colon, rest = text.partition(":")
    head, _, tail = text.rpartition(":")
    for name, selector in ((first, rest), (text, ""), (head, tail)):
        with suppress(NotFound):
            return find_run(store, name), selector
    if is_run_name(first) and (colon or not first.endswith(".pt")):
        store.run(first)  # says which there are
    return None


def find_put_away(store: Store, text: str) -> tuple[RunView, CheckpointInfo]:
    """As `find_checkpoint`; where no live one is meant, one of the trash, of an abandoned attempt or in quarantine.

    Its path does, or `RUN:FILE` as `ckptop trash` prints it.

    Raises:
        NotFound: There is no such run or checkpoint.
        UsageError: Several are meant; they are listed.
    """
    try:
        return find_checkpoint(store, text)
    except NotFound:
        named = _split(store, text)
        view, selector = named if named is not None else (_run_around(Path(text).expanduser().resolve()), "")
        found = _put_away(view, selector, Path(text)) if view is not None else []
        if view is None or not found:
            raise
    if len(found) > 1:
        places = ", ".join(str(info.path) for info in found)
        raise UsageError(f"{text} means several: {places}; name one by its path")
    return view, found[0]


def find_file(store: Store, text: str) -> CheckpointInfo:
    """As `find_put_away`, or the path of any other `.pt` with a manifest beside it, such as one that was carried off.

    Raises:
        NotFound: There is no such run or checkpoint, or nothing says what the file should hold.
        UsageError: Several are meant; they are listed.
    """
    try:
        return find_put_away(store, text)[1]
    except NotFound:
        path = Path(text).expanduser().resolve()
        if not path.is_file():
            raise
        if not manifest_path(path).exists():
            raise NotFound(f"{text} has no manifest beside it, so nothing says what its bytes should be") from None
        return read_info(path, "training")


def _put_away(view: RunView, selector: str, path: Path) -> list[CheckpointInfo]:
    paths, full = view.checkpoint_paths, path.expanduser().resolve()
    infos = [entry.info for entry in (*list_trash(paths), *list_discarded(paths), *list_quarantine(paths))]
    return [
        info for info in infos
        if selector in (info.name, str(info.path.relative_to(paths.root))) or info.path.resolve() == full
    ]  # fmt: skip


def find_trashed(store: Store, text: str) -> tuple[RunView, TrashEntry]:
    """What `restore` takes back: `RUN` (its newest deletion), `RUN:FILE`, `RUN:epoch=N`, `RUN:step=N`, or a path.

    Raises:
        NotFound: There is none; the message lists what is in the trash of that run.
        UsageError: Several are meant; they are listed.
    """
    path = Path(text).expanduser().resolve()
    if path.is_file() and (around := _run_around(path)) is not None:
        view, selector = around, ""
        found = [entry for entry in list_trash(view.checkpoint_paths) if entry.info.path.resolve() == path]
    else:
        named = _split(store, text)
        if named is None:
            raise NotFound(f"{text} names nothing in a trash; `ckptop trash` lists what is there")
        view, selector = named
        found = [entry for entry in list_trash(view.checkpoint_paths) if _is_meant(entry.info, selector)]
    places = {(entry.info.epoch, entry.info.step, entry.info.tier) for entry in found}
    if selector.partition("=")[0] in ("epoch", "step") and len(places) > 1:
        names = ", ".join(f"{view.name}:{entry.info.name}" for entry in found)
        raise UsageError(f"{text} means several: {names}; name one of them")
    if not found:
        there = ", ".join(f"{view.name}:{entry.info.name}" for entry in list_trash(view.checkpoint_paths)[:5])
        raise NotFound(f"{view.name} has no {selector or 'checkpoint'} in its trash; there: {there or 'nothing'}")
    return view, found[0]


def _is_meant(info: CheckpointInfo, selector: str) -> bool:
    return selector in ("", info.name, info.key, f"epoch={info.epoch}", f"step={info.step}")


def is_release(text: str) -> bool:
    """Whether `text` has the form of `MODEL@VERSION` or `MODEL@latest`, and is no file."""
    return _RELEASE.fullmatch(text) is not None and not text.endswith(".pt") and not Path(text).exists()


def find_release(store: Store, text: str) -> ReleaseLine:
    """The release that `MODEL@1.2.0` or `MODEL@latest` names, yanked or not.

    Raises:
        NotFound: There is none; the message lists those there are.
        UsageError: It is not of that form.
    """
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} names no release; write it like digits@1.2.0 or digits@latest")
    model, version = match.groups()
    registry = read_registry(store.paths)
    if version != "latest":
        return registry.release(model, str(Version.parse(version)))
    latest = registry.latest(model)
    if latest is None and registry.of(model):
        raise NotFound(f"every release of {model} is yanked: latest means none")
    return registry.release(model, latest or version)


def release_at(path: Path) -> tuple[Store, ReleaseLine] | None:
    """The release whose file this is, or that a link such as `latest.pt` means; None where it is none."""
    full = path.expanduser().resolve()
    store = Store(full.parent.parent)
    if full.parent.name != store.paths.production.name:
        return None
    released = read_registry(store.paths).releases
    return next(((store, release) for release in released if release.file == full.name), None)


def select(view: RunView, selector: str) -> CheckpointInfo:
    """A checkpoint of a run by `latest`, `best`, `best=METRIC`, `epoch=N`, `step=N` or file name.

    Raises:
        NotFound: There is none.
        UsageError: Several match, or the selector is not one.
    """
    if not view.checkpoints:
        raise NotFound(f"{view.name} has no checkpoint yet; the first comes with its first save")
    word, _, value = selector.partition("=")
    if selector == "latest":
        return _or_missing(view.latest, view, "a readable training checkpoint")
    if selector == "best":
        if view.metric is None:
            raise UsageError(f"{view.name} names no metric; say {view.name}:best=METRIC")
        return _or_missing(view.best, view, f"a checkpoint that recorded {view.metric.name}")
    if word == "best":
        return _or_missing(
            best_of(view.checkpoints, value, mode_of(view, value)), view, f"a checkpoint that recorded {value}"
        )
    if word in ("epoch", "step") and value.isdecimal() and value.isascii():
        return _by_number(view, word, int(value))
    named = [info for info in view.checkpoints if selector in (info.name, info.key)]
    if named:
        return named[-1]
    raise NotFound(
        f"{view.name} has no checkpoint {selector!r}; say latest, best, best=METRIC, epoch=N, step=N or a file name"
    )


def _by_number(view: RunView, word: str, number: int) -> CheckpointInfo:
    """An epoch with several steps is ambiguous; the same step in two tiers, or a milestone of no step, is not."""
    matches = [info for info in view.checkpoints if (info.epoch if word == "epoch" else info.step) == number]
    places = {(info.epoch, info.step) for info in matches if info.step or info.tier == "training"}
    if len(places) > 1:
        names = ", ".join(info.key for info in matches)
        raise UsageError(f"{view.name}:{word}={number} means several: {names}; name one by step or file")
    matches.sort(key=lambda info: (info.manifest is not None, info.tier == "training", info.order))
    return _or_missing(matches[-1] if matches else None, view, f"a checkpoint of {word} {number}")


def _or_missing(info: CheckpointInfo | None, view: RunView, what: str) -> CheckpointInfo:
    if info is None:
        raise NotFound(f"{view.name} has not {what}; `ckptop ls {view.name}` lists what it has")
    return info


def _by_path(path: Path) -> tuple[RunView, CheckpointInfo]:
    full = path.expanduser().resolve()
    if not full.is_file():
        raise NotFound(f"{path} does not exist")
    view = _run_around(full)
    if view is not None:
        for info in view.checkpoints:
            if info.path.resolve() == full:
                return view, info
    raise NotFound(f"{path} is not a live checkpoint of a run; `ckptop ls` lists those there are")


def _run_around(file: Path) -> RunView | None:
    """The run, or the stand-alone set, that a file under its checkpoints belongs to."""
    for directory in file.parents[1:4]:  # checkpoints/.discarded/2/training/FILE is the deepest
        if (view := run_at(directory)) is not None:
            return view
    return None
