"""`ckptop rehearse`: may this training be left alone over night? Exit code 0 if so, 1 if not."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.termui import progressbar

from ckptop.cli.common import json_option, print_json, store_option
from ckptop.cli.train import TaskCommand, assignments_of, require_extra, require_task, training_options
from ckptop.host.terminal import clean
from ckptop.store.errors import EXIT_DONE, EXIT_NO

if TYPE_CHECKING:
    from ckptop.trainer.rehearsal.rehearse import Rehearsal

DEFAULT_STEPS = 8
_COLUMNS = 80
_NAME_COLUMNS, _VERDICT_COLUMNS = 8, 7
_VERDICTS = {"unknown": "?"}


@click.command("rehearse", cls=TaskCommand)
@training_options
@click.option("--steps", type=click.IntRange(2), default=DEFAULT_STEPS, show_default=True, metavar="N",
              help="How many to train; more time them better.")  # fmt: skip
@store_option
@json_option
@click.pass_context
def rehearse(
    ctx: click.Context,
    /,
    task: str | None,
    data: Path | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    steps: int,
    store_path: Path,
    as_json: bool,
    **shortcuts: int | float | str | None,
) -> None:
    """Train a few steps of TASK, kill it, resume it, compare bit by bit, and forecast time, disk and memory.

    Takes the options of `ckptop train` and leaves nothing in the store. Exit codes: 0 safe to leave overnight; 1 not,
    and why; else the trainer's own for wrong options (2), data (15) or a missing extra (17).
    """
    task = require_task(task)
    require_extra()
    from ckptop.trainer.rehearsal.child_trainers import Subject
    from ckptop.trainer.rehearsal.rehearse import rehearse as run_rehearsal

    given = assignments_of(settings, shortcuts)
    subject = Subject(task=task, store=store_path, data=data, config_file=config_file, assignments=given)
    with _bar(2 * steps, quiet=as_json) as bar:
        answer = run_rehearsal(subject, steps, lambda done: bar.update(max(0, done - bar.pos)))
    if as_json:
        print_json({"task": task, **msgspec.to_builtins(answer)})
    else:
        _print(task, answer)
    ctx.exit(EXIT_DONE if answer.safe else EXIT_NO)


@contextmanager
def _bar(steps: int, *, quiet: bool) -> Iterator[Any]:
    hidden = quiet or not sys.stderr.isatty()
    with progressbar(length=steps, label="rehearsing", file=sys.stderr, hidden=hidden) as bar:
        yield bar


def _print(task: str, answer: Rehearsal) -> None:
    if answer.checks:
        click.echo(clean(f"Rehearsed {task} for {answer.steps:,} steps."))
        click.echo()
    for check in answer.checks:
        text = f"{check.figure}: {check.detail}" if check.detail else check.figure
        verdict = _VERDICTS.get(check.verdict, check.verdict)
        _print_wrapped(f"{check.name:<{_NAME_COLUMNS}}{verdict:<{_VERDICT_COLUMNS}}", text)
        if check.advice and check.verdict != "ok":
            _print_wrapped(" " * (_NAME_COLUMNS + _VERDICT_COLUMNS), check.advice)
    if answer.checks:
        click.echo()
    click.echo(clean(answer.conclusion))


def _print_wrapped(head: str, text: str) -> None:
    click.echo(textwrap.fill(clean(text), _COLUMNS, initial_indent=head, subsequent_indent=" " * len(head)))
