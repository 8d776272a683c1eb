"""`ckptop resume`: the recorded command again, told to go on where the run stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import click

from ckptop.cli.alert_options import alert_options, take_alert_options
from ckptop.cli.background import give_name_back, tell_of_start
from ckptop.cli.common import json_option, print_json, store_option
from ckptop.cli.launch import launch
from ckptop.cli.supervise import Supervisor
from ckptop.host.terminal import clean
from ckptop.host.units import format_count
from ckptop.store.errors import EXIT_DONE, CkptopError, Held, NotFound, UsageError
from ckptop.store.find import select
from ckptop.store.layout import RunPaths
from ckptop.store.names import check_run_name
from ckptop.store.records import Command
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.store import Store
from ckptop.store.trust import require_own
from ckptop.store.views import RunView


@click.command()
@click.argument("run", metavar="RUN", required=False)
@click.option("--from", "selector", default="latest", metavar="latest|best|CHECKPOINT", help="Where to go on from.")
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Train up to this many epochs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a configuration key.")
@click.option("--fork", metavar="NAME", help="Begin a new run from there instead; this one stays as it is.")
@click.option("--foreground", is_flag=True, help="Train in this terminal instead of in the background.")
@click.option("--auto-resume", type=click.IntRange(0), default=0, metavar="N", help="Start it again after a crash.")
@click.option("--all-crashed", is_flag=True, help="Every run of yours in the store whose process is gone.")
@alert_options
@store_option
@json_option
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    run: str | None,
    selector: str,
    epochs: int | None,
    settings: tuple[str, ...],
    fork: str | None,
    foreground: bool,
    auto_resume: int,
    all_crashed: bool,
    on_alert: str | None,
    alert_on: str | None,
    store_path: Path,
    as_json: bool,
) -> int:
    """Go on with a run from its newest checkpoint, or another; in the background unless told otherwise.

    With --fork a new run begins there, its first checkpoint a link to this run's, which is kept for it.
    """
    store = Store.open(store_path)
    take_alert_options(on_alert, alert_on)
    if all_crashed:
        if run is not None or selector != "latest" or epochs is not None or settings or fork is not None or foreground:
            raise UsageError("--all-crashed goes on with each run as it is; name one run to change anything")
        return resume_all_crashed(store, auto_resume, as_json)
    if run is None:
        raise click.UsageError(f"name a run, or say --all-crashed; `{ctx.command_path} --help`")
    view = store.run(run)
    command = _recorded_command(view, live_is_fine=fork is not None)
    request = _request(store, view, selector, _overrides(epochs, settings), fork)
    paths = view.paths if fork is None else _new_run(store, fork)
    extra_env = {RESUME_VARIABLE: encode_request(request)}
    if foreground and not auto_resume:
        _become_the_trainer(command, extra_env)
    paths = RunPaths(paths.root.resolve())  # the supervisor stands elsewhere
    is_new = not paths.root.is_dir()
    paths.root.mkdir(exist_ok=True)  # for its log
    try:
        if foreground:
            argv, environ = _to_start(command, extra_env)
            return Supervisor(paths, argv, auto_resume, environ).run()
        launched = launch(command, paths, extra_env, restarts=auto_resume)
    finally:
        if is_new:
            give_name_back(paths)
    done = f"Resumed {run}" if fork is None else f"Forked {run} as {fork}"
    tell_of_start(launched, f"{done} from step {format_count(launched.from_step)}", as_json)
    return EXIT_DONE


def resume_all_crashed(store: Store, restarts: int, as_json: bool) -> int:
    """Resume every crashed run of this user, a line each; returns the exit code of the first that did not begin."""
    code, told = EXIT_DONE, []
    for view in store.runs():
        if view.state != "crashed":
            continue
        try:
            command = _recorded_command(view, live_is_fine=False)
            extra_env = {RESUME_VARIABLE: encode_request(_request(store, view, "latest", {}, None))}
            launched = launch(command, view.paths, extra_env, restarts=restarts)
        except CkptopError as error:
            code = code or error.exit_code
            line = f"{view.name} was not resumed: {error}"
            told.append({"run": view.name, "resumed": False, "exit_code": error.exit_code, "error": str(error)})
        else:
            pid, step = launched.status.process.pid, launched.from_step
            line = f"Resumed {view.name} from step {format_count(step)} (pid {pid})."
            told.append({"run": view.name, "resumed": True, "pid": pid, "from_step": step})
        if not as_json:
            click.echo(clean(line))
    if as_json:
        print_json(told)
    elif not told:
        click.echo(f"No run in {store.root} has crashed.")
    return code


def _to_start(command: Command, extra_env: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of the trainer, this process standing where it was started."""
    os.chdir(command.cwd)
    return [command.python, *command.argv], {**os.environ, **command.env, **extra_env}


def _become_the_trainer(command: Command, extra_env: dict[str, str]) -> NoReturn:
    argv, environ = _to_start(command, extra_env)
    os.execve(command.python, argv, environ)  # noqa: S606 - the recorded command, of a run that is ours


def _request(store: Store, view: RunView, selector: str, overrides: dict[str, str], fork: str | None) -> ResumeRequest:
    chosen = _selector(view, selector)
    if fork is None:
        return ResumeRequest(store=str(store.root.resolve()), run=view.name, checkpoint=chosen, overrides=overrides)
    if not view.checkpoints:
        raise NotFound(f"{view.name} has no checkpoint to fork from; the first comes with its first save")
    return ResumeRequest(
        store=str(store.root.resolve()), run=fork, checkpoint="auto", fork_of=f"{view.name}:{chosen}",
        overrides=overrides,
    )  # fmt: skip


def _new_run(store: Store, name: str) -> RunPaths:
    """The directory of a run that is not there yet; what a fork that failed left behind is no run."""
    paths = store.paths.run(check_run_name(name))
    if paths.record.exists():
        raise UsageError(f"run {name} exists in {store.root}; choose another name for the fork")
    return paths


def _recorded_command(view: RunView, *, live_is_fine: bool) -> Command:
    if not live_is_fine and view.state in ("starting", "running", "paused", "stalled") and view.status is not None:
        pid = view.status.process.pid
        raise Held(f"{view.name} is {view.state} (pid {pid}); stop it first with `ckptop stop {view.name}`")
    if view.record is None or view.record.command is None:
        raise NotFound(f"{view.name} has no recorded command ({view.problem or 'run.json names none'})")
    require_own(view.paths)
    return view.record.command


def _selector(view: RunView, selector: str) -> str:
    """Refuse here what the trainer would refuse; a path or `RUN:…` may name the checkpoint too."""
    selector = selector.removeprefix(f"{view.name}:")
    if selector == "latest":
        return "latest" if view.checkpoints else "auto"  # nothing was saved yet: begin again from the start
    path = Path(selector)
    if path.exists() and "/" in selector:  # perhaps a link, such as latest.pt
        key = next((info.key for info in view.checkpoints if info.path.resolve() == path.resolve()), None)
        if key is None:
            raise UsageError(f"{selector} is no checkpoint of {view.name}; `ckptop ls {view.name}` lists those")
        return key
    select(view, selector)
    return selector


def _overrides(epochs: int | None, settings: tuple[str, ...]) -> dict[str, str]:
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting!r} is not KEY=VALUE")
        overrides[key.strip()] = value.strip()
    if epochs is not None:
        overrides["epochs"] = str(epochs)
    return overrides
