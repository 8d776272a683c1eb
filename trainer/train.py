"""One training from beginning to end: settle, load, build, restore, train, judge by the test part."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from ckptop.host.terminal import clean
from ckptop.store.environment import capture_command
from ckptop.store.errors import EXIT_DONE, EXIT_STOPPED, Held, TrainingFailed, UsageError
from ckptop.store.events import last_event
from ckptop.store.layout import RunPaths
from ckptop.store.lines import to_json
from ckptop.store.records import DataSource
from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer.best import choose_metric
from ckptop.trainer.build import assemble, refuse_fewer_epochs, require_samples, restore
from ckptop.trainer.config import as_dict, dotted, layered
from ckptop.trainer.console import Console
from ckptop.trainer.continual import first_of, load_data, load_weights, parent_of, second_of, write_continues
from ckptop.trainer.device import open_device
from ckptop.trainer.failure import model_must_fit, told_to
from ckptop.trainer.fitted import write_fitted
from ckptop.trainer.forgetting import note_before
from ckptop.trainer.hparams import hparams_start
from ckptop.trainer.introduce import count, introduce
from ckptop.trainer.judge import judge
from ckptop.trainer.loop import Loop
from ckptop.trainer.options import Settled, TrainOptions, free_name, settle
from ckptop.trainer.parts import Parts
from ckptop.trainer.registry import load_task
from ckptop.trainer.rehearsal.rehearsed import RehearsedRun, measure, run_class
from ckptop.trainer.rollback import Rollback, end_attempt, free_memory, may_go_back
from ckptop.trainer.saving import keeping_rules, trash_limit
from ckptop.trainer.side_by_side import choices, train_side_by_side
from ckptop.trainer.stepping import NotFinite
from ckptop.trainer.stop import StopSignals
from ckptop.trainer.system import GpuUsage, SystemSampler
from ckptop.trainer.task import Task, TaskData
from ckptop.trainer.tensorboard import EventWriter
from ckptop.trainer.time_limit import seconds_until_end, stopping_before


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended."""

    run: str
    root: Path
    state: Literal["finished", "stopped"]
    epoch: int
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the best checkpoint, the test part's included; empty where it was stopped."""
    summary: dict[str, Any] = field(default_factory=dict)
    """All of reports/summary.json; empty where it was stopped."""

    @property
    def exit_code(self) -> int:
        """0, or 3 where it was stopped and can be resumed."""
        return EXIT_DONE if self.state == "finished" else EXIT_STOPPED


def train(options: TrainOptions) -> int:
    """Train as asked; returns the exit code.

    Raises:
        CkptopError: What went wrong, in one line. A run that had begun is ended as failed; its newest
            checkpoint is whole.
    """
    task = load_task(options.task)
    several = choices(options, task)
    if several is not None:
        return train_side_by_side(options, task, *several)
    outcome = _train_one(first_of(options))
    if options.continue_on is not None and outcome.state == "finished":
        outcome = _train_one(second_of(options, outcome.run))
    return outcome.exit_code


def _train_one(options: TrainOptions) -> Outcome:
    task = load_task(options.task)
    settled = settle(options, task)
    stream: TextIO | None = sys.stderr if options.as_json else sys.stdout
    end_seconds = None
    if options.save_before_seconds is not None:
        end_seconds = seconds_until_end(options.time_limit_seconds, os.environ)
        if end_seconds is None:
            print("--save-before: no time limit is known here, neither by --time-limit nor by Slurm", file=sys.stderr)
    with (
        StopSignals(options.grace_seconds) as signals,
        stopping_before(end_seconds, options.save_before_seconds, signals.stop),
    ):
        outcome = _done_already(settled, stream) or _train(options, task, settled, stream, signals, 0)
        rollbacks = 0
        while isinstance(outcome, Rollback):
            rollbacks += 1
            free_memory()
            options = outcome.options(options)
            outcome = _train(options, task, settle(options, task), stream, signals, rollbacks)
    if options.as_json:
        fields = {**vars(outcome), "root": str(outcome.root), "exit_code": outcome.exit_code}
        print(msgspec.json.encode(to_json(fields)).decode(), flush=True)
    return outcome


def _done_already(settled: Settled, stream: TextIO | None) -> Outcome | None:
    """A finished run with no epochs to add is left as it is."""
    if settled.name is None or settled.resume not in ("auto", "latest"):
        return None
    view = read_run(settled.store / settled.name)
    if view.state != "finished" or view.latest is None:
        return None
    epochs = view.latest.epoch
    if settled.is_own_wish:  # a job script that is started again says what it said before the run was extended
        refuse_fewer_epochs(view.name, epochs, settled.config)
    event = last_event(view.paths.events, ("finished",))
    stopped_early = event is not None and event.details.get("stopped_early") is True
    if epochs < settled.config.epochs and (settled.changed or not stopped_early):
        return None
    if epochs < settled.config.epochs:
        done = f"stopped early after {count(epochs, 'epoch')}; --set patience_epochs=none would train on"
    else:
        done = f"{count(epochs, 'epoch')} done; --epochs {2 * epochs} would train on"
    print(f"{view.name} is complete: {done}", file=stream)
    return Outcome(
        run=view.name, root=view.root, state="finished", epoch=epochs, step=view.latest.step,
        metrics=dict(view.result), summary=dict(event.details) if event is not None else {},
    )  # fmt: skip


def _train(
    options: TrainOptions,
    task: Task[Any],
    settled: Settled,
    stream: TextIO | None,
    signals: StopSignals,
    rollbacks: int,
) -> Outcome | Rollback:  # fmt: skip
    """One attempt; `rollbacks` came before it in this process."""
    config = settled.config
    device = open_device(config.device, config.precision, deterministic=config.deterministic)
    task, data = load_data(options, task, settled)
    require_samples(task, data)
    with model_must_fit():
        parts = assemble(task, config, data, device)
    with _create(options, task, settled, data) as run:
        signals.ask(run)
        with contextlib.closing(Console(run.paths.log, stream)) as console, told_to(console, run, config):
            try:
                outcome = _attempt(run, settled, parts, data, console)
            except NotFinite as error:
                run.end_saves()  # one may be on its way: it is what there is to go back to
                config = layered(config, run.record.config)  # the rate may have been changed meanwhile
                if not may_go_back(run, config, rollbacks):
                    again = f"; went back {count(rollbacks, 'time')} already" if rollbacks else ""
                    is_saved = run.checkpoints.get_latest_checkpoint() is not None
                    saved = (
                        "the newest checkpoint is whole: resume from it" if is_saved else "nothing was saved: resume"
                    )
                    raise TrainingFailed(f"{error}; {saved} with {error.advice}{again}") from error
                return end_attempt(error, run, config, console, rollbacks)
        run.finish(outcome.state, code=outcome.exit_code, summary=outcome.summary)
    return outcome


def _attempt(run: Run, settled: Settled, parts: Parts, data: TaskData, console: Console) -> Outcome:
    """Restore, begin, train and judge; what runs beside the loop has ended on return."""
    config = settled.config
    progress, rng_state, other_data = restore(parts, run, data)
    if settled.continues is not None and run.start.from_checkpoint is None:
        load_weights(settled.store, settled.continues, parts.model)
    if isinstance(run, RehearsedRun):
        run.follow(progress)
    with contextlib.ExitStack() as beside:
        events = EventWriter(run.paths.tensorboard, run.start.from_step) if config.tensorboard else None
        if events is not None:
            beside.callback(_close, events, console)
        loop = Loop(parts, run, progress, console, events, rng_state)
        run.begin(total_epochs=config.epochs, total_steps=parts.schedule.total_steps, config=as_dict(config))
        introduce(console, run, settled, parts, progress, data, other_data)
        if events is not None:
            events.add(run.start.from_step, hparams_start(run.name, dotted(config), parts.result_names))
        note_before(run, parts, loop, console, events)
        finished, gpus = _fit(loop, run, parts, console)
        summary = judge(run, parts, loop, console, data, events, gpus) if finished else {}
    if isinstance(run, RehearsedRun):
        measure(run, parts, data)
    if not finished:
        console.say(f"Stopped at step {progress.step:,} ({run.stop_reason}); --resume auto goes on")
    state: Literal["finished", "stopped"] = "finished" if finished else "stopped"
    return Outcome(
        run=run.name, root=run.root, state=state, epoch=progress.last_epoch, step=progress.step,
        metrics=summary.get("metrics", {}), summary=summary,
    )  # fmt: skip


def _fit(loop: Loop, run: Run, parts: Parts, console: Console) -> tuple[bool, GpuUsage]:
    """Train beside a sampler of the machine; whether it came to its end, and what the GPUs did."""
    config = parts.config
    if config.system_interval_seconds == 0:
        return loop.fit(), GpuUsage()
    device = parts.device.torch_device
    sampler = SystemSampler(run.log_system, config.system_interval_seconds, device=device, say=console.say)
    with contextlib.closing(sampler):
        finished = loop.fit()
    return finished, sampler.usage


def _close(events: EventWriter, console: Console) -> None:
    events.close()
    if events.problem is not None:
        console.say(events.problem)


def _create(options: TrainOptions, task: Task[Any], settled: Settled, data: TaskData) -> Run:
    """Take the run; of several trainers that want the same free name, each gets its own."""
    config = settled.config
    while True:
        name = settled.name or free_name(settled.store, task.name)
        try:
            run = run_class().create(
                settled.store, name=name, task=task.name, config=as_dict(config), seed=config.seed,
                metric=choose_metric(task, config), data=DataSource(path=data.path, hash=data.hash),
                resume=settled.resume,
                overrides={key: new for key, (_, new) in settled.changed.items()},
                command=capture_command(list(options.argv)), steal=options.steal, parent=parent_of(settled.continues),
                max_training_checkpoints=config.keep_training, max_milestones=config.keep_milestones,
                policies=keeping_rules(config, choose_metric(task, config)), trash_limit=trash_limit(config),
                async_save=config.async_save, when_busy=config.when_busy,
                spill=config.spill_dir,
                say=lambda line: print(clean(line), file=sys.stderr),
            )  # fmt: skip
        except (UsageError, Held):
            if settled.name is not None or not RunPaths(settled.store / name).record.exists():
                raise
        else:
            write_fitted(run.root, data.fitted)
            write_continues(run.root, settled.continues)
            return run
