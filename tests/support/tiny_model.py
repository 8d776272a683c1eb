"""A model of two weights, a run's checkpoints made with it, and every operation that changes them.

The run `mine` ranks by val/accuracy and holds five training checkpoints, epochs 1 to 5 at steps 100 to 500: the
first is pinned, the third the best, the fifth the newest, so that a policy may delete the second and the fourth. Two
milestones: epoch 2, linked, and epoch 3 by val/loss, with bytes of its own and no step. In the trash: training epoch
6 and a milestone of epoch 1.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import torch
from power_cut import HastyFileSystem

from ckptop.store import tensors
from ckptop.store.actions import delete_checkpoints, prune, restore_checkpoints
from ckptop.store.checkpoint_info import CheckpointInfo, scan_tier
from ckptop.store.checkpoints import CheckpointManager, RunLink
from ckptop.store.files import read_json
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.going_back import discard_abandoned
from ckptop.store.hashing import sha256_of
from ckptop.store.layout import RunPaths, StorePaths, manifest_path
from ckptop.store.manifest import Manifest, Pin, Ranking, encode
from ckptop.store.names import Version
from ckptop.store.promote import promote_to_milestone, promote_to_production
from ckptop.store.records import Actor, Attempt, Metric, RunRecord
from ckptop.store.registry import read_registry, release_path
from ckptop.store.retention import Policy
from ckptop.store.saves import Saves
from ckptop.store.trash import delete, list_trash, purge
from ckptop.store.verify import verify_checkpoint
from ckptop.store.views import RunView, read_run

HASTY = HastyFileSystem()
METRIC = Metric(name="val/accuracy", mode="max")
ACCURACIES = {1: 0.5, 2: 0.6, 3: 0.9, 4: 0.55, 5: 0.7}
FIRST_ATTEMPT = Attempt(attempt=1, from_step=0, time=1_763_683_200.0)


def tiny_model(value: float = 0.0) -> torch.nn.Linear:
    """One weight matrix of two numbers, both `value`."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, value)
    return model


def trained_pair(inputs: int = 3) -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    """A model and an optimizer that has a state, after one step."""
    torch.manual_seed(inputs)
    model = torch.nn.Linear(inputs, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.ones(1, inputs)).sum().backward()
    optimizer.step()
    return model, optimizer


def manager_of(
    root: Path, fs: FileSystem = LOCAL, *, keep: int = 0, compress: bool = False, async_save: bool = False
) -> CheckpointManager:
    """The manager of the run at `root`, in its first attempt; keeps everything by default."""
    link = RunLink(name=root.name, id="id-mine", attempt=1, attempts=(FIRST_ATTEMPT,), metric=METRIC)
    return CheckpointManager(
        root / "checkpoints", keep, compress=compress, store_root=root.parent, run=link, fs=fs, async_save=async_save
    )  # fmt: skip


def save(manager: CheckpointManager, epoch: int, accuracy: float | None = None, *, step: int | None = None) -> Path:
    """Save a training checkpoint whose weights are its epoch."""
    metrics = {} if accuracy is None else {METRIC.name: accuracy}
    step = epoch * 100 if step is None else step
    return Path(manager.save_training_checkpoint(tiny_model(epoch), None, epoch, step, metrics))


def make_run(store: Path) -> Path:
    """Write the run `mine` that the module describes into `store`; returns its directory."""
    root = store / "mine"
    root.mkdir(parents=True)
    record = RunRecord(
        id="id-mine", name="mine", task="tiny", created=FIRST_ATTEMPT.time, metric=METRIC, attempts=[FIRST_ATTEMPT]
    )
    (root / "run.json").write_bytes(encode(record))
    manager = manager_of(root, HASTY)
    for epoch, accuracy in ACCURACIES.items():
        save(manager, epoch, accuracy)
        if epoch in (1, 2):
            manager.save_milestone_checkpoint(tiny_model(epoch), accuracy, METRIC.name, epoch, step=epoch * 100)
    save(manager, 6, 0.1)
    manager.save_milestone_checkpoint(tiny_model(3), 0.3, "val/loss", 3, step=0)
    first, best_of_first = find(root, "training", 1), find(root, "milestone", 1)
    pin(first)
    delete(manager.paths, [find(root, "training", 6), best_of_first])
    (root / "checkpoints" / "training" / "latest.pt").unlink()
    (root / "checkpoints" / "training" / "latest.pt").symlink_to(find(root, "training", 5).name)
    return root


def find(root: Path, tier: str, epoch: int) -> CheckpointInfo:
    """The one checkpoint of a tier and epoch."""
    (info,) = (info for info in live(root) if (info.tier, info.epoch) == (tier, epoch))
    return info


def live(root: Path) -> list[CheckpointInfo]:
    """Whatever stands in the tiers, of any attempt."""
    paths = RunPaths(root).checkpoints
    return [*scan_tier(paths.training, "training"), *scan_tier(paths.milestone, "milestone")]


def pin(info: CheckpointInfo) -> None:
    """Mark a checkpoint as a person would."""
    path = manifest_path(info.path)
    mark = Pin(time=1_763_683_200.0, actor=Actor(user="ada", host="box1", pid=4711))
    path.write_bytes(encode(msgspec.structs.replace(read_json(path, Manifest), pinned=mark)))


def clone(source: Path, target: Path) -> Path:
    """Copy a directory with its links, hard ones and symbolic ones; returns `target`."""
    copies: dict[int, str] = {}

    def copy(name: str, new_name: str) -> None:
        facts = Path(name).lstat()
        if facts.st_ino in copies and not Path(name).is_symlink():
            Path(new_name).hardlink_to(copies[facts.st_ino])
            return
        copies[facts.st_ino] = new_name
        shutil.copy2(name, new_name, follow_symlinks=False)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)
    return target


@dataclass(frozen=True)
class Operation:
    """Something that changes a store."""

    act: Callable[[Path, FileSystem], object]
    """Given the run's directory."""
    deletes: frozenset[str] = frozenset()
    """Checkpoints (`training/3`) that it may remove for good."""
    moves: frozenset[str] = frozenset()
    """Checkpoints that it moves into or out of the trash or `.discarded/`."""
    adds: str | None = None
    """The checkpoint, or the release (`tiny 1.0.0`), that it makes."""

    def made(self, root: Path) -> int:
        """How often what it adds is there."""
        releases = [f"{line.model} {line.version}" for line in read_registry(StorePaths(root.parent)).releases]
        return [*keys_of(root)[0], *releases].count(self.adds or "")


def _view(root: Path) -> RunView:
    return read_run(root)


def _go_back(root: Path, fs: FileSystem) -> None:
    record = read_run(root).record
    assert record is not None
    second = Attempt(attempt=2, from_step=300, time=FIRST_ATTEMPT.time + 60)
    record = msgspec.structs.replace(record, attempts=[*record.attempts, second])
    (root / "run.json").write_bytes(encode(record))
    discard_abandoned(RunPaths(root), record, fs)


def _release(root: Path, fs: FileSystem) -> None:
    view = _view(root)
    promote_to_production(
        StorePaths(root.parent), view, find(root, "training", 3), model="tiny", version=Version(1, 0, 0), fs=fs
    )


def _release_another(root: Path, fs: FileSystem) -> None:
    """Where the registry, being older, outlives what was not fsynced beside it."""
    if not StorePaths(root.parent).registry.exists():
        manager_of(root, HASTY).save_production_checkpoint(tiny_model(1), "1.0.0", {}, {"acc": 0.8})
    _release(root, fs)


def _milestone(root: Path, fs: FileSystem, step: int | None) -> None:
    manager_of(root, fs).save_milestone_checkpoint(tiny_model(5), 0.95, METRIC.name, 5, step=step)


def _delete(root: Path, fs: FileSystem) -> None:
    delete_checkpoints(_view(root), [find(root, "training", 2), find(root, "milestone", 2)], fs)


def _restore(root: Path, fs: FileSystem) -> None:
    restore_checkpoints(_view(root), list_trash(RunPaths(root).checkpoints), fs)


DELETABLE = frozenset({"training/2", "training/4"})
TRASHED = frozenset({"training/6", "milestone/1"})


def _clean_up_milestones(root: Path, fs: FileSystem) -> None:
    """Where two were made for one metric: the lesser goes, and with it the link of the metric it says no more."""
    for info in live(root):
        if key(info) == "milestone/2" and info.manifest is not None:
            made_for = {"ranking": Ranking(name="val/loss", mode="min"), "metrics": {"val/loss": 0.9}}
            manifest_path(info.path).write_bytes(encode(msgspec.structs.replace(info.manifest, **made_for)))
    manager_of(root, fs).cleanup_old_checkpoints("milestone", keep=0)


def _save_async(root: Path, fs: FileSystem) -> None:
    """Beside the loop; what it meets is raised where it is waited for."""
    manager = manager_of(root, fs, keep=2, async_save=True)
    save(manager, 7, 0.2)
    manager.wait()


def _save_large(root: Path, fs: FileSystem) -> None:
    """As a state of a size that is worth it is written: past the page cache, its checksums by us."""
    with patch.object(tensors, "DIRECT_FROM_BYTES", 0):
        _save_async(root, fs)


def _milestone_async(root: Path, fs: FileSystem) -> None:
    """Both made by the writer, which does not begin before the second is asked for; raises what is only told of it."""
    manager, may_begin, alerts = manager_of(root, fs, keep=2, async_save=True), threading.Event(), list[str]()
    manager._on_event = lambda event, _step, details: alerts.append(details["message"]) if event == "alert" else None
    commit = Saves.training

    def patient(*arguments: Any) -> Path:
        assert may_begin.wait(30)
        return commit(*arguments)

    with patch.object(Saves, "training", patient):
        training = save(manager, 7, 0.7)
        milestone = manager.save_milestone_checkpoint(
            tiny_model(7), 0.7, METRIC.name, 7, step=700, same_as=training
        )  # fmt: skip
        assert manager.is_saving
        may_begin.set()
        manager.wait()
    assert milestone is not None
    assert training.exists()
    if alerts:
        raise OSError(errno.EIO, alerts[0])


OPERATIONS: dict[str, Operation] = {
    "save": Operation(
        lambda root, fs: save(manager_of(root, fs, keep=2), 7, 0.2), deletes=DELETABLE, adds="training/7"
    ),
    "save-compressed": Operation(lambda root, fs: save(manager_of(root, fs, compress=True), 7, 0.2), adds="training/7"),
    "save-async": Operation(_save_async, deletes=DELETABLE, adds="training/7"),
    "save-large": Operation(_save_large, deletes=DELETABLE, adds="training/7"),
    "milestone-async": Operation(_milestone_async, deletes=DELETABLE, adds="milestone/7"),
    "milestone-linked": Operation(lambda root, fs: _milestone(root, fs, 500), adds="milestone/5"),
    "milestone-written": Operation(lambda root, fs: _milestone(root, fs, None), adds="milestone/5"),
    "retention": Operation(lambda root, fs: manager_of(root, fs).cleanup_old_checkpoints(keep=1), deletes=DELETABLE),
    "retention-milestones": Operation(_clean_up_milestones, deletes=frozenset({"milestone/2"})),
    "delete": Operation(_delete, moves=frozenset({"training/2", "milestone/2"})),
    "restore": Operation(_restore, moves=TRASHED),
    "purge": Operation(lambda root, fs: purge(RunPaths(root).checkpoints, fs=fs), deletes=TRASHED),
    "prune": Operation(lambda root, fs: prune(_view(root), [Policy(keep_last=1)], fs), moves=DELETABLE),
    "going-back": Operation(_go_back, moves=frozenset({"training/4", "training/5"})),
    "promote": Operation(
        lambda root, fs: promote_to_milestone(_view(root), find(root, "training", 4), fs=fs), adds="milestone/4"
    ),
    "release": Operation(_release, adds="tiny 1.0.0"),
    "release-another": Operation(_release_another, adds="tiny 1.0.0"),
    "release-alone": Operation(
        lambda root, fs: manager_of(root, fs).save_production_checkpoint(tiny_model(1), "2.0.0", {}, {"acc": 0.9}),
        adds="model 2.0.0",
    ),
}


def key(info: CheckpointInfo) -> str:
    """`training/3`: tier and epoch, which no rename or copy changes."""
    return f"{info.tier}/{info.epoch}"


def put_away(root: Path) -> list[CheckpointInfo]:
    """What lies in the trash and in `.discarded/`."""
    paths = RunPaths(root).checkpoints
    discarded = [info for directory in paths.discarded.glob("*/training") for info in scan_tier(directory, "training")]
    return [entry.info for entry in list_trash(paths)] + discarded


def keys_of(root: Path) -> tuple[list[str], list[str]]:
    """What stands in the tiers and what is put away, by tier and epoch."""
    return [key(info) for info in live(root)], [key(info) for info in put_away(root)]


def names_in(root: Path) -> tuple[dict[str, str], list[str]]:
    """Every name in the tiers and beside the releases, with what a link says, and what is put away."""
    paths = RunPaths(root).checkpoints
    directories = (paths.training, paths.milestone, StorePaths(root.parent).production)
    shown = [path for directory in directories for path in directory.glob("[!.]*")]
    names = {f"{path.parent.name}/{path.name}": os.readlink(path) if path.is_symlink() else "" for path in shown}
    return names, sorted(keys_of(root)[1])


def assert_whole(root: Path, operation: Operation, before: tuple[list[str], list[str]]) -> None:
    """Nothing is torn, nothing protected is gone, what moves is in one place, and the store takes another save."""
    stood, lay = before
    names, _ = names_in(root)
    assert [name for name, target in names.items() if target and f"{name.split('/')[0]}/{target}" not in names] == []
    for info in live(root) + put_away(root):
        assert verify_checkpoint(info) is None, info.key
    stands, lies = keys_of(root)
    for one in stood + lay:
        places = stands.count(one) + lies.count(one)
        assert places == 1 or (places == 0 and one in operation.deletes), one
        if one not in operation.deletes | operation.moves:
            assert (stands if one in stood else lies).count(one) == 1, one
    view = read_run(root)
    assert view.problem is None
    assert view.latest is not None
    assert view.best is not None
    assert view.best.metric(METRIC.name) in (0.9, 0.95)
    if (root.parent / "production" / ".staging").exists():
        assert_releases_whole(root)
    new = save(manager_of(root, HASTY), 9, 0.3)
    assert os.readlink(new.parent / "latest.pt") == new.name
    assert verify_checkpoint(find(root, "training", 9)) is None
    assert os.listdir(root / "checkpoints" / ".staging") == []


def assert_releases_whole(root: Path) -> None:
    """What the registry names is whole, and a release that was cut off can be made again."""
    paths = StorePaths(root.parent)
    registry = read_registry(paths)
    for line in registry.releases:
        assert sha256_of(release_path(paths, line)) == line.sha256
    if any(line.model == "tiny" for line in registry.releases):
        return
    view = read_run(root)
    line = promote_to_production(
        paths, view, find(root, "training", 3), model="tiny", version=Version(1, 0, 0), fs=HASTY
    )
    assert sha256_of(release_path(paths, line)) == line.sha256
    assert os.readlink(paths.production / "tiny_latest.pt") == line.file
    assert os.listdir(paths.production / ".staging") == []
