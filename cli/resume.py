"""`ckptop resume`: the recorded command again, told to go on where the run stopped."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from ckptop.cli.background import tell_of_start
from ckptop.cli.common import json_option, store_option
from ckptop.cli.launch import launch
from ckptop.host.units import format_count
from ckptop.store.errors import Held, NotFound, UsageError
from ckptop.store.find import select
from ckptop.store.layout import RunPaths
from ckptop.store.names import check_run_name
from ckptop.store.records import Command
from ckptop.store.resume import RESUME_VARIABLE, ResumeRequest, encode_request
from ckptop.store.store import Store
from ckptop.store.trust import require_own
from ckptop.store.views import RunView


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--from", "selector", default="latest", metavar="latest|best|CHECKPOINT", help="Where to go on from.")
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Train up to this many epochs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a configuration key.")
@click.option("--fork", "fork", metavar="NAME", help="Begin a new run from there instead; this one stays as it is.")
@click.option("--foreground", is_flag=True, help="Train in this terminal instead of in the background.")
@store_option
@json_option
def resume(
    run: str,
    selector: str,
    epochs: int | None,
    settings: tuple[str, ...],
    fork: str | None,
    foreground: bool,
    store_path: Path,
    as_json: bool,
) -> None:
    """Go on with a run from its newest checkpoint, or another; in the background unless told otherwise.

    With --fork a new run begins there, its first checkpoint a link to this run's, which is kept for it.
    """
    store = Store.open(store_path)
    view = store.run(run)
    command = _recorded_command(view, live_is_fine=fork is not None)
    overrides, chosen = _overrides(epochs, settings), _selector(view, selector)
    request = ResumeRequest(store=str(store.root.resolve()), run=run, checkpoint=chosen, overrides=overrides)
    paths = view.paths
    if fork is not None:
        if not view.checkpoints:
            raise NotFound(f"{run} has no checkpoint to fork from; the first comes with its first save")
        request = msgspec.structs.replace(request, run=fork, checkpoint="auto", fork_of=f"{run}:{chosen}")
        paths = _new_run(store, fork)
    extra_env = {RESUME_VARIABLE: encode_request(request)}
    if foreground:
        os.chdir(command.cwd)
        os.execve(command.python, [command.python, *command.argv], {**os.environ, **command.env, **extra_env})  # noqa: S606
    launched = launch(command, paths, extra_env)
    done = f"Resumed {run}" if fork is None else f"Forked {run} as {fork}"
    tell_of_start(launched, f"{done} from step {format_count(launched.from_step)}", as_json)


def _new_run(store: Store, name: str) -> RunPaths:
    """The directory of a run that is not there yet; what a fork that failed left behind is no run."""
    paths = store.paths.run(check_run_name(name))
    if paths.record.exists():
        raise UsageError(f"run {name} exists in {store.root}; choose another name for the fork")
    paths.root.mkdir(exist_ok=True)
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
    if path.exists() and "/" in selector:
        if not any(info.path.resolve() == path.resolve() for info in view.checkpoints):
            raise UsageError(f"{selector} is no checkpoint of {view.name}; `ckptop ls {view.name}` lists those")
        selector = path.name
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
