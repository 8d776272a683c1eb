"""`ckptop demo`: two real trainings in the background, and the dashboard on them.

Both are ordinary `ckptop train` commands; what they save can be resumed, pruned and promoted.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import click

from ckptop.cli.common import is_terminal, store_option
from ckptop.cli.dashboard import open_dashboard
from ckptop.cli.launch import Launched, free_name, launch, reserve, train_argv
from ckptop.cli.promote import require_torch
from ckptop.host.terminal import clean
from ckptop.store.records import LIVE_PHASES, Command
from ckptop.store.store import Store
from ckptop.store.tail import LineTail

TASKS = {
    "digits": ("--epochs", "160", "--lr", "2e-4"),
    "diabetes": ("--epochs", "1600", "--lr", "3e-5", "--set", "save_every_epochs=5"),
}
"""One to three minutes of honest work when both share two cores; slow rates, so that there is a curve to watch."""
COMMON = ("--set", "threads=1", "--set", "keep_training=30")
"""A thread each, since two trainers with two threads wait for each other; and a table that grows."""
_LOOK_SECONDS = 0.25


@dataclass(slots=True)
class _Follower:
    """One trainer whose printed lines are repeated here."""

    launched: Launched
    tail: LineTail

    @property
    def name(self) -> str:
        return self.launched.paths.root.name

    def repeat_lines(self) -> None:
        while lines := self.tail.poll():
            for line in lines.decode(errors="replace").splitlines():
                click.echo(f"[{self.name}] {clean(line)}")


@click.command()
@store_option
@click.pass_context
def demo(ctx: click.Context, store_path: Path) -> None:
    """Train two real models in the background and watch them.

    With no terminal it prints their progress until both are done.
    """
    require_torch("training")
    store = Store.open(store_path, missing_ok=True)
    launched = _start(store)
    if is_terminal() and sys.stdin.isatty():
        ctx.exit(open_dashboard(store.root))
    ctx.exit(_follow(launched))


def _start(store: Store) -> list[Launched]:
    """Start each task, unless an earlier demo's trainer of it is still at work."""
    live = {view.record.task for view in store.runs() if view.record and view.name.startswith("demo-")
            and view.status and view.status.phase in LIVE_PHASES and view.state != "crashed"}  # fmt: skip
    started = []
    for task, options in TASKS.items():
        if task in live:
            click.echo(f"demo-{task} is still training; watching that one.", err=True)
            continue
        name = free_name(store.root, f"demo-{task}")
        paths = reserve(store.root, name)
        argv = train_argv(task, store.root, name, [*options, *COMMON])
        command = Command(python=sys.executable, argv=argv, cwd=str(Path.cwd()))
        click.echo(f"Starting {name} …", err=True)
        started.append(launch(command, paths, {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}))
    return started


def _follow(launched: list[Launched]) -> int:
    """Repeat the trainers' lines until all have ended; 0 if all finished."""
    followers = [_Follower(one, LineTail(one.paths.log)) for one in launched]
    pause = threading.Event()
    try:
        while any(one.launched.process.poll() is None for one in followers):
            for one in followers:
                one.repeat_lines()
            pause.wait(_LOOK_SECONDS)
    except KeyboardInterrupt:
        names = ", ".join(one.name for one in followers)
        click.echo(f"The trainers go on; `ckptop stop RUN` ends one: {names}.", err=True)
        return 130
    for one in followers:
        one.repeat_lines()
    return max((one.launched.process.returncode for one in followers), default=0)
