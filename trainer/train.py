"""One training from beginning to end: settle, load, build, restore, train, judge by the test part."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec
import torch

from ckptop.host.terminal import clean
from ckptop.store.environment import capture_command
from ckptop.store.errors import (
    EXIT_DONE,
    EXIT_STOPPED,
    CkptopError,
    Damaged,
    Held,
    NotFound,
    TrainingFailed,
    UsageError,
)
from ckptop.store.layout import RunPaths
from ckptop.store.lines import to_json
from ckptop.store.records import DataSource
from ckptop.store.run import Run
from ckptop.store.views import read_run
from ckptop.trainer.build import build, evaluation_loader
from ckptop.trainer.config import as_dict
from ckptop.trainer.console import Console
from ckptop.trainer.device import Device, open_device
from ckptop.trainer.evaluate import evaluate
from ckptop.trainer.loop import Loop, Parts
from ckptop.trainer.options import Settled, TrainOptions, free_name, settle
from ckptop.trainer.registry import load_task
from ckptop.trainer.stop import StopSignals
from ckptop.trainer.system import SystemSampler
from ckptop.trainer.task import Task, TaskData
from ckptop.trainer.tensorboard import EventWriter


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
    settled = settle(options, task)
    stream: TextIO | None = sys.stderr if options.as_json else sys.stdout
    outcome = _done_already(settled, stream) or _train(options, task, settled, stream)
    if options.as_json:
        fields = {**vars(outcome), "root": str(outcome.root), "exit_code": outcome.exit_code}
        print(msgspec.json.encode(to_json(fields)).decode(), flush=True)
    return outcome.exit_code


def _done_already(settled: Settled, stream: TextIO | None) -> Outcome | None:
    """A finished run with no epochs to add is left as it is."""
    if settled.name is None or settled.resume not in ("auto", "latest"):
        return None
    view = read_run(settled.store / settled.name)
    if view.state != "finished" or view.latest is None or view.latest.epoch < settled.config.epochs:
        return None
    epochs = view.latest.epoch
    print(f"{view.name} is complete: {_count(epochs, 'epoch')} done; --epochs {2 * epochs} would train on", file=stream)
    return Outcome(
        run=view.name, root=view.root, state="finished", epoch=epochs, step=view.latest.step, metrics=dict(view.result)
    )


def _train(options: TrainOptions, task: Task[Any], settled: Settled, stream: TextIO | None) -> Outcome:
    config = settled.config
    device = open_device(config.device, config.precision, deterministic=config.deterministic)
    data = task.load(options.data, config.seed)
    with _create(options, task, settled, data) as run, StopSignals(run.request_stop):
        with contextlib.closing(Console(run.paths.log, stream)) as console, _told_to(console):
            outcome = _attempt(run, task, settled, device, data, console)
        summary = {"metrics": outcome.metrics} if outcome.state == "finished" else None
        run.finish(outcome.state, code=outcome.exit_code, summary=summary)
    return outcome


def _attempt(run: Run, task: Task[Any], settled: Settled, device: Device, data: TaskData, console: Console) -> Outcome:
    """Build, begin, train and judge; what runs beside the loop has ended on return."""
    config = settled.config
    parts, progress, rng_state = build(task, config, data, device, run)
    with contextlib.ExitStack() as beside:
        events = EventWriter(run.paths.tensorboard, run.start.from_step) if config.tensorboard else None
        if events is not None:
            beside.callback(_close, events, console)
        loop = Loop(parts, run, progress, console, events, rng_state)
        run.begin(total_epochs=config.epochs, total_steps=loop.total_steps, config=as_dict(config))
        _introduce(console, run, settled, parts, loop, data)
        if config.system_interval_seconds > 0:
            beside.enter_context(contextlib.closing(SystemSampler(run.log_system, config.system_interval_seconds)))
        finished = loop.fit()
        metrics = _judge(run, parts, loop, console, data) if finished else {}
    if not finished:
        console.say(f"Stopped at step {progress.step:,} ({run.stop_reason}); --resume auto goes on")
    state: Literal["finished", "stopped"] = "finished" if finished else "stopped"
    return Outcome(
        run=run.name, root=run.root, state=state, epoch=progress.last_epoch, step=progress.step, metrics=metrics
    )


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
            return Run.create(
                settled.store, name=name, task=task.name, config=as_dict(config), seed=config.seed, metric=task.metric,
                data=DataSource(path=data.path, hash=data.hash), resume=settled.resume,
                overrides={key: new for key, (_, new) in settled.changed.items()},
                command=capture_command(list(options.argv)), steal=options.steal,
                max_training_checkpoints=config.keep_training, max_milestones=config.keep_milestones,
                say=lambda line: print(clean(line), file=sys.stderr),
            )  # fmt: skip
        except (UsageError, Held):
            if settled.name is not None or not RunPaths(settled.store / name).record.exists():
                raise


def _introduce(console: Console, run: Run, settled: Settled, parts: Parts, loop: Loop, data: TaskData) -> None:
    """Say what is trained on what, and everything a person would want to have been told."""
    config = parts.config
    parameters = sum(parameter.numel() for parameter in parts.model.parameters())
    for note in run.start.notes:
        console.say(note)
    if run.is_resumed and run.start.from_checkpoint is not None:
        console.say(f"Resuming {run.name} from {run.start.from_checkpoint.name}, step {run.start.from_step:,}")
    for line in _changed(run, settled, parts, loop, data):
        console.say(line)
    console.say(
        f"Run {run.name}: {data.description}, {parameters:,} parameters, {_count(config.epochs, 'epoch')} of "
        f"{_count(parts.train.batches.step_count, 'step')} on {parts.device.torch_device} "
        f"({config.precision}, {_count(torch.get_num_threads(), 'thread')}, seed {config.seed})"
    )
    last = _count(config.keep_training, "training checkpoint")
    best = config.keep_milestones
    milestones = "all milestones" if best is None else f"the best {_count(best, 'milestone')}"
    console.say(f"Keeping the last {last} and {milestones}, in {run.root}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _changed(run: Run, settled: Settled, parts: Parts, loop: Loop, data: TaskData) -> Iterator[str]:
    """What keeps this attempt from being bitwise what the run would have been."""
    for key, (old, new) in settled.changed.items():
        if key == "epochs":
            stretched = parts.config.scheduler == "cosine"
            how = f"; the cosine schedule now ends at step {loop.total_steps:,}" if stretched else ""
            yield f"epochs was {old}, now {new}{how}"
        else:
            yield f"{key} was {old}, now {new}"
    manifest, recorded = run.start.manifest, run.record.data
    if manifest is not None:
        before = manifest.environment.get("pytorch_version")
        if before not in (None, str(torch.__version__)):
            yield f"torch was {before}, now {torch.__version__}: the run is no longer bitwise exact"
        if recorded is not None and recorded.hash != data.hash:
            yield f"the data in {data.path} has changed since the run began: the run is no longer exact"


def _judge(run: Run, parts: Parts, loop: Loop, console: Console, data: TaskData) -> dict[str, float]:
    """Evaluate the best checkpoint on the test part, log the result at the last step and say it."""
    task, config, step = parts.task, parts.config, loop.progress.step
    best = read_run(run.root).best
    if best is not None:
        try:
            run.checkpoints.load_checkpoint(best.path, parts.model, device=parts.device.torch_device)
        except (Damaged, NotFound) as error:
            console.say(f"{error}; the last weights are judged instead")
            best = None
    loader = evaluation_loader(data.test, config, parts.device, "test")
    result = {**evaluate(task, parts.model, loader, parts.device, "test", run.touch), **data.baselines}
    loop.log(step, loop.progress.last_epoch, result)
    run.sync()
    name = task.metric[0]
    short = name.partition("/")[2]
    if best is None or (value := best.metric(name)) is None:
        console.say(f"No {name} was ever a number · test {short} {result[f'test/{short}']:.4f}")
        return result
    console.say(f"Best {name} {value:.4f} at epoch {best.epoch} · test {short} {result[f'test/{short}']:.4f}")
    return {name: value, **result}


def _is_out_of_memory(error: BaseException) -> bool:
    """The CPU's allocator raises a plain RuntimeError."""
    words = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


@contextlib.contextmanager
def _told_to(console: Console) -> Iterator[None]:
    """What ends a training is in its log too, not only on a terminal that may be gone."""
    try:
        yield
    except CkptopError as error:
        console.note(f"ckptop: {error}")
        raise
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            console.note(traceback.format_exc())
            raise
        failed = TrainingFailed(f"out of memory: {error}; halve batch_size and double accumulate, and resume")
        console.note(f"ckptop: {failed}")
        raise failed from error
    except Exception:
        console.note(traceback.format_exc())
        raise
