"""`ckptop logs`: what a run's process printed, from its end, and on as it is printed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import click

from ckptop.cli.common import is_terminal, json_option, store_option
from ckptop.cli.plain_lines import LineSplitter, is_reader_gone, print_json_line
from ckptop.host.terminal import clean
from ckptop.host.units import format_count
from ckptop.store.ending import LIVE_STATES, how_it_ended
from ckptop.store.errors import NotFound, StoreError
from ckptop.store.log_tail import LogTail
from ckptop.store.store import Store
from ckptop.store.views import RunHead, read_head

LINES = 100
_LOOK_SECONDS = 0.2
_GOING_ON = LIVE_STATES | {"unknown", "unreadable"}
"""States in which more may be printed: what is not known to have ended has not."""


@click.command()
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on as it is printed, until the run has ended.")
@click.option("-n", "--lines", type=click.IntRange(0), default=LINES, show_default=True, help="From the end.")
@store_option
@json_option
def logs(run: str, follow: bool, lines: int, store_path: Path, as_json: bool) -> None:
    """Print the last lines of what a run's process printed.

    On a terminal they are cleaned of what would steer it; a pipe gets every byte as it is. --json prints one object a
    line.
    """
    head = Store.open(store_path).head(run)
    with LogTail(head.paths.log, lines) as tail:
        write, end = _printer(run, as_json)
        _drain(tail, write)
        if tail.problem is not None and not (follow and head.state in _GOING_ON and not head.paths.log.exists()):
            raise _unreadable(head, tail.problem)
        last = _follow(tail, head, write) if follow else None
        end()
    if last is not None and last.state not in _GOING_ON and not as_json:
        click.echo(clean(_said_of(last)), err=True)


def _follow(tail: LogTail, head: RunHead, write: Callable[[bytes], None]) -> RunHead | None:
    """Print until the run has ended and all of it is printed; None if nobody reads any more, or the run is gone."""
    pause = threading.Event()
    while not is_reader_gone():
        # Looked at before the log is drained: what an ended run printed was there by then.
        head = read_head(head.root)
        _drain(tail, write)
        if head.state not in _GOING_ON:
            return head
        if not head.root.exists():
            return None
        pause.wait(_LOOK_SECONDS)
    return None


def _drain(tail: LogTail, write: Callable[[bytes], None]) -> None:
    while data := tail.read():
        write(data)


def _printer(run: str, as_json: bool) -> tuple[Callable[[bytes], None], Callable[[], None]]:
    """What prints a piece of the log, and what prints the rest at the end."""
    if not as_json and not is_terminal():
        return (lambda data: click.echo(data, nl=False)), (lambda: None)
    splitter = LineSplitter()

    def show(line: str) -> None:
        if as_json:
            print_json_line({"run": run, "line": line})
        else:
            click.echo(line)

    def write(data: bytes) -> None:
        for line in splitter.feed(data):
            show(line)

    def end() -> None:
        for line in splitter.end():
            show(line)

    return write, end


def _unreadable(head: RunHead, problem: str) -> StoreError:
    if not head.paths.log.exists():
        return NotFound(f"{head.name} has no train.log: what it printed went to the terminal or file it was started in")
    return StoreError(f"{head.name}: {problem}")


def _said_of(head: RunHead) -> str:
    step = format_count(head.status.step) if head.status is not None else "0"
    why = how_it_ended(head.status, head.state)
    return f"{head.name} {head.state} at step {step}" + (f": {why}" if why else "")
