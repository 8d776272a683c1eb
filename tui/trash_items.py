"""What lies in the trash of a run or of a whole store, and what may be done to it; for threads, since it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ckptop.host.terminal import clean
from ckptop.store.actions import restore_checkpoints
from ckptop.store.run_trash import DeletedRun, list_deleted_runs, purge_run, restore_run
from ckptop.store.store import Store
from ckptop.store.trash import TrashEntry, list_discarded, list_quarantine, list_trash, purge

if TYPE_CHECKING:
    from ckptop.store.views import RunView


class TrashItem(NamedTuple):
    """One thing that was put away."""

    entry: TrashEntry | DeletedRun
    run: str
    """Directory name of its run."""
    size_bytes: int
    view: RunView | None
    """Its run; None where the whole run was deleted."""

    @property
    def key(self) -> str:
        """Identifies it within the store."""
        name = self.entry.info.name if isinstance(self.entry, TrashEntry) else ""
        return f"{self.entry.directory}/{name}"

    @property
    def kind(self) -> str:
        """deleted, abandoned, damaged, or run."""
        return self.entry.kind if isinstance(self.entry, TrashEntry) else "run"

    @property
    def what(self) -> str:
        """Its tier; of a whole run that."""
        return self.entry.info.tier if isinstance(self.entry, TrashEntry) else "whole run"

    @property
    def epoch(self) -> int | None:
        """None of a whole run."""
        return self.entry.info.epoch if isinstance(self.entry, TrashEntry) else None

    @property
    def step(self) -> int | None:
        """None of a whole run."""
        return self.entry.info.step if isinstance(self.entry, TrashEntry) else None

    @property
    def pinned(self) -> bool:
        """Whether nothing removes it."""
        return isinstance(self.entry, TrashEntry) and self.entry.info.pinned

    @property
    def words(self) -> str:
        """What a filter looks through."""
        return f"{clean(self.run)} {self.what} {self.kind} {self.epoch or ''} {self.step or ''}".casefold()


def read_trash(root: Path, run: str | None) -> list[TrashItem]:
    """What was put away, the latest first.

    Args:
        root: The store.
        run: Only of this run; None is the whole store, deleted runs included.

    Raises:
        StoreError: There is no such run, or it cannot be read.
        OSError: The disk refused.
    """
    store = Store(root)
    found = []
    for view in [store.run(run)] if run is not None else store.runs():
        paths = view.checkpoint_paths
        entries = (*list_trash(paths), *list_discarded(paths), *list_quarantine(paths))
        found += [TrashItem(entry, view.name, entry.size_bytes, view) for entry in entries]
    if run is None:
        found += [TrashItem(gone, gone.name, gone.size_bytes, None) for gone in list_deleted_runs(store.paths)]
    return sorted(found, key=lambda item: item.entry.deleted, reverse=True)


def why_not_restored(item: TrashItem) -> str | None:
    """Why this cannot be taken back; None where it can."""
    if item.kind == "abandoned":
        return "Its attempt was abandoned: the run went back behind it. `ckptop resume --fork` can begin from it."
    if item.kind == "damaged":
        return "Its bytes are not what was written; it stays put away."
    return None


def restore_items(root: Path, items: Sequence[TrashItem]) -> int:
    """Take these back where they were; returns how many.

    Raises:
        StoreError: One cannot be; those before it are back.
        OSError: The disk refused.
    """
    runs: dict[str, tuple[RunView, list[TrashEntry]]] = {}
    for item in items:
        if isinstance(item.entry, DeletedRun):
            restore_run(Store(root).paths, item.entry)
        elif item.view is not None:
            runs.setdefault(item.run, (item.view, []))[1].append(item.entry)
    for view, entries in runs.values():
        restore_checkpoints(view, entries)
    return len(items)


def purge_items(root: Path, items: Sequence[TrashItem]) -> int:
    """Remove these for good; returns the bytes freed.

    Args:
        root: The store.
        items: What goes; a pinned one stays.

    Raises:
        OSError: The disk refused; those before are gone.
    """
    freed = 0
    for item in items:
        if isinstance(item.entry, DeletedRun):
            freed += purge_run(Store(root).paths, item.entry)
        elif item.view is not None:
            freed += purge(item.view.checkpoint_paths, [item.entry])
    return freed
