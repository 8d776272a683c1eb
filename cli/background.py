"""`ckptop train --background`: the same training as a detached process, under a name taken beforehand.

The trainer is started by the plain command line, without `--background`, so what run.json records is how to train it
anywhere. Its output goes to the run's train.log, which is why the name is settled here and not by the trainer.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ckptop.cli.common import default_store, print_json
from ckptop.cli.launch import Launched, LaunchFailed, free_name, launch, reserve, train_argv
from ckptop.cli.supervise import Supervisor
from ckptop.store.environment import capture_command
from ckptop.store.errors import UsageError
from ckptop.store.layout import RunPaths
from ckptop.store.names import check_run_name
from ckptop.store.store import Store

_OWN = frozenset({"task", "name", "store_path", "background", "auto_resume", "as_json"})
"""Parameters of `ckptop train` that are not passed on as they are."""


def train_in_background(ctx: click.Context, task: str, name: str | None, store_path: Path) -> Launched:
    """Start what `ctx`, a call of `ckptop train`, describes, and wait until it trains.

    Raises:
        UsageError: The name is taken.
        LaunchFailed: It ended before it began, with the trainer's own exit code and last line.
    """
    store = Store.open(store_path, missing_ok=True).root.resolve()
    paths, is_new = take_name(store, task, name, resumes=ctx.params["resume"] is not None)
    argv = train_argv(task, store, paths.root.name, list(options_of(ctx)))
    try:
        return launch(capture_command(argv), paths, restarts=ctx.params["auto_resume"])
    except LaunchFailed:
        if is_new:
            give_name_back(paths)
        raise


def train_supervised(ctx: click.Context, task: str, name: str | None, store_path: Path) -> int:
    """Train what `ctx` describes in this terminal, started again after a crash; returns the exit code."""
    store = Store.open(store_path, missing_ok=True).root.resolve()
    paths, is_new = take_name(store, task, name, resumes=ctx.params["resume"] is not None)
    options = [*options_of(ctx), *(["--json"] if ctx.params["as_json"] else [])]
    argv = [sys.executable, *train_argv(task, store, paths.root.name, options)]
    code = Supervisor(paths, argv, ctx.params["auto_resume"], os.environ).run()
    if is_new:
        give_name_back(paths)
    return code


def take_name(store: Path, task: str, name: str | None, *, resumes: bool) -> tuple[RunPaths, bool]:
    """The run to train, its directory made so that nobody else takes the name; and whether it was made here.

    Raises:
        UsageError: The name is taken and the run not to be resumed, or cannot name a run.
    """
    from ckptop.trainer.registry import run_name

    if name is None and not resumes:
        wanted = run_name(task)
        while True:
            with contextlib.suppress(UsageError):  # somebody was quicker
                return reserve(store, free_name(store, wanted)), True
    paths = RunPaths(store / check_run_name(name if name is not None else run_name(task)))
    if paths.record.exists():
        if not resumes:
            raise UsageError(f"run {paths.root.name} exists in {store}; --resume auto goes on with it")
        return paths, False
    if paths.root.is_dir():  # what a training that never began left behind is no run
        return paths, False
    return reserve(store, paths.root.name), True


def give_name_back(paths: RunPaths) -> None:
    """Remove the directory of a run that never began, whose log says no more than was told already."""
    if paths.record.exists():
        return
    with contextlib.suppress(OSError):
        paths.log.unlink(missing_ok=True)
        paths.root.rmdir()


def options_of(ctx: click.Context) -> Iterable[str]:
    """What was typed of a command's options, once more: those with a value of their own from the command line."""
    for parameter in ctx.command.params:
        name = parameter.name
        if not name or name in _OWN or not isinstance(parameter, click.Option):
            continue
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        if parameter.is_flag:
            yield parameter.opts[0]
            continue
        for one in value if parameter.multiple else (value,):
            yield from (parameter.opts[0], str(one))


def tell_of_start(launched: Launched, said: str, as_json: bool) -> None:
    """Print that a trainer runs, and how to follow and stop it."""
    paths, status = launched.paths, launched.status
    name, pid = paths.root.name, status.process.pid
    supervisor = launched.process.pid if launched.process.pid != pid else None
    if as_json:
        print_json(
            {"run": name, "pid": pid, "supervisor": supervisor, "attempt": status.attempt,
             "from_step": launched.from_step, "store": str(paths.root.parent), "log": str(paths.log)}
        )  # fmt: skip
        return
    store = paths.root.parent
    where = "" if store.resolve() == default_store().resolve() else f" --store {shlex.quote(str(store))}"
    click.echo(f"{said} (pid {pid}).")
    click.echo(f"  follow  ckptop logs {name} -f{where}")
    click.echo(f"  stop    ckptop stop {name}{where}")
