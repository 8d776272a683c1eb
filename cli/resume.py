"""`ckptop resume`: the recorded command again, told to go on where the run stopped."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.cli.launch import launch
from ckptop.host.units import format_count
from ckptop.store.errors import Held, NotFound, UsageError
from ckptop.store.find import select
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
@click.option("--foreground", is_flag=True, help="Train in this terminal instead of in the background.")
@store_option
@json_option
def resume(
    run: str,
    selector: str,
    epochs: int | None,
    settings: tuple[str, ...],
    foreground: bool,
    store_path: Path,
    as_json: bool,
) -> None:
    """Go on with a run from its newest checkpoint, or another; in the background unless told otherwise."""
    store = Store.open(store_path)
    view = store.run(run)
    command = _recorded_command(view)
    request = ResumeRequest(
        store=str(store.root.resolve()), run=run, checkpoint=_selector(view, selector),
        overrides=_overrides(epochs, settings),
    )  # fmt: skip
    extra_env = {RESUME_VARIABLE: encode_request(request)}
    if foreground:
        os.chdir(command.cwd)
        os.execve(command.python, [command.python, *command.argv], {**os.environ, **command.env, **extra_env})  # noqa: S606
    launched = launch(command, view.paths, extra_env)
    pid = launched.process.pid
    record = store.run(run).record
    step = record.attempts[-1].from_step if record is not None and record.attempts else launched.status.step
    if as_json:
        print_json({"run": run, "pid": pid, "attempt": launched.status.attempt, "from_step": step})
    else:
        click.echo(f"Resumed {run} from {format_count(step)} (pid {pid}).")


def _recorded_command(view: RunView) -> Command:
    if view.state in ("starting", "running", "paused", "stalled") and view.status is not None:
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
