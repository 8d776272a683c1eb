"""What was asked for, settled into one configuration: a fresh run's, or a resumed run's with changes.

A resumed run goes on with the configuration its run.json recorded, not with today's defaults. Started by a
viewer (`CKPTOP_RESUME`), the recorded command's own options are history: only the request's changes count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckptop.store.errors import UsageError
from ckptop.store.files import read_json
from ckptop.store.find import find_checkpoint
from ckptop.store.layout import RunPaths
from ckptop.store.names import check_run_name
from ckptop.store.records import RunRecord
from ckptop.store.resume import resume_request
from ckptop.store.store import Store
from ckptop.trainer.best import choose_metric
from ckptop.trainer.config import TrainConfig, assignments, changes, layered, read_toml
from ckptop.trainer.continual import Continues, chosen, read_continues
from ckptop.trainer.task import Task

_FIXED = ("optimizer", "model")
"""Decide what the saved state means; with another value it could not be loaded."""
_FIXED_WITHIN_A_RUN = ("seed", "metric_for_best")
"""Decide what the run's curves and its best checkpoint mean; a fork has its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """`ckptop train`, as typed."""

    task: str
    store: Path
    data: Path | None = None
    name: str | None = None
    config_file: Path | None = None
    assignments: Sequence[tuple[str, str]] = ()
    """Dotted configuration keys and values as text, the last of a key winning."""
    continue_on: Path | None = None
    """Other data to go on learning on, from the best checkpoint, once this training is done."""
    continue_from: str | None = None
    """`RUN` or `RUN:CHECKPOINT` whose weights a new run begins with, and whose configuration."""
    resume: str | None = None
    """None, auto, latest, best or a checkpoint of the run, by its path or `RUN:…` too."""
    is_own_wish: bool = False
    """The assignments are of now, not what a command has said from the beginning."""
    steal: bool = False
    grace_seconds: float | None = None
    """How long a signal leaves for ending; None is as long as it takes."""
    save_before_seconds: float | None = None
    """How long before the time limit to stop and save."""
    time_limit_seconds: float | None = None
    """From the start of the trainer; None is the end of the Slurm job, if there is one."""
    as_json: bool = False
    argv: Sequence[str] = ()
    """The interpreter's arguments that start this again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Which run, from where, with what configuration."""

    store: Path
    name: str | None
    """None takes the first free name."""
    resume: str | None
    config: TrainConfig[Any]
    changed: Mapping[str, tuple[Any, Any]]
    """Keys that differ from the run's recorded configuration: (recorded, now)."""
    recorded: TrainConfig[Any] | None = None
    """That configuration; None for a fresh run."""
    notes: Sequence[str] = ()
    """What was asked for and does not hold, and why, a line each."""
    continues: Continues | None = None
    """What a run that goes on learning on other data began with."""
    origin: str | None = None
    """The run that was there before this attempt: itself, or what it was forked from; None for a new one."""
    is_own_wish: bool = False
    """As in `TrainOptions`."""


def settle(options: TrainOptions, task: Task[Any]) -> Settled:
    """Put the layers together and check them; nothing is written.

    Raises:
        UsageError: A key or value is wrong, the run is of another task, or a change needs a fork.
        NotFound: The path or `RUN:…` to resume is no live checkpoint.
        Damaged: The run's record is unreadable.
    """
    request = resume_request()
    if request is not None:
        options = replace(
            options, store=Path(request.store), name=request.run, resume=request.checkpoint, config_file=None,
            assignments=tuple(request.overrides.items()), is_own_wish=True,
        )  # fmt: skip
    else:
        options = _selected(options)
    store, resume = options.store, options.resume
    name = options.name or (task.name if resume is not None else None)
    parent = request.fork_of.partition(":")[0] if request is not None and request.fork_of is not None else None
    record = _record(store, name, task) if name is not None and resume is not None else None
    if record is None and parent is not None:
        record = _record(store, parent, task)
    recorded = _configuration(record, task) if record is not None else None
    origin = (name if name is not None and RunPaths(store / name).record.exists() else parent) if record else None
    config, continues = _configured(options, task, recorded)
    if origin is not None:
        continues = read_continues(store / origin)
    notes: list[str] = []
    if record is not None and recorded is not None and not options.is_own_wish:
        config, notes = _keep_steered(record, recorded, config)
    changed = changes(recorded, config) if recorded is not None else {}
    _refuse_fixed(changed, name or task.name, is_fork=parent is not None)
    choose_metric(task, config)
    return Settled(
        store=store, name=name, resume=resume, config=config, changed=changed, recorded=recorded, notes=notes,
        continues=continues, origin=origin, is_own_wish=options.is_own_wish,
    )  # fmt: skip


def _configured(
    options: TrainOptions, task: Task[Any], recorded: TrainConfig[Any] | None
) -> tuple[TrainConfig[Any], Continues | None]:
    """What was asked for on top of what the run has, of what is continued, or of the task's defaults."""

    def layers(base: TrainConfig[Any]) -> TrainConfig[Any]:
        if options.config_file is not None:
            base = layered(base, read_toml(options.config_file))
        return layered(base, assignments(options.assignments), lax=True)

    if recorded is not None:
        return layers(recorded), None
    if options.continue_from is None:
        return task.configure(layers, options.data), None
    first, continues = chosen(options.store, options.continue_from)
    if first.task != task.name:
        raise UsageError(f"{continues.run} trains {first.task}, not {task.name}; continue a run of this task")
    return layers(layered(_configuration(first, task), task.continual)), continues


def _refuse_fixed(changed: Iterable[str], name: str, *, is_fork: bool) -> None:
    for key in changed:
        section = key.partition(".")[0]
        if section in _FIXED:
            raise UsageError(f"{key} cannot change: what was saved would not fit; begin a new run with `ckptop train`")
        if section in _FIXED_WITHIN_A_RUN and not is_fork:
            raise UsageError(
                f"{key} cannot change within run {name}; fork it: "
                f"`ckptop resume {name} --fork NEW --set {key}=…`, or begin a new run"
            )


def _selected(options: TrainOptions) -> TrainOptions:
    """`--resume` by a path or `RUN:…`, as the run's name and what is to be chosen of it.

    Raises:
        NotFound: It is no live checkpoint.
        UsageError: It is of another run than `--name`, or of another store.
    """
    text = options.resume
    if text is None or not (":" in text or ("/" in text and Path(text).is_file())):
        return options
    view, info = find_checkpoint(Store.open(options.store), text)
    if view.root.parent.resolve() != options.store.resolve():
        raise UsageError(f"{text} is of a run in {view.root.parent}, not in {options.store}; say --store")
    if options.name not in (None, view.name):
        raise UsageError(
            f"{text} is of run {view.name}, not of {options.name}; "
            f"`ckptop resume {view.name} --from {info.name} --fork {options.name}` begins a run there"
        )
    return replace(options, name=view.name, resume=info.key)


def _record(store: Path, name: str, task: Task[Any]) -> RunRecord | None:
    """The record of the run to resume; None where there is no such run yet."""
    path = RunPaths(store / check_run_name(name)).record
    if not path.exists():
        return None
    record = read_json(path, RunRecord)
    if record.task != task.name:
        raise UsageError(f"run {name} trains {record.task}, not {task.name}; choose another --name")
    return record


def _configuration(record: RunRecord, task: Task[Any]) -> TrainConfig[Any]:
    return layered(task.defaults(), {**record.config, "accept_new_data": False})


def _keep_steered(
    record: RunRecord, recorded: TrainConfig[Any], config: TrainConfig[Any]
) -> tuple[TrainConfig[Any], list[str]]:
    """Keep what was set while the run ran, where the command only repeats what it said before that.

    A job that is requeued starts the same command again, which knows nothing of it.
    """
    kept = {
        key: getattr(recorded, key)
        for key, before in record.steered.items()
        if getattr(config, key, None) == before != getattr(recorded, key, None)
    }
    notes = [
        f"{key} stays {value}, as it was set while it ran; "
        f"`ckptop resume {record.name} --set {key}={getattr(config, key)}` takes that back"
        for key, value in kept.items()
    ]
    return layered(config, kept), notes


def free_name(store: Path, task_name: str) -> str:
    """The task's name, or with the first number that is free. A directory without run.json is no run."""
    name, number = task_name, 1
    while RunPaths(store / name).record.exists():
        number += 1
        name = f"{task_name}-{number}"
    return name
