"""A run being written: its lease, its records, its metric log and its checkpoints.

    with Run.create("runs", name="mine", task="mine", config={"lr": 0.1}) as run:
        run.log(1, {"train/loss": 0.5})

An attempt begins with `begin`, or with the first line logged or checkpoint saved: until then nothing of an earlier
attempt is abandoned, so a resume that fails while it builds the model changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from ckptop.host.oom import read_oom_counts
from ckptop.host.process import current_process
from ckptop.store import arguments, looping, obeying
from ckptop.store.alerting import alert_of_run
from ckptop.store.arguments import WhenBusy
from ckptop.store.errors import EXIT_STOPPED, DiskError, traceback_of
from ckptop.store.events import append_event
from ckptop.store.files import write_durably
from ckptop.store.going_back import discard_abandoned, write_record
from ckptop.store.heartbeat import Heartbeat
from ckptop.store.inbox import Inbox
from ckptop.store.last_save import spill_directory
from ckptop.store.layout import RunPaths
from ckptop.store.lease import Lease, read_status, slurm_of_environment, taken_over
from ckptop.store.opening import held, new_record, paths_of
from ckptop.store.rate_change import take_up_rate
from ckptop.store.records import (
    LIVE_PHASES,
    Attempt,
    Command,
    DataSource,
    Exit,
    KernelKills,
    Mode,
    Parent,
    Process,
    RunRecord,
    Status,
)
from ckptop.store.resume import RESUME_VARIABLE, Start, resume_request
from ckptop.store.retention import Policy
from ckptop.store.run_logs import RunLogs
from ckptop.store.run_saving import Keep, link_of, open_manager
from ckptop.store.stopping import Stopping
from ckptop.store.taking_up import take_up
from ckptop.store.trash import TrashLimit

if TYPE_CHECKING:
    import torch

    from ckptop.store.checkpoints import CheckpointManager
    from ckptop.store.loading import Restored


class Run:
    """One attempt at a run, held by this process. Made by `create`; a context manager.

    Leaving the block by an exception ends the run as failed (by KeyboardInterrupt as stopped). Left because
    `should_stop` said so, the run is stopped, and the process ends with exit code 3, so that nothing below the block
    takes a half-trained model for a whole one. Otherwise the run is finished. The trainer's process may also die at
    any time: what was logged and committed stays.
    """

    def __init__(self, paths: RunPaths, record: RunRecord, lease: Lease, start: Start, keep: Keep) -> None:
        self.paths, self.record, self.start = paths, record, start
        self.attempt = max((attempt.attempt for attempt in record.attempts), default=0) + 1
        self.logs = RunLogs(paths)
        self.logged_step = start.from_step
        """The newest step that was logged."""
        self._lease, self._keep = lease, keep
        self._begun = self._ended = self._tells_progress = False
        self._config: dict[str, Any] | None = None
        self._taken_over: str | None = None
        """Who held the run and never ended it."""
        self.overrides: dict[str, Any] = {}
        """What this attempt was told to change of the configuration, as it was said."""
        self._checkpoints: CheckpointManager | None = None
        self._stopping = Stopping()
        self.inbox = Inbox(paths, self.attempt, lambda: self.step)
        """What was asked of it by others."""
        self._status_before = paths.status.read_bytes() if paths.status.is_file() else None
        self._heartbeat = Heartbeat(paths, _first_status(self), self._beat)
        self._epoch = self._heartbeat.status.epoch
        self._heartbeat.start()

    @classmethod
    def create(
        cls,
        store: Path | str,
        *,
        name: str,
        task: str,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metric: tuple[str, Mode] | None = None,
        data: DataSource | None = None,
        total_epochs: int | None = None,
        total_steps: int | None = None,
        resume: str | None = None,
        fork_of: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        command: Command | None = None,
        parent: Parent | None = None,
        spill: Path | str | None = None,
        steal: bool = False,
        max_training_checkpoints: int = 3,
        max_milestones: int | None = None,
        policies: Sequence[Policy] = (),
        trash_limit: TrashLimit | None = None,
        async_save: bool = False,
        when_busy: WhenBusy = "wait",
        say: Callable[[str], None] | None = None,
    ) -> Run:
        """Make a run, or take one up where it stopped, and hold it.

        A process started by `ckptop resume` takes up the run it was started for, whatever is said here. Where the
        environment asks for alerts, the run tells of itself from here on.

        Args:
            store: The store's root; made if missing.
            name: The run's name.
            task: What it trains.
            config: The configuration, as JSON can hold it.
            seed: The seed everything random is made from.
            metric: What best means: its name, and whether lower ("min") or higher ("max") is better.
            data: The training data and its hash.
            total_epochs: Epochs planned.
            total_steps: Optimizer steps planned.
            resume: None: the run must be new. `auto`: from the latest checkpoint if there is one. `latest`,
                `best`, `epoch=N`, `step=N` or a file name: from that one.
            fork_of: `RUN` or `RUN:CHECKPOINT` of the same store that a new run begins from, and is protected for it.
            overrides: What this attempt changes of the configuration; recorded with it.
            command: How to start this again; this process's own command line by default.
            parent: Where a fork began.
            spill: Where the last save of an earlier attempt may have gone; `$CKPTOP_SPILL` by default.
            steal: Take the lease of another host without watching its heartbeat.
            max_training_checkpoints: Newest training checkpoints kept, beside best and pinned; 0 keeps all.
            max_milestones: Best milestones kept; None keeps all.
            policies: Further rules that keep training checkpoints.
            trash_limit: What of the trash is purged after a save.
            async_save: Checkpoints are written beside the loop; see `CheckpointManager`.
            when_busy: What one does that comes due while another is on its way: "wait", or "skip" itself.
            say: Told in a line what a person should know, such as a wait for another host's heartbeat.

        Raises:
            UsageError: The name cannot name a run, or is taken and `resume` is None; the settings of alerts in the
                environment are wrong; `when_busy` is neither word.
            NotFound: `resume` names a checkpoint that is not there.
            Damaged: The checkpoint asked for does not verify.
            Held: Another process holds the run.
            DiskError: The disk refused.
        """
        arguments.when_busy(when_busy)
        request = resume_request()
        if request is not None:
            store, name, resume = request.store, request.run, request.checkpoint
            fork_of = request.fork_of or fork_of
        paths = paths_of(store, name)
        before = read_status(paths)
        with held(paths, resume, steal=steal, say=say) as lease:
            new = new_record(name, task, config, seed, metric, data, command, parent)
            record, start = take_up(paths, new, resume, fork_of, spill_directory(spill))
            keep = Keep(max_training_checkpoints, max_milestones, tuple(policies), trash_limit, async_save, when_busy)
            alert_of_run(paths)
            run = cls(paths, record, lease, start, keep)
        if before is not None and before.phase in LIVE_PHASES:
            run._taken_over = taken_over(before.process)
            if say is not None:
                say(f"run {run.name} was held by {run._taken_over}; it is taken over")
        run.overrides = dict(overrides or (request.overrides if request is not None else {}))
        if request is None and config is not None:
            run._config = dict(config)  # a script started anew goes by what it says now, not by what was recorded
        run._heartbeat.update(total_epochs=total_epochs, total_steps=total_steps)
        os.environ.pop(RESUME_VARIABLE, None)  # taken up: neither a child nor a second run is meant by it
        return run

    # What it is

    @property
    def name(self) -> str:
        """The run's name."""
        return self.paths.root.name

    @property
    def root(self) -> Path:
        """The run's directory."""
        return self.paths.root

    @property
    def step(self) -> int:
        """Optimizer steps done, as last told to `progress`."""
        return self._heartbeat.status.step

    @property
    def config(self) -> dict[str, Any]:
        """The configuration to train with: the script's own, of `ckptop resume` the recorded one and its `--set`.

        Raises:
            UsageError: `--set` names a key that it does not have, or a value of another type.
        """
        recorded = self.record.config if self._config is None else self._config
        return looping.overridden(recorded, self.overrides)

    @property
    def epoch(self) -> int:
        """The epoch, as last told to `progress` or `log`; from 1."""
        return self._epoch

    @property
    def is_resumed(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.start.from_checkpoint is not None

    @property
    def checkpoints(self) -> CheckpointManager:
        """The run's checkpoints; the first use imports torch."""
        if self._checkpoints is None:
            self._checkpoints = open_manager(self, self._keep)
        return self._checkpoints

    # The attempt

    def begin(
        self,
        *,
        total_epochs: int | None = None,
        total_steps: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin the attempt: everything is built and the checkpoint, if any, was loaded.

        The attempt line commits a going-back: earlier lines and checkpoints past `start.from_step` are
        abandoned from here on. Does nothing a second time.

        Raises:
            UsageError: `--set` gives a key a value of another type.
            DiskError: The disk refused; whoever opens the run next completes or ignores the attempt.
        """
        if self._begun:
            return
        now = time.time()
        attempt = Attempt(
            attempt=self.attempt, from_step=self.start.from_step, from_checkpoint=self.start.key, time=now,
            overrides=self.overrides,
        )  # fmt: skip
        changes: dict[str, Any] = {"attempts": [*self.record.attempts, attempt]}
        config = self._config if config is None else config
        if config is None:  # what was overridden is recorded: whoever resumes next, after a crash, goes on with it
            known = {key: value for key, value in self.overrides.items() if key in self.record.config}
            config = looping.overridden(self.record.config, known) if known else None
        if config is not None:
            changes["config"] = dict(config)
        self.record = msgspec.structs.replace(self.record, **changes)
        try:
            self.logs.metrics.attempt(self.attempt, self.start.from_step)
            write_record(self.paths, self.record)
            discard_abandoned(self.paths, self.record)
        except OSError as error:
            raise DiskError(error.errno, f"{self.root} cannot be written: {error.strerror or error}") from None
        self._begun = True
        if self._checkpoints is not None:
            self._checkpoints.bind(link_of(self))
        totals = {"total_epochs": total_epochs, "total_steps": total_steps}
        self._heartbeat.touch()
        self._heartbeat.update(phase="running", **{k: v for k, v in totals.items() if v is not None})
        self._heartbeat.write_now()
        found: dict[str, Any] = {"taken_over_from": self._taken_over} if self._taken_over is not None else {}
        self.event("started", from_step=self.start.from_step, from_checkpoint=self.start.key, **found)

    def reconfigure(
        self, config: Mapping[str, Any], *, total_epochs: int | None = None, total_steps: int | None = None
    ) -> None:
        """Go on with another configuration from this step on, within the attempt; on return it is durable.

        A resume goes on with it: save a checkpoint first, or one from an older checkpoint applies it too early.
        A command that still says what held before does not take it back.

        Raises:
            DiskError: The disk refused; run.json has the old configuration.
        """
        before, steered = self.record.config, self.record.steered
        changed = {key: before[key] for key in before.keys() & config.keys() if before[key] != config[key]}
        record = msgspec.structs.replace(self.record, config=dict(config), steered=changed | steered)
        try:
            write_record(self.paths, record)
        except OSError as error:
            raise DiskError(error.errno, f"{self.paths.record} cannot be written: {error.strerror}") from None
        self.record = record
        totals = {"total_epochs": total_epochs, "total_steps": total_steps}
        self._heartbeat.update(**{key: total for key, total in totals.items() if total is not None})

    def restore(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
    ) -> Restored:
        """Load what the run goes on from: weights, optimizer, random state, and where it stood; nothing if it is new.

        To be called when everything is built, and before the data is first asked for: the random state of Python,
        NumPy, torch and CUDA's devices is restored last. On the host of the checkpoint so is the thread count. Resumed
        with `--set lr=…`, optimizer and scheduler go on with that rate, every group and the schedule scaled alike.

        Raises:
            Damaged: The checkpoint's bytes differ from its manifest.
            RuntimeError: It is of another model; the first differing names are said. `model` is unchanged.
        """
        from ckptop.store.loading import Restored, restore_run

        if self.start.from_checkpoint is None:
            return Restored()
        restored = restore_run(self.start.from_checkpoint, model, optimizer, scheduler, scaler)
        if optimizer is not None:
            take_up_rate(self, [optimizer], [scheduler] if scheduler is not None else [])
        return restored

    def steps(
        self,
        last: int,
        *,
        save: Callable[[], object],
        save_every: int | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
    ) -> Iterator[int]:
        """The steps of a plain loop: from the one after the restored to `last`, fewer if it is asked to stop.

        Says where the loop is, obeys save, pause, continue and stop after each step, and saves: every `save_every`
        steps, before a stop, and at the end. SIGTERM and Ctrl-C ask for a stop.

        Args:
            last: The last step, inclusive.
            save: Saves a checkpoint of the step that was yielded last.
            save_every: Steps between two saves; None saves at the end only.
            optimizer: The one whose learning rate `ckptop ctl RUN set lr=…` changes; None refuses that.
            scheduler: Its schedule, scaled alike.
        """
        rates = ([optimizer], [scheduler] if scheduler is not None else []) if optimizer is not None else None
        return looping.steps(self, last, save, save_every, rates)

    def log(self, step: int, metrics: Mapping[str, float], *, epoch: int | None = None) -> None:
        """Append one line of metrics: one write, nothing waits in the process.

        Args:
            step: Optimizer steps done.
            metrics: `split/name` or plain names to numbers, 0-d tensors included (reading a CUDA one waits for it).
            epoch: From 1; the one last told where it is not said.
        """
        if not self._begun:
            self.begin()
        self.logged_step = step
        if epoch is not None:
            self._epoch = epoch
        self.logs.metrics.log(step, metrics, epoch=self._epoch)
        if not self._tells_progress:  # a script that only logs is alive, and that far
            self._heartbeat.step_done(self._epoch, step, None)

    def log_system(self, sample: Mapping[str, float]) -> None:
        """Append a sample of the machine to system.jsonl, at the present step."""
        status = self._heartbeat.status
        self.logs.system.log(status.step, sample, epoch=status.epoch)

    def progress(self, *, epoch: int, step: int, step_seconds: float | None = None) -> None:
        """Say where the loop is; the next heartbeat writes it."""
        self._epoch, self._tells_progress = epoch, True
        self._heartbeat.step_done(epoch, step, step_seconds)

    def touch(self) -> None:
        """Say that the loop is alive without a step: evaluation, loading."""
        self._heartbeat.touch()

    def set_phase(self, phase: Literal["running", "paused"]) -> None:
        """Say that the loop waits, or goes on."""
        self._heartbeat.touch()
        self._heartbeat.update(phase=phase)
        self._heartbeat.write_now()

    def sync(self) -> bool:
        """Make everything logged durable, before the checkpoint of that step is saved; False if the disk refused."""
        return self.logs.metrics.sync()

    @property
    def problem(self) -> str | None:
        """What the disk refused lately, in one line: training goes on, a person should know."""
        return self.logs.metrics.problem or self._heartbeat.problem

    def event(self, event: str, *, step: int | None = None, **details: Any) -> None:
        """Append what happened to events.jsonl; a disk that refuses is no reason to stop training."""
        step = self._heartbeat.status.step if step is None else step
        with contextlib.suppress(OSError):
            append_event(self.paths, event, attempt=self.attempt, step=step, **details)

    # Control

    def obey(
        self,
        *,
        save: Callable[[], str | None] | None = None,
        change: Callable[[Mapping[str, Any]], str] | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Obey and answer what was asked since the last call: once a step, then look at `should_stop`.

        Costs less than a microsecond when nothing was. A pause is a wait in here, which a stop ends.

        Args:
            save: Saves a checkpoint of this step; returns what to answer, None where the disk refused.
            change: Changes what `set` names; returns what to answer, or raises a CkptopError that says why not.
            tell: Told in a line what was asked and what became of it.
        """
        if self.inbox.has_news:
            obeying.obey(self, save, change, tell)

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop after this step; from the first look on, SIGTERM and Ctrl-C do.

        A second Ctrl-C interrupts as ever. Signals that the script handles itself are left to it.
        """
        return self._stopping.look()

    def retake_signals(self) -> None:
        """Take SIGTERM and Ctrl-C back from a library that has put its handlers over `should_stop`'s."""
        self._stopping.retake_signals()

    @property
    def stop_reason(self) -> str | None:
        """Why it was asked to stop."""
        return self._stopping.reason

    @property
    def seconds_left(self) -> float | None:
        """How long whoever asked for the stop will wait, never below 0; None where nobody said."""
        return self._stopping.seconds_left

    def request_stop(self, reason: str, *, seconds_left: float | None = None) -> None:
        """Ask the loop to stop after this step, within so many seconds; safe in a signal handler."""
        self._stopping.request(reason, seconds_left=seconds_left)

    # The end

    def finish(
        self,
        phase: Literal["finished", "stopped", "failed"],
        *,
        code: int,
        error: str | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """End the attempt: the event, the last status, the lease. Does nothing a second time.

        Args:
            phase: How it ended.
            code: The process's exit code.
            error: One line, where it failed.
            summary: More for the event: `{"metrics": {"test/accuracy": 0.98}}`.
        """
        if self._ended:
            return
        self._ended = True
        self._stopping.close()
        self.end_saves()
        details: dict[str, Any] = dict(summary or {})
        if phase == "stopped" and self.stop_reason:
            details["reason"] = self.stop_reason
        if error:
            details["error"] = error
        self.event(phase, **details)
        self.logs.metrics.sync()
        self.logs.close()
        try:
            self._heartbeat.stop(phase, Exit(code=code, error=error))
            if phase == "failed" and not self._begun and self._status_before is not None:
                # Nothing was changed, so the run is what it was: finished, stopped, crashed.
                write_durably(self.paths.status, self._status_before)
        except OSError as refused:
            raise DiskError(refused.errno, f"{self.paths.status} cannot be written: {refused.strerror}") from None
        finally:
            self._lease.release()

    def _beat(self) -> None:
        """Called by the heartbeat's thread after each write of the status."""
        self.inbox.look()
        if lost := self.logs.metrics.lost_lines:
            self._heartbeat.update(lost_lines=lost)

    def check_saves(self) -> None:
        """Raise what a save on its way met; to be called every step, it costs nothing. See `CheckpointManager.check`.

        Raises:
            OSError: The disk refused; what was committed before is whole.
        """
        if self._checkpoints is not None:
            self._checkpoints.check()

    def end_saves(self) -> None:
        """Wait for the save on its way; that it failed is told, but is no reason not to end."""
        try:
            if self._checkpoints is not None:
                self._checkpoints.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends
            self.event("alert", kind="disk", message=f"the checkpoint on its way was not saved: {error}")

    def give_up(self, error: str) -> None:
        """End the attempt as stopped while its own thread hangs, maybe within a save; the process must end then.

        The status goes first: it needs no lock, and a save that hangs may hold the one that events are told under.
        """
        self._ended = True
        with contextlib.suppress(OSError):
            self._heartbeat.stop("stopped", Exit(code=EXIT_STOPPED, error=error))
        self.event("stopped", reason=self.stop_reason, error=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stopping.was_seen and not self._ended and (error is None or isinstance(error, SystemExit)):
            self.finish("stopped", code=EXIT_STOPPED)
            raise SystemExit(EXIT_STOPPED)
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish("finished", code=0)
        elif isinstance(error, KeyboardInterrupt):
            self.request_stop("interrupted")
            self.finish("stopped", code=EXIT_STOPPED)
        else:
            code = getattr(error, "exit_code", 1)
            line = f"{type(error).__name__}: {error}".partition("\n")[0]
            self.finish("failed", code=code, error=line, summary=traceback_of(error))


def _first_status(run: Run) -> Status:
    me, manifest = current_process(), run.start.manifest
    process = Process(
        pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, host=me.host, user=me.user,
        slurm=slurm_of_environment(os.environ),
    )  # fmt: skip
    return Status(
        phase="starting", attempt=run.attempt, epoch=manifest.epoch if manifest is not None else 0,
        step=run.start.from_step, heartbeat=time.time(), process=process,
        kernel_kills=KernelKills(**asdict(read_oom_counts())),
    )  # fmt: skip
