"""CheckpointManager: saving, loading and keeping checkpoints, in ckptop's runs and in anybody's script.

manager = CheckpointManager("checkpoints", max_training_checkpoints=3)
manager.save_training_checkpoint(model, optimizer, epoch, step, {"val/loss": 0.31})
manager.save_milestone_checkpoint(model, 0.85, "accuracy", epoch)      # None unless it improved
"""

from __future__ import annotations

import contextlib
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptop.store import arguments
from ckptop.store.checkpoint_info import CheckpointInfo, latest_of, metric_mode, scan_tier
from ckptop.store.commit import first_free
from ckptop.store.environment import git_commit
from ckptop.store.errors import UsageError
from ckptop.store.fs import LOCAL, FileSystem
from ckptop.store.host_copy import HostCopy
from ckptop.store.in_flight import InFlight
from ckptop.store.keeping import Keeper, OnEvent
from ckptop.store.layout import CheckpointPaths, StorePaths
from ckptop.store.loading import load_checkpoint, resume_latest, resume_training
from ckptop.store.manifest import Manifest, Ranking, Tier, as_float, stored_metrics
from ckptop.store.names import Version, training_name
from ckptop.store.random_state import capture_random_state
from ckptop.store.records import Metric, Mode
from ckptop.store.registry import read_registry, release_path
from ckptop.store.releasing import release_state
from ckptop.store.retention import Plan, Policy
from ckptop.store.saves import Milestone, Moment, Saves, SaveTimes
from ckptop.store.saving import RunLink, SavePoint, Saver
from ckptop.store.staging import remove_stale
from ckptop.store.state_comparison import holds_same
from ckptop.store.state_dicts import State, build_state, plain
from ckptop.store.steps import go_back_if_loaded, newest_step, refuse_steps_that_begin_again, training_at
from ckptop.store.trash import TrashLimit

if TYPE_CHECKING:
    import torch

__all__ = ["CheckpointManager", "RunLink", "SavePoint"]


def _warn_of_alerts(event: str, _step: int, details: dict[str, Any]) -> None:
    """A stand-alone manager keeps no log; what went wrong without ending a save is a warning."""
    if event == "alert":
        warnings.warn(str(details["message"]), UserWarning, stacklevel=5)


class CheckpointManager:
    """Checkpoints in a local directory: staged, synced, then renamed into place.

    Args:
        checkpoint_dir: Made at once, with its tiers.
        max_training_checkpoints: Newest training checkpoints kept, beside best and pinned; 0 or None keeps all.
        save_optimizer: Save the optimizer's state where one is given.
        save_scheduler: Save the scheduler's state where one is given.
        compress: Deflate inside the `.pt`.
        model_name: Names releases and is recorded in every manifest.
        max_milestones: Best milestones kept of each metric; None keeps all.
        policies: Further rules for training checkpoints, joined with the one above by OR: every K epochs, the best N.
        metric: What best means (`val/loss`); the best training checkpoint by it is never deleted by a rule.
        mode: Whether lower ("min") or higher ("max") is better; by the metric's name where it is not said.
        trash_limit: What of the trash is purged after a save; by default nothing is before the disk is full.
        async_save: Return as soon as the state is copied; a thread writes and commits it. At most one save is on its
            way. What it meets is raised by the next `check`, `wait` or save; the process does not end before it.
        when_busy: What a training checkpoint does that comes due while one is on its way: "wait", or "skip" itself.
        store_root: Where `production/` and `metadata/` stand; `checkpoint_dir` if not said.
        run: The run saved for.
        on_event: Told what was done: `saved`, `milestone`, `pruned` or `alert`, the step, and details.
        before_save: Called before anything is saved; says where the run stands.
        fs: The seam under every change to the disk.

    Raises:
        OSError: The directories cannot be made.
        UsageError: `checkpoint_dir` is a file.
    """

    def __init__(
        self,
        checkpoint_dir: str | Path = "checkpoints",
        max_training_checkpoints: int | None = 3,
        save_optimizer: bool = True,
        save_scheduler: bool = True,
        compress: bool = False,
        model_name: str = "model",
        *,
        max_milestones: int | None = None,
        policies: Sequence[Policy] = (),
        metric: str | None = None,
        mode: Mode | None = None,
        trash_limit: TrashLimit | None = None,
        async_save: bool = False,
        when_busy: arguments.WhenBusy = "wait",
        store_root: str | Path | None = None,
        run: RunLink | None = None,
        on_event: OnEvent | None = None,
        before_save: Callable[[], SavePoint] = SavePoint,
        fs: FileSystem = LOCAL,
    ) -> None:
        # Absolute: a script that changes its directory goes on saving in the same place.
        self.checkpoint_dir = Path(checkpoint_dir).absolute()
        if self.checkpoint_dir.exists() and not self.checkpoint_dir.is_dir():
            raise UsageError(f"{self.checkpoint_dir} is a file; name a directory for the checkpoints")
        self.max_training_checkpoints = arguments.limit("max_training_checkpoints", max_training_checkpoints) or 0
        max_milestones = arguments.limit("max_milestones", max_milestones)
        self.save_optimizer, self.save_scheduler = save_optimizer, save_scheduler
        self.compress, self.model_name = compress, str(model_name or "model")
        self._store = StorePaths(Path(store_root).absolute() if store_root is not None else self.checkpoint_dir)
        self._is_alone = store_root is None
        best = Metric(name=metric, mode=mode or metric_mode(metric)) if metric is not None else None
        paths, link = CheckpointPaths(self.checkpoint_dir), run or RunLink(metric=best)
        self._saver = Saver(paths, link, self.model_name, compress, fs)
        self._keeper = Keeper(
            saver=self._saver, store_root=None if self._is_alone else self._store.root, policies=tuple(policies),
            max_training=self.max_training_checkpoints, max_milestones=max_milestones, trash_limit=trash_limit,
            on_event=on_event or _warn_of_alerts,
        )  # fmt: skip
        self.async_save, self._when_busy = async_save, arguments.when_busy(when_busy)
        self._skips = False
        """Whether it was decided that saves are skipped, whatever became meanwhile of the one on its way."""
        self._saves = Saves(self._saver, self._keeper, on_event or _warn_of_alerts)
        self._in_flight, self._host_copy = InFlight(), HostCopy()
        self._copied: tuple[Path, State] | None = None
        self._fs, self._on_event, self._before_save = fs, on_event or _warn_of_alerts, before_save
        wanted = (self.training_dir, self.milestone_dir, self.production_dir, self.metadata_dir)
        for directory in (*wanted, paths.staging):
            fs.mkdir(directory)
        remove_stale(paths.staging, fs)

    @property
    def training_dir(self) -> Path:
        """Directory of training checkpoints."""
        return self.paths.training

    @property
    def milestone_dir(self) -> Path:
        """Directory of milestones."""
        return self.paths.milestone

    @property
    def production_dir(self) -> Path:
        """Directory of releases."""
        return self._store.production

    @property
    def metadata_dir(self) -> Path:
        """Directory of model cards and other metadata."""
        return self._store.metadata

    @property
    def paths(self) -> CheckpointPaths:
        """Where this set stands."""
        return self._saver.paths

    def bind(self, run: RunLink) -> None:
        """Save for `run` from now on; its attempt and lineage go into every manifest."""
        self._saver.run = run

    @property
    def _run(self) -> RunLink:
        return self._saver.run

    @property
    def run_name(self) -> str:
        """The run saved for; empty for a stand-alone manager."""
        return self._run.name

    @property
    def run_id(self) -> str:
        """Its id; empty for a stand-alone manager."""
        return self._run.id

    def in_directory(self, directory: Path) -> CheckpointManager:
        """A manager that saves the same in another directory, keeping all: where the last save goes when this is full.

        Raises:
            OSError: The directories cannot be made.
        """

        def tell(event: str, step: int, details: dict[str, Any]) -> None:
            self._on_event(event, step, {**details, "directory": str(directory)})

        return CheckpointManager(
            directory, 0, self.save_optimizer, self.save_scheduler, self.compress, self.model_name, run=self._run,
            on_event=tell, before_save=self._before_save, fs=self._fs,
        )  # fmt: skip

    # Saving

    def save_training_checkpoint(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None,
        epoch: int,
        step: int,
        metrics: Mapping[str, Any] | None,
        config: Mapping[str, Any] | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Commit a training checkpoint; on return it survives a power cut and retention has run.

        Args:
            model: Its `state_dict` is saved, without the prefixes of DDP and `torch.compile`.
            optimizer: Saved where `save_optimizer` says so; its key is absent from the file otherwise.
            epoch: From 1.
            step: Optimizer steps done. May start again in each epoch: the order is (epoch, step).
            metrics: Numbers, 0-d tensors included; NaN and infinities are kept as such.
            config: Any mapping; what is not JSON is stored as text.
            scheduler: Saved where `save_scheduler` says so.
            scaler: An AMP gradient scaler.
            extra: More keys at the top of the file: tensors and plain data. Of a run, `rng` is added unless it is here.

        Returns:
            The path of the committed file; with `async_save` the path that it will have, empty where it was skipped.

        Raises:
            DiskError: The disk or a quota is full, and nothing more may be deleted to make room.
            OSError: The disk refused. What was committed before is whole; the new one is there whole, or not at all.
            UsageError: The state holds more than tensors and plain data, or `extra` repeats a key.
        """
        if self._skips or self.is_skipping:
            return ""
        self.wait()
        at = self._before_save()
        epoch, step = arguments.count("epoch", epoch), arguments.count("step", step)
        config = arguments.mapping("config", config)
        refuse_steps_that_begin_again(self._saver, epoch, step)
        go_back_if_loaded(self._saver, epoch, step)
        state = build_state(
            "training", model, epoch=epoch, global_step=step, metrics=metrics, config=config,
            git_commit=git_commit(), optimizer=optimizer if self.save_optimizer else None,
            scheduler=scheduler if self.save_scheduler else None, scaler=scaler, extra=self._with_random_state(extra),
        )  # fmt: skip
        began = time.monotonic()
        if not self.async_save:
            return str(self._saves.training(state, at, Moment(began)))
        copied = self._host_copy.take(state)
        moment = Moment(began, time.monotonic() - began)
        path = first_free(self.training_dir, lambda copy: training_name(epoch, step, copy))
        self._in_flight.start(lambda: self._saves.training(copied, at, moment))
        self._copied = path, copied
        return str(path)

    def save_milestone_checkpoint(
        self,
        model: torch.nn.Module,
        metric_value: float,
        metric_name: str,
        epoch: int,
        config: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        extra: Mapping[str, Any] | None = None,
        mode: Mode | None = None,
        same_as: str | Path | None = None,
    ) -> str | None:
        """Commit a milestone if the metric improved on every milestone made for it; None if it did not.

        Of a step whose training checkpoint holds the same weights, state and configuration no bytes are copied: the
        file is linked.

        Args:
            model: As for a training checkpoint, which the arguments not named here follow too.
            metric_value: NaN never improves.
            metric_name: `accuracy` or `val/accuracy`; several can be tracked.
            epoch: From 1.
            config: As for a training checkpoint.
            metadata: Added to the file's `metadata`.
            optimizer: As for a training checkpoint.
            step: Optimizer steps done; the newest that was logged or saved where it is not said.
            metrics: Other metrics of this step; `metric_name` is added.
            scheduler: As for a training checkpoint.
            scaler: As for a training checkpoint.
            extra: As for a training checkpoint.
            mode: Whether lower or higher is better; by the metric's name where it is not said.
            same_as: The training checkpoint just saved of this very state: linked without comparing the bytes.

        Returns:
            The path of the committed milestone, or None.

        Raises:
            OSError: The disk refused. What was committed before is whole; the new one is there whole, or not at all.
        """
        at = self._before_save()
        epoch, step = arguments.count("epoch", epoch), None if step is None else arguments.count("step", step)
        ranking = Ranking(name=metric_name, mode=mode or metric_mode(metric_name))
        value = as_float(metric_value)
        if not self._saver.improves(ranking, value):
            return None
        every_metric = {**(metrics or {}), metric_name: value}
        if step is not None and same_as is not None:
            wanted = Milestone(ranking, value, epoch, step, every_metric, at)
            if self._follows_training(wanted, Path(same_as).absolute()):
                return str(first_free(self.milestone_dir, wanted.name))
        self._in_flight.join()  # what it met is another save's, and told by `check`
        source = training_at(self._saver, epoch, step) if step is not None else None
        step = newest_step(self._saver, at, epoch) if step is None else step
        wanted = Milestone(ranking, value, epoch, step, every_metric, at)
        state = build_state(
            "milestone", model, epoch=epoch, global_step=step, metrics=every_metric,
            config=arguments.mapping("config", config), git_commit=git_commit(),
            optimizer=optimizer if self.save_optimizer else None,
            scheduler=scheduler if self.save_scheduler else None, scaler=scaler,
            metadata=arguments.mapping("metadata", metadata), extra=self._with_random_state(extra),
        )  # fmt: skip
        if source is not None and (same_as is None or Path(same_as).absolute() != source.path):
            said = {key for key, value in (("config", config), ("metadata", metadata)) if value is not None}
            compared = said | {key for key in state if key.endswith("_state_dict")} | (extra or {}).keys()
            source = source if holds_same(source.path, {key: state[key] for key in compared}) else None
        final = self._saves.milestone(wanted, source, lambda: state)
        return str(final) if final is not None else None

    def _follows_training(self, wanted: Milestone, training: Path) -> bool:
        """Whether the milestone is made by the writer, right after the training checkpoint of its state."""
        if self._copied is None or self._copied[0] != training:
            return False
        copied = self._copied[1]
        if (copied["epoch"], copied["global_step"]) != (wanted.epoch, wanted.step):
            return False  # the loop went on while it was on its way

        def commit() -> None:
            source = training_at(self._saver, wanted.epoch, wanted.step)
            try:
                self._saves.milestone(wanted, source, lambda: wanted.state_of(copied))
            except OSError as error:  # of the training checkpoint, which is saved, nobody must hear that it is not
                message = f"the milestone of step {wanted.step:,} was not saved: {error}"
                self._on_event("alert", wanted.step, {"kind": "disk", "message": message})

        return self._in_flight.then(commit)

    # What is on its way

    @property
    def is_saving(self) -> bool:
        """Whether a save is on its way; only with `async_save`."""
        return self._in_flight.is_busy

    @property
    def is_skipping(self) -> bool:
        """Whether a training checkpoint that comes due now skips itself: only with `when_busy="skip"`."""
        # What is made ready for the first save is no save: that one waits for it.
        return self._when_busy == "skip" and self._copied is not None and self._in_flight.is_busy

    @contextlib.contextmanager
    def skipping(self) -> Iterator[bool]:
        """Decide now whether training checkpoints skip themselves; it holds to the end of the block."""
        self._skips = self.is_skipping
        try:
            yield self._skips
        finally:
            self._skips = False

    @property
    def save_times(self) -> SaveTimes | None:
        """What the newest training checkpoint took; None before the first."""
        return self._saves.times

    def check(self) -> None:
        """Raise what the save that was on its way met, once; to be called every step, it costs nothing.

        Raises:
            OSError: The disk refused; what was committed before is whole.
            UsageError: The state held more than tensors and plain data.
        """
        self._in_flight.check()

    def wait(self) -> None:
        """Wait until nothing is on its way any more; raises as `check` does."""
        self._in_flight.wait()
        self._copied = None

    def prepare(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Make ready for an asynchronous save now, in the background, so that the first one takes no longer.

        To be called after the first step, when the optimizer has its state. Makes the buffers, as much host memory as
        the state, and asks git for the commit.
        """
        if self.async_save and not self.is_saving:
            parts = [model, optimizer if self.save_optimizer else None]
            state = {str(place): part.state_dict() for place, part in enumerate(parts) if part is not None}

            def make_ready() -> None:
                self._host_copy.prepare(state)
                git_commit()  # known from then on

            self._in_flight.start(make_ready)
            self._copied = None  # no save is on its way; see `is_skipping`

    def save_production_checkpoint(
        self,
        model: torch.nn.Module,
        version: str,
        config: Mapping[str, Any] | None,
        metrics: Mapping[str, Any] | None,
        model_card: Mapping[str, Any] | None = None,
    ) -> str:
        """Release a model's weights, config and metrics under a version; returns the path of the file.

        Args:
            model: Its weights are released, nothing of the optimizer.
            version: MAJOR.MINOR.PATCH.
            config: Any mapping.
            metrics: Numbers.
            model_card: Intended use and the like, kept in the file and under `metadata/model_cards/`.

        Raises:
            UsageError: The version or the model's name cannot be one.
            StoreError: That version is released already.
            OSError: The disk refused; nothing was released.
        """
        self.wait()
        card = plain(arguments.mapping("model_card", model_card))
        state = build_state(
            "production", model, epoch=0, global_step=0, metrics=metrics, config=arguments.mapping("config", config),
            git_commit=git_commit(), extra={"model_card": card},
        )  # fmt: skip
        manifest = Manifest(
            id=secrets.token_hex(8), file="", tier="production", run=self._run.name, run_id=self._run.id,
            model_name=self.model_name, attempt=self._run.attempt, epoch=0, global_step=0, time=time.time(),
            metrics=stored_metrics(state["metrics"]), config=state["config"], size_bytes=0, xxh3_128="",
        )  # fmt: skip
        released = Version.parse(version)
        release = self._keeper.with_room(0, lambda: release_state(
            self._store, state, manifest, model=self.model_name, version=released, card=card,
            alone=self._is_alone, fs=self._fs,
        ))  # fmt: skip
        return str(self.production_dir / release.file)

    def _with_random_state(self, extra: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """A run's checkpoints hold what `Run.restore` needs to go on exactly; a stand-alone set is left as it is."""
        if not self._run.name or (extra is not None and "rng" in extra):
            return extra
        return {**(extra or {}), "rng": capture_random_state()}

    # Keeping

    def cleanup_old_checkpoints(self, tier: Tier = "training", keep: int = 3) -> Plan:
        """Delete all but the newest `keep` of a tier for good; protected ones stay. Returns what was done.

        Raises:
            UsageError: Of the tier of releases, which are never deleted.
        """
        self.wait()
        if arguments.tier(tier) == "production":
            raise UsageError("releases are never deleted by a rule; `ckptop yank` withdraws one")
        return self._keeper.apply([Policy(keep_last=arguments.count("keep", keep), tiers=(tier,))])

    # Reading

    load_checkpoint = staticmethod(load_checkpoint)
    resume_training = staticmethod(resume_training)

    def resume_latest(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
    ) -> dict[str, Any] | None:
        """Load the newest training checkpoint that verifies; None where none was saved yet.

        One whose bytes differ from its manifest is moved to `.quarantine/`, with a warning, and the next older is
        taken.

        Raises:
            Damaged: There are checkpoints, and none verifies.
            RuntimeError: It is of another model. `model` is unchanged.
        """
        newest_first = sorted(self._saver.live("training"), key=lambda info: info.order, reverse=True)
        return resume_latest(self.paths, newest_first, model, optimizer, scheduler, scaler, self._fs)

    def list_checkpoints(self, tier: Tier | None = None) -> dict[Tier, list[CheckpointInfo]]:
        """Committed checkpoints by tier, oldest first; links are not counted."""
        directories: dict[Tier, Path] = {
            "training": self.training_dir,
            "milestone": self.milestone_dir,
            "production": self.production_dir,
        }
        wanted = directories if tier is None else {arguments.tier(tier): directories[tier]}
        return {name: sorted(self._live(name), key=lambda info: info.order) for name in wanted}

    def _live(self, tier: Tier) -> list[CheckpointInfo]:
        if tier != "production":
            return self._saver.live(tier)
        released = {release.file for release in read_registry(self._store).releases}  # not what was cut off before that
        return [info for info in scan_tier(self.production_dir, tier) if info.name in released]

    def has_step(self, epoch: int, step: int) -> bool:
        """Whether this attempt committed a training checkpoint of that step."""
        return training_at(self._saver, epoch, step) is not None

    def get_latest_checkpoint(self, tier: Tier = "training") -> Path | None:
        """The newest committed checkpoint of a tier, None where there is none yet.

        Of releases it is the one that `latest` means: never a yanked one, an older one after a rollback.
        """
        if arguments.tier(tier) == "production":
            newest = read_registry(self._store).newest()
            return release_path(self._store, newest) if newest is not None else None
        if tier == "training":
            latest = latest_of(self._live("training"))
        else:
            latest = max(self._live(tier), key=lambda info: info.order, default=None)
        return latest.path if latest is not None else None
